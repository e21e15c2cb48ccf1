"""The official Python client makes its calls beside V3: scenes, picture editing, feedback."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from aip import AipFace
from aip.base import AipBase

from tests.fixtures.pictures import Pictures
from tests.fixtures.server import LiveServer

CLOUD = "https://aip.baidubce.com"
GROUP = "e2e_scene"


@pytest.fixture
def client(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[AipFace]:
    """A client that believes our server to be the cloud."""
    for owner in (AipFace, AipBase):
        for name, value in list(vars(owner).items()):
            if isinstance(value, str) and value.startswith(CLOUD):
                monkeypatch.setattr(owner, name, value.replace(CLOUD, server.base_url))
    keys = server.credentials
    made = AipFace(keys.app_id, keys.api_key, keys.secret_key)
    made.s.trust_env = False
    yield made
    made.s.close()


def test_a_scene(client: AipFace, pictures: Pictures) -> None:
    obama = pictures.base64("obama.jpg")
    assert client.faceSceneFacesetGroupAdd(GROUP, "VIDEO")["error_code"] == 0
    enrolled = client.faceSceneFacesetUserAdd(obama, "BASE64", GROUP, "obama", "VIDEO", {"user_info": "x"})
    assert enrolled["error_msg"] == "SUCCESS"
    updated = client.faceSceneFacesetUserUpdate(obama, "BASE64", GROUP, "obama", "VIDEO")
    assert updated["result"]["face_token"] == enrolled["result"]["face_token"]
    found = client.faceCaptureSearch(pictures.base64("obama2.jpg"), "BASE64", GROUP)
    assert found["result"]["user_list"][0]["user_id"] == "obama"
    assert client.search(pictures.base64("obama2.jpg"), "BASE64", GROUP)["error_code"] == 223100
    assert client.deleteUser(GROUP, "obama")["error_code"] == 0
    assert client.groupDelete(GROUP)["error_code"] == 0


def test_picture_editing_is_refused(client: AipFace) -> None:
    side = {"image": "x", "image_type": "BASE64"}
    denied = {"error_code": 6, "error_msg": "No permission to access data"}
    assert client.faceMergeV1(side, side) == denied
    assert client.faceSkinSmoothV1("x", "BASE64", "TO_OLD") == denied


def test_feedback_reaches_the_operator(client: AipFace, server: LiveServer) -> None:
    items = [{"api_url": f"{CLOUD}/rest/2.0/face/v3/match", "image_logid": 1, "correct": 0, "remark": "错"}]
    answer = client.report(json.dumps(items))
    assert answer["result"] == [{"error_code": 0, "error_msg": ""}]
    assert isinstance(answer["log_id"], int)
    app = server.credentials.app_id
    listed = server.home.run("feedback", "list", "--app", app, "--json")
    assert listed.returncode == 0, listed.stderr
    assert json.loads(listed.stdout)[0]["content"] == items[0]
    assert "错" in server.home.run("feedback", "list", "--app", app, "--limit", "1").stdout
    unknown = server.home.run("feedback", "list", "--app", "1")
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("aipface: there is no app 1")
