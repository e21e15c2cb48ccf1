"""Files of the home folder that nobody but the server may read: keys and the hash of a password."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def created(draft: Path, path: Path) -> int:
    """Create ``draft``, a file that only its owner can read and that is to be renamed to ``path``.

    Returns its descriptor. Raises ``OSError``.
    """
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    give(descriptor, path if path.exists() else path.parent)
    return descriptor


def put_new(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read. Raises ``FileExistsError`` where there is one, ``OSError``.

    The file gets its name only when it is complete and on the disk, so that a power cut leaves no half of one.
    """
    _put(path, content, os.link)


def put(path: Path, content: bytes) -> None:
    """As ``put_new``, but replaces a file that is there."""
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
    """Flush the folder itself: else a new file's name may be lost in a power cut although its content is safe."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EBADF, errno.EINVAL}:  # some file systems can flush files only, not folders
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder that only its owner can enter, unless it is there. Its parent must exist. Raises ``OSError``."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            give(descriptor, folder.parent)
        finally:
            os.close(descriptor)


def give(descriptor: int, like: Path) -> None:
    """Give a file that root made to the owner of ``like``, so that the server can read what root's commands write.

    Does nothing for other users. Where root may not change owners (a file server, a container), the file stays root's.
    """
    if os.geteuid() == 0:
        owner = like.stat()
        with contextlib.suppress(OSError):
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
