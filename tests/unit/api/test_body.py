from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from urllib.parse import urlencode

import anyio
import anyio.lowlevel
import orjson
import pytest
import requests
from starlette.requests import Request
from starlette.types import Message

from service.api import json_text
from service.api.body import BODY, Hold, Received, Room, decode, discard, receive
from service.api.json_text import LARGE
from service.errors import Overloaded, ParameterMalformed, ServiceUnavailable

PICTURE = {"image": "人脸+/=", "max_face_num": 2}


def request_of(chunks: Iterator[bytes]) -> Request:
    async def messages() -> Message:
        await anyio.lowlevel.checkpoint()
        chunk = next(chunks, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    return Request({"type": "http", "method": "POST", "headers": []}, messages)


def received(chunks: Iterator[bytes], limit: int) -> Received:
    return anyio.run(receive, request_of(chunks), limit)


# --- receiving --------------------------------------------------------------------------------------------------------


def test_chunks_are_put_together() -> None:
    assert received(iter([b"ab", b"", b"cd"]), 4).content == b"abcd"


def test_pieces_of_every_size_keep_their_order() -> None:
    chunks = [bytes([number]) * size for number, size in enumerate([3, 70_000, 1, 65_536, 200_000, 9, 0, 65_535, 2])]
    together = received(iter(chunks), 10**6)
    assert (together.content, together.size) == (b"".join(chunks), sum(map(len, chunks)))


def test_chunks_of_a_byte_are_gathered() -> None:
    together = received(iter([b"x"] * 200_000), 10**6)
    assert len(together.pieces) == 4


def test_one_byte_too_many_is_too_large_and_kept_out_of_memory() -> None:
    refused = received(iter([b"ab", b"cde"]), 4)
    assert (refused.too_large, refused.size, refused.content) == (True, 0, b"")


def test_the_rest_of_a_large_body_is_read_so_that_the_client_sees_the_answer() -> None:
    chunks = iter([b"x" * 10] * 5)
    assert received(chunks, 15).too_large
    assert next(chunks, None) is None


LARGE_BODY = 100_000


def kept(hold: Hold, size: int, limit: int = 10**6) -> bool:
    """Whether a body of ``size`` bytes is, which comes to its end in any case."""
    chunks = iter([b"x" * 10_000] * (size // 10_000))
    try:
        return anyio.run(receive, request_of(chunks), limit, hold).size == size
    except Overloaded:
        return False
    finally:
        assert next(chunks, None) is None


def test_bodies_share_the_room_and_give_it_back() -> None:
    room = Room(3 * LARGE_BODY)
    with room.share(1, known=True) as first, room.share(1, known=True) as second:
        assert kept(first, 2 * LARGE_BODY)
        assert not kept(second, 2 * LARGE_BODY)
        assert kept(second, LARGE_BODY)
        with room.share(1, known=True) as third:
            assert not kept(third, LARGE_BODY)
            assert kept(third, 60_000)
    with room.share(1, known=True) as last:
        assert kept(last, 3 * LARGE_BODY)


def test_strangers_leave_half_of_the_room_to_those_who_are_known() -> None:
    room = Room(2 * LARGE_BODY)
    with room.share(1) as stranger, room.share(1) as another, room.share(1, known=True) as known:
        assert kept(stranger, LARGE_BODY)
        assert not kept(another, LARGE_BODY)
        assert kept(known, LARGE_BODY)


def test_there_is_room_for_some_of_the_largest() -> None:
    room = Room(0)
    with room.share(LARGE_BODY) as hold:
        assert kept(hold, 4 * LARGE_BODY)
        assert not kept(hold, 5 * LARGE_BODY)


def test_a_body_that_is_too_large_takes_no_room() -> None:
    room = Room(LARGE_BODY)
    with room.share(1, known=True) as hold, room.share(1, known=True) as other:
        assert not kept(hold, 2 * LARGE_BODY, LARGE_BODY)
        assert kept(other, LARGE_BODY)


def test_an_unwanted_body_that_stops_coming_is_waited_for_no_longer_than_allowed() -> None:
    async def nothing_comes() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    async def bounded() -> None:
        with anyio.fail_after(10):
            await discard(Request({"type": "http", "method": "POST", "headers": []}, nothing_comes), 100, 0.05)

    anyio.run(bounded)


def test_of_an_unwanted_body_no_more_is_read_than_it_may_have() -> None:
    chunks = iter([b"x" * 60] * 10)
    anyio.run(discard, request_of(chunks), 100, 10.0)
    assert len(list(chunks)) == 8


def test_an_endless_body_is_given_up() -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 10
            yield b"x" * 10

    assert received(endless(), 15).too_large
    assert sent < 1000


# --- decoding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(PICTURE).encode(),
        json.dumps(PICTURE, ensure_ascii=False).encode(),
        b"\xef\xbb\xbf" + json.dumps(PICTURE).encode(),
        b" \r\n\t" + json.dumps(PICTURE).encode() + b"\n",
        json.dumps(json.dumps(PICTURE)).encode(),
    ],
)
def test_json_objects(content: bytes) -> None:
    assert decode(Received(content)) == PICTURE


@pytest.mark.parametrize(
    "content", [json.dumps([PICTURE, {}]).encode(), json.dumps(json.dumps([PICTURE, {}])).encode()]
)
def test_json_lists(content: bytes) -> None:
    assert decode(Received(content)) == [PICTURE, {}]


def test_forms() -> None:
    assert decode(Received(urlencode(PICTURE).encode())) == {"image": "人脸+/=", "max_face_num": "2"}
    assert decode(Received(b"image=a+b&empty=&alone")) == {"image": "a b", "empty": "", "alone": ""}


def test_parameters_of_the_query_lie_beneath_those_of_the_body() -> None:
    assert decode(Received(b"a=1", query=b"a=2&b=3")) == {"a": "1", "b": "3"}
    assert decode(Received(b'{"a": 1}', query=b"a=2&b=3")) == {"a": 1, "b": "3"}
    assert decode(Received(query=b"a=2")) == {"a": "2"}
    assert decode(Received(b'[{"a": 1}]', query=b"a=2")) == [{"a": 1}]


def multipart(parts: Mapping[str, str | bytes]) -> bytes:
    """As curl makes it of an array of PHP's, and others of fields."""
    files = {name: (None, value) for name, value in parts.items()}
    content = requests.Request("POST", "http://localhost", files=files).prepare().body
    assert isinstance(content, bytes)
    return content


def test_multipart() -> None:
    parts = {"image": "人脸+/=\r\n--", "max_face_num": "2", "empty": ""}
    assert decode(Received(multipart(parts))) == parts
    assert decode(Received(b"\r\n" + multipart(parts))) == parts


@pytest.mark.parametrize("blanks", [b" ", b"\t ", b" " * 300])
def test_blanks_behind_a_boundary_are_no_part_of_it(blanks: bytes) -> None:
    """RFC 2046, 5.1.1: padding that transports add."""
    content = b"--b%s\r\n%s\r\nx\r\n--b%s\r\n%s\r\ny\r\n--b--%s\r\n"
    names = [b'Content-Disposition: form-data; name="%s"\r\n' % name for name in (b"one", b"two")]
    assert decode(Received(content % (blanks, names[0], blanks, names[1], blanks))) == {"one": "x", "two": "y"}


@pytest.mark.parametrize("content", [b"", b"  \n", b"\xef\xbb\xbf", b"[]", b" [ ]", b'"[]"'])
def test_an_empty_body_has_no_parameters(content: bytes) -> None:
    assert decode(Received(content)) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"a":1',
        b'{"a":1}x',
        b"{'a':1}",
        b'{"a":NaN}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b"[1]",
        b"[null]",
        b'[{"a":1},2]',
        b'"text"',
        b'"1"',
        b'"',
        b'"\\"{}\\""',
        b"[" * 100_000,
        b'{"image":"' + b"A" * LARGE + b'","x":' + b"[" * 1000 + b"]" * 1000 + b"}",
        b"image=%FF",
        b"\xff\xfe",
        b"&".join(b"a=1" for _ in range(1001)),
        b"--",
        b"--x\r\n",
        b"--x=1&y=2",
        multipart({"image": b"\xff\xd8"}),
        multipart({"image": "x"})[:-8],
        multipart({f"p{n}": "" for n in range(33)}),
        b"--" + b"x" * 10_000,
    ],
)
def test_what_cannot_be_read_is_malformed(content: bytes) -> None:
    with pytest.raises(ParameterMalformed) as failure:
        decode(Received(content))
    assert failure.value.parameter == BODY


def test_a_body_that_was_too_large_is_the_picture_s_fault() -> None:
    with pytest.raises(ParameterMalformed) as failure:
        decode(Received(too_large=True))
    assert failure.value.parameter == "image"


def test_a_parser_without_memory_is_not_the_callers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_memory(_: object) -> object:
        raise orjson.JSONDecodeError("Not enough memory to allocate buffer for parsing", "", 0)

    monkeypatch.setattr(json_text, "loads", without_memory)
    with pytest.raises(ServiceUnavailable, match="no memory"):
        decode(Received(b'{"image": ""}'))
