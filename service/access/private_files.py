"""Files of the home folder that nobody but the server may read: keys and the hash of a password."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def created(draft: Path, path: Path) -> int:
    """Descriptor of the new file ``draft``, for its owner alone, which is to become ``path``. Raises ``OSError``."""
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    give(descriptor, path if path.exists() else path.parent)
    return descriptor


def put_new(path: Path, content: bytes) -> None:
    """Make a file for its owner alone; raises ``FileExistsError`` where there is one, and leaves that as it is.

    It has its name once it is whole and on the disk, whenever the power goes. Raises ``OSError``.
    """
    _put(path, content, os.link)


def put(path: Path, content: bytes) -> None:
    """The same, in the place of what may be there."""
    _put(path, content, os.replace)


def _put(path: Path, content: bytes, name: Callable[[Path, Path], None]) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = created(draft, path)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        name(draft, path)
        _sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Have the names of the folder's files on the disk: what relies on a file may be there before its name is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EBADF, errno.EINVAL}:  # of file systems that do it for files alone
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder for its owner alone unless it is there; of several, the one above has to be. Raises ``OSError``."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            give(descriptor, folder.parent)
        finally:
            os.close(descriptor)


def give(descriptor: int, like: Path) -> None:
    """What root makes belongs to whom ``like`` does: else a command of root would keep the server out of its home.

    Where root may not give files away (a file server, a container), they stay root's.
    """
    if os.geteuid() == 0:
        owner = like.stat()
        with contextlib.suppress(OSError):
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
