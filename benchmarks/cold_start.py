"""How long a process needs until every face is searchable: from a snapshot on the disk, and from PostgreSQL alone.

A library of made faces (``benchmarks.gallery``), five a person in one group, lies in an embedded PostgreSQL. New
processes then load it, each with one thread besides PostgreSQL's own:

    python -m benchmarks.cold_start [--quick] [--json] [--faces 1000000] [--dimension 512]

``database`` reads every face by COPY and builds the index; ``snapshot`` reads the file that was written of it, counts
the faces in the database and replays the changes that were made after the file. The file is dropped from the system's
cache before (``cold``) or was just read (``warm``); PostgreSQL's files are in it as far as they fit. Beside them stand
what cannot be had for less: the COPY without an index, and reading the same file into memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg

from benchmarks.gallery import DIMENSIONS, Gallery, Statistics
from benchmarks.harness import Report, parser
from service.search.catalog import Catalog
from service.search.folder import NAME
from service.search.maintenance import Maintenance
from service.search.snapshots import Snapshots
from service.search.tiered import TieredIndex
from service.storage import migrations
from service.storage.embedded import EmbeddedPostgres
from service.storage.engine import Database
from service.storage.source import PostgresChangeSource
from service.storage.urls import driver_address
from service.values import Angles, App, Location, StoredFace

MODEL = "made-0"
FACES_EACH = 5
LATER = 1_000
"""Changes after the snapshot."""
PROBES = 20
PROBE_TURN = 1000
BLOCK = 4096
FULL = 1_000_000
SNAPSHOT_SECONDS = 10.0
DATABASE_SECONDS = 60.0
LEAST_GAIN = 2.0
"""At any size a snapshot has to be so many times as fast as the database."""


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--faces", type=int, help=f"faces (default: {FULL}, quick: 60000)")
    options.add_argument("--dimension", type=int, default=512, choices=DIMENSIONS)
    options.add_argument("--step", nargs=3, help=argparse.SUPPRESS, metavar=("NAME", "URL", "HOME"))
    chosen = options.parse_args()
    faces = chosen.faces or (60_000 if chosen.quick else FULL)
    if chosen.step is not None:
        name, url, home = chosen.step
        print(json.dumps(STEPS[name](url, Path(home), faces, chosen.dimension)))
        return 0
    report = Report("cold_start", chosen.json)
    with tempfile.TemporaryDirectory(prefix="aipface-cold-") as folder:
        compare(report, Path(folder), faces, chosen.dimension)
    return report.close()


def compare(report: Report, home: Path, faces: int, dimension: int) -> None:
    """Fill the database, then let one process after the other load it."""
    report.figure("faces", {"faces": faces, "dimension": dimension})
    server = EmbeddedPostgres(home)
    url = server.start()
    try:
        migrations.upgrade(url)
        fill(url, faces, dimension)

        def step(name: str) -> dict[str, Any]:
            found = run(name, url, home, faces, dimension)
            report.figure(name, {key: value for key, value in found.items() if key != "hits"})
            return found

        copied, built = step("copy"), step("database")
        enrol_more(url, faces, dimension)
        read, cold = step("read"), step("cold")
        warm, again = step("warm"), step("database_again")
    finally:
        server.stop()
    report.figure("snapshot / reading the file, cold", cold["seconds"] / read["seconds"])
    report.figure("database / COPY alone", built["seconds"] / copied["seconds"])
    report.at_least("same users found as from the database", _same(again["hits"], warm["hits"]), 0.99)
    report.at_least("times as fast as from the database", built["seconds"] / cold["seconds"], LEAST_GAIN)
    if faces >= FULL:
        report.at_most("seconds from a snapshot", cold["seconds"], SNAPSHOT_SECONDS)
        report.at_most("seconds from PostgreSQL alone", built["seconds"], DATABASE_SECONDS)


def run(name: str, url: str, home: Path, faces: int, dimension: int) -> dict[str, Any]:
    """One step in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.cold_start", "--step", name, url, str(home)]
    command += ["--faces", str(faces), "--dimension", str(dimension)]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=alone)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


# --- the library ---


