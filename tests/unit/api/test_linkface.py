from __future__ import annotations

import contextlib
import inspect
import re
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.linkface_liveness_data import encode, seal
from service import errors
from service.access.sealed_data import SealedData
from service.api import multipart
from service.api.body import Received
from service.api.linkface import codes, liveness_data, requests
from service.api.linkface.codes import Refusal
from service.calibration.confidence import confidence
from service.errors import ParameterMalformed, ServiceError
from tests.fixtures.places import ROOT

EVERY_ERROR = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ServiceError)]


@pytest.mark.parametrize(("score", "expected"), [(50, 0.4), (60, 0.5), (70, 0.6), (80, 0.7), (90, 0.8), (100, 1.0)])
def test_confidence_follows_the_documents_table(score: float, expected: float) -> None:
    assert confidence(score) == pytest.approx(expected)


def test_confidence_rises_and_similarity_alone_stays_below_identity() -> None:
    values = [confidence(score / 10) for score in range(1001)]
    assert values == sorted(values)
    assert values[0] == 0
    assert confidence(99.99) < 0.9


@pytest.mark.parametrize("kind", EVERY_ERROR)
def test_every_error_has_a_status(kind: type[ServiceError]) -> None:
    assert codes.of(kind.__new__(kind)) in codes.STATUSES


def test_every_status_is_documented() -> None:
    text = (ROOT / "docs" / "linkface.md").read_text(encoding="utf-8")
    for status in codes.STATUSES:
        assert f"| {status.http} | {status.text} | {status.when or 'reserved'} |" in text


def test_liveness_data_comes_back_as_it_was_encoded() -> None:
    data = liveness_data.parse(encode([b"one", b"two"], video=b"film", actions=[1, 4, 99]))
    assert data.frames == (b"one", b"two")
    assert data.actions == ("BLINK", "YAW", "UNKNOWN")
    assert data.video == b""  # frames are better pictures of the same recording
    assert liveness_data.parse(encode([], video=b"film")).video == b"film"


def official_message() -> Any:
    """The class that the official library makes of ``docs/linkface.proto``, which is read here for want of protoc."""
    text = re.sub(r"//.*", "", (ROOT / "docs" / "linkface.proto").read_text(encoding="utf-8"))
    package = re.search(r"package ([\w.]+);", text)
    assert package is not None
    file = descriptor_pb2.FileDescriptorProto(name="linkface.proto", syntax="proto3", package=package[1])
    for name, block in re.findall(r"enum (\w+) \{(.*?)\}", text, re.DOTALL):
        values = [{"name": each, "number": int(number)} for each, number in re.findall(r"(\w+) = (\d+);", block)]
        file.enum_type.add(name=name, value=values)
    kinds = {"uint32": {"type": 13}, "bytes": {"type": 12}}
    for name, block in re.findall(r"message (\w+) \{(.*?)\}", text, re.DOTALL):
        message = file.message_type.add(name=name)
        for repeated, kind, field, number in re.findall(r"(repeated )?(\w+) (\w+) = (\d+);", block):
            what = kinds.get(kind, {"type": 14, "type_name": f".{package[1]}.{kind}"})
            message.field.add(name=field, number=int(number), label=3 if repeated else 1, **what)
    return message_factory.GetMessages([file])[f"{package[1]}.LivenessData"]


def test_the_official_library_writes_and_reads_the_same() -> None:
    frames, actions = [b"one", bytes(300)], [1, 4]
    ours = encode(frames, video=b"film", actions=actions)
    message = official_message()
    theirs = message(version=1, frames=frames, video=b"film", actions=actions)
    assert theirs.SerializeToString(deterministic=True) == ours
    assert message.FromString(ours) == theirs
    assert liveness_data.parse(theirs.SerializeToString()).frames == tuple(frames)


