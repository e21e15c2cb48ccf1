"""The master key and everything derived from it: sealed secrets, signatures of tokens, names of faces."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import re
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.access import private_files

MASTER_KEY_BYTES = 32
FACE_TOKEN_BYTES = 16

_NONCE_BYTES = 12  # NIST SP 800-38D recommends 96 bits for GCM
_TAG_BYTES = 16


class KeyringError(Exception):
    """A key is missing, malformed or not the one that a value was sealed with; the text is for the operator."""


class Sealer:
    """Authenticated encryption under the keys of one purpose, the current one first."""

    def __init__(self, ciphers: Sequence[tuple[bytes, AESGCM]]) -> None:
        """``ciphers``: each with the id that its master key goes by; all ids are of one length."""
        self._ciphers = tuple(ciphers)
        self._nonce_at = len(self._ciphers[0][0])
        self._ciphertext_at = self._nonce_at + _NONCE_BYTES

    @property
    def key_ids(self) -> tuple[bytes, ...]:
        """What sealed values begin with, the current key's first."""
        return tuple(key_id for key_id, _ in self._ciphers)

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt with AES-256-GCM: key id, nonce (12 bytes), ciphertext with tag (16).

        ``context`` says what the value is and whose; it is authenticated, not stored, and must be given to ``open``.
        """
        key_id, cipher = self._ciphers[0]
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return key_id + nonce + cipher.encrypt(nonce, plaintext, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt what ``seal`` made under any of the keys. Raises ``KeyringError``."""
        opened = self.opened(sealed, context)
        if opened is None:
            raise KeyringError("a stored secret cannot be decrypted: the master key is not the one it was stored with")
        return opened

    def opened(self, sealed: bytes, context: bytes) -> bytes | None:
        """The same; ``None`` for what none of the keys opens."""
        if len(sealed) < self._ciphertext_at + _TAG_BYTES:
            return None
        nonce, ciphertext = sealed[self._nonce_at : self._ciphertext_at], sealed[self._ciphertext_at :]
        for key_id, cipher in self._ciphers:
            if not sealed.startswith(key_id):
                continue
            try:
                return cipher.decrypt(nonce, ciphertext, context)
            except InvalidTag:
                continue
        return None


class Keyring:
    """Master keys, the current one first. Older ones still open and verify what was made under them.

    Nothing uses a master key itself: each purpose gets its own key by HKDF (RFC 5869), so that a leaked derived key
    gives away neither the others nor the master.
    """

    def __init__(self, *masters: bytes) -> None:
        if not masters or any(len(master) != MASTER_KEY_BYTES for master in masters):
            raise KeyringError(f"a master key must be {MASTER_KEY_BYTES} bytes long")
        self._masters = masters
        self._sealing = self.sealer("secrets")
        # By the oldest key: a face keeps its name when the keys change, as long as that one is kept.
        self._face_tokens = _derive(masters[-1], "face-tokens")

    def sealer(self, purpose: str, *, id_bytes: int = 1) -> Sealer:
        """Encryption under keys for one purpose. A sealed value begins with its key's id, ``id_bytes`` (1..32) long.

        With one byte two master keys may share an id; then each of them is tried. With four bytes ids are so unlikely
        to clash that SQL queries can select by them.
        """
        ciphers = [(_key_id(master, id_bytes), AESGCM(_derive(master, purpose))) for master in self._masters]
        return Sealer(ciphers)

    def derive(self, purpose: str) -> list[bytes]:
        """32-byte keys of one purpose: sign with the first, verify with any."""
        return [_derive(master, purpose) for master in self._masters]

    def covers(self, other: Keyring) -> bool:
        """Whether the other begins with our current key and has none that is not ours."""
        return self._masters[0] == other._masters[0] and set(other._masters) <= set(self._masters)

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """As ``Sealer.seal``, for secrets of apps."""
        return self._sealing.seal(plaintext, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """As ``Sealer.open``, for secrets of apps."""
        return self._sealing.open(sealed, context)

    def face_token(self, app_id: str, picture_sha256: bytes, box: Sequence[int]) -> str:
        """Name of one face of one picture of one app: 32 hex digits, always the same for the same three.

        ``picture_sha256`` is taken over the picture's file, ``box`` is the face's box in whole pixels. Without the
        key nobody can tell from a token which picture it stands for.
        """
        message = b"\0".join([app_id.encode(), picture_sha256, ",".join(map(str, box)).encode()])
        return hmac.new(self._face_tokens, message, hashlib.sha256).digest()[:FACE_TOKEN_BYTES].hex()


def load_or_create(path: Path) -> Keyring:
    """The keyring of a key file; makes the file, readable by its owner alone, when there is none.

    Raises ``KeyringError``.
    """
    create_unless_there(path)
    return load(path)


def load(path: Path) -> Keyring:
    """The keyring of a key file that is there. Raises ``KeyringError``.

    The file holds one key per line as 64 hexadecimal digits or base64, the current one first.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        lines = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyringError(f"the key file {path} cannot be read: {error}") from None
    if mode & 0o077:
        raise KeyringError(f"the key file {path} can be read by others; run: chmod 600 {path}")
    if not lines:
        raise KeyringError(
            f"the key file {path} is empty; put its backup back; aipface doctor tells what else can be done"
        )
    return Keyring(*(decode_key(line) for line in lines))


def decode_key(text: str) -> bytes:
    """32 bytes written as 64 hexadecimal digits or as base64. Raises ``KeyringError``."""
    compact = text.strip()
    if re.fullmatch(r"[0-9a-fA-F]{64}", compact):
        return bytes.fromhex(compact)
    try:
        key = base64.b64decode(compact.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != MASTER_KEY_BYTES:
        raise KeyringError(f"a master key must be {MASTER_KEY_BYTES} bytes as base64 or 64 hexadecimal digits")
    return key


def create_unless_there(path: Path) -> bool:
    """Make a key file with a fresh key unless there is one; returns whether this call made it.

    Of two processes that start at once, one makes it. Raises ``KeyringError``.
    """
    content = secrets.token_bytes(MASTER_KEY_BYTES).hex().encode() + b"\n"
    try:
        if path.exists():
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # the other process won; its key is as good
            private_files.put_new(path, content)
            return True
    except OSError as error:
        raise KeyringError(f"the key file {path} cannot be made: {error}") from None
    return False


def _derive(master: bytes, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"aipface {purpose}".encode()).derive(master)


def _key_id(master: bytes, size: int) -> bytes:
    return _derive(master, "key-id")[:size]
