"""For how long the server's event loop answers nobody: under load, with bodies of 10 MB, and under overload.

    python -m benchmarks.event_loop [--quick] [--json] [--pack core] [--threads N] [--loop asyncio]

The loop is watched from inside (``benchmarks.watched_server``); Linux only. What is judged is the longest ``callback``
in processor time: as long does no other request get a turn. How ``late`` the loop woke up is told beside it; where the
networks, the database and the client of this benchmark share a few processors, it waits for one of these most of all.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.harness import Client, Report, Running, encoded, in_threads, parser, picture_parameters, skip
from benchmarks.latency import is_accepted, paced
from benchmarks.throughput import camera_pictures
from service.processors import available_cpus
from tests.fixtures.pictures import fetch_pictures
from tests.fixtures.places import environment
from tests.fixtures.server import Home, Server, temporary_home

MOST_MS = 5.0
LARGE_BYTES = 7 * 2**20
"""A picture that makes nearly 10 MB of base64."""

OVERLOAD = 3
"""Times as many requests as the server can answer."""


@contextlib.contextmanager
def watched(home: Home, file: Path, loop: str, **settings: str) -> Iterator[Running]:
    """A server whose event loop is watched."""
    keys = home.create_app("benchmark")
    log = home.folder / "watched.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.watched_server", str(file), loop],
            env=environment(home.folder, **{**home.settings, "PORT": "0", **settings}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(home, process, log)
    try:
        server.wait_until_ready()
        yield Running(server, keys)
        server.stop()
    finally:
        server.kill()
        home.sweep()


def under(
    connect: Callable[[], Client], bodies: Sequence[Callable[[], bytes]], seconds: float
) -> tuple[float, float, int]:
    """Let one caller per entry call ``detect`` for a while; from when to when, and how many calls were served.

    Raises ``RuntimeError`` for any answer but success and "busy", and what a connection raises.
    """
    end = time.perf_counter() + seconds
    served = []

    def call(body: Callable[[], bytes]) -> None:
        with contextlib.closing(connect()) as client:
            while time.perf_counter() < end:
                served.append(is_accepted(client, "detect", body()))

    begun = time.perf_counter()
    in_threads([partial(call, body) for body in bodies])
    return begun, time.perf_counter(), sum(served)


def padded(jpeg: bytes) -> bytes:
    """The same picture in a file of ``LARGE_BYTES`` more; what follows its end is no marker, lest it be read as one."""
    return jpeg + secrets.token_bytes(LARGE_BYTES).replace(b"\xff", b"\xfe") + jpeg[-2:]


def seen(file: Path, begun: float, ended: float) -> dict[str, float]:
    """The longest of each kind between two moments, in milliseconds, and the number of ticks."""
    lines = [json.loads(line) for line in file.read_text(encoding="ascii").splitlines()]
    inside = [line for line in lines if begun <= line["at"] <= ended]
    longest = {name: max(line[name] for line in inside) for name in ("callback", "busy", "blocked", "late")}
    return {**longest, "ticks": sum(line["ticks"] for line in inside)}


def main() -> int:
    """Run, report, and say by the exit status whether the target was met."""
    options = parser(__doc__)
    options.add_argument("--threads", type=int, default=available_cpus(), help="computing threads (default: CPUs)")
    options.add_argument(
        "--loop", choices=("uvloop", "asyncio"), default="uvloop", help="as in production, or asyncio's"
    )
    chosen = options.parse_args()
    report = Report("event_loop", chosen.json)
    if not Path("/proc/thread-self/schedstat").exists():
        return skip(report, "this system does not tell how long a thread waited for a processor")
    pictures = camera_pictures(fetch_pictures())

    def small() -> bytes:
        return encoded(picture_parameters(pictures[0] + secrets.token_bytes(8)))

    large_bodies = [encoded(picture_parameters(padded(pictures[0]))) for _ in range(4)]
    phases: dict[str, list[Callable[[], bytes]]] = {
        "idle": [],
        "saturated": [small] * (4 * chosen.threads),
        "10 MB bodies": [*([small] * chosen.threads), *(lambda body=body: body for body in large_bodies[:2])],
    }
    with temporary_home(LOG_LEVEL="warning", CREATE_FIRST_APP="false", PACK=chosen.pack) as home:
        file = home.folder / "ticks.jsonl"
        rates: dict[str, float] = {}
        settings = {"INFERENCE_THREADS": str(chosen.threads), "QUEUE_LIMIT": "8"}
        with watched(home, file, chosen.loop, **settings) as running:
            under(running.client, [small], 1.0)
            for name, bodies in phases.items():
                begun, ended, answers = under(running.client, bodies, 4.0 if chosen.quick else 20.0)
                if not bodies:
                    time.sleep(2.0)
                    ended = time.perf_counter()
                figures = seen(file, begun, ended)
                report.figure(f"{name}, ms", {**figures, "answers": answers})
                report.at_most(f"longest callback, {name}, ms", round(figures["callback"], 2), MOST_MS)
                rates[name] = answers / (ended - begun)
            begun = time.perf_counter()
            seconds = 3.0 if chosen.quick else 20.0
            flood = paced(running.client, "detect", lambda _: small(), OVERLOAD * rates["saturated"], seconds)
            figures = seen(file, begun, time.perf_counter())
            report.figure("overload, ms", {**figures, **flood.figures()})
            report.at_most("longest callback, overload, ms", round(figures["callback"], 2), MOST_MS)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