def test_unknown_fields_are_skipped() -> None:
    unknown = b"\x2a\x01x" + b"\x3d\0\0\0\0" + b"\x41" + bytes(8)
    assert liveness_data.parse(encode([b"one"]) + unknown).frames == (b"one",)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        encode([]),
        encode([b"x"], version=2),
        encode([b"x"] * 9),
        encode([b"x"], actions=[1] * 17),
        encode([b"x"])[:-1],
        encode([b"x"]) + b"\x0b",
        b"\xff" * 20,
        b"\x10\x01" + encode([b"x"]),
        b"\x28\x01" * 2000,
    ],
)
def test_what_is_no_liveness_data_is_refused(data: bytes) -> None:
    with pytest.raises(liveness_data.LivenessDataError):
        liveness_data.parse(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: encode([b"x"]) + tail))
def test_any_bytes_are_liveness_data_or_refused(data: bytes) -> None:
    with contextlib.suppress(liveness_data.LivenessDataError):
        assert len(liveness_data.parse(data).frames) <= liveness_data.MOST_FRAMES


def test_multipart() -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; filename="name=x"; name="f"\r\n'
        b"Content-Type: image/png\r\n\r\n\x00\r\n\xff"
        b"\r\n--b\r\ncontent-disposition: form-data; name=plain\r\n\r\nvalue\r\n--b--\r\n"
    )
    assert multipart.parse(body, b"b") == {"f": b"\x00\r\n\xff", "plain": b"value"}


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/form-data; boundary="b"', b"b"),
        ("Multipart/Form-Data;charset=utf-8;Boundary=----x1 ;a=b", b"----x1"),
        ('multipart/form-data; charset="utf-8"; boundary = "a b "', b"a b"),
        ("application/json; boundary=b", None),
        ("multipart/mixed; boundary=b", None),
        ("", None),
    ],
)
def test_a_boundary_is_what_the_content_type_names(content_type: str, boundary: bytes | None) -> None:
    assert multipart.boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        'multipart/form-data; boundary=""',
        "multipart/form-data; xboundary=b",
        "multipart/form-data; boundary=é",
        "multipart/form-data; boundary=" + "b" * 201,
        "multipart/form-data; boundary=b;" + " " * 1000,
        'multipart/form-data; a="' + ";" * 60_000,
        "application/json; charset=" + "x" * 60_000,
    ],
    ids=lambda text: text[:40],
)
def test_a_content_type_without_a_boundary_or_end_is_refused(content_type: str) -> None:
    with pytest.raises(ParameterMalformed, match="the content type"):
        multipart.boundary_of(content_type)


