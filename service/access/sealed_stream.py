"""Authenticated encryption of long streams in chunks.

This is the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár (2015, https://eprint.iacr.org/2015/189)
with AES-256-GCM. Every stream has its own key, derived from a passphrase or a key and a random salt. A chunk's nonce is
made of its number and of whether it is the last one, so that removing, swapping, repeating or cutting off chunks is
noticed. The plain head in front of the stream is authenticated with each chunk.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import IO, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

CHUNK_BYTES = 65_536
_TAG_BYTES = 16
_SALT_BYTES = 16
_KEY_BYTES = 32
_INFO = b"aipface backup"

SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**17, 8, 1
"""OWASP's first choice for scrypt: 128 MiB for each guess."""
_MOST_N, _MOST_R, _MOST_P = 2**20, 16, 4
"""Upper bounds for the scrypt parameters that a file names, so that a hostile one cannot exhaust the machine."""


class StreamError(Exception):
    """The stream cannot be read: another key, damage, or it was cut off; the text is for the operator."""


def passphrase_parameters() -> dict[str, Any]:
    """Parameters for deriving a new stream's key from a passphrase; stored in plain beside the stream."""
    return {"kdf": "scrypt", "salt": secrets.token_hex(_SALT_BYTES), "n": SCRYPT_N, "r": SCRYPT_R, "p": SCRYPT_P}


def key_parameters() -> dict[str, Any]:
    """Parameters for deriving a new stream's key from a 32-byte key; stored in plain beside the stream."""
    return {"kdf": "hkdf", "salt": secrets.token_hex(_SALT_BYTES)}


def stream_key(parameters: dict[str, Any], secret: bytes) -> bytes:
    """Derive a stream's key. ``secret``: a passphrase in UTF-8 or a key, as ``parameters`` say.

    Raises :class:`StreamError` for parameters that no stream of ours has.
    """
    try:
        salt = bytes.fromhex(parameters["salt"])
        if parameters["kdf"] == "hkdf":
            return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=salt, info=_INFO).derive(secret)
        n, r, p = (int(parameters[name]) for name in ("n", "r", "p"))
    except (KeyError, TypeError, ValueError):
        raise StreamError("how the file was encrypted is not told in a form that is known here") from None
    if parameters["kdf"] != "scrypt" or not (1 < n <= _MOST_N and 0 < r <= _MOST_R and 0 < p <= _MOST_P):
        raise StreamError("the file was encrypted in a way that is not known here")
    return Scrypt(salt=salt, length=_KEY_BYTES, n=n, r=r, p=p).derive(secret)


class SealingWriter:
    """Encrypts what is written; ``close`` writes the last chunk and leaves the file below open."""

    def __init__(self, out: IO[bytes], key: bytes, head: bytes) -> None:
        self._out = out
        self._cipher = AESGCM(key)
        self._head = hashlib.sha256(head).digest()
        self._buffer = bytearray()
        self._number = 0

    def write(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) > CHUNK_BYTES:  # one is held back: the last has to know that it is
            self._emit(bytes(self._buffer[:CHUNK_BYTES]), last=False)
            del self._buffer[:CHUNK_BYTES]

    def close(self) -> None:
        self._emit(bytes(self._buffer), last=True)

    def _emit(self, chunk: bytes, *, last: bool) -> None:
        self._out.write(self._cipher.encrypt(_nonce(self._number, last=last), chunk, self._head))
        self._number += 1


class OpeningReader:
    """Decrypts; nothing of a chunk is returned before the chunk has been authenticated.

    The constructor opens the first chunk, so that a wrong key raises :class:`StreamError` before anything else happens.
    """

    def __init__(self, source: IO[bytes], key: bytes, head: bytes) -> None:
        self._source = source
        self._cipher = AESGCM(key)
        self._head = hashlib.sha256(head).digest()
        self._ahead = source.read(CHUNK_BYTES + _TAG_BYTES)
        self._buffer = bytearray()
        self._number = 0
        self._ended = False
        self._buffer += self._next()

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, fewer only at the end. Raises :class:`StreamError`."""
        while len(self._buffer) < size and not self._ended:
            self._buffer += self._next()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _next(self) -> bytes:
        sealed, self._ahead = self._ahead, self._source.read(CHUNK_BYTES + _TAG_BYTES)
        self._ended = not self._ahead
        try:
            chunk = self._cipher.decrypt(_nonce(self._number, last=self._ended), sealed, self._head)
        except (InvalidTag, ValueError):
            raise StreamError("the passphrase or key is another, or the file is damaged or cut off") from None
        self._number += 1
        return chunk


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
