"""What encrypting faces at rest costs: sealing one, enrolling one, reading a library at the start, sealing it anew.

Two apps of one database hold the same faces, one in plain and one encrypted, and take turns in everything, so that a
machine that slows down slows both. No weights are run: embeddings are random unit vectors, crops random bytes of a
crop's usual size.

    python -m benchmarks.sealing [--quick] [--json] [--dimension 192]
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.harness import Report, parser
from service.access.keys import Keyring
from service.face_keys import face_sealing, reseal_faces
from service.search.catalog import Catalog
from service.storage import migrations
from service.storage.embedded import EmbeddedPostgres
from service.storage.engine import Database
from service.storage.face_keys import Wish
from service.storage.faces import NewFace
from service.storage.sealing import Mode, Place
from service.storage.source import PostgresChangeSource
from service.values import Angles, App, Embeddings, Location, StoredFace
from tests.fixtures.server import temporary_home

MODEL = "benchmark"
CROP_BYTES = 20_000
"""About what a portrait of 256 pixels takes."""
LEAST = 200
"""Faces written in one transaction when a library is filled."""
MOST_ENROLLING = 1.15
"""Encrypted enrolment against plain, by time."""
MOST_OPENING = 15.0
"""Microseconds that a face more costs at the start."""


@dataclass(frozen=True)
class Side:
    """One of the two that take turns."""

    database: Database
    app: App
    group_pk: int


def some_crop() -> bytes:
    """What begins like a JPEG and is as hard to compress as one."""
    return b"\xff\xd8\xff" + secrets.token_bytes(CROP_BYTES - 3)


def face(token: str, *, crop: bool) -> StoredFace:
    points = tuple((float(number), float(number)) for number in range(73))
    portrait = some_crop() if crop else None
    return StoredFace(token, Location(0, 0, 1, 1, 0), Angles(0, 0, 0), 1.0, portrait, points)


def embeddings(count: int, dimension: int) -> Embeddings:
    """Unit vectors ``(count, dimension)``."""
    vectors = np.random.default_rng(1).standard_normal((count, dimension), dtype=np.float32)
    units: Embeddings = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units


def side(database: Database) -> Side:
    with database.admin() as work:
        app_id = work.apps.next_app_id()
        app = work.apps.insert(app_id, "benchmark", app_id, b"sealed")
    with database.write(app.pk) as unit:
        return Side(database, app, unit.groups.insert("group"))


def filled(to: Side, vectors: Embeddings) -> None:
    """Faces without crops, five a user, which is all that a start reads."""
    for start in range(0, len(vectors), LEAST):
        part = vectors[start : start + LEAST]
        names = [f"user{(start + row) // 5}" for row in range(len(part))]
        with to.database.write(to.app.pk) as work:
            users = work.users.get_or_create_many(to.group_pk, dict.fromkeys(names))
            new = [
                NewFace(users[name], face(f"{start + row:032x}", crop=False), MODEL, vector)
                for row, (name, vector) in enumerate(zip(names, part, strict=True))
            ]
            work.faces.insert_many(to.group_pk, new)


def enrolled(to: Side, number: int, vectors: Embeddings) -> None:
    """One enrolment as the API does it."""
    with to.database.write(to.app.pk) as work:
        user_pk = work.users.insert(to.group_pk, f"one{number}")
        work.faces.insert(user_pk, face(f"one{number:029x}", crop=True), MODEL, vectors[number])


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def started(to: Side, dimension: int, count: int) -> float:
    """Seconds until an empty index holds the app."""
    catalog = Catalog(PostgresChangeSource(to.database, MODEL, dimension), dimension)
    taken = seconds(lambda: catalog.catch_up(to.app.pk))
    if catalog.faces() < count:
        raise RuntimeError("the index lacks faces")
    return taken


def measure_values(report: Report, sealed: Side, vectors: Embeddings) -> None:
    """One value at a time, in memory."""
    sealing, place = sealed.database.sealing.enrolled, Place(1, 2, "0" * 32)
    crop = some_crop()
    columns = [sealing.seal_embedding(vector, place, MODEL) for vector in vectors]
    crops = [sealing.seal_portrait(crop, place)] * 1000

    def per_value(work: Callable[[], object], count: int) -> float:
        return round(min(seconds(work) for _ in range(5)) / count * 1e6, 2)

    count = len(vectors)
    report.figure(
        "microseconds to seal an embedding",
        per_value(lambda: [sealing.seal_embedding(vector, place, MODEL) for vector in vectors], count),
    )
    report.figure(
        "microseconds to open an embedding",
        per_value(lambda: [sealing.embedding(column, place, MODEL) for column in columns], count),
    )
    report.figure(
        "microseconds to seal a crop", per_value(lambda: [sealing.seal_portrait(crop, place) for _ in crops], 1000)
    )
    report.figure("microseconds to open a crop", per_value(lambda: [sealing.portrait(c, place) for c in crops], 1000))


def measure(report: Report, plain: Side, sealed: Side, vectors: Embeddings, rounds: int) -> None:
    """All figures and checks."""
    count, dimension = vectors.shape
    measure_values(report, sealed, vectors[:2000])
    sides = {"plain": plain, "encrypted": sealed}
    enrolling: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(40 * rounds):
        for name, each in sides.items():
            enrolling[name].append(seconds(lambda each=each, number=number: enrolled(each, number, vectors)))  # type: ignore[misc]
    for each in sides.values():
        filled(each, vectors)
    starting: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, each in sides.items():
            starting[name].append(started(each, dimension, count))
    for name in sides:
        report.figure(f"{name}, milliseconds to enrol one", round(1e3 * median(enrolling[name]), 2))
        report.figure(f"{name}, microseconds a face at the start", round(1e6 * median(starting[name]) / count, 2))
    outcome: dict[str, int] = {}

    def all_sealed() -> None:
        outcome.update({name: each.done for name, each in reseal_faces(plain.database, KEYRING, Wish.SEALED).items()})

    taken = seconds(all_sealed)
    report.figure("faces a second that are sealed in place", round(outcome["faces"] / taken))
    ratio = median(b / a for a, b in zip(enrolling["plain"], enrolling["encrypted"], strict=True))
    report.at_most("enrolling, encrypted/plain", round(ratio, 3), MOST_ENROLLING)
    more = median(b - a for a, b in zip(starting["plain"], starting["encrypted"], strict=True)) / count
    report.at_most("microseconds more a face at the start", round(1e6 * more, 2), MOST_OPENING)


KEYRING = Keyring(secrets.token_bytes(32))


def main() -> int:
    """Run, report, and say by the exit status whether the targets were met."""
    options = parser(__doc__)
    options.add_argument("--dimension", type=int, default=192, help="numbers of an embedding (default: 192, as core)")
    chosen = options.parse_args()
    report = Report("sealing", chosen.json)
    count, rounds = (10_000, 3) if chosen.quick else (100_000, 5)
    report.figure("faces", count)
    report.figure("dimension", chosen.dimension)
    with temporary_home() as home, contextlib.ExitStack() as stack:
        server = EmbeddedPostgres(home.folder)
        stack.callback(server.stop)
        url = server.start()
        migrations.upgrade(url)
        databases = [Database(url, sealing=face_sealing(KEYRING, mode)) for mode in (Mode.OFF, Mode.ON)]
        for database in databases:
            stack.callback(database.close)
        plain, sealed = map(side, databases)
        measure(report, plain, sealed, embeddings(count, chosen.dimension), rounds)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
