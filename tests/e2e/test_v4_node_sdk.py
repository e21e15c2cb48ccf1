"""The official Node client makes its calls of V4."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from tests.fixtures.node import NodeSdk
from tests.fixtures.pictures import Pictures
from tests.fixtures.server import LiveServer

SCRIPT = Path(__file__).with_name("node_client.js")


def test_the_calls_of_v4(node_sdk: NodeSdk, server: LiveServer, pictures: Pictures) -> None:
    obama, other = pictures.base64("obama.jpg"), pictures.base64("obama2.jpg")
    keys = server.credentials
    request = {
        "base_url": server.base_url,
        "app_id": keys.app_id,
        "api_key": keys.api_key,
        "secret_key": keys.secret_key,
        "calls": [
            ["onlinePictureLiveV4", "1", {"image_list": [obama, other], "option": "COMMON", "face_field": "spoofing"}],
            ["faceMingJingMatch", obama, "BASE64", other, "BASE64", {"face_sort_type": 1}],
            ["onlinePictureLiveV4", "4", {"data": "qipE4E10", "app": "android"}],
        ],
    }
    alive, matched, refused = cast(list[dict[str, Any]], node_sdk.run(SCRIPT, request))
    assert alive["error_msg"] == matched["error_msg"] == "SUCCESS"
    assert len(alive["result"]["face_list"]) == 2
    assert matched["result"]["score"] > 80
    assert (refused["error_code"], refused["error_msg"]) == (222013, "param[image] format error")
