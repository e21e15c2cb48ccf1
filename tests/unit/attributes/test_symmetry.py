"""A face that is mirrored, turned or scaled is told as the same face, mirrored, turned or scaled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from service.inference import geometry
from service.inference.analyst import Analyst
from service.inference.attributes import AttributeModels, FaceReader
from service.inference.engine import Engine
from service.inference.geometry import Transform
from service.inference.landmark_names import NAMES_72, NAMES_150, mirrored_name
from service.inference.mesh import LEFT_EYE, RIGHT_EYE
from service.values import Face, Image, Location, Points
from tests.fixtures.pictures import Pictures
from tests.unit.attributes.conftest import PROVIDERS, Read, largest, load

PEOPLE = ("astronaut.png", "obama.jpg", "biden.jpg")
SIDE = 480

# All below in eye distances (some 60 to 90 pixels here). The mesh differs by .02 to .03 between a face and its mirror
# image; a quarter turn of the pixels is exact, but detection starts from other cells. A location is made of 68 points
# of a net that sees 64 pixels across the whole face, which makes a pixel of its crop worth .04.
LANDMARKS = 0.04
LOCATION = 0.15
SIZE = 0.1
"""Of the box's own width and height."""
DEGREES = 5

# Between a lying and a standing face; the three people differ by 3, 5 and .08. Log-odds of being alive: 4.3 at least
# however they lie, 2.4 at most where the network sees them lie on their side.
YEARS, PERCENTILES, SPOOFING, ALIVE = 8, 12, 0.15, 3.5

MIRRORED = [NAMES_150.index(mirrored_name(name)) for name in NAMES_150]


@dataclass(frozen=True, eq=False)
class Seen:
    """One face as it is told."""

    face: Face
    landmarks: Points
    four: Points

    @property
    def unit(self) -> float:
        """Distance of the eyes in pixels."""
        return float(np.linalg.norm(self.four[0] - self.four[1]))


@pytest.fixture(scope="session")
def portraits(pictures: Pictures) -> dict[str, Image]:
    return {name: load(pictures, name, SIDE) for name in PEOPLE}


@pytest.fixture(scope="session")
def analyst(files: dict[str, Path]) -> Analyst:
    return Analyst(files, PROVIDERS)


@pytest.fixture(scope="session")
def straight(engine: Engine, attribute_models: AttributeModels, portraits: dict[str, Image]) -> dict[str, Seen]:
    """Every picture as it is."""
    return {name: look(engine, attribute_models, image) for name, image in portraits.items()}


def look(engine: Engine, models: AttributeModels, image: Image) -> Seen:
    face = largest(engine, image)
    reader = FaceReader(models, image, face)
    return Seen(face, reader.landmarks, reader.landmark4)


def centre(location: Location) -> Points:
    """Middle of the box after its turn about the top left corner."""
    angle = math.radians(location.rotation)
    x, y = location.width / 2, location.height / 2
    return np.array(
        [
            location.left + x * math.cos(angle) - y * math.sin(angle),
            location.top + x * math.sin(angle) + y * math.cos(angle),
        ],
        np.float32,
    )


def check_moved(before: Seen, after: Seen, move: Transform, degrees: float) -> None:
    """``after`` is ``before`` moved by ``move``, which turns by ``degrees`` clockwise and scales."""
    zoom = geometry.scale_of(move)
    unit = before.unit * zoom
    for found, expected in ((after.landmarks, before.landmarks), (after.four, before.four)):
        off = np.linalg.norm(found - geometry.apply(move, expected), axis=1).mean() / unit
        assert off < LANDMARKS
    first, second = before.face.location, after.face.location
    moved = geometry.apply(move, centre(first)[np.newaxis])[0]
    assert np.linalg.norm(centre(second) - moved) / unit < LOCATION
    assert second.width == pytest.approx(first.width * zoom, rel=SIZE)
    assert second.height == pytest.approx(first.height * zoom, rel=SIZE)
    assert abs((second.rotation - first.rotation - degrees + 180) % 360 - 180) < DEGREES
    assert second.rotation == pytest.approx(after.face.angles.roll, abs=DEGREES)


def quarter_turns(image: Image, count: int) -> tuple[Image, Transform]:
    """The picture turned clockwise by ``count`` times 90 degrees, and where its pixels went."""
    height, width = image.shape[:2]
    moves = {
        1: [[0, -1, height - 1], [1, 0, 0]],
        2: [[-1, 0, width - 1], [0, -1, height - 1]],
        3: [[0, 1, 0], [-1, 0, width - 1]],
    }
    return np.ascontiguousarray(np.rot90(image, -count)), np.array(moves[count], np.float64)


@pytest.mark.parametrize("name", PEOPLE)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_quarter_turns(
    engine: Engine,
    attribute_models: AttributeModels,
    portraits: dict[str, Image],
    straight: dict[str, Seen],
    name: str,
    count: int,
) -> None:
    turned, move = quarter_turns(portraits[name], count)
    check_moved(straight[name], look(engine, attribute_models, turned), move, 90 * count)


