"""Encrypted streams: what comes out is what went in, or nothing."""

from __future__ import annotations

import io
import secrets

import pytest

from service.access import sealed_stream
from service.access.sealed_stream import CHUNK_BYTES, OpeningReader, SealingWriter, StreamError

KEY = bytes(range(32))
HEAD = b"head\n"
SEALED = CHUNK_BYTES + 16


def sealed(content: bytes, piece: int = 10_000) -> bytes:
    out = io.BytesIO()
    writer = SealingWriter(out, KEY, HEAD)
    for start in range(0, len(content), piece):
        writer.write(content[start : start + piece])
    writer.close()
    return out.getvalue()


def opened(text: bytes, key: bytes = KEY, head: bytes = HEAD) -> bytes:
    reader = OpeningReader(io.BytesIO(text), key, head)
    return b"".join(iter(lambda: reader.read(7777), b""))


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_what_comes_out_is_what_went_in(size: int) -> None:
    content = secrets.token_bytes(size)
    assert opened(sealed(content)) == content


def test_any_change_is_found() -> None:
    text = sealed(secrets.token_bytes(3 * CHUNK_BYTES + 5))
    first, second, rest = text[:SEALED], text[SEALED : 2 * SEALED], text[2 * SEALED :]
    flipped = bytes([text[100] ^ 1])
    for changed in (
        text[:100] + flipped + text[101:],
        second + first + rest,  # swapped
        first + rest,  # left out
        first + first + second + rest,  # doubled
        first + second,  # cut off between chunks
        text[:-1],
        text + b"\0",
        b"",
    ):
        with pytest.raises(StreamError):
            opened(changed)
    with pytest.raises(StreamError):
        opened(text, head=b"another\n")
    with pytest.raises(StreamError):
        opened(text, key=bytes(32))


def test_keys_depend_on_secret_and_salt() -> None:
    parameters = sealed_stream.key_parameters()
    key = sealed_stream.stream_key(parameters, KEY)
    assert key == sealed_stream.stream_key(parameters, KEY)
    assert key != sealed_stream.stream_key(sealed_stream.key_parameters(), KEY)
    assert key != sealed_stream.stream_key(parameters, bytes(32))


@pytest.mark.parametrize(
    "change", [{"n": 2**30}, {"n": "many"}, {"kdf": "rot13"}, {"salt": "zz"}, {"r": 10**6}, {"p": 0}]
)
def test_a_file_may_not_ask_for_anything_it_likes(change: dict[str, object]) -> None:
    with pytest.raises(StreamError):
        sealed_stream.stream_key({**sealed_stream.passphrase_parameters(), **change}, b"secret")
