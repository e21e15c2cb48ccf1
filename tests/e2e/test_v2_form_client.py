"""A client of the V2 days: forms, comma lists, scores to look at, against a server of its own process."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from tests.fixtures.pictures import Pictures
from tests.fixtures.server import LiveServer

GROUPS = "v2_first,v2_second"


class V2Client:
    """What the old SDKs did."""

    def __init__(self, server: LiveServer, pictures: Pictures) -> None:
        self._server = server
        self._pictures = pictures
        wanted = {
            "grant_type": "client_credentials",
            "client_id": server.credentials.api_key,
            "client_secret": server.credentials.secret_key,
        }
        answer = httpx.get(f"{server.base_url}/oauth/2.0/token", params=wanted, trust_env=False)
        self._token = answer.json()["access_token"]

    def image(self, name: str) -> str:
        """As the SDKs encoded it."""
        return base64.b64encode(self._pictures.bytes(name)).decode()

    def call(self, path: str, **form: str) -> dict[str, Any]:
        answer = httpx.post(
            f"{self._server.base_url}/rest/2.0/face/v2/{path}",
            params={"access_token": self._token, "aipSdk": "php"},
            data=form,
            timeout=60,
            trust_env=False,
        )
        assert answer.status_code == 200
        content = answer.json()
        assert isinstance(content, dict)
        assert "timestamp" not in content
        return content


@pytest.fixture
def client(server: LiveServer, pictures: Pictures) -> V2Client:
    return V2Client(server, pictures)


def test_a_library_from_the_first_face_to_the_last(client: V2Client) -> None:
    enrol = {"uid": "obama", "user_info": "奥巴马", "group_id": GROUPS, "image": client.image("obama.jpg")}
    assert list(client.call("faceset/user/add", **enrol)) == ["log_id"]
    assert client.call("faceset/user/add", **enrol)["error_msg"] == "image exist"

    found = client.call("identify", group_id=GROUPS, image=client.image("obama2.jpg"), user_top_num="1")
    assert found["result_num"] == 1
    assert found["result"][0]["uid"] == "obama"
    assert found["result"][0]["scores"][0] > 80

    verified = client.call("verify", uid="obama", group_id="v2_first", image=client.image("obama.jpg"))
    assert verified["result"] == [100]
    other = client.call("verify", uid="obama", group_id="v2_first", image=client.image("biden.jpg"))
    assert other["result"][0] < 80

    listed = client.call("faceset/group/getusers", group_id="v2_second")
    assert listed["result"] == [{"uid": "obama", "user_info": "奥巴马"}]
    assert client.call("faceset/user/delete", uid="obama").keys() == {"log_id"}
    assert client.call("faceset/user/get", uid="obama")["error_code"] == 216612


def test_without_a_library(client: V2Client) -> None:
    images = f"{client.image('obama.jpg')},{client.image('obama2.jpg')}"
    matched = client.call("match", images=images, ext_fields="qualities", image_liveness=",")
    assert matched["result_num"] == 1
    assert matched["result"][0]["score"] > 80
    detected = client.call("detect", image=client.image("t1.jpg"), max_face_num="3")
    assert detected["result_num"] == 3
    assert set(detected["result"][0]) >= {"location", "face_probability", "rotation_angle", "yaw", "pitch", "roll"}


def test_refusals(client: V2Client) -> None:
    assert client.call("detect")["error_msg"] == "not enough param"
    assert client.call("identify", group_id="nobody_here", image=client.image("obama.jpg"))["error_code"] == 216618
