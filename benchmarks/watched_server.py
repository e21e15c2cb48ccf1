"""``aipface serve`` with a watch on its event loop, for the benchmark ``event_loop``.

    python -m benchmarks.watched_server FILE

Every quarter of a second a line of JSON is added to ``FILE``: ``at`` (seconds of the monotonic clock, which all
processes share), ``ticks``, and the longest of each of these, in milliseconds: ``callback``, what the loop's thread
computed in one callback; ``busy``, what it computed in all callbacks of one tick; ``late``, how much later than after
its millisecond of sleep a tick woke up; ``blocked``, the part of that in which the thread was not waiting for a
processor: it computed, or waited for another thread of this process that computes in Python.

The loop is asyncio's own and not uvloop, whose callbacks cannot be watched; what runs on it is the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from pathlib import Path

import uvicorn

from service.cli.main import main

TICK_SECONDS = 0.001
LINE_SECONDS = 0.25


class Clocks:
    """Clocks of the thread that made it, in seconds."""

    def __init__(self) -> None:
        self._schedule = os.open("/proc/thread-self/schedstat", os.O_RDONLY)

    def read(self) -> tuple[float, float, float]:
        """Time, processor time, and time spent ready to run without a processor."""
        waited = int(os.pread(self._schedule, 64, 0).split()[1]) / 1e9
        return time.perf_counter(), time.thread_time(), waited


async def watch(file: Path) -> None:
    """Add lines to ``file`` until cancelled."""
    clocks, ticks = Clocks(), 0
    longest = dict.fromkeys(("callback", "busy", "late", "blocked"), 0.0)
    _watch_callbacks(longest)
    due = time.perf_counter() + LINE_SECONDS
    while True:
        before = clocks.read()
        await asyncio.sleep(TICK_SECONDS)
        passed, computed, waited = (after - earlier for after, earlier in zip(clocks.read(), before, strict=True))
        late = max(0.0, passed - TICK_SECONDS)
        for name, seconds in (("late", late), ("blocked", max(0.0, late - waited)), ("busy", computed)):
            longest[name] = max(longest[name], 1000 * seconds)
        ticks += 1
        if time.perf_counter() >= due:
            with file.open("a", encoding="ascii") as lines:
                lines.write(json.dumps({"at": time.perf_counter(), "ticks": ticks, **longest}) + "\n")
            ticks = 0
            longest.update(dict.fromkeys(longest, 0.0))
            due = time.perf_counter() + LINE_SECONDS


def _watch_callbacks(longest: dict[str, float]) -> None:
    run = asyncio.Handle._run  # noqa: SLF001 (there is no public way to time callbacks)

    def timed(handle: asyncio.Handle) -> None:
        begun = time.thread_time()
        run(handle)
        longest["callback"] = max(longest["callback"], 1000 * (time.thread_time() - begun))

    asyncio.Handle._run = timed  # type: ignore[method-assign, assignment] # noqa: SLF001


def serve(file: Path) -> None:
    """Run ``aipface serve`` of this process' environment."""
    started = uvicorn.Server.startup
    tasks = []

    async def startup(self: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        await started(self, sockets=sockets)
        tasks.append(asyncio.get_running_loop().create_task(watch(file)))

    sys.modules["uvloop"] = None  # type: ignore[assignment] # uvicorn takes asyncio's loop then
    uvicorn.Server.startup = startup  # type: ignore[method-assign]
    sys.argv = ["aipface", "serve"]
    main()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