@pytest.mark.parametrize(
    "body", [b"", b"--b\r\n\r\nx\r\n--b--", b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\n"]
)
def test_broken_multipart_is_refused(body: bytes) -> None:
    with pytest.raises(ParameterMalformed):
        multipart.parse(body, b"b")


@pytest.mark.parametrize(
    "content",
    [
        b'{"api_id": "k"}',
        b'\xef\xbb\xbf{"api_id": "k"}',
        b' \r\n{"api_id": "k"}',
        b'"{\\"api_id\\": \\"k\\"}"',
        b"\xef\xbb\xbfapi_id=k",
        b" api_id=k\r\n",
    ],
)
def test_bodies_are_read_by_what_they_are(content: bytes) -> None:
    assert requests.values(b"", "text/plain", Received(content)) == {"api_id": "k"}


def test_a_list_is_told_before_anybody_asks_for_keys() -> None:
    with pytest.raises(Refusal) as refusal:
        requests.values(b"", "application/json", Received(b'[{"api_id": "k"}]'))
    assert refusal.value.reason == "body: not an object"


@pytest.mark.parametrize(
    ("query", "content_type", "content", "status"),
    [
        (b"a=%ff", "", b"", "ENCODING_ERROR"),
        (b"", "application/json", b'{"a": "\xff"}', "ENCODING_ERROR"),
        (b"", "application/json", b'{"a": ', "INVALID_ARGUMENT"),
        (b"", "application/json", b'{"a": []}', "INVALID_ARGUMENT"),
        (b"", "application/json", b'[{"a": "b"}]', "INVALID_ARGUMENT"),
        (b"", "application/json", b"[]", "INVALID_ARGUMENT"),
        (b"", "application/json", b'"a=b"', "INVALID_ARGUMENT"),
        (b"", "application/json", b'"7"', "INVALID_ARGUMENT"),
        (b"", "application/json", b'"\\"{}\\""', "INVALID_ARGUMENT"),
        (b"", "multipart/form-data", b"", "INVALID_ARGUMENT"),
    ],
)
def test_unreadable_parameters(query: bytes, content_type: str, content: bytes, status: str) -> None:
    with pytest.raises(Refusal) as refusal:
        requests.values(query, content_type, Received(content))
    assert refusal.value.status.text == status


def test_a_body_that_is_too_large() -> None:
    with pytest.raises(Refusal) as refusal:
        requests.values(b"", "", Received(too_large=True))
    assert refusal.value.status.text == "IMAGE_FILE_SIZE_TOO_BIG"


def test_an_address_in_the_place_of_a_file() -> None:
    sent: requests.Values = {"selfie_file": "https://example.org/a.jpg", "liveness_data_file": b"http://example.org/b"}
    asked = requests.selfie_request({**sent, "selfie_auto_rotate": "True"})
    assert asked.selfie.url == "https://example.org/a.jpg"
    assert asked.liveness_data.url == "http://example.org/b"
    assert asked.auto_rotate


@pytest.mark.parametrize("blank", ["", " ", "\r\n"])
def test_encrypted_text_may_stand_among_blanks(blank: str) -> None:
    """What recognises it further on looks at its first letters."""
    sealed = seal(b"data", "secret")
    request = requests.selfie_request({"selfie_image_id": "1", "liveness_data_file": f"{blank}{sealed}{blank}"})
    assert request.liveness_data.data == sealed.encode()
    assert SealedData(lambda app: "secret").recognises(request.liveness_data.data)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ({"liveness_data_file": b"x"}, "selfie_file"),
        ({"selfie_file": b"x", "selfie_url": "http://x", "liveness_data_file": b"x"}, "selfie_file"),
        ({"selfie_file": b"x"}, "liveness_data_file"),
        ({"selfie_file": b"x", "liveness_data_file": b"x", "selfie_auto_rotate": "maybe"}, "selfie_auto_rotate"),
        ({"selfie_file": "!", "liveness_data_file": b"x"}, "selfie_file"),
        ({"selfie_file": b"x", "selfie_image_id": "a" * 32, "liveness_data_file": b"x"}, "selfie_image_id"),
        ({"selfie_file": b"x", "liveness_data_url": "http://x", "liveness_data_id": "a"}, "liveness_data_id"),
    ],
)
def test_the_reason_names_the_parameter(sent: requests.Values, reason: str) -> None:
    with pytest.raises(Refusal, match=reason) as refusal:
        requests.selfie_request(sent)
    assert refusal.value.status.text == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("error", "status", "http"),
    [
        (errors.PictureDownloadTimedOut(), "DOWNLOAD_TIMEOUT", 400),
        (errors.Overloaded(), "RATE_LIMIT_EXCEEDED", 403),
        (errors.PermissionDenied(), "NO_PERMISSION", 403),
        (errors.DatabaseUnavailable(), "INTERNAL_ERROR", 500),
        (errors.FaceTokenNotFound(), "CORRUPT_IMAGE", 400),
    ],
)
def test_statuses_of_errors(error: ServiceError, status: str, http: int) -> None:
    assert (codes.of(error).text, codes.of(error).http) == (status, http)
    about = codes.about(error, "selfie_url")
    assert codes.of(about).text == status
    assert (isinstance(about, Refusal) and about.image == "selfie_url") == (http == 400)
