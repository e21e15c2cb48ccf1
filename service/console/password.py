"""The operator's password: a file with its hash, without which there is no console."""

from __future__ import annotations

import base64
import contextlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from service.access import private_files

FILE = "console.password"
"""Its name in the home folder."""

SHORTEST = 10
"""Characters that a password must have."""

# OWASP's password storage cheat sheet, the row of 32 MB: as hard to guess as its others.
_COST, _BLOCK, _LANES = 2**15, 8, 3
_SALT_BYTES, _HASH_BYTES = 16, 32
_SCHEME = "scrypt"


class PasswordError(Exception):
    """A password cannot be used or its file cannot be written; the text is for the operator."""


class PasswordFile:
    """The hash of one password. Setting or removing it takes effect at once, in running servers too."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def content(self) -> str | None:
        """The line with the hash; ``None`` where no password was set."""
        try:
            return self._path.read_text(encoding="ascii").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def set(self, password: str) -> None:
        """Replace the password; raises :class:`PasswordError`."""
        if len(password) < SHORTEST:
            raise PasswordError(f"a password needs at least {SHORTEST} characters")
        salt = secrets.token_bytes(_SALT_BYTES)
        digest = _digest(password, salt, _COST, _BLOCK, _LANES)
        fields = (_SCHEME, _COST, _BLOCK, _LANES, _text(salt), _text(digest))
        draft = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = private_files.created(draft, self._path)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write("$".join(map(str, fields)) + "\n")
            draft.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise PasswordError(f"the password file {self._path} cannot be written: {error}") from None

    def remove(self) -> None:
        """Turn the console off."""
        self._path.unlink(missing_ok=True)

    def accepts(self, password: str) -> bool:
        """Whether this is the password. Takes a tenth of a second and 32 MB, right or wrong."""
        try:
            scheme, cost, block, lanes, salt, digest = (self.content or "").split("$")
            if scheme != _SCHEME:
                return False
            found = _digest(password, base64.b64decode(salt), int(cost), int(block), int(lanes))
            return hmac.compare_digest(found, base64.b64decode(digest))
        except ValueError:  # a damaged file lets nobody in
            return False


def _digest(password: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    return Scrypt(salt=salt, length=_HASH_BYTES, n=cost, r=block, p=lanes).derive(password.encode())


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
