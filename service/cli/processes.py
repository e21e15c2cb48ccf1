"""Several server processes behind one port, for machines whose processors one Python process cannot keep busy.

Each of them is a complete server, a replica of the others as on another machine (docs/scaling.md). They share the
listening socket. This supervising process starts them, replaces those that end, and stops them. Why no library does it:
docs/decisions/0031-processes.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import typer
from prometheus_client import multiprocess

from service.cli.failures import Failure
from service.cli.member import LEAVING, READY, RESERVED, Role, used

logger = logging.getLogger(__name__)

STEADY_SECONDS = 60.0
"""A process that lived at least this long is replaced at once when it ends, others after a pause."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds; each pause is twice the one before."""
MOST_IN_VAIN = 5
"""After this many starts in a row that did not become ready, while no process is, the server gives up."""
LOOK_SECONDS = 10.0
"""How often the processes are checked for one that hangs."""
HUNG_SECONDS = 60.0
"""A process hangs whose event loop has been silent for this long. Time in which this process stood still does not
count."""
LAST_ORDER = 3
"""The third order to stop kills the processes that are left."""
MEMORY = Path("/dev/shm")  # noqa: S108 (a folder of one's own is made in it)
"""Where Linux keeps files in memory. On a disk that is full, writing to a mapped file would kill the process
(SIGBUS)."""
FOLDER = "aipface-metrics-"
"""Beginning of the name of the folder in which the processes keep the counts of their metrics."""
_LOCK = "lock"
_HEAD = 8
"""Bytes of the head of a file of counts; without it the file cannot be read."""


