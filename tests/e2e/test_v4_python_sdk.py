"""The official Python client makes its calls of V4, with tokens and with signatures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aip import AipFace

from tests.fixtures.pictures import Pictures
from tests.fixtures.python_sdk import official_client
from tests.fixtures.server import LiveServer


@pytest.fixture(params=["token", "signature"])
def client(request: pytest.FixtureRequest, server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[AipFace]:
    """A client that authenticates in one of its two ways and believes our server to be the cloud."""
    with official_client(server, monkeypatch, signed=request.param == "signature") as made:
        yield made


def test_online_picture_liveness(client: AipFace, pictures: Pictures) -> None:
    images = [pictures.base64("obama.jpg"), pictures.base64("obama2.jpg")]
    options = {"image_list": images, "option": "COMMON", "face_field": "spoofing"}
    answer = client.onlinePictureLiveV4("1", options)
    assert (answer["error_code"], answer["error_msg"], answer["cached"]) == (0, "SUCCESS", 0)
    result = answer["result"]
    assert 0 <= result["face_liveness"] <= 1
    assert set(result["thresholds"]) == {"frr_1e-4", "frr_1e-3", "frr_1e-2"}
    assert [0 <= face["spoofing"] <= 1 for face in result["face_list"]] == [True, True]
    assert not {"dec_image", "risk_level", "risk_tag"} & set(answer)


def test_match(client: AipFace, pictures: Pictures) -> None:
    def score(left: str, right: str) -> float:
        options = {"face_type": "LIVE", "register_face_type": "CERT", "face_sort_type": 0, "quality_control": "NONE"}
        answer = client.faceMingJingMatch(pictures.base64(left), "BASE64", pictures.base64(right), "BASE64", options)
        assert answer["error_msg"] == "SUCCESS", answer
        assert len(answer["result"]["face_list"]) == 2
        return float(answer["result"]["score"])

    assert score("obama.jpg", "obama2.jpg") > 80
    assert score("obama.jpg", "biden.jpg") < 60


def test_what_the_capture_sdk_encrypted_is_refused(client: AipFace) -> None:
    options = {"app": "android", "s_key": "LNbv3Namn3Wg8e3Szq9Nwg==", "device_id": "dca0", "data": "qipE4E10"}
    answer = client.onlinePictureLiveV4("4", options)
    assert (answer["error_code"], answer["error_msg"]) == (222013, "param[image] format error")
    assert answer["result"] is None
