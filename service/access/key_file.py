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
    """Leave alone the key that everything was sealed under, the first of ``resealed``; returns how many were dropped.

    Sealing takes as long as it takes. A key that came into the file meanwhile is one under which nothing may be sealed
    yet: kept alone it would lock everybody out. Raises ``KeyringError`` then, and changes nothing.
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
    """No other command changes the file meanwhile: of two that do, one would write over the key of the other.

    The lock is a file beside it, since what is locked must not be replaced. Raises ``KeyringError``.
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
