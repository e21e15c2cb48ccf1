"""Whether a server stays what it was: memory, descriptors, threads, connections and tail latency under a mixed load.

    python -m benchmarks.soak [--quick] [--json] [--pack core] [--minutes 30] [--clients 3] [--processes 1]

The load looks at pictures, searches, enrols, deletes and makes mistakes, on one server of its own on the loopback
address. The first part of the run warms up and is not judged. ``--quick`` takes less than 50 seconds, too short to
tell a slow leak: its limit on memory is wider. Of several processes of the server the sum is told.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import psutil

from benchmarks.harness import Client, Report, Running, encoded, parser, picture_parameters, running_server
from service.storage import postmaster
from tests.fixtures.lived import Watch
from tests.fixtures.pictures import Pictures, fetch_pictures

PICTURES = ("obama.jpg", "obama2.jpg", "biden.jpg", "astronaut.png", "sample1.jpg")
GROUP = "soak"
USERS = 60
"""Enrolled at any time, by each client."""
WARM_UP = 0.25
"""Part of the run that is not judged."""
MOST_GROWTH, MOST_GROWTH_QUICK = 3.0, 10.0
"""Per cent that resident memory may differ between the first and the last third of what is judged."""
MOST_SLOWER = 2.0
"""Times that the 99th percentile of the last third may be that of the first; the machine has other work as well."""
SLACK = 3
"""Descriptors, threads and connections by which counts may differ from moment to moment."""

BUSY, ATTEMPTS = 2, 5
"""Where the machine stood still so long that the server gave a request up, it is made again."""
EXPECTED = frozenset({0, 222203})
"""Codes that the load earns; its one mistake, a picture that is none, is made on purpose."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the server; ``memory`` in bytes."""

    seconds: float
    memory: int
    descriptors: int
    threads: int
    connections: int


@dataclass
class Load:
    """What the clients did, and when."""

    running: Running
    pictures: Pictures
    seconds: float
    began: float = field(default_factory=time.monotonic)
    times: list[tuple[float, float]] = field(default_factory=list)
    """End, seconds from the beginning, and duration of each request, as far as the machine did not stand still."""
    codes: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def client(self, number: int) -> None:
        """One client's rounds until the time is over; what goes wrong is told in ``failures``."""
        try:
            with contextlib.closing(self.running.client()) as client:
                step = 0
                while self.elapsed() < self.seconds:
                    self._round(client, number, step)
                    step += 1
        except Exception as error:  # noqa: BLE001 (a thread's failure is the report's)
            self.failures.append(f"{type(error).__name__}: {error}")

    def _round(self, client: Client, number: int, step: int) -> None:
        picture = picture_parameters(self.pictures.bytes(PICTURES[step % len(PICTURES)]))
        user, oldest = f"c{number}n{step}", f"c{number}n{step - USERS}"
        fields = "age,quality" if step % 4 == 0 else ""
        self._call(client, "detect", {**picture, "face_field": fields, "max_face_num": 1})
        self._call(client, "faceset/user/add", {**picture, "group_id": GROUP, "user_id": user})
        self._call(client, "search", {**picture, "group_id_list": GROUP})
        self._call(client, "faceset/group/getusers", {"group_id": GROUP})
        self._call(client, "detect", {"image": "bm90IGEgcGljdHVyZQ==", "image_type": "BASE64"})
        if step >= USERS:
            self._call(client, "faceset/user/delete", {"group_id": GROUP, "user_id": oldest})

    def _call(self, client: Client, name: str, content: dict[str, object]) -> None:
        code = BUSY
        for _ in range(ATTEMPTS):
            watch = Watch()
            code = int(client.call(name, encoded(content))["error_code"])
            if code != BUSY or not watch.stood_still():
                break
        self.times.append((self.elapsed(), watch.seconds()))
        self.codes[code] += 1


def look(running: Running, seconds: float) -> Sample:
    """The server's processes, and how many processes its database has for them."""
    own = running.processes()
    database = postmaster.running(running.server.home.folder / "postgres")
    children = [] if database is None else psutil.Process(database.pid).children()
    return Sample(
        seconds,
        sum(each.memory_info().rss for each in own),
        sum(each.num_fds() for each in own),
        sum(each.num_threads() for each in own),
        sum(map(_serves_us, children)),
    )


def _serves_us(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "[local]" in " ".join(process.cmdline())
    return False


def thirds(samples: Sequence[Sample], seconds: float) -> tuple[list[Sample], list[Sample]]:
    """The first and the last third of what is judged."""
    begin = WARM_UP * seconds
    length = (seconds - begin) / 3
    first = [each for each in samples if begin <= each.seconds < begin + length]
    last = [each for each in samples if each.seconds >= seconds - length]
    return first, last


def tail(load: Load, start: float, end: float) -> float:
    """99th percentile of the requests that ended between two moments, milliseconds."""
    durations = [duration for moment, duration in load.times if start <= moment < end]
    return float(np.percentile(np.array(durations), 99)) * 1000 if durations else 0.0


def judge(report: Report, load: Load, samples: Sequence[Sample], *, quick: bool) -> None:
    """Figures and checks of a finished run."""
    first, last = thirds(samples, load.seconds)
    if not first or not last:  # the clients gave up before
        report.at_most("clients that broke off", len(load.failures), 0)
        return
    before, after = (float(np.median([each.memory for each in part])) for part in (first, last))
    growth = 100 * (after - before) / before
    report.figure("requests", len(load.times))
    report.figure("codes", {str(code): count for code, count in sorted(load.codes.items())})
    report.figure("memory, MiB", {"first third": before / 2**20, "last third": after / 2**20})
    report.at_most("growth of memory, %", growth, MOST_GROWTH_QUICK if quick else MOST_GROWTH)
    for name in ("descriptors", "threads", "connections"):
        most = [max(getattr(each, name) for each in part) for part in (first, last)]
        report.figure(name, {"first third": most[0], "last third": most[1]})
        report.at_most(f"growth of {name}", most[1] - most[0], SLACK)
    begin, length = WARM_UP * load.seconds, (1 - WARM_UP) * load.seconds / 3
    early, late = tail(load, begin, begin + length), tail(load, load.seconds - length, load.seconds + 60)
    report.figure("p99, ms", {"first third": early, "last third": late})
    report.at_most("p99 of the last third / of the first", late / early if early else 0.0, MOST_SLOWER)
    report.at_most("requests answered otherwise than expected", _unexpected(load), 0)


def _unexpected(load: Load) -> int:
    return sum(count for code, count in load.codes.items() if code not in EXPECTED) + len(load.failures)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 when every check holds."""
    options = parser(__doc__)
    options.add_argument("--minutes", type=float, default=30.0, help="length of the load (default: 30)")
    options.add_argument("--clients", type=int, default=3, help="how many clients at once (default: 3)")
    options.add_argument("--processes", type=int, default=1, help="processes that share the server's port (default: 1)")
    chosen = options.parse_args(arguments)
    report = Report("soak", chosen.json)
    pictures = fetch_pictures()
    with running_server(PACK=chosen.pack, PROCESSES=str(chosen.processes)) as running:
        load = Load(running, pictures, 28.0 if chosen.quick else 60 * chosen.minutes)
        threads = [threading.Thread(target=load.client, args=(number,)) for number in range(chosen.clients)]
        for thread in threads:
            thread.start()
        samples = []
        while any(thread.is_alive() for thread in threads):
            samples.append(look(running, load.elapsed()))
            time.sleep(0.25 if chosen.quick else 2.0)
    for failure in load.failures:
        print(failure)
    judge(report, load, samples, quick=chosen.quick)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
