"""Changing the file of the master keys: a new key in front, old ones off the end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from service.access import private_files
from service.access.keys import MASTER_KEY_BYTES, Keyring, KeyringError, create_unless_there, load


def add(path: Path) -> None:
    """Put a new key in front of those of the file, or make the file, with one key. Raises ``KeyringError``."""
    if create_unless_there(path):
        return  # a second key, under which nothing was ever sealed, would be the one that faces are named by
    with _alone(path):
        _write(path, [secrets.token_bytes(MASTER_KEY_BYTES).hex(), *_lines(path)])


def drop_old(path: Path, resealed: Keyring) -> int:
    """Keep only the key that everything is sealed under, the first of ``resealed``. Returns how many were dropped.

    Sealing everything anew takes a while, and somebody may have added a key to the file in the meantime. Nothing is
    sealed under that key yet, so keeping it alone would lock everybody out: then this raises ``KeyringError`` and
    changes nothing.
    """
    with _alone(path):
        if not resealed.covers(load(path)):
            raise KeyringError(
                f"the key file {path} was changed while everything was sealed anew under the key that was its first. "
                "No key was dropped; restart every server with the keys that it holds now, then: aipface key drop-old"
            )
        current, *old = _lines(path)
        _write(path, [current])
    return len(old)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock, so that two commands cannot overwrite each other's keys. Raises ``KeyringError``.

    The lock is a file of its own beside the key file, because the key file is replaced when it changes.
    """
    beside = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb"):
            private_files.give(descriptor, path.parent)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise KeyringError(f"the key file {path} cannot be written: {error}") from None


def _lines(path: Path) -> list[str]:
    load(path)  # which checks what stands there, and who may read it
    return path.read_text(encoding="ascii").split()


def _write(path: Path, lines: Sequence[str]) -> None:
    """In one step, and on the disk before it is taken: half a file of keys would lock everybody out."""
    private_files.put(path, "".join(f"{line}\n" for line in lines).encode())
