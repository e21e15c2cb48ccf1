"""How much of the bare models' speed an import keeps, and how fast a second one is that finds everything enrolled.

In one run, on the same files, runtime and number of threads: reading, decoding, detecting, aligning and embedding in
a bare loop, against an import that also cuts portraits and writes faces and change log; and both once more with the
quality figures of an import's report. They take turns, so that a machine that slows down slows all of them.

    python -m benchmarks.bulk [--quick] [--json] [--pack core] [--threads N]
"""

from __future__ import annotations

import secrets
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.harness import Report, keep_measured, let_the_host_rest, parser, stolen, with_device
from benchmarks.throughput import camera_pictures, decode
from service.bulk.enrolment import Enrolment
from service.bulk.folder import FolderSource
from service.bulk.journal import Journal
from service.bulk.outcomes import Outcome
from service.bulk.pictures import Layout
from service.parts import Workbench, open_workbench
from service.processors import available_cpus
from service.settings import load_settings
from service.values import App
from tests.fixtures.pictures import fetch_pictures
from tests.fixtures.places import MODELS
from tests.fixtures.server import temporary_home

LARGEST_FILE = 2**26
LEAST_RATIO = 0.95
LEAST_SPEEDUP = 5.0


class Rate(NamedTuple):
    """How fast it went, and what each picture cost this process (not the database)."""

    per_second: float
    cpu_ms: float


class Stopwatch:
    """Measures from when it is made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def rate(self, pictures: int) -> Rate:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return Rate(pictures / wall, 1000 * cpu / pictures)


def fill(folder: Path, files: list[bytes], count: int) -> None:
    """``count`` users with a picture each, no two of the same bytes (what follows a JPEG's end shows nothing)."""
    for number in range(count):
        place = folder / "people" / f"user{number}"
        place.mkdir(parents=True)
        (place / "picture.jpg").write_bytes(files[number % len(files)] + secrets.token_bytes(8))


def bare(bench: Workbench, folder: Path, threads: int, *, figures: bool = False) -> Rate:
    """Without keeping anything."""
    engine, reporter = bench.models.engine, bench.models.reporter

    def work(path: Path) -> None:
        image = decode(path.read_bytes())
        face = engine.detect(image, 1)[0]
        engine.embed([engine.align(image, face.points)])
        if figures and reporter is not None:
            reporter.analyst.quality(image, face)

    paths = sorted(folder.rglob("*.jpg"))
    watch = Stopwatch()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, paths))
    return watch.rate(len(paths))


def imported(
    bench: Workbench, app: App, folder: Path, threads: int, expected: Outcome, *, figures: bool = False
) -> Rate:
    """Through an import, of which every picture must come out as expected."""
    journal = bench.admin.settings.home / "journal.txt"
    enrolment = Enrolment(
        app=app,
        intake=bench.intake,
        database=bench.admin.database,
        journal=Journal(journal, bench.admin.keyring, app.app_id),
        threads=threads,
        keep_crops=True,
        figures=figures,
    )
    watch = Stopwatch()
    results = list(enrolment.run(FolderSource(folder, Layout(), LARGEST_FILE)))
    rate = watch.rate(len(results))
    others = [result for result in results if result.outcome is not expected]
    if others:
        raise RuntimeError(f"{len(others)} pictures were not {expected.value}: {others[0]}")
    return rate


def measure(
    report: Report, bench: Workbench, home: Path, threads: int, pictures: int, rounds: int, longest: float
) -> None:
    """All figures and checks; ``longest``: seconds for which a turn waits for the host's processors at most."""
    keys = bench.admin.apps.create("benchmark")
    app = bench.admin.apps.by_app_id(keys.app_id)
    if app is None:
        raise RuntimeError("the app that was just made is not there")
    files = camera_pictures(fetch_pictures())
    folders = [home / f"round{number}" for number in range(2 * rounds)]
    for folder in folders:
        fill(folder, files, pictures)
    fill(home / "warm", files, 2 * threads)
    bare(bench, home / "warm", threads)
    bare(bench, home / "warm", threads, figures=True)
    rates: dict[str, list[Rate]] = {"bare": [], "import": [], "bare with figures": [], "import with figures": []}
    taken = dict.fromkeys(rates, 0.0)
    for plain, figured in zip(folders[::2], folders[1::2], strict=True):
        for name, measured in (
            ("bare", partial(bare, bench, plain, threads)),
            ("import", partial(imported, bench, app, plain, threads, Outcome.ENROLLED)),
            ("bare with figures", partial(bare, bench, figured, threads, figures=True)),
            ("import with figures", partial(imported, bench, app, figured, threads, Outcome.ENROLLED, figures=True)),
        ):
            let_the_host_rest(longest)
            before = stolen()
            rates[name].append(measured())
            taken[name] += stolen() - before
    again = imported(bench, app, folders[0], threads, Outcome.PRESENT)
    for name, values in rates.items():
        report.figure(f"{name}, pictures/s", round(median(rate.per_second for rate in values), 2))
        report.figure(f"{name}, CPU ms a picture", round(median(rate.cpu_ms for rate in values), 2))
    report.figure("taken away by the host, s", {name: round(seconds, 2) for name, seconds in taken.items()})
    report.figure("second import, pictures/s", round(again.per_second, 1))
    for what in ("", " with figures"):
        both = list(zip(rates[f"import{what}"], rates[f"bare{what}"], strict=True))
        throughput = median(rate.per_second / alone.per_second for rate, alone in both)
        processor = median(alone.cpu_ms / rate.cpu_ms for rate, alone in both)
        report.figure(f"import/bare{what}, processor", round(processor, 3))
        report.at_least(f"import/bare{what}, throughput", round(throughput, 3), LEAST_RATIO)
    first = median(rate.per_second for rate in rates["import"])
    report.at_least("second import/first", round(again.per_second / first, 1), LEAST_SPEEDUP)


def main() -> int:
    """Run, report, and say by the exit status whether the targets were met."""
    options = with_device(parser(__doc__))
    options.add_argument("--threads", type=int, default=available_cpus(), help="computing threads (default: CPUs)")
    chosen = options.parse_args()
    report = Report("bulk", chosen.json)
    report.figure("threads", chosen.threads)
    with temporary_home() as home:
        settings = load_settings(
            home=home.folder / "state",
            model_dir=MODELS,
            pack=chosen.pack,
            inference_threads=chosen.threads,
            device=chosen.device,
        )
        keep_measured(settings.home)
        with open_workbench(settings) as bench:
            report.figure("runtimes", ", ".join(bench.models.engine.providers))
            pictures, rounds, longest = (100, 2, 2.0) if chosen.quick else (300, 5, 8.0)
            measure(report, bench, home.folder, chosen.threads, pictures, rounds, longest)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
