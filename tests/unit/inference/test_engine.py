"""The whole chain on real weights and real photographs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from service.inference.detector import Detection, YuNet
from service.inference.engine import Engine
from service.inference.geometry import ARCFACE_TEMPLATE, apply, crop_square, inverse, rotation_about, visible_area
from service.values import Embedding, Face, Image, Points
from tests.fixtures.pictures import Pictures

FACE_CENTRE = (225.0, 120.0)


def embedding(engine: Engine, image: Image, face: Face) -> Embedding:
    row: Embedding = engine.embed([engine.align(image, face.points)])[0]
    return row


def turned(image: Image, degrees: float) -> tuple[Image, Points]:
    """``image`` turned clockwise about the astronaut's face, on a large canvas, and where that face is now."""
    transform = rotation_about(FACE_CENTRE, degrees) + np.array([[0, 0, 300.0], [0, 0, 400.0]])
    canvas = np.asarray(cv2.warpAffine(image, transform, (900, 1000), borderMode=cv2.BORDER_REPLICATE), np.uint8)
    return canvas, apply(transform, np.array([FACE_CENTRE], np.float32))[0]


def difference(one: float, other: float) -> float:
    """Between two angles."""
    return abs((one - other + 180) % 360 - 180)


def test_face_is_described(engine: Engine, astronaut: Image) -> None:
    (face,) = engine.detect(astronaut, 5)
    assert face.confidence == 1
    assert face.points.shape == (5, 2)
    assert face.outline.shape == (68, 2)
    assert face.points.dtype == face.outline.dtype == np.float32
    assert np.hypot(*(face.points.mean(axis=0) - FACE_CENTRE)) < 15
    first_eye, second_eye, nose, first_corner, second_corner = face.points
    assert first_eye[0] < nose[0] < second_eye[0]
    assert first_corner[0] < nose[0] < second_corner[0]
    assert first_eye[1] < nose[1] < first_corner[1]
    location = face.location
    assert 0.8 < location.width / location.height < 1.25
    assert location.left < first_eye[0] < second_eye[0] < location.left + location.width
    assert abs(location.rotation) < 8
    assert abs(face.angles.yaw) < 15
    assert face.angles.roll == pytest.approx(location.rotation, abs=0.51)


@pytest.mark.parametrize("degrees", range(-150, 181, 30))
def test_faces_are_found_at_every_roll(engine: Engine, astronaut: Image, degrees: int) -> None:
    (upright,) = engine.detect(astronaut, 1)
    canvas, centre = turned(astronaut, degrees)
    (face,) = engine.detect(canvas, 1)
    assert np.hypot(*(face.points.mean(axis=0) - centre)) < 20
    assert difference(face.angles.roll, upright.angles.roll + degrees) < 6
    assert difference(face.location.rotation, face.angles.roll) < 1
    assert float(embedding(engine, canvas, face) @ embedding(engine, astronaut, upright)) > 0.85


