"""``aipface serve`` with a watch on its event loop, for the benchmark ``event_loop``.

    python -m benchmarks.watched_server FILE [asyncio]

Every quarter of a second a line of JSON is added to ``FILE``: ``at`` (seconds of the monotonic clock, which all
processes share), ``ticks``, and the longest of each of these, in milliseconds: ``callback``, what the loop's thread
computed in one callback; ``busy``, what it computed in all callbacks of one tick; ``late``, how much later than after
its millisecond of sleep a tick woke up; ``blocked``, the part of that in which the thread was not waiting for a
processor: it computed, or waited for another thread of this process that computes in Python.

The loop is uvloop, as in production, where it is installed: what is handed to it and what it calls when data comes is
timed, which is everything but its own C code (that shows in ``busy``). ``asyncio`` takes asyncio's own, with all of it.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from service.cli.connections import BoundedProtocol
from service.cli.main import main

try:
    import uvloop
except ImportError:  # not on every system
    uvloop = None  # type: ignore[assignment]

EVENTS = ("connection_made", "data_received", "eof_received", "connection_lost", "pause_writing", "resume_writing")
"""What an event loop calls of a connection's protocol by itself."""

SCHEDULING = {"call_soon": 1, "call_soon_threadsafe": 1, "call_later": 2, "call_at": 2}
"""Methods of a loop by which callbacks are handed to it, and where among their arguments these stand."""

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


class Longest:
    """The longest of each kind since it was last asked, in milliseconds."""

    def __init__(self) -> None:
        self._values = dict.fromkeys(("callback", "busy", "late", "blocked"), 0.0)

    def tell(self, name: str, seconds: float) -> None:
        """One more."""
        self._values[name] = max(self._values[name], 1000 * seconds)

    def take(self) -> dict[str, float]:
        """All of them, and begin anew."""
        values, self._values = self._values, dict.fromkeys(self._values, 0.0)
        return values

    def timed(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """``callback``, of which every run is a ``callback``."""

        @functools.wraps(callback)
        def run(*args: Any, **options: Any) -> Any:
            begun = time.thread_time()
            try:
                return callback(*args, **options)
            finally:
                self.tell("callback", time.thread_time() - begun)

        return run


async def watch(file: Path, longest: Longest) -> None:
    """Add lines to ``file`` until cancelled."""
    clocks, ticks = Clocks(), 0
    due = time.perf_counter() + LINE_SECONDS
    while True:
        before = clocks.read()
        await asyncio.sleep(TICK_SECONDS)
        passed, computed, waited = (after - earlier for after, earlier in zip(clocks.read(), before, strict=True))
        late = max(0.0, passed - TICK_SECONDS)
        for name, seconds in (("late", late), ("blocked", max(0.0, late - waited)), ("busy", computed)):
            longest.tell(name, seconds)
        ticks += 1
        if time.perf_counter() >= due:
            with file.open("a", encoding="ascii") as lines:
                lines.write(json.dumps({"at": time.perf_counter(), "ticks": ticks, **longest.take()}) + "\n")
            ticks = 0
            due = time.perf_counter() + LINE_SECONDS


def watch_asyncio(longest: Longest) -> None:
    """Time every callback of asyncio's own loop."""
    sys.modules["uvloop"] = None  # type: ignore[assignment] # uvicorn takes asyncio's loop then
    run = longest.timed(asyncio.Handle._run)  # noqa: SLF001 (there is no public way to time callbacks)
    asyncio.Handle._run = run  # type: ignore[method-assign] # noqa: SLF001


def watch_uvloop(longest: Longest) -> None:
    """Time what uvloop is told to call, tasks' steps above all, and what it calls when something comes."""

    class Watched(uvloop.Loop):
        """Times its callbacks."""

    for name, place in SCHEDULING.items():
        setattr(Watched, name, _timing(getattr(uvloop.Loop, name), place, longest))
    uvloop.new_event_loop = Watched
    for event in EVENTS:
        setattr(BoundedProtocol, event, longest.timed(getattr(BoundedProtocol, event)))


def _timing(schedule: Callable[..., Any], place: int, longest: Longest) -> Callable[..., Any]:
    """A method that schedules the callback at ``place`` of its arguments timed."""

    def timing(*args: Any, **options: Any) -> Any:
        return schedule(*args[:place], longest.timed(args[place]), *args[place + 1 :], **options)

    return timing


def serve(file: Path, *, plain: bool) -> None:
    """Run ``aipface serve`` of this process' environment; ``plain`` on asyncio's own loop."""
    longest, started, tasks = Longest(), uvicorn.Server.startup, []

    async def startup(self: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        await started(self, sockets=sockets)
        tasks.append(asyncio.get_running_loop().create_task(watch(file, longest)))

    (watch_asyncio if plain or uvloop is None else watch_uvloop)(longest)
    uvicorn.Server.startup = startup  # type: ignore[method-assign]
    sys.argv = ["aipface", "serve"]
    main()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), plain="asyncio" in sys.argv[2:])
