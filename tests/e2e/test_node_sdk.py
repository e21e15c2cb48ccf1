"""The official Node client, which labels JSON as a form and repeats its query, makes its calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from tests.fixtures.node import NodeSdk
from tests.fixtures.pictures import Pictures
from tests.fixtures.server import LiveServer

SCRIPT = Path(__file__).with_name("node_client.js")
GROUP = "node"


@pytest.fixture(scope="module")
def answers(node_sdk: NodeSdk, server: LiveServer, pictures: Pictures) -> dict[str, Any]:
    """The answers of one run, by the name of the step."""
    obama, other = pictures.base64("obama.jpg"), pictures.base64("obama2.jpg")
    sides = [{"image": image, "image_type": "BASE64"} for image in (obama, other)]
    steps: dict[str, list[object]] = {
        "detect": ["detect", obama, "BASE64", {"face_field": "landmark", "max_face_num": "2"}],
        "match": ["match", sides],
        "addUser": ["addUser", obama, "BASE64", GROUP, "obama", {"user_info": "奥巴马"}],
        "getUser": ["getUser", "obama", GROUP],
        "search": ["search", other, "BASE64", GROUP, {"max_user_num": 1}],
        "multiSearch": ["faceMultiSearchV3", other, "BASE64", GROUP, {"max_face_num": 3}],
        "unknownUser": ["getUser", "nobody", GROUP],
    }
    keys = server.credentials
    request = {
        "base_url": server.base_url,
        "app_id": keys.app_id,
        "api_key": keys.api_key,
        "secret_key": keys.secret_key,
        "calls": list(steps.values()),
    }
    found = cast(list[Any], node_sdk.run(SCRIPT, request))
    return dict(zip(steps, found, strict=True))


@pytest.mark.parametrize("step", ["detect", "match", "addUser", "getUser", "search", "multiSearch"])
def test_every_call_succeeds(answers: dict[str, Any], step: str) -> None:
    assert (answers[step]["error_code"], answers[step]["error_msg"]) == (0, "SUCCESS"), answers[step]


def test_detect(answers: dict[str, Any]) -> None:
    result = answers["detect"]["result"]
    assert result["face_num"] == 1
    assert len(result["face_list"][0]["landmark72"]) == 72


def test_match(answers: dict[str, Any]) -> None:
    assert answers["match"]["result"]["score"] > 80


def test_the_user_is_found(answers: dict[str, Any]) -> None:
    assert answers["getUser"]["result"]["user_list"][0]["user_info"] == "奥巴马"
    assert answers["search"]["result"]["user_list"][0]["user_id"] == "obama"
    faces = answers["multiSearch"]["result"]["face_list"]
    assert [face["user_list"][0]["user_id"] for face in faces] == ["obama"]


def test_errors_are_answers(answers: dict[str, Any]) -> None:
    unknown = answers["unknownUser"]
    assert (unknown["error_code"], unknown["error_msg"], unknown["result"]) == (223103, "user is not exist", None)
