from __future__ import annotations

import json
from datetime import datetime, timezone

import numpy as np
import pytest

from service.api.descriptions import four_points, location
from service.api.envelope import Stamp
from service.api.v3 import responses
from service.api.v3.responses import Envelope
from service.errors import FaceNotFound, Overloaded, ServiceError, TokenMissing
from service.recognition.identify import Match
from service.values import FaceEntry, Location, UserEntry

STAMP = Stamp(log_id=1370585066551377920, timestamp=1535533440)


def test_success_has_the_keys_of_the_sample_in_their_order() -> None:
    assert Envelope().success({"a": 1}, STAMP) == (
        b'{"error_code":0,"error_msg":"SUCCESS","log_id":1370585066551377920,"timestamp":1535533440,"cached":0,'
        b'"result":{"a":1}}'
    )
    assert Envelope().success(None, STAMP).endswith(b'"result":null}')


def test_an_error_has_a_null_result() -> None:
    assert Envelope().failure(FaceNotFound(), STAMP) == (
        b'{"error_code":222202,"error_msg":"pic not has face","log_id":1370585066551377920,"timestamp":1535533440,'
        b'"cached":0,"result":null}'
    )


@pytest.mark.parametrize(
    ("error", "content"),
    [
        (TokenMissing(), {"error_code": 100, "error_msg": "Invalid parameter"}),
        (Overloaded(), {"error_code": 18, "error_msg": "Open api qps request limit reached"}),
        (ServiceError(), {"error_code": 1, "error_msg": "Unknown error"}),
    ],
)
def test_the_gateway_s_errors_have_nothing_else(error: ServiceError, content: dict[str, object]) -> None:
    assert json.loads(Envelope().failure(error, STAMP)) == content


def test_locations_are_rounded_as_the_cloud_does() -> None:
    assert json.dumps(location(Location(31.95568, 120.0, 87.4, 84.6, -5)), separators=(",", ":")) == (
        '{"left":31.96,"top":120,"width":87,"height":85,"rotation":-5}'
    )


def test_user_lists_end_with_the_score() -> None:
    (entry,) = responses._user_list([Match("g1", "u1", "", 99.25)])
    assert list(entry.items()) == [("group_id", "g1"), ("user_id", "u1"), ("user_info", ""), ("score", 99.25)]


def test_the_four_points() -> None:
    points = np.zeros((73, 2), np.float32)
    points[5 + 36 : 5 + 42] = (100, 50)
    points[5 + 42 : 5 + 48] = (200, 50)
    points[5 + 30] = (150, 100)
    points[5 + 48 : 5 + 60] = (150, 150)
    assert four_points(points).tolist() == [[100, 50], [200, 50], [150, 100], [150, 150]]


def test_lists_of_the_library() -> None:
    created = datetime(2018, 1, 1, 10, 0, 0, 999, tzinfo=timezone.utc)
    local = created.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    assert responses.faces([FaceEntry(1, "t1", created)]) == {"face_list": [{"face_token": "t1", "ctime": local}]}
    assert responses.users([UserEntry(1, "g1", "u1", "信息")]) == {
        "user_list": [{"user_info": "信息", "group_id": "g1"}]
    }
    assert responses.user_ids(["u1"]) == {"user_id_list": ["u1"]}
    assert responses.group_ids([]) == {"group_id_list": []}
