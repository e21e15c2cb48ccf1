"""Files of the home folder that nobody but the server may read: keys and the hash of a password."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def created(draft: Path, path: Path) -> int:
    """Descriptor of the new file ``draft``, for its owner alone, which is to become ``path``. Raises ``OSError``."""
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    give(descriptor, path if path.exists() else path.parent)
    return descriptor


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