@pytest.mark.parametrize("name", PEOPLE)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_who_lies_is_read_as_who_stands(
    analyst: Analyst, engine: Engine, portraits: dict[str, Image], name: str, count: int
) -> None:
    """No network sees the face otherwise than upright: not lying ones as masked, drawn or lifeless."""
    image, turned = portraits[name], quarter_turns(portraits[name], count)[0]
    faces = largest(engine, image), largest(engine, turned)
    before, after = analyst.reader(image, faces[0]), analyst.reader(turned, faces[1])
    for field in ("mask", "face_type", "glasses", "gender"):
        assert getattr(after, field).type == getattr(before, field).type
    assert after.age == pytest.approx(before.age, abs=YEARS)
    assert after.beauty == pytest.approx(before.beauty, abs=PERCENTILES)
    assert after.spoofing == pytest.approx(before.spoofing, abs=SPOOFING)
    assert analyst.liveness(turned, faces[1], ("fr_liveness",)) > ALIVE


@pytest.mark.parametrize(("name", "degrees"), [("astronaut.png", 20), ("obama.jpg", -20), ("biden.jpg", 35)])
def test_other_turns(
    engine: Engine,
    attribute_models: AttributeModels,
    portraits: dict[str, Image],
    straight: dict[str, Seen],
    name: str,
    degrees: int,
) -> None:
    image = portraits[name]
    height, width = image.shape[:2]
    # About the face, so that it stays in the picture.
    x, y = centre(straight[name].face.location)
    move = geometry.rotation_about((float(x), float(y)), degrees)
    turned = np.asarray(cv2.warpAffine(image, move, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)
    check_moved(straight[name], look(engine, attribute_models, turned), move, degrees)


@pytest.mark.parametrize(("name", "zoom"), [("astronaut.png", 2.0), ("obama.jpg", 0.6), ("biden.jpg", 1.5)])
def test_scaled_pictures(
    engine: Engine,
    attribute_models: AttributeModels,
    portraits: dict[str, Image],
    straight: dict[str, Seen],
    name: str,
    zoom: float,
) -> None:
    image = portraits[name]
    size = (round(image.shape[1] * zoom), round(image.shape[0] * zoom))
    scaled = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    shift = (zoom - 1) / 2  # pixel centres have whole coordinates
    move = np.array([[zoom, 0, shift], [0, zoom, shift]])
    check_moved(straight[name], look(engine, attribute_models, scaled), move, 0)


@pytest.mark.parametrize("name", PEOPLE)
def test_mirrored_pictures(
    engine: Engine,
    attribute_models: AttributeModels,
    portraits: dict[str, Image],
    straight: dict[str, Seen],
    name: str,
) -> None:
    image, before = portraits[name], straight[name]
    after = look(engine, attribute_models, np.ascontiguousarray(image[:, ::-1]))
    flip = np.array([[-1, 0, image.shape[1] - 1], [0, 1, 0]], np.float64)
    expected = geometry.apply(flip, before.landmarks)[MIRRORED]
    for count in (len(NAMES_72), len(NAMES_150)):
        assert np.linalg.norm(after.landmarks[:count] - expected[:count], axis=1).mean() / before.unit < LANDMARKS
    swapped = geometry.apply(flip, before.four)[[1, 0, 2, 3]]
    assert np.linalg.norm(after.four - swapped, axis=1).mean() / before.unit < LANDMARKS
    moved = geometry.apply(flip, centre(before.face.location)[np.newaxis])[0]
    assert np.linalg.norm(centre(after.face.location) - moved) / before.unit < LOCATION
    assert after.face.location.width == pytest.approx(before.face.location.width, rel=SIZE)
    assert after.face.angles.yaw == pytest.approx(-before.face.angles.yaw, abs=DEGREES)
    assert after.face.angles.roll == pytest.approx(-before.face.angles.roll, abs=DEGREES)
    assert after.face.angles.pitch == pytest.approx(before.face.angles.pitch, abs=DEGREES)


@pytest.mark.parametrize("corners", [RIGHT_EYE, LEFT_EYE])
def test_a_covered_eye_changes_sides_in_the_mirror(
    read: Read, portraits: dict[str, Image], corners: tuple[int, int]
) -> None:
    image = portraits["astronaut.png"]
    mesh = read(image).mesh
    first, second = mesh.flat[list(corners)]
    width = float(np.linalg.norm(second - first))
    cheek = mesh.flat[50].round().astype(int)
    covered = image.copy()
    middle = ((first + second) / 2).tolist()
    skin = image[cheek[1], cheek[0]].tolist()
    cv2.ellipse(covered, (middle, (width * 1.3, width * 0.7), mesh.eye_line), skin, -1)
    here, there = read(covered).eye_status, read(np.ascontiguousarray(covered[:, ::-1])).eye_status
    closed, opened = ("right_eye", "left_eye") if corners == RIGHT_EYE else ("left_eye", "right_eye")
    # Not more than the order: the lid network draws lids on a patch of skin, too.
    assert getattr(here, closed) < getattr(here, opened)
    assert getattr(there, opened) < getattr(there, closed)
