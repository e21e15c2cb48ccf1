"""What earlier runs found in which picture, so that a second run does not look at it again."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path

from service.access.keys import Keyring

KEY_BYTES = 16
_REFUSED = "!"


class Journal:
    """A file of lines ``<keyed digest of the picture> <face token>``, or ``!<reason>`` where no face was accepted.

    It only saves work: whether a face is enrolled is asked of the database each time. The digest needs the master
    key, so that the file tells nobody which pictures were imported. One writer; ``seen`` may be called by any thread.
    """

    def __init__(self, path: Path, keyring: Keyring, app_id: str) -> None:
        """Reads the file if there is one; a line that a crash cut off is passed over."""
        self._path = path
        self._key = keyring.derive("import-journal")[0]
        self._context = app_id.encode() + b"\0"
        self._known: dict[bytes, str] = {}
        self._torn = False
        try:
            text = path.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return
        self._torn = bool(text) and not text.endswith("\n")
        for line in text.splitlines()[: -1 if self._torn else None]:
            digest, _, found = line.partition(" ")
            if found and len(digest) == 2 * KEY_BYTES and set(digest) <= set("0123456789abcdef"):
                self._known[bytes.fromhex(digest)] = found

    def key(self, picture: bytes) -> bytes:
        """Name of a picture's bytes in this journal."""
        message = self._context + hashlib.sha256(picture).digest()
        return hmac.new(self._key, message, hashlib.sha256).digest()[:KEY_BYTES]

    def seen(self, key: bytes) -> tuple[str | None, str | None]:
        """``(token, None)``, ``(None, reason)``, or ``(None, None)`` for a picture that no run has looked at."""
        found = self._known.get(key)
        if found is None:
            return None, None
        return (None, found[1:]) if found.startswith(_REFUSED) else (found, None)

    def add(self, found: Iterable[tuple[bytes, str | None, str | None]]) -> None:
        """Write down ``(key, token, reason)`` rows, one of the two being ``None``, and bring them to the disk."""
        rows = {key: token if token is not None else f"{_REFUSED}{reason}" for key, token, reason in found}
        fresh = {key: text for key, text in rows.items() if self._known.get(key) != text}
        if not fresh:
            return
        self._known.update(fresh)
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "a", encoding="ascii") as file:
            if self._torn:
                file.write("\n")
                self._torn = False
            file.writelines(f"{key.hex()} {text}\n" for key, text in fresh.items())
            file.flush()
            os.fsync(file.fileno())