def run_processes(size: int, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Run so many servers on the bound socket until a signal comes; then stop them, and return when they have ended.

    One starts after the other: the first alone makes and measures what they share. ``announce`` is called when that
    one answers. Raises ``SystemExit`` with its status where it ends before and has said why; ``Failure`` where it has
    not, and when none can be started any more.
    """
    with _counting_folder(size) as metrics, _heard_signals() as signals:
        crew = _Crew(size, listener, metrics, announce)
        try:
            crew.run(signals)
        finally:
            crew.close()
    _say("stopped", error=True)


@contextlib.contextmanager
def _heard_signals() -> Iterator[socket.socket]:
    """A socket that tells the numbers of the signals that would end this process, which they do not."""
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        wakened = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        before = {number: signal.signal(number, lambda *_: None) for number in numbers}
        try:
            yield ours
        finally:
            signal.set_wakeup_fd(wakened)
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _counting_folder(size: int) -> Iterator[Path]:
    """A folder in which so many processes count together; one that was left behind by a kill is removed."""
    try:
        disk = Path(tempfile.gettempdir())
        for base in (MEMORY, disk):
            _tidy(base)
        base = MEMORY if _has_room(MEMORY, size) else disk
        directory = tempfile.TemporaryDirectory(prefix=FOLDER, dir=base, ignore_cleanup_errors=True)
    except OSError as error:
        raise Failure(f"no folder can be made in which the processes count: {error.strerror}") from None
    with directory as name, (Path(name) / _LOCK).open("w+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(name)


def _has_room(base: Path, size: int) -> bool:
    """Whether so many processes, and as many that take their places, can have their files there."""
    try:
        found = os.statvfs(base)
    except OSError:
        return False
    return os.access(base, os.W_OK | os.X_OK) and found.f_bavail * found.f_frsize >= 2 * size * sum(RESERVED.values())


def _tidy(base: Path) -> None:
    """Remove folders of ours that no process holds."""
    for left in base.glob(f"{FOLDER}*"):
        with contextlib.suppress(OSError):
            if left.lstat().st_uid == os.geteuid():  # the place is everybody's
                with (left / _LOCK).open("r+b") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left, ignore_errors=True)


@dataclass(slots=True, eq=False)
class _Child:
    """One of the server processes, as the supervising process sees it.

    Over the socket ``line`` the process sends a byte when it is ready and from then on regularly, and another byte when
    it is about to end. The socket's end means that it has ended.
    """

    process: subprocess.Popen[bytes]
    line: socket.socket
    begun: float = field(default_factory=time.monotonic)
    ready: bool = False
    leaving: bool = False
    silent: float = 0.0
    """Seconds since it told anything."""

    def told(self) -> bytes:
        """What it tells; nothing when it has ended."""
        try:
            return self.line.recv(64)
        except OSError:
            return b""

    def tell(self, number: int) -> None:
        """Give the order to stop, or to stop sooner, as the number of a signal."""
        with contextlib.suppress(OSError):  # it has ended
            self.line.send(bytes([number]))

    def status(self) -> int:
        """Wait for its end."""
        status = self.process.wait()
        self.line.close()
        return status


class _Crew:
    """The processes, those that are due, and those that are to end."""

    def __init__(self, size: int, listener: socket.socket, metrics: Path, announce: Callable[[], None]) -> None:
        self._size = size
        self._listener = listener
        self._metrics = metrics
        self._announce = announce
        self._announced = False
        self._orders = 0
        self._children: list[_Child] = []
        self._events = selectors.DefaultSelector()
        self._pause = FIRST_PAUSE
        self._not_before = 0.0
        self._in_vain = 0
        self._looked = time.monotonic()

    def run(self, signals: socket.socket) -> None:
        """Start, replace and stop them, as :func:`run_processes`."""
        self._events.register(signals, selectors.EVENT_READ)
        try:
            while self._children or not self._stopping:
                self._step(signals)
        except BaseException:
            for _ in range(2):  # nobody waits for a balancer now
                self._stop(signal.SIGTERM)
            while self._children:
                self._step(signals)
            raise

    def close(self) -> None:
        """Nobody is left behind, whatever happened here."""
        for child in self._children:
            child.process.kill()
            child.status()
        self._events.close()

    def _step(self, signals: socket.socket) -> None:
        """Start one that is due, wait for the next thing to happen, and end who hangs."""
        if self._due() and time.monotonic() >= self._not_before:
            self._start_one()
        wait = max(0.0, self._not_before - time.monotonic()) if self._due() else LOOK_SECONDS
        for key, _ in self._events.select(min(wait, LOOK_SECONDS)):
            if key.data is None:
                for number in signals.recv(64):
                    self._stop(number)
            else:
                self._listen_to(key.data)
        passed = time.monotonic() - self._looked
        if passed >= LOOK_SECONDS:
            self._looked += passed
            self._end_hung(min(passed, 2 * LOOK_SECONDS))

    def _end_hung(self, passed: float) -> None:
        """Add ``passed`` seconds to the silence of each process, and end those that have been silent for too long.

        A process that has sent something starts from zero: if we stood still ourselves, its bytes are still unread.
        """
        for child in self._children:
            child.silent += passed
            if child.leaving or not child.ready or child.silent < HUNG_SECONDS:
                continue
            # SIGABRT makes it print where it hangs. SIGKILL follows, for a process that cannot even do that.
            first = child.silent - passed < HUNG_SECONDS
            logger.error("process %d has hung for %d s and is ended", child.process.pid, child.silent)
            child.process.send_signal(signal.SIGABRT if first else signal.SIGKILL)

    @property
    def _stopping(self) -> bool:
        return self._orders > 0

    def _due(self) -> bool:
        """Whether another one is to be started, which is not while one is starting."""
        return not self._stopping and len(self._children) < self._size and all(child.ready for child in self._children)

    def _stop(self, number: int) -> None:
        """Tell all of them; who connects from now on is refused once the last of them has closed the socket."""
        if number != signal.SIGHUP or not self._orders:  # terminals and systemd send it beside another one
            self._orders += 1
        self._listener.close()
        for child in self._children:
            child.tell(signal.SIGTERM if number == signal.SIGHUP else number)
            if self._orders >= LAST_ORDER:
                logger.warning("process %d has not ended yet and is killed", child.process.pid)
                child.process.kill()

    def _listen_to(self, child: _Child) -> None:
        told = child.told()
        child.silent = 0.0
        child.leaving |= LEAVING in told
        if not told:
            self._events.unregister(child.line)
            self._children.remove(child)
            self._bury(child)
            return
        if child.ready or self._stopping or READY not in told:
            return
        child.ready = True
        if not self._announced:
            self._announced = True
            with contextlib.suppress(OSError):
                self._announce()
        if self._size == sum(each.ready for each in self._children):
            _say(f"all {self._size} processes answer")

    def _bury(self, child: _Child) -> None:
        """What follows from an end. Raises ``Failure`` and ``SystemExit`` where that is the end of all."""
        status = child.status()
        if self._stopping:
            return
        how = f"by {_signal(-status)}" if status < 0 else f"with status {status}"
        if not self._announced:
            if status > 0:
                raise SystemExit(status)
            raise Failure(f"the server was ended {how} before it was ready")
        level = logging.INFO if child.leaving and status == 0 else logging.ERROR  # somebody stopped it alone
        logger.log(level, "process %d ended %s; another one takes its place", child.process.pid, how)
        self._forget_counts(child)
        if child.ready and time.monotonic() - child.begun >= STEADY_SECONDS:
            self._pause, self._not_before, self._in_vain = FIRST_PAUSE, 0.0, 0
        else:
            self._rest(in_vain=not child.ready)

    def _forget_counts(self, child: _Child) -> None:
        """What goes up and down, and everything of one that never answered; what else it counted is kept, no more.

        Each scrape reads all files, and their room is taken.
        """
        with contextlib.suppress(OSError):
            multiprocess.mark_process_dead(child.process.pid, str(self._metrics))  # type: ignore[no-untyped-call]
            for path in self._metrics.glob(f"*_{child.process.pid}.db"):
                if child.ready:
                    os.truncate(path, max(used(path), _HEAD))
                else:
                    path.unlink()

    def _rest(self, *, in_vain: bool) -> None:
        """Wait before the next one, not for long where nobody answers. Raises ``Failure`` after too many in vain."""
        answered = any(child.ready for child in self._children)
        self._in_vain = self._in_vain + 1 if in_vain and not answered else 0
        if self._in_vain >= MOST_IN_VAIN:
            raise Failure("no process can be started any more; the log above says why")
        pause = self._pause if in_vain or answered else FIRST_PAUSE
        self._pause = min(2 * pause, LONGEST_PAUSE)
        self._not_before = time.monotonic() + pause
        if pause > FIRST_PAUSE:
            logger.info("the next one is started in %d s", pause)

    def _start_one(self) -> None:
        role: Role = "other" if self._announced else "first" if sys.stdout is not None else "silent"
        try:
            process, ours = self._started(role)
        except OSError as error:
            if not self._announced:
                raise Failure(f"no process can be started: {error.strerror}") from None
            logger.warning("no further process can be started: %s", error.strerror)
            self._rest(in_vain=True)
            return
        child = _Child(process, ours)
        self._children.append(child)
        self._events.register(ours, selectors.EVENT_READ, child)

    def _started(self, role: Role) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """One more and our end of the line to it. Raises ``OSError``."""
        self._metrics.mkdir(mode=0o700, exist_ok=True)  # somebody may have tidied up
        ours, theirs = socket.socketpair()
        handed = (self._listener.fileno(), theirs.fileno())
        with theirs:
            try:
                process = subprocess.Popen(
                    [sys.executable, *sys.argv, "--member", f"{handed[0]},{handed[1]},{role},{self._metrics}"],
                    pass_fds=handed,
                    start_new_session=True,  # Ctrl-C reaches us alone, and them through us
                )
            except BaseException:
                ours.close()
                raise
        return process, ours


def _say(text: str, *, error: bool = False) -> None:
    """To whoever listens still: the terminal may have been closed."""
    with contextlib.suppress(OSError):
        typer.echo(text, err=error)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