def fill(url: str, faces: int, dimension: int) -> None:
    """An app with one group, by COPY; its log ends at the last face, what came before is pruned but for some rows."""
    database = Database(url)
    with database.admin() as work:
        app = work.apps.insert(work.apps.next_app_id(), "cold start", "key", b"sealed")
    database.close()
    people = faces // FACES_EACH
    gallery = Gallery(Statistics.load(dimension), people)
    with psycopg.connect(driver_address(url)) as connection:
        cursor = connection.cursor()
        cursor.execute("INSERT INTO groups (app_pk, name) VALUES (%s, 'all') RETURNING pk", (app.pk,))
        (group,) = cursor.fetchone() or (0,)
        cursor.execute(
            "INSERT INTO users (app_pk, group_pk, name) SELECT %s, %s, 'user_' || n FROM generate_series(1, %s) AS n",
            (app.pk, group, people),
        )
        columns = "app_pk, group_pk, user_pk, token, model_id, embedding, location, angles, confidence, points"
        with cursor.copy(f"COPY faces ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "int8", "int8", "text", "text", "bytea", "jsonb", "jsonb", "float8", "bytea"])
            for turn in range(FACES_EACH):
                made = gallery.faces(np.arange(people), turn)
                for person, embedding in enumerate(made):
                    token = f"{turn:02}{person:030x}"
                    row = (app.pk, group, person + 1, token, MODEL, embedding.tobytes(), "{}", "{}", 0.9, bytes(600))
                    copy.write_row(row)
        cursor.execute(
            "INSERT INTO changes (app_pk, seq, kind, group_pk, user_pk, face_pk)"
            " SELECT app_pk, pk, 1, group_pk, user_pk, pk FROM faces WHERE pk > %s",
            (faces - LATER,),
        )
        cursor.execute("UPDATE change_heads SET seq = %s, floor = %s", (faces, faces - LATER))
    with psycopg.connect(driver_address(url), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE faces")


def enrol_more(url: str, faces: int, dimension: int) -> None:
    """Changes that come after the snapshot: new faces of known people."""
    database = Database(url)
    gallery = Gallery(Statistics.load(dimension), faces // FACES_EACH)
    people = np.arange(LATER) % len(gallery.identities)
    with database.write(_app(database).pk) as work:
        for person, embedding in zip(people.tolist(), gallery.faces(people, FACES_EACH), strict=True):
            face = StoredFace(f"later{person}", Location(0, 0, 1, 1, 0), Angles(0, 0, 0), 0.9, None, ((0.0, 0.0),))
            work.faces.insert(person + 1, face, MODEL, embedding)
    database.close()


def _app(database: Database) -> App:
    with database.read() as reader:
        (app,) = reader.apps.all()
    return app


# --- the steps, each in a new process ---


def copy_alone(url: str, home: Path, faces: int, dimension: int) -> dict[str, Any]:
    """Reading every face from the database, and throwing it away."""
    del home, faces
    source = PostgresChangeSource(Database(url), MODEL, dimension)
    begun = time.perf_counter()
    rows = sum(len(block[0]) for _, _, blocks in source.snapshot() for block in blocks)
    return {"seconds": time.perf_counter() - begun, "faces": rows}


def from_database(url: str, home: Path, faces: int, dimension: int) -> dict[str, Any]:
    """Building the index, then the snapshot."""
    catalog, maintenance, result = load(url, dimension, None, faces)
    snapshots = Snapshots(home / NAME, MODEL, dimension)
    app_pk = next(iter(catalog.faces_of_apps()))
    while catalog.coded_faces(app_pk).waiting:
        time.sleep(0.1)
    catalog.snapshots = snapshots
    begun = time.perf_counter()
    snapshots.save(app_pk, lambda: catalog.contents(app_pk), lambda: time.sleep(0.0005))
    result["written_in"] = time.perf_counter() - begun
    result["mib"] = snapshots.folder.file(app_pk).stat().st_size / 2**20
    maintenance.stop()
    return result


def from_database_again(url: str, home: Path, faces: int, dimension: int) -> dict[str, Any]:
    """The same after the later changes."""
    del home
    _, maintenance, result = load(url, dimension, None, faces)
    maintenance.stop()
    return result


def from_snapshot(url: str, home: Path, faces: int, dimension: int) -> dict[str, Any]:
    """Reading the file, and the log from there."""
    catalog, maintenance, result = load(url, dimension, Snapshots(home / NAME, MODEL, dimension), faces)
    maintenance.stop()
    if not catalog.origin().endswith(f"{catalog.faces()} of {catalog.faces()} faces from snapshots"):
        raise RuntimeError(f"the snapshot was not used: {catalog.origin()}")
    return result


def from_cold_snapshot(url: str, home: Path, faces: int, dimension: int) -> dict[str, Any]:
    forget(home)
    return from_snapshot(url, home, faces, dimension)


def read_alone(url: str, home: Path, faces: int, dimension: int) -> dict[str, Any]:
    """Reading the bytes of the file, and nothing else."""
    del url, faces, dimension
    forget(home)
    (path,) = (home / NAME).glob("*/*.snapshot")
    begun = time.perf_counter()
    size = len(path.read_bytes())
    return {"seconds": time.perf_counter() - begun, "mib": size / 2**20}


def load(
    url: str, dimension: int, snapshots: Snapshots | None, faces: int
) -> tuple[Catalog, Maintenance, dict[str, Any]]:
    """A catalog as a server has it, timed up to the first answer."""
    probes = Gallery(Statistics.load(dimension), faces // FACES_EACH).faces(np.arange(PROBES), PROBE_TURN)
    database = Database(url)
    maintenance = Maintenance()
    catalog = Catalog(
        PostgresChangeSource(database, MODEL, dimension),
        dimension,
        lambda dimension, expected: TieredIndex(dimension, expected, maintenance),
        snapshots,
    )
    begun = time.perf_counter()
    maintenance.start()
    catalog.load()
    app = _app(database)
    with database.read() as reader:
        groups = list(reader.groups.pks(app.pk, ["all"]).values())
    hits = [[hit.user_pk for hit in catalog.search(app.pk, groups, probe, 10, 0.3)] for probe in probes]
    seconds = time.perf_counter() - begun
    memory = psutil.Process().memory_info().rss / 2**20
    return catalog, maintenance, {"seconds": seconds, "faces": catalog.faces(), "rss_mib": memory, "hits": hits}


def forget(home: Path) -> None:
    """Have the system read the snapshot from the disk again."""
    for path in (home / NAME).glob("*/*.snapshot"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _same(expected: list[list[int]], found: list[list[int]]) -> float:
    """Share of the users found in the one that are found in the other."""
    pairs = [(set(one), set(other)) for one, other in zip(expected, found, strict=True)]
    return sum(len(one & other) for one, other in pairs) / max(1, sum(len(one | other) for one, other in pairs))


STEPS = {
    "copy": copy_alone,
    "database": from_database,
    "database_again": from_database_again,
    "read": read_alone,
    "cold": from_cold_snapshot,
    "warm": from_snapshot,
}

if __name__ == "__main__":
    sys.exit(main())