@pytest.mark.parametrize(("side", "size"), [(20, (480, 640)), (32, (720, 1280)), (60, (1500, 2000)), (24, (240, 320))])
def test_small_faces_are_found(engine: Engine, astronaut: Image, side: int, size: tuple[int, int]) -> None:
    scale = side / 100
    head = cv2.resize(astronaut[:260, 90:350], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.full((*size, 3), 90, np.uint8)
    top, left = size[0] // 3, size[1] // 2
    canvas[top : top + head.shape[0], left : left + head.shape[1]] = head
    (face,) = engine.detect(canvas, 1)
    expected = np.array([left, top]) + (np.array(FACE_CENTRE) - (90, 0)) * scale
    assert np.hypot(*(face.points.mean(axis=0) - expected)) < side / 4
    assert side * 0.7 < max(face.box[2:]) < side * 1.6


@pytest.mark.parametrize("degrees", [0, 90, 180])
def test_face_that_fills_the_picture_is_found(engine: Engine, astronaut: Image, degrees: int) -> None:
    tight = np.ascontiguousarray(np.rot90(astronaut[60:185, 170:285], -degrees // 90))
    (face,) = engine.detect(np.asarray(cv2.resize(tight, None, fx=4, fy=4), np.uint8), 1)
    assert difference(face.angles.roll, degrees) < 12


def test_several_faces_come_largest_first(engine: Engine, crowd: Image) -> None:
    faces = engine.detect(crowd, 20)
    assert len(faces) == 6
    areas = [visible_area(face.location, crowd) for face in faces]
    assert areas == sorted(areas, reverse=True)


def same(one: Face, other: Face) -> bool:
    return one.box == other.box and np.array_equal(one.points, other.points) and one.location == other.location


@pytest.mark.parametrize("name", ["t1.jpg", "sample1.jpg", "obama3.jpg", "astronaut.png"])
def test_what_is_said_of_a_face_does_not_depend_on_the_limit(engine: Engine, pictures: Pictures, name: str) -> None:
    image = np.asarray(cv2.imread(str(pictures.path(name))), dtype=np.uint8)
    everybody = engine.detect(image, 20)
    for limit in (1, 2, 3, 5):
        some = engine.detect(image, limit)
        assert len(some) == min(limit, len(everybody))
        assert all(same(face, other) for face, other in zip(some, everybody, strict=False))


@pytest.mark.parametrize("turns", [1, 3])
@pytest.mark.parametrize(("large", "small"), [(520, 260), (420, 300)])
def test_a_lying_face_is_the_largest_where_it_is(
    engine: Engine, astronaut: Image, pictures: Pictures, turns: int, large: int, small: int
) -> None:
    """Upright looks show it late; the upright one beside it must not be taken for the only one."""
    other = np.asarray(cv2.imread(str(pictures.path("t1.jpg"))), np.uint8)
    face = engine.detect(other, 1)[0].location
    top, left, side = round(face.top), round(face.left), round(max(face.width, face.height))
    beside = other[max(0, top - side // 2) : top + side * 3 // 2, max(0, left - side // 2) : left + side * 3 // 2]
    canvas = np.full((960, 1280, 3), 130, np.uint8)
    canvas[200 : 200 + large, 40 : 40 + large] = np.rot90(
        cv2.resize(astronaut[20:220, 125:325], (large, large), interpolation=cv2.INTER_CUBIC), turns
    )
    canvas[300 : 300 + small, 860 : 860 + small] = cv2.resize(beside, (small, small), interpolation=cv2.INTER_AREA)
    first, second = engine.detect(canvas, 5)
    assert first.location.left < 640 < second.location.left
    assert same(engine.detect(canvas, 1)[0], first)
    assert [same(*pair) for pair in zip(engine.detect(canvas, 2), (first, second), strict=True)] == [True, True]


def test_a_picture_in_which_nothing_may_be_a_lying_face_is_looked_at_once(
    engine: Engine, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes, detect = [], YuNet.detect

    def counted(detector: YuNet, image: Image, least: float | None = None) -> list[Detection]:
        passes.append(image.shape)
        return detect(detector, image, least)

    monkeypatch.setattr(YuNet, "detect", counted)
    assert len(engine.detect(np.asarray(cv2.imread(str(pictures.path("obama.jpg"))), np.uint8), 1)) == 1
    assert len(passes) == 1


def test_mirrored_picture_turns_yaw_and_roll_around(engine: Engine, pictures: Pictures) -> None:
    image = np.asarray(cv2.imread(str(pictures.path("sample4.jpg"))), dtype=np.uint8)
    faces = engine.detect(image, 10)
    mirrored = engine.detect(np.ascontiguousarray(image[:, ::-1]), 10)
    assert len(faces) == len(mirrored) > 0
    pairs = 0
    for face in faces:
        x, y = image.shape[1] - face.points[2, 0], face.points[2, 1]
        near = [other for other in mirrored if np.hypot(other.points[2, 0] - x, other.points[2, 1] - y) < 30]
        for other in near:
            pairs += 1
            assert other.angles.yaw == pytest.approx(-face.angles.yaw, abs=9)
            assert other.angles.pitch == pytest.approx(face.angles.pitch, abs=9)
            assert difference(other.angles.roll, -face.angles.roll) < 6
    assert pairs == len(faces)


def test_one_person_is_told_from_another(engine: Engine, pictures: Pictures) -> None:
    rows = []
    for name in ("obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg"):
        image = np.asarray(cv2.imread(str(pictures.path(name))), dtype=np.uint8)
        rows.append(embedding(engine, image, engine.detect(image, 1)[0]))
    similarities = np.stack(rows) @ np.stack(rows).T
    assert similarities[:3, :3].min() > 0.5
    assert similarities[3, :3].max() < 0.3


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (2000, 2), (31, 33), (400, 600)])
def test_pictures_without_faces(engine: Engine, shape: tuple[int, int]) -> None:
    assert engine.detect(np.full((*shape, 3), 128, np.uint8), 3) == []


def test_alignment_puts_the_points_on_the_template(engine: Engine, astronaut: Image) -> None:
    (face,) = engine.detect(astronaut, 1)
    crop = engine.align(astronaut, face.points)
    assert crop.shape == (112, 112, 3)
    assert np.abs(apply(crop_square(face.points), face.points) - ARCFACE_TEMPLATE).mean() < 4
    again = apply(inverse(crop_square(face.points)), ARCFACE_TEMPLATE)
    assert np.abs(again - face.points).mean() < 4


def test_portrait_carries_everything_that_recognition_needs(engine: Engine, pictures: Pictures) -> None:
    image = np.asarray(cv2.imread(str(pictures.path("obama3.jpg"))), dtype=np.uint8)
    (face,) = engine.detect(image, 1)
    small, points = engine.portrait(image, face)
    assert max(small.shape[:2]) == 320
    assert points.shape == (73, 2)
    assert points.min() > 0
    assert points.max() < 320
    similarity = embedding(engine, image, face) @ engine.embed([engine.align(small, points[:5])])[0]
    assert float(similarity) > 0.95
    (found,) = engine.detect(small, 1)
    assert np.abs(found.points - points[:5]).mean() < 6


@pytest.mark.parametrize("corner", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_portrait_at_the_edge_keeps_to_the_picture(engine: Engine, astronaut: Image, corner: tuple[int, int]) -> None:
    (face,) = engine.detect(astronaut, 1)
    left, top = (170, 60) if corner == (0, 0) else (170 - 170 * corner[0], 60 - 60 * corner[1])
    cut = np.ascontiguousarray(astronaut[top:200, left:300])
    (seen,) = engine.detect(cut, 1)
    small, points = engine.portrait(cut, seen)
    assert small.shape[0] <= cut.shape[0]
    assert small.shape[1] <= cut.shape[1]
    assert points.min() > -20
    assert abs(seen.box[2] - face.box[2]) < 25


def test_threads_get_the_same_answers(engine: Engine, astronaut: Image, crowd: Image) -> None:
    images = [astronaut, crowd, astronaut[:, ::-1].copy()] * 3
    alone = [engine.detect(image, 10) for image in images[:3]]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda image: engine.detect(image, 10), images))
    for index, faces in enumerate(together):
        expected = alone[index % 3]
        assert len(faces) == len(expected)
        assert all(same(face, other) for face, other in zip(faces, expected, strict=True))


def test_engine_names_its_weights(engine: Engine) -> None:
    engine.warm_up()
    assert engine.model_id.startswith("core-192-")
    assert engine.dimension == 192
    assert engine.providers == ("CPUExecutionProvider",)


def test_prominent_faces_are_those_of_detection(engine: Engine, astronaut: Image, crowd: Image) -> None:
    large = np.asarray(cv2.resize(astronaut, (1400, 1400)), np.uint8)
    (face,), settled = engine.prominent(large, 1)
    (detected,) = engine.detect(large, 1)
    assert settled
    assert face.box == detected.box
    np.testing.assert_array_equal(face.outline, detected.outline)
    assert not engine.prominent(crowd, 10)[1]
