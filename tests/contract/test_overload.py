"""A picture that comes to a full queue is refused before anything of it is looked at; everything else goes on."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
from asyncio import Protocol
from collections.abc import Iterator

import httpx
import pytest

from service.api.application import build_api
from service.api.calls import LEAST_PICTURE_BYTES
from service.app import Service
from service.cli.connections import Patience, bounded_protocol
from service.inference.admission import Admission
from service.metrics import REGISTRY
from tests.contract.conftest import caller, listening
from tests.contract.wire import PATHS, Wire
from tests.fixtures.pictures import Pictures

BUSY = {"error_code": 18, "error_msg": "Open api qps request limit reached"}


@pytest.fixture(scope="module")
def admission() -> Admission:
    """Room for one picture, and for none that waits."""
    return Admission(permits=1, queue_limit=0)


@pytest.fixture(scope="module", params=[bounded_protocol(Patience(30, 30)), None], ids=["ours", "uvicorn"])
def narrow(service: Service, admission: Admission, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """The application in front of that, by our server's protocol and by one that cannot leave bodies unread."""
    protocol: type[Protocol] | None = request.param
    with listening(build_api(dataclasses.replace(service, admission=admission)), protocol) as client:
        yield client


@pytest.fixture
def guest(service: Service, narrow: httpx.Client) -> Wire:
    """A caller of it."""
    return caller(service, narrow)


def refused(where: str) -> float:
    return REGISTRY.get_sample_value("aipface_admission_refused_total", {"where": where}) or 0.0


def test_a_picture_is_refused_whoever_sends_it_and_counted(
    guest: Wire, admission: Admission, pictures: Pictures
) -> None:
    picture = {"image": pictures.base64("obama.jpg"), "image_type": "BASE64"}
    before = refused("arrival")
    with admission.permit():
        assert guest.code("detect", picture) == 18
        unknown = dataclasses.replace(guest, token="24.0.2592000.1-1")
        assert unknown.code("detect", picture) == 18
        assert guest.code("match", [picture, picture]) == 18
        path = f"/rest/2.0/face/v2/faceset/group/getusers?access_token={guest.token}"
        assert guest.http.request("GET", path, data=picture).json()["error_code"] == 18
    assert refused("arrival") == before + 4
    assert guest.result("detect", picture)["face_num"] == 1  # the connections are as good as before
    assert unknown.code("detect", picture) == 100


def test_what_holds_no_picture_is_answered(guest: Wire, admission: Admission) -> None:
    with admission.permit():
        guest.result("groupAdd", {"group_id": "busy"})
        assert guest.result("getGroupList") == {"group_id_list": ["busy"]}
        assert guest.code("detect", {"image": "x" * 100, "image_type": "BASE64"}) == 222203  # and what holds too little


def test_an_unread_body_ends_where_the_next_request_begins(guest: Wire, admission: Admission) -> None:
    """Sent in pieces, larger than the server keeps before it stops reading, and followed by another request."""
    body = json.dumps({"image": "x" * 1_000_000, "image_type": "BASE64"}).encode()
    assert len(body) > LEAST_PICTURE_BYTES
    query, end = f"?access_token={guest.token} HTTP/1.1\r\nHost: x\r\n", b"\r\n"
    head = f"POST {PATHS['detect']}{query}Content-Length: {len(body)}\r\n".encode() + end
    following = f"POST {PATHS['getGroupList']}{query}Content-Length: 2\r\nConnection: close\r\n".encode() + end + b"{}"
    url = guest.http.base_url
    with admission.permit(), socket.create_connection((url.host, url.port or 80), timeout=60) as connection:
        for part in (head, body[:10], body[10:300_000], body[300_000:] + following):
            connection.sendall(part)
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    found = re.findall(rb"\r\n\r\n(.*?)(?=HTTP/1.1 200|$)", answers, re.DOTALL)
    first, second = (json.loads(answer) for answer in found)
    assert {name: first[name] for name in BUSY} == BUSY
    assert second["error_code"] == 0


def test_a_length_of_thousands_of_digits_is_a_length(guest: Wire) -> None:
    head = f"POST {PATHS['getGroupList']}?access_token={guest.token} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    url = guest.http.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=60) as connection:
        connection.sendall(f"{head}Content-Length: {'0' * 5000}2\r\n\r\n{{}}".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error_code"] == 0


def test_a_body_that_stops_coming_is_given_up(service: Service, admission: Admission) -> None:
    with (
        listening(
            build_api(dataclasses.replace(service, admission=admission)), bounded_protocol(Patience(30, 0.2))
        ) as client,
        admission.permit(),
        socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=60) as connection,
    ):
        connection.sendall(f"POST {PATHS['detect']} HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\nx".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")
        assert connection.recv(65536) == b""
