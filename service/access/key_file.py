"""Changing the file of the master keys: a new key in front, old ones off the end."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from service.access import private_files
from service.access.keys import MASTER_KEY_BYTES, KeyringError, create_unless_there, load_or_create


def add(path: Path) -> None:
    """Put a new key in front of those of the file, or make the file, with one key. Raises ``KeyringError``."""
    if create_unless_there(path):
        return  # a second key, under which nothing was ever sealed, would be the one that faces are named by
    _write(path, [secrets.token_bytes(MASTER_KEY_BYTES).hex(), *_lines(path)])


def drop_old(path: Path) -> int:
    """Leave the current key alone; returns how many were dropped. Raises ``KeyringError``."""
    current, *old = _lines(path)
    _write(path, [current])
    return len(old)


def _lines(path: Path) -> list[str]:
    load_or_create(path)  # which checks what stands there, and who may read it
    return path.read_text(encoding="ascii").split()


def _write(path: Path, lines: Sequence[str]) -> None:
    """In one step, and on the disk before it is taken: half a file of keys would lock everybody out."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = private_files.created(draft, path)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise KeyringError(f"the key file {path} cannot be written: {error}") from None
