"""Every method of the official Node client gets an answer, those included that other tests do not call."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest

from tests.fixtures.node import NodeSdk
from tests.fixtures.pictures import Pictures
from tests.fixtures.server import LiveServer
from tests.seeds import data, table

SCRIPT = Path(__file__).with_name("node_client.js")
MISSING = data.missing().calls
UNSUPPORTED = 3
NO_PERMISSION = 6
BROKEN = {"mutilSearch"}
"""Builds an address without a slash after the host, so its call reaches no server."""
NUMBER, NAME = "110101199003070038", "张三"
PERIOD = ("20200101", "20400101")


@pytest.fixture(scope="module")
def answers(node_sdk: NodeSdk, server: LiveServer, pictures: Pictures) -> dict[str, dict[str, Any]]:
    """The answer to the last call of each method."""
    face, other = pictures.base64("obama.jpg"), pictures.base64("obama2.jpg")
    picture = {"image": face, "image_type": "BASE64"}
    calls: list[list[object]] = [
        ["groupAdd", "node_all"],
        ["groupAdd", "node_all_copy"],
        ["addUser", face, "BASE64", "node_all", "obama"],
        ["updateUser", other, "BASE64", "node_all", "obama", {"user_info": "x"}],
        ["faceGetlist", "obama", "node_all"],
        ["getGroupUsers", "node_all", {"start": 0}],
        ["getGrouplist", {"length": "1000"}],
        ["userCopy", "obama", {"src_group_id": "node_all", "dst_group_id": "node_all_copy"}],
        ["faceDelete", "obama", "node_all_copy", "0" * 32],
        ["deleteUser", "node_all_copy", "obama"],
        ["groupDelete", "node_all_copy"],
        ["faceverify", [picture]],
        ["faceSceneFacesetGroupAdd", "node_scene", "VIDEO"],
        ["faceSceneFacesetUserAdd", face, "BASE64", "node_scene", "obama", "VIDEO"],
        ["faceSceneFacesetUserUpdate", other, "BASE64", "node_scene", "obama", "VIDEO"],
        ["faceCaptureSearch", face, "BASE64", "node_scene"],
        ["faceMergeV1", picture, picture],
        ["faceSkinSmoothV1", face, "BASE64", "TO_OLD"],
        ["personVerify", face, "BASE64", NUMBER, NAME],
        ["facePersonIdmatchV3", NUMBER, NAME],
        ["faceMingJingVerify", NUMBER, NAME, face],
        ["faceIdmatchDateV4", NAME, NUMBER, *PERIOD],
        ["faceVerifyDateV4", NAME, NUMBER, *PERIOD, face, "BASE64"],
        ["videoSessioncode"],
        ["videoFaceliveness", "S1", "AAAA"],
        ["faceLandmarkV1", face, "BASE64"],
    ]
    keys = server.credentials
    request = {
        "base_url": server.base_url,
        "app_id": keys.app_id,
        "api_key": keys.api_key,
        "secret_key": keys.secret_key,
        "calls": calls,
    }
    found = cast(list[dict[str, Any]], node_sdk.run(SCRIPT, request))
    return dict(zip([str(call[0]) for call in calls], found, strict=True))


def test_calls_that_succeed(answers: dict[str, dict[str, Any]]) -> None:
    others = {"faceDelete", "faceMergeV1", "faceSkinSmoothV1"}
    needy = {"personVerify", "facePersonIdmatchV3", "faceMingJingVerify", "faceIdmatchDateV4", "faceVerifyDateV4"}
    first = {"videoSessioncode", "videoFaceliveness", "faceLandmarkV1"}
    for method in answers.keys() - others - needy - first:
        assert answers[method]["error_msg"] == "SUCCESS", (method, answers[method])
    assert len(answers["faceGetlist"]["result"]["face_list"]) == 1
    assert answers["getGroupUsers"]["result"]["user_id_list"] == ["obama"]
    assert answers["faceCaptureSearch"]["result"]["user_list"][0]["user_id"] == "obama"


def test_calls_that_are_refused(answers: dict[str, dict[str, Any]]) -> None:
    assert answers["faceDelete"]["error_msg"] == "face is not exist"
    assert answers["faceMergeV1"]["error_code"] == answers["faceSkinSmoothV1"]["error_code"] == NO_PERMISSION


def test_every_call_is_known_unless_listed_as_missing(answers: dict[str, dict[str, Any]]) -> None:
    calls = {names["node"]: call for call, names in data.clients().items() if "node" in names}
    for method, answer in answers.items():
        code = answer.get("error_code", answer.get("err_no"))
        assert isinstance(code, int), (method, answer)
        assert (code == UNSUPPORTED) == (calls[method] in MISSING), (method, answer)


def test_no_method_of_the_client_is_left_out(node_sdk: NodeSdk) -> None:
    source = node_sdk.folder / "node_modules" / "baidu-aip-sdk" / "src" / "AipFace.js"
    found = re.findall(r"^    (\w+)\(.*\) \{$", source.read_text(encoding="utf-8"), re.MULTILINE)
    methods = set(found) - {"constructor", "commonImpl", "jsonRequestImpl"}
    known = {names["node"] for names in data.clients().values() if "node" in names}
    assert methods - BROKEN == known
    assert known <= set(table.node_calls())
