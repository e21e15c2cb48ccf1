"""Base64 text with everything that clients do to it."""

from __future__ import annotations

import base64
import contextlib
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ParameterMalformed, ParameterTooLong
from service.images.inline import decode_base64
from service.values import LongText

LIMIT = 1 << 20
# A picture's bytes: all formats begin with one of these, and none of them begins with "+" in base64.
STARTS = st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF", b"II*\0", b"MM\0*"])
PICTURES = st.builds(bytes.__add__, STARTS, st.binary(max_size=300))


@given(PICTURES)
def test_plain_text(picture: bytes) -> None:
    assert decode_base64(base64.b64encode(picture).decode(), LIMIT) == picture


@given(PICTURES, st.sampled_from(["data:image/jpeg;base64,", "data:image/png;charset=utf-8;BASE64,", "DATA:;base64, "]))
def test_data_urls(picture: bytes, prefix: str) -> None:
    assert decode_base64(prefix + base64.b64encode(picture).decode(), LIMIT) == picture


@given(PICTURES)
def test_url_safe_letters_without_padding(picture: bytes) -> None:
    assert decode_base64(base64.urlsafe_b64encode(picture).decode().rstrip("="), LIMIT) == picture


@given(PICTURES)
def test_plus_lost_in_a_form(picture: bytes) -> None:
    assert decode_base64(base64.b64encode(picture).decode().replace("+", " "), LIMIT) == picture


@given(PICTURES, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "  ", "\t"]))
def test_lines(picture: bytes, end: str, indent: str) -> None:
    lines = textwrap.wrap(base64.b64encode(picture).decode(), 76)
    assert decode_base64(end.join(indent + line for line in lines) + end, LIMIT) == picture


def test_lines_and_lost_plus() -> None:
    picture = b"\xff\xd8\xff" + bytes(index * 37 % 256 for index in range(9000))
    lines = textwrap.wrap(base64.b64encode(picture).decode(), 76)
    assert any(line.startswith("+") for line in lines)
    assert decode_base64("\n".join(lines).replace("+", " "), LIMIT) == picture


@pytest.mark.parametrize(
    "text", ["", "   ", "\n", "data:image/png;base64,", "====", "a", "日本語", "ab!d", "http://x/y.jpg"]
)
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(ParameterMalformed, match="image"):
        decode_base64(text, LIMIT)


def test_limit_counts_decoded_bytes() -> None:
    text = base64.b64encode(bytes(300)).decode()
    assert len(decode_base64(text, 300)) == 300
    with pytest.raises(ParameterMalformed):
        decode_base64(text, 299)


@pytest.mark.parametrize("size", [2**18 // 4 * 3 - 1, 2**18 // 4 * 3, 700_001])
@pytest.mark.parametrize("spelling", ["{}", "data:image/jpeg;base64,{}", "{}\n"])
def test_text_that_stays_where_it_was_received(size: int, spelling: str) -> None:
    picture = b"\xff\xd8\xff" + bytes(size - 3)
    text = LongText(memoryview(spelling.format(base64.b64encode(picture).decode()).encode()))
    assert decode_base64(text, LIMIT) == picture
    with pytest.raises(ParameterTooLong):
        decode_base64(text, size // 2)


def test_padding_ends_the_text_wherever_the_decoder_pauses() -> None:
    part = base64.b64encode(bytes(2**18 // 4 * 3 - 1)).decode()
    assert len(part) == 2**18
    assert part.endswith("=")
    for text in (part + "AAAA", LongText(memoryview((part + "AAAA").encode()))):
        with pytest.raises(ParameterMalformed):
            decode_base64(text, LIMIT)


@given(st.text(max_size=200))
def test_any_text_is_decoded_or_refused(text: str) -> None:
    with contextlib.suppress(ParameterMalformed):
        assert isinstance(decode_base64(text, LIMIT), bytes)
