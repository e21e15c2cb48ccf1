"""``quality_control`` and ``liveness_control`` on the wire: every code by a picture that earns it, order, skipping."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models.train import face_parts, occluders
from models.train.people import Finder
from models.train.recapture import print_edge, screen_bezel
from service.api.v3 import scene as scenes
from service.calibration.liveness import THRESHOLDS
from service.values import Face, Image
from tests.contract.test_attributes import PARTS
from tests.contract.wire import PATHS, Wire
from tests.fixtures.pictures import Pictures

FACE_WIDTH = 120
"""Of the portraits below, in pixels: enough for HIGH, and little work."""

GROUP = "controls"
SCENE_PATHS = {call.name: call.path for call in scenes.CALLS}
LIVENESS_LIMITS = dict(zip(("LOW", "NORMAL", "HIGH"), THRESHOLDS.values(), strict=True))
GRAY = (127, 127, 127)

Portrait = tuple[Image, Face]
Spoil = Callable[[Portrait], Image]


def portrait_of(finder: Finder, pictures: Pictures, name: str) -> Portrait:
    """The face with one of its box's sides around it, 120 pixels wide."""
    whole = np.asarray(cv2.imread(str(pictures.path(name)), cv2.IMREAD_COLOR), np.uint8)
    (face,) = finder.engine.detect(whole, 1)
    x, y, width, height = (round(value) for value in face.box)
    cut = whole[max(0, y - height) : y + 2 * height, max(0, x - width) : x + 2 * width]
    zoom = FACE_WIDTH / face.location.width
    image = np.asarray(cv2.resize(cut, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8)
    (face,) = finder.engine.detect(image, 1)
    return image, face


@pytest.fixture(scope="module")
def finder(model_dir: Path) -> Finder:
    return Finder(model_dir)


@pytest.fixture(scope="module")
def good(finder: Finder, pictures: Pictures) -> Portrait:
    """Passes every control."""
    return portrait_of(finder, pictures, "obama.jpg")


@pytest.fixture(scope="module")
def recaptures(finder: Finder, pictures: Pictures) -> list[Image]:
    """Simulated prints and screens of one photograph, the first one far below every threshold of the core pack."""
    picture, _ = portrait_of(finder, pictures, "obama2.jpg")
    made = [(print_edge, 10), (screen_bezel, 8), (print_edge, 1), (screen_bezel, 1), (print_edge, 2)]
    return [attack(np.random.default_rng(seed), picture, picture) for attack, seed in made]


def photo(image: Image) -> dict[str, object]:
    done, data = cv2.imencode(".png", image)
    assert done
    return {"image": base64.b64encode(data.tobytes()).decode(), "image_type": "BASE64"}


def side_by_side(left: Image, right: Image) -> Image:
    """Both pictures on gray, far enough from each other not to lie in each other's surroundings."""
    height = max(left.shape[0], right.shape[0]) + 80
    canvas = np.full((height, left.shape[1] + right.shape[1] + 120, 3), GRAY, np.uint8)
    for image, start in ((left, 40), (right, left.shape[1] + 80)):
        canvas[40 : 40 + image.shape[0], start : start + image.shape[1]] = image
    return canvas


# --- what spoils a picture --------------------------------------------------------------------------------------------


def dark(portrait: Portrait, gain: float = 0.15) -> Image:
    return np.asarray(portrait[0] * gain, np.uint8)


def blurred(portrait: Portrait, share: float = 0.04) -> Image:
    return np.asarray(cv2.GaussianBlur(portrait[0], (0, 0), share * FACE_WIDTH), np.uint8)


def small(portrait: Portrait) -> Image:
    return np.asarray(cv2.resize(portrait[0], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def without_forehead(portrait: Portrait) -> Image:
    image, face = portrait
    return np.ascontiguousarray(image[round(face.outline[17:27, 1].min()) - 2 :])


def without_a_cheek(portrait: Portrait) -> Image:
    image, face = portrait
    return np.ascontiguousarray(image[:, round(face.outline[36, 0]) :])


def tilted(portrait: Portrait) -> Image:
    height, width = portrait[0].shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 30, 0.8)
    return np.asarray(cv2.warpAffine(portrait[0], turn, (width, height), borderValue=GRAY), np.uint8)


def in_sunglasses_and_mask(portrait: Portrait) -> Image:
    """Hides every part and still looks like a face, as a person who does not want to be known goes about."""
    image, face = portrait
    rng = np.random.default_rng(1)
    for kind in ("sunglasses", "mask"):
        image, _ = occluders.draw(rng, occluders.Canvas(image, face.outline, portrait[0]), kind)
    return image


def patched(part: str) -> Spoil:
    """A plaster over the part and a little around it."""

    def spoil(portrait: Portrait) -> Image:
        image, face = portrait
        area = face_parts.polygons(face.outline)[face_parts.PARTS.index(part)]
        grown = area.mean(axis=0) + (area - area.mean(axis=0)) * 1.25
        return np.asarray(cv2.fillPoly(image.copy(), [np.round(grown).astype(np.int32)], (40, 160, 60)), np.uint8)

    return spoil


DEFECTS: list[tuple[str, Spoil, int, str]] = [
    ("sunglasses and mask", in_sunglasses_and_mask, 223113, "face is covered"),
    ("blurred", blurred, 223114, "face is fuzzy"),
    ("small", small, 223114, "face is fuzzy"),
    ("dark", dark, 223115, "face light is not good"),
    ("forehead cut off", without_forehead, 223116, "incomplete face"),
    ("cheek cut off", without_a_cheek, 223116, "incomplete face"),
    ("tilted", tilted, 223116, "incomplete face"),
    ("left eye", patched("left_eye"), 223121, "left eye is occlusion"),
    ("right eye", patched("right_eye"), 223122, "right eye is occlusion"),
    ("left cheek", patched("left_cheek"), 223123, "left cheek is occlusion"),
    ("right cheek", patched("right_cheek"), 223124, "right cheek is occlusion"),
    ("chin", patched("chin_contour"), 223125, "chin contour is occlusion"),
    ("nose", patched("nose"), 223126, "nose is occlusion"),
    ("mouth", patched("mouth"), 223127, "mouth is occlusion"),
]


@pytest.mark.parametrize(("spoil", "code", "text"), [case[1:] for case in DEFECTS], ids=[case[0] for case in DEFECTS])
def test_every_defect_has_its_code(wire: Wire, good: Portrait, spoil: Spoil, code: int, text: str) -> None:
    sent = {**photo(spoil(good)), "group_id": GROUP, "user_id": "u"}
    answer = wire.call("addUser", {**sent, "quality_control": "NORMAL"})
    assert (answer["error_code"], answer["error_msg"]) == (code, text)
    assert wire.call("getUser", {"group_id": GROUP, "user_id": "u"})["error_code"] in {
        223100,
        223103,
    }  # nobody was added
    wire.result("addUser", sent)  # without control it is a face like any other


@pytest.mark.parametrize("level", ["LOW", "NORMAL", "HIGH"])
def test_a_good_picture_passes_both_controls_at_every_level(wire: Wire, good: Portrait, level: str) -> None:
    sent = {**photo(good[0]), "group_id": GROUP, "user_id": "u", "quality_control": level, "liveness_control": level}
    token = wire.result("addUser", sent)["face_token"]
    found = wire.result("search", {**sent, "group_id_list": GROUP})
    assert (found["face_token"], found["user_list"][0]["score"]) == (token, 100)


@pytest.mark.parametrize(
    ("spoil", "passes"),
    [
        (lambda portrait: dark(portrait, 0.33), ["LOW", "NORMAL"]),
        (lambda portrait: dark(portrait, 0.2), ["LOW"]),
        (lambda portrait: dark(portrait, 0.09), []),
    ],
    ids=["dim", "dark", "black"],
)
def test_levels_ask_for_more_and_more_light(wire: Wire, good: Portrait, spoil: Spoil, passes: list[str]) -> None:
    sent = {**photo(spoil(good)), "group_id": GROUP, "user_id": "u"}
    codes = {level: wire.call("addUser", {**sent, "quality_control": level})["error_code"] for level in LIVENESS_LIMITS}
    assert {level for level, code in codes.items() if code != 223115} == set(passes)


def test_levels_of_liveness_are_the_thresholds_that_faceverify_tells(wire: Wire, recaptures: list[Image]) -> None:
    levels_failed = set()
    for image in recaptures:
        (seen,) = wire.result("faceverify", [photo(image)])["face_list"]
        for level, limit in LIVENESS_LIMITS.items():
            code = wire.call("detect", {**photo(image), "liveness_control": level})["error_code"]
            assert code == (223120 if seen["liveness"]["livemapscore"] < limit else 0)
            levels_failed |= {level} if code else set()
    assert levels_failed == set(LIVENESS_LIMITS)


def test_a_recapture_is_refused_everywhere(wire: Wire, good: Portrait, recaptures: list[Image]) -> None:
    control = {"liveness_control": "HIGH"}
    fake = {**photo(recaptures[0]), **control}
    wire.result("addUser", {**photo(good[0]), "group_id": GROUP, "user_id": "u"})
    sent: list[tuple[str, Any]] = [
        ("detect", fake),
        ("match", [photo(good[0]), fake]),
        ("search", {**fake, "group_id_list": GROUP}),
        ("multiSearch", {**fake, "group_id_list": GROUP}),
        ("addUser", {**fake, "group_id": GROUP, "user_id": "v"}),
        ("updateUser", {**fake, "group_id": GROUP, "user_id": "u"}),
    ]
    for name, body in sent:
        answer = wire.call(name, body)
        assert (answer["error_code"], answer["error_msg"]) == (223120, "liveness check fail"), name


def test_quality_comes_before_liveness_and_liveness_before_recognition(
    wire: Wire, good: Portrait, recaptures: list[Image]
) -> None:
    """The print shows a stranger; spoilt, it fails at each gate in turn."""
    wire.result("addUser", {**photo(good[0]), "group_id": GROUP, "user_id": "u"})
    fake = recaptures[0]
    dim = np.asarray(fake * 0.15, np.uint8)

    def code(image: Image, **controls: str) -> int:
        return wire.code("search", {**photo(image), "group_id_list": GROUP, "match_threshold": 100, **controls})

    assert code(dim, quality_control="NORMAL", liveness_control="HIGH") == 223115
    assert code(fake, quality_control="LOW", liveness_control="HIGH") == 223120
    assert code(fake, quality_control="LOW") == 222207


def test_each_picture_of_match_has_controls_of_its_own(wire: Wire, good: Portrait) -> None:
    fine, poor = photo(good[0]), photo(dark(good))
    assert wire.result("match", [fine, poor])["score"] > 80
    assert wire.result("match", [{**fine, "quality_control": "NORMAL"}, poor])["score"] > 80
    assert wire.code("match", [fine, {**poor, "quality_control": "NORMAL"}]) == 223115


def test_searches_skip_what_fails_and_fail_when_nothing_is_left(
    wire: Wire, good: Portrait, recaptures: list[Image]
) -> None:
    """The larger face is a print, the smaller one real; then both are dark."""
    wire.result("addUser", {**photo(good[0]), "group_id": GROUP, "user_id": "u"})
    large = np.asarray(cv2.resize(recaptures[0], None, fx=1.5, fy=1.5), np.uint8)
    both = side_by_side(large, good[0])
    first, second = wire.result("detect", {**photo(both), "max_face_num": 2})["face_list"]
    assert first["location"]["width"] > second["location"]["width"]
    asked = {**photo(both), "group_id_list": GROUP, "max_face_num": 5, "match_threshold": 60}
    alive = {**asked, "liveness_control": "HIGH"}
    assert wire.result("search", alive)["face_token"] == second["face_token"]
    (face,) = wire.result("multiSearch", alive)["face_list"]
    assert (face["face_token"], face["user_list"][0]["user_id"]) == (second["face_token"], "u")
    assert len(wire.result("multiSearch", asked)["face_list"]) == 2
    nothing = {**asked, **photo(np.asarray(both * 0.15, np.uint8)), "quality_control": "NORMAL"}
    assert wire.code("search", nothing) == 223115
    assert wire.code("multiSearch", nothing) == 223115


def test_calls_that_take_one_face_do_not_skip(wire: Wire, good: Portrait, recaptures: list[Image]) -> None:
    """Who enrols must not silently enrol the person beside."""
    both = side_by_side(np.asarray(cv2.resize(recaptures[0], None, fx=1.5, fy=1.5), np.uint8), good[0])
    sent = {**photo(both), "group_id": GROUP, "user_id": "u", "liveness_control": "HIGH"}
    assert wire.code("addUser", sent) == 223120


@pytest.mark.parametrize("path", [PATHS["search"], SCENE_PATHS["faceCaptureSearch"]], ids=["search", "of a scene"])
def test_a_search_for_one_user_does_not_skip(wire: Wire, good: Portrait, recaptures: list[Image], path: str) -> None:
    """Who is to be one person is told from the face in front: a print held up is no passer-by."""

    def send(path: str, body: dict[str, object]) -> int:
        return int(wire.post(path, json.dumps(body).encode())["error_code"])

    enrolled = {**photo(good[0]), "group_id": GROUP, "user_id": "u", "scene_type": "VIDEO"}
    if path == PATHS["search"]:
        wire.result("addUser", enrolled)
    else:
        assert send(SCENE_PATHS["faceSceneFacesetGroupAdd"], enrolled) == 0
        assert send(SCENE_PATHS["faceSceneFacesetUserAdd"], enrolled) == 0
    both = side_by_side(np.asarray(cv2.resize(recaptures[0], None, fx=1.5, fy=1.5), np.uint8), good[0])
    asked = {**photo(both), "group_id_list": GROUP, "match_threshold": 60, "liveness_control": "HIGH"}
    assert send(path, asked) == 0  # whoever looks for anybody finds the bystander
    assert send(path, {**asked, "user_id": "u"}) == 223120
    assert send(path, {**asked, "user_id": "u", **photo(good[0])}) == 0


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil", [lambda portrait: portrait[0], without_forehead, in_sunglasses_and_mask], ids=["good", "cut", "covered"]
)
def test_a_token_tells_the_quality_of_its_picture(wire: Wire, good: Portrait, spoil: Spoil) -> None:
    """Read off the portrait that the token keeps; the bounds are those of ``models/cards/quality.md``."""
    sent = photo(spoil(good))
    (seen,) = wire.result("detect", {**sent, "face_field": "quality"})["face_list"]
    token = {"image": seen["face_token"], "image_type": "FACE_TOKEN", "face_field": "quality"}
    told = wire.result("detect", token)["face_list"][0]["quality"]
    assert told["completeness"] == seen["quality"]["completeness"]
    assert abs(told["blur"] - seen["quality"]["blur"]) <= 0.05
    assert abs(told["illumination"] - seen["quality"]["illumination"]) <= 2
    for part in PARTS:
        assert abs(told["occlusion"][part] - seen["quality"]["occlusion"][part]) <= 0.15


def test_a_token_passes_and_fails_the_controls_as_its_picture_does(wire: Wire, good: Portrait) -> None:
    for image, code in ((good[0], 0), (dark(good), 223115), (blurred(good), 223114), (without_forehead(good), 223116)):
        (seen,) = wire.result("detect", photo(image))["face_list"]
        sent = {"image": seen["face_token"], "image_type": "FACE_TOKEN", "group_id": GROUP, "user_id": "u"}
        assert wire.call("addUser", {**sent, "quality_control": "NORMAL"})["error_code"] == code


def test_the_angles_that_decide_are_those_of_the_answer(wire: Wire, good: Portrait) -> None:
    """Also where fields of the mesh are asked for, which measures others."""
    sent = {**photo(good[0]), "face_field": "landmark72"}
    controlled, free, plain = (
        wire.result("detect", {**sent, **options})["face_list"][0]["angle"]
        for options in ({"quality_control": "LOW"}, {}, {"face_field": ""})
    )
    assert controlled == plain != free
