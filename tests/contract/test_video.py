"""V1 over the wire: session codes, videos made of still pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import pairwise
from urllib.parse import urlencode

import cv2
import httpx
import numpy as np
import psycopg
import pytest

from service.app import Service
from service.storage.urls import driver_address
from service.values import Image
from tests.contract.conftest import caller
from tests.contract.filmed import MOVES, SESSION, SIDE, VERIFY, failure, opened, post, text
from tests.contract.wire import Wire
from tests.fixtures import videos
from tests.fixtures.pictures import Pictures
from tests.fixtures.videos import Puppet, encode, tone

LANDMARK = "/rest/2.0/face/v1/landmark"
SECONDS = 2.2


@pytest.fixture(scope="session")
def blinking(cast: dict[str, Puppet]) -> str:
    """One blink, and sound as long as six digits take."""
    play = cast["obama"].play(videos.together(videos.sways, videos.blinks(0.9, length=0.3)), SECONDS)
    return text(encode(play, sound=tone(SECONDS, loud=[(0.4, 1.8)])))


@pytest.fixture(scope="session")
def still(cast: dict[str, Puppet]) -> str:
    """A photograph before a camera, in silence."""
    return text(encode(cast["obama"].play(videos.still, 1.0), sound=tone(1.0, loud=[])))


LAPSE = (216502, "session lapse")


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_a_session_asks_for_digits_unless_told_otherwise(wire: Wire) -> None:
    lengths = set()
    for _ in range(12):
        session = opened(wire, appid="223245")
        assert session["session_id"].startswith("S")
        assert session["code"].isdecimal()
        lengths.add(len(session["code"]))
    assert lengths <= {3, 4, 5, 6}
    assert len(opened(wire, min_code_length=6)["code"]) == 6
    assert len(opened(wire, max_code_length="3")["code"]) == 3


def test_a_session_asks_for_actions_that_clients_know(wire: Wire) -> None:
    codes = [opened(wire, type=1, min_code_length=1, max_code_length=3)["code"] for _ in range(12)]
    assert {len(code) for code in codes} <= {1, 2, 3}
    assert set("".join(codes)) <= set("0457")
    assert all(first != second for code in codes for first, second in pairwise(code))


def test_a_session_can_be_had_without_a_body(wire: Wire) -> None:
    response = wire.http.get(SESSION, params={"access_token": wire.token, "type": "1"})
    assert response.json()["result"]["code"].isdecimal()
    assert wire.response(SESSION, b"[]").json()["result"]["code"].isdecimal()  # PHP's empty array


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"min_code_length": 2}, 222028, "param[min_code_length] format error"),
        ({"min_code_length": "x"}, 222028, "param[min_code_length] format error"),
        ({"max_code_length": 7}, 222029, "param[max_code_length] format error"),
        ({"type": 1, "max_code_length": 4}, 222029, "param[max_code_length] format error"),
        ({"min_code_length": 5, "max_code_length": 4}, 222027, "code length param error"),
        ({"type": 2}, 222001, "param[] is null"),
        ({"type": "1\0"}, 222001, "param[] is null"),
    ],
)
def test_what_no_session_can_be(wire: Wire, body: Mapping[str, object], code: int, words: str) -> None:
    assert failure(wire, SESSION, **body) == (code, words)


def test_a_session_serves_one_video_of_its_own_app(wire: Wire, other_wire: Wire, still: str) -> None:
    session_id = opened(wire, type=1)["session_id"]
    body = {"session_id": session_id, "video_base64": still}
    assert failure(other_wire, VERIFY, **body) == LAPSE
    assert post(wire, VERIFY, body)["err_no"] == 0
    assert failure(wire, VERIFY, **body) == LAPSE


def test_of_two_videos_for_one_session_one_is_judged(wire: Wire, still: str) -> None:
    body = {"session_id": opened(wire, type=1)["session_id"], "video_base64": still}
    with ThreadPoolExecutor(3) as pool:
        codes = sorted(answer["err_no"] for answer in pool.map(lambda _: post(wire, VERIFY, body), range(3)))
    assert codes == [0, 216502, 216502]


def test_a_session_ends(wire: Wire, still: str, contract_database_url: str) -> None:
    session_id = opened(wire)["session_id"]
    with psycopg.connect(driver_address(contract_database_url)) as connection:
        connection.execute("UPDATE liveness_sessions SET expires = now() WHERE session_id = %s", [session_id])
    assert failure(wire, VERIFY, session_id=session_id, video_base64=still) == LAPSE


@pytest.mark.parametrize("session_id", ["S0", "x" * 65, "';--", "中", 0])
def test_unknown_sessions(wire: Wire, still: str, session_id: object) -> None:
    assert failure(wire, VERIFY, session_id=session_id, video_base64=still) == LAPSE


def test_actions_need_a_session(wire: Wire, still: str) -> None:
    assert failure(wire, VERIFY, type_identify="action", video_base64=still) == LAPSE


def test_a_session_of_the_other_kind(wire: Wire, still: str) -> None:
    for kind, claimed in ((0, "action"), (1, "voice")):
        session_id = opened(wire, type=kind)["session_id"]
        answer = failure(wire, VERIFY, session_id=session_id, type_identify=claimed, video_base64=still)
        assert answer == (216500, "code digit error")


# --- videos -----------------------------------------------------------------------------------------------------------


def test_a_video_is_judged(wire: Wire, blinking: str) -> None:
    answer = post(wire, VERIFY, {"video_base64": blinking, "face_field": "quality,spoofing"})
    result = answer["result"]
    told = ["score", "maxspoofing", "spoofing_score", "thresholds", "code", "best_image", "pic_list"]
    assert list(result) == told
    assert 0 < result["score"] < 1
    assert 0 <= result["spoofing_score"] <= result["maxspoofing"] <= 1
    assert result["thresholds"] == {"frr_1e-4": 0.05, "frr_1e-3": 0.3, "frr_1e-2": 0.9}
    assert result["code"] == {"create": "", "identify": "", "similarity": 0}
    assert 1 <= len(result["pic_list"]) <= 8
    assert result["best_image"] in result["pic_list"]
    for picture in result["pic_list"]:
        assert list(picture) == ["face_token", "face_id", "liveness_score", "spoofing", "quality", "pic"]
        assert picture["face_id"] == picture["face_token"]
        image = cv2.imdecode(np.frombuffer(base64.b64decode(picture["pic"]), np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        assert image.shape == (SIDE, SIDE, 3)


def test_the_pictures_of_a_video_are_good_for_more(wire: Wire, blinking: str, pictures: Pictures) -> None:
    best = post(wire, VERIFY, {"video_base64": blinking})["result"]["best_image"]
    assert "spoofing" not in best
    by_token = {"image": best["face_token"], "image_type": "FACE_TOKEN"}
    as_sent = {"image": best["pic"], "image_type": "BASE64"}
    assert wire.result("match", [by_token, as_sent])["score"] == 100
    someone = {"image": pictures.base64("obama2.jpg"), "image_type": "BASE64"}
    assert wire.result("match", [by_token, someone])["score"] > 80


def test_an_action_that_was_asked_for_is_seen(wire: Wire, cast: dict[str, Puppet]) -> None:
    session = opened(wire, type=1, min_code_length=2, max_code_length=2)
    first, second = (MOVES[digit](0.3 + 1.3 * place) for place, digit in enumerate(session["code"]))
    play = cast["obama"].play(videos.together(videos.sways, first, second), 3.0)
    body = {"session_id": session["session_id"], "type_identify": "action", "video_base64": text(encode(play))}
    result = post(wire, VERIFY, body)["result"]
    assert result["code"] == {"create": session["code"], "identify": session["code"], "similarity": 1}
    assert result["action_verify"] == "pass"


def test_a_photograph_performs_nothing(wire: Wire, still: str) -> None:
    session = opened(wire, type=1)
    result = post(wire, VERIFY, {"session_id": session["session_id"], "video_base64": still})["result"]
    assert result["code"] == {"create": session["code"], "identify": "", "similarity": 0}
    assert result["action_verify"] == "fail"


def test_digits_must_be_heard_and_are_not_understood(wire: Wire, blinking: str, still: str) -> None:
    session = opened(wire)
    body = {"session_id": session["session_id"], "video_base64": blinking, "lip_identify": "COMMON"}
    result = post(wire, VERIFY, body)["result"]
    assert result["code"] == {"create": session["code"], "identify": "", "similarity": 0}
    assert result["lip_language"] == "fail"
    assert "action_verify" not in result
    body = {"session_id": opened(wire)["session_id"], "video_base64": still}
    assert failure(wire, VERIFY, **body) == (216509, "voice can not identify")


def test_a_mouth_that_moves_passes_for_speech(wire: Wire, cast: dict[str, Puppet]) -> None:
    session = opened(wire, max_code_length=3)
    clip = encode(cast["obama"].play(videos.speaks(3), 2.0), sound=tone(2.0, loud=[(0.4, 1.4)]))
    body = {"session_id": session["session_id"], "video_base64": text(clip), "lip_identify": "STRICT"}
    assert post(wire, VERIFY, body)["result"]["lip_language"] == "pass"


def frames(*parts: tuple[Puppet, float]) -> Iterator[Image]:
    for puppet, seconds in parts:
        yield from puppet.play(videos.sways, seconds)


def test_another_person_who_is_cut_in_is_noticed(wire: Wire, cast: dict[str, Puppet]) -> None:
    obama, biden = cast["obama"], cast["biden"]
    clip = encode(frames((obama, 0.8), (biden, 0.3), (obama, 0.8)))
    assert failure(wire, VERIFY, video_base64=text(clip)) == (216434, "liveness check fail")


def test_a_face_that_jumps_or_goes_away_is_noticed(wire: Wire, cast: dict[str, Puppet]) -> None:
    play = list(cast["obama"].play(videos.still, 0.8))
    wide = [np.pad(image, ((0, 0), (0, 2 * SIDE), (0, 0)), mode="edge") for image in play]
    moved = [np.pad(image, ((0, 0), (2 * SIDE, 0), (0, 0)), mode="edge") for image in play]
    assert failure(wire, VERIFY, video_base64=text(encode([*wide, *moved])))[0] == 216434
    slow = encode([*wide[::3], *moved[::3]], rate=4)
    assert failure(wire, VERIFY, video_base64=text(slow))[0] == 216434
    nobody = [np.full_like(play[0], 90)] * 20
    assert failure(wire, VERIFY, video_base64=text(encode([*play, *nobody, *play])))[0] == 216434


def test_a_slow_video_of_a_person_who_moves_is_judged(wire: Wire, cast: dict[str, Puppet]) -> None:
    moving = videos.together(videos.sways, videos.shakes_head(1.0, 2.0))
    slow = encode(cast["obama"].play(moving, 4.0, rate=2), rate=2)
    assert post(wire, VERIFY, {"video_base64": text(slow)})["result"]["pic_list"]


def test_two_people_in_front_of_the_camera(wire: Wire, cast: dict[str, Puppet]) -> None:
    pairs = zip(cast["obama"].play(videos.still, 1.0), cast["biden"].play(videos.still, 1.0), strict=True)
    clip = encode([np.hstack(pair) for pair in pairs])
    assert failure(wire, VERIFY, video_base64=text(clip)) == (216507, "found many faces")


def test_a_video_without_a_face(wire: Wire) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    assert failure(wire, VERIFY, video_base64=text(encode([noise] * 30))) == (216501, "not found face")


def test_a_video_of_poor_quality(wire: Wire, cast: dict[str, Puppet]) -> None:
    clip = encode([np.asarray(image // 8, np.uint8) for image in cast["obama"].play(videos.still, 1.0)])
    assert failure(wire, VERIFY, video_base64=text(clip)) == (216908, "视频中人脸质量较差")


NO_VIDEO = (216508, "not found video info")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"video_base64": ""},
        {"video_base64": "@@@@"},
        {"video_base64": "AAAA\0"},
        {"video_base64": [1]},
        {"video_base64": "http://127.0.0.1/clip.mp4"},
        {"video_base64": text(b"#EXTM3U\nfile:///etc/passwd\n")},
        {"video_url": "http://127.0.0.1/clip.mp4"},
    ],
)
def test_what_is_no_video(wire: Wire, body: Mapping[str, object]) -> None:
    assert failure(wire, VERIFY, **body) == NO_VIDEO


def test_a_picture_or_sound_in_place_of_a_video(wire: Wire, pictures: Pictures) -> None:
    assert failure(wire, VERIFY, video_base64=pictures.base64("obama.jpg")) == NO_VIDEO
    assert failure(wire, VERIFY, video_base64=text(encode([], sound=tone(1, loud=[(0, 1)])))) == NO_VIDEO


@pytest.mark.parametrize(
    ("parameter", "code"), [("face_field", 222017), ("lip_identify", 222001), ("type_identify", 222001)]
)
def test_other_parameters(wire: Wire, still: str, parameter: str, code: int) -> None:
    assert failure(wire, VERIFY, **{"video_base64": still, parameter: "what"})[0] == code


def test_a_video_may_be_cut_off(wire: Wire, still: str) -> None:
    data = base64.b64decode(still)
    assert failure(wire, VERIFY, video_base64=text(data[: len(data) // 2])) == NO_VIDEO


def test_a_video_that_is_too_long(wire: Wire) -> None:
    clip = encode([np.zeros((64, 64, 3), np.uint8)] * 6, rate=Fraction(1, 5))
    assert failure(wire, VERIFY, video_base64=text(clip)) == (216433, "video service error")


def test_a_video_that_cannot_be_decoded(wire: Wire, still: str) -> None:
    data = bytearray(base64.b64decode(still))
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    assert failure(wire, VERIFY, video_base64=text(bytes(data))) == (216432, "video service call fail")


def test_videos_may_be_larger_than_pictures(wire: Wire) -> None:
    """The body is read, and what is in it is no video; beyond 30 MiB it is not read."""
    assert failure(wire, VERIFY, video_base64="A" * (12 * 2**20)) == NO_VIDEO
    assert failure(wire, VERIFY, video_base64="A" * (28 * 2**20)) == (216433, "video service error")
    assert failure(wire, VERIFY, video_base64="A" * (31 * 2**20)) == (216433, "video service error")


def test_forms_and_data_addresses_are_taken(wire: Wire, still: str) -> None:
    address = f"data:video/webm;codecs=vp9,opus;base64,{still}"
    response = wire.response(VERIFY, urlencode({"video_base64": address}).encode())
    assert response.json()["err_no"] == 0


def test_permissions_and_tokens(service: Service, http: httpx.Client) -> None:
    stranger = caller(service, http, ["detect"])
    for path in (SESSION, VERIFY, LANDMARK):
        assert stranger.response(path, b"{}").json() == {"error_code": 6, "error_msg": "No permission to access data"}
    answer = stranger.response(SESSION, b"{}", query="access_token=x").json()
    assert answer["error_code"] in (100, 110)
