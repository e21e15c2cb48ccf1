"""Several server processes behind one port, for machines whose processors one Python process cannot keep busy.

Each is a whole server, a replica of the others as one on another machine is (docs/scaling.md). They have the listening
socket in common, and this process above them, which starts them, replaces those that end, and stops them. Why not by a
library: docs/decisions/0031-processes.md.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import typer
from prometheus_client import multiprocess

from service.cli.failures import FAILED, Failure
from service.metrics import SHARED_METRICS
from service.settings import available_cpus

if TYPE_CHECKING:
    from service.settings import Settings

logger = logging.getLogger(__name__)

FORWARDED = (signal.SIGINT, signal.SIGTERM)
STEADY_SECONDS = 60.0
"""A process that lived as long is replaced at once when it ends; otherwise after a pause."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds; each pause is twice the one before."""
_READY = b"."


def of_each(settings: Settings) -> dict[str, int]:
    """The settings that each of the processes has of its own, where the operator names none: its share.

    Two threads at least, where there are two processors: a lone request may compute on both, and a process whose
    connections happen to ask more than those of another is not held back.
    """
    cpus = available_cpus()
    threads = max(math.ceil(cpus / settings.processes), min(2, cpus))
    shares = {"inference_threads": threads, "queue_limit": math.ceil(settings.queue_limit / settings.processes)}
    return {name: share for name, share in shares.items() if name not in settings.model_fields_set}


class Member:
    """One of several processes, seen by itself: it tells when it is ready, and ends when who started it has ended."""

    def __init__(self, descriptors: str) -> None:
        """Take over ``<listening socket>,<line>`` as :func:`run_processes` hands them down."""
        listener, line = map(int, descriptors.split(","))
        self.listener = socket.socket(fileno=listener)
        self._line = socket.socket(fileno=line)
        threading.Thread(target=self._watch, name="parent watch", daemon=True).start()

    def ready(self) -> None:
        """It listens."""
        with contextlib.suppress(OSError):  # who started us has ended
            self._line.send(_READY)

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            while self._line.recv(1):
                pass
        os.kill(os.getpid(), signal.SIGTERM)


@dataclass(slots=True, eq=False)
class _Child:
    """One of the processes, seen from above. By a byte ``line`` tells that it is ready, by its end that it ended."""

    process: subprocess.Popen[bytes]
    line: socket.socket
    begun: float = field(default_factory=time.monotonic)
    ready: bool = False

    def status(self) -> int:
        """Wait for its end."""
        self.line.close()
        return self.process.wait()


def run_processes(settings: Settings, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Run ``settings.processes`` servers until a signal raises ``KeyboardInterrupt`` here; then stop them.

    One starts after the other: the first alone makes and measures what they share. ``announce`` is called when that
    one answers. Raises ``Failure`` where it ends before, and ``SystemExit`` with its status if it said why.
    """
    if settings.search_backend == "milvus" and "://" not in settings.milvus_uri:
        raise Failure("one process at a time can open a file of milvus-lite: set AIPFACE_PROCESSES to 1")
    with _shared_metrics() as metrics, contextlib.ExitStack() as stack:
        crew = _Crew(settings.processes, listener, metrics)
        stack.callback(crew.stop)
        crew.start_first()
        announce()
        crew.keep()


@contextlib.contextmanager
def _shared_metrics() -> Iterator[Path]:
    """A folder in which the processes count together; what they start with finds it."""
    with tempfile.TemporaryDirectory(prefix="aipface-metrics-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


class _Crew:
    """The processes, and those that are due."""

    def __init__(self, size: int, listener: socket.socket, metrics: Path) -> None:
        self._size = size
        self._listener = listener
        self._metrics = metrics
        self._children: list[_Child] = []
        self._lines = selectors.DefaultSelector()
        self._pause = FIRST_PAUSE
        self._not_before = 0.0

    def start_first(self) -> None:
        """Start one and wait until it is ready. Raises ``SystemExit`` or ``Failure`` where it does not become it."""
        child = self._start()
        while not child.ready:
            for ended in self._look(None):
                status = ended.status()
                if status >= 0:
                    raise SystemExit(status or FAILED)
                raise Failure(f"the server was ended by {_signal(-status)} before it was ready")

    def keep(self) -> None:
        """Start the others one after the other, and again who ends; for ever."""
        while True:
            if len(self._children) < self._size and all(child.ready for child in self._children):
                self._try_to_start()
            missing = len(self._children) < self._size
            for child in self._look(max(0.0, self._not_before - time.monotonic()) if missing else None):
                self._bury(child)

    def stop(self) -> None:
        """Tell all of them to stop, pass further signals on, and wait; each has the grace of its requests."""
        self._listener.close()  # ours; who connects from now on is refused once the last of them has closed his

        def forward(number: int, frame: FrameType | None) -> None:
            del frame
            for child in self._children:
                child.process.send_signal(number)

        for number in FORWARDED:
            signal.signal(number, forward)
        forward(signal.SIGTERM, None)
        for child in self._children:
            child.status()
        self._lines.close()

    def _try_to_start(self) -> None:
        if time.monotonic() < self._not_before:
            return
        try:
            self._start()
        except OSError as error:
            logger.warning("no further process can be started: %s", error.strerror)
            self._rest()

    def _start(self) -> _Child:
        ours, theirs = socket.socketpair()
        handed = (self._listener.fileno(), theirs.fileno())
        with theirs:
            try:
                process = subprocess.Popen(
                    [sys.executable, *sys.argv, "--member", ",".join(map(str, handed))],
                    env={**os.environ, SHARED_METRICS: str(self._metrics)},
                    pass_fds=handed,
                    start_new_session=True,  # Ctrl-C reaches us alone, and them through us
                )
            except BaseException:
                ours.close()
                raise
        child = _Child(process, ours)
        self._children.append(child)
        self._lines.register(ours, selectors.EVENT_READ, child)
        return child

    def _look(self, seconds: float | None) -> list[_Child]:
        """Wait until something happens, at most so long; returns those that have ended."""
        ended = []
        for key, _ in self._lines.select(seconds):
            child: _Child = key.data
            try:
                told = child.line.recv(1)
            except OSError:
                told = b""
            if told:
                child.ready = True
                if self._size == sum(each.ready for each in self._children):
                    typer.echo(f"all {self._size} processes answer")
            else:
                self._lines.unregister(child.line)
                ended.append(child)
        return ended

    def _bury(self, child: _Child) -> None:
        self._children.remove(child)
        status = child.status()
        multiprocess.mark_process_dead(child.process.pid, str(self._metrics))  # type: ignore[no-untyped-call]
        how = f"by {_signal(-status)}" if status < 0 else f"with status {status}"
        logger.error("process %d ended %s; another one takes its place", child.process.pid, how)
        if child.ready and time.monotonic() - child.begun >= STEADY_SECONDS:
            self._pause = FIRST_PAUSE
        else:
            self._rest()

    def _rest(self) -> None:
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
