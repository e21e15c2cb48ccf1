"""The official Python client makes the calls of V1, as it stands."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import pytest
from aip import AipFace

from tests.fixtures.pictures import Pictures
from tests.fixtures.python_sdk import official_client
from tests.fixtures.server import LiveServer
from tests.fixtures.videos import encode


@pytest.fixture(params=["token", "signature"])
def client(request: pytest.FixtureRequest, server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[AipFace]:
    """A client that authenticates in one of its two ways and believes our server to be the cloud."""
    with official_client(server, monkeypatch, signed=request.param == "signature") as made:
        yield made


def test_session_codes(client: AipFace) -> None:
    answer = client.videoSessioncode()
    assert (answer["err_no"], answer["err_msg"]) == (0, "SUCCESS")
    assert 3 <= len(answer["result"]["code"]) <= 6
    answer = client.videoSessioncode({"appid": "223245", "type": 1, "max_code_length": 1})
    assert answer["result"]["code"] in "0457"


def test_videos(client: AipFace) -> None:
    """Sent as a form. Nobody is in this one; those with people are judged in ``tests/contract/test_video.py``."""
    clip = base64.b64encode(encode([np.full((120, 160, 3), 90, np.uint8)] * 15)).decode()
    session_id = client.videoSessioncode({"type": 1})["result"]["session_id"]
    options = {"session_id": session_id, "type_identify": "action"}
    answer = client.facelivenessVerifyV1(clip, options)
    assert (answer["err_no"], answer["err_msg"]) == (216501, "not found face")
    answer = client.facelivenessVerifyV1(clip, options)
    assert (answer["error_code"], answer["error_msg"]) == (216502, "session lapse")


def test_landmarks(client: AipFace, pictures: Pictures) -> None:
    answer = client.faceLandmarkV1(pictures.base64("obama.jpg"), "BASE64", {"face_field": "landmark150"})
    assert answer["error_code"] == 0
    (face,) = answer["result"]["face_list"]
    assert len(face["landmark150"]) == 150
