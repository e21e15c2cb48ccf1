"""Where snapshots of indexes lie: a folder for each model, a file for each app. Light: commands that erase use it.

Nothing here waits for anybody. A snapshot is written under another name and renamed; whoever erases deletes first the
unfinished and then the finished file, and so also stops the one that was just being written: it has no name any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

NAME = "index"
"""Of the folder in the home folder."""
SNAPSHOT = ".snapshot"
UNFINISHED = ".part"
_LOCK = "lock"
_APP = re.compile(r"app-([0-9]{1,19})\.")


class SnapshotFolder:
    """The snapshots that belong to one model."""

    def __init__(self, root: Path, model_id: str, dimension: int) -> None:
        self.path = root / f"{dimension}-{_cleaned(model_id)}"
        self._root = root
        self._lock: int | None = None

    def file(self, app_pk: int) -> Path:
        """Where the snapshot of an app is, or would be."""
        return self.path / f"app-{app_pk}{SNAPSHOT}"

    def apps(self) -> list[int]:
        """Apps that have a snapshot."""
        return sorted(_app_of(path) for path in _listed(self.path) if path.suffix == SNAPSHOT)

    def make(self) -> None:
        """Make the folder, readable by us alone. Raises ``OSError``."""
        for folder in (self._root, self.path):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)

    def create(self, app_pk: int) -> tuple[int, Path]:
        """A new unfinished file that nobody else can read: its descriptor and its name. Raises ``OSError``."""
        self.make()
        path = self.path / f"app-{app_pk}.{os.getpid()}{UNFINISHED}"
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), path

    def finish(self, unfinished: Path, app_pk: int) -> bool:
        """Give a file that is on the disk its name; False when it was erased meanwhile. Raises ``OSError``."""
        try:
            unfinished.replace(self.file(app_pk))
        except FileNotFoundError:
            return False
        _sync(self.path)
        return True

    def discard(self, app_pk: int) -> None:
        """Delete the snapshot of an app, if there is one."""
        with contextlib.suppress(FileNotFoundError):
            self.file(app_pk).unlink()

    def claim(self) -> bool:
        """Become the one process that writes here; False while another one is. Held until :meth:`release`."""
        if self._lock is None and self.path.is_dir():
            self._lock = _locked(self.path)
            if self._lock is not None:
                self.tidy()
        return self._lock is not None

    def claimed(self) -> bool:
        """Whether this process is the one."""
        return self._lock is not None

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def tidy(self) -> None:
        """Delete what nobody uses: files that were never finished, and the folders of models that nobody runs.

        For the one who writes here. The folder of a model that was left must not be found when the library has come
        back to that model, and has embedded its faces anew under the same numbers.
        """
        for path in _listed(self.path):
            if path.suffix == UNFINISHED:
                path.unlink(missing_ok=True)
        purge(self._root, but=self.path)


class SnapshotCopies:
    """The snapshots of every model below one home; satisfies ``service.library.erasure.Copies``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def erase(self, app_pk: int) -> int:
        """Delete the app's snapshots, and those that are being written; returns how many finished ones there were."""
        found = 0
        for folder in _folders(self._root):
            for suffix in (UNFINISHED, SNAPSHOT):
                for path in _listed(folder):
                    if path.suffix == suffix and _app_of(path) == app_pk:
                        with contextlib.suppress(FileNotFoundError):
                            path.unlink()
                            found += suffix == SNAPSHOT
            _sync(folder)
        return found


def snapshots_below(root: Path) -> list[Path]:
    """Every finished snapshot, of whichever model."""
    return sorted(path for folder in _folders(root) for path in _listed(folder) if path.suffix == SNAPSHOT)


def unsafe(path: Path) -> bool:
    """Whether somebody else can read or change a file, or owns it. Raises ``OSError``."""
    status = path.lstat()
    return status.st_uid != os.geteuid() or bool(stat.S_IMODE(status.st_mode) & 0o077)


def purge(root: Path, but: Path | None = None) -> None:
    """Delete the snapshots of all models but one, as far as no process writes them."""
    for folder in _folders(root):
        lock = None if folder == but else _locked(folder)
        if lock is None:
            continue
        try:
            for path in (*_listed(folder), folder / _LOCK):
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something that is not ours lies there
                folder.rmdir()
        finally:
            os.close(lock)


def purge_left(root: Path, model_id: str) -> None:
    """The same for all models but that which the library is in."""
    ours = (folder for folder in _folders(root) if folder.name.partition("-")[2] == _cleaned(model_id))
    purge(root, but=next(ours, None))


def _cleaned(model_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", model_id)


def _folders(root: Path) -> list[Path]:
    try:
        return [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _listed(folder: Path) -> Iterator[Path]:
    """The files of ours in a folder as it is now."""
    try:
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return iter(())
    return (path for path in paths if path.suffix in {SNAPSHOT, UNFINISHED} and _APP.match(path.name))


def _app_of(path: Path) -> int:
    found = _APP.match(path.name)
    return -1 if found is None else int(found[1])


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock; ``None`` when another process, or another object of ours, does."""
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except BaseException:
        os.close(lock)
        raise
    return lock


def _sync(folder: Path) -> None:
    """Have the folder's names on the disk too."""
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
