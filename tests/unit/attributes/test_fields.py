"""Attributes of real faces: type, range, and what a person sees in the pictures."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from service.inference.attributes import EMOTIONS, GLASSES, AttributeModels, FaceReader
from service.inference.engine import Engine
from service.inference.face_regions import Region
from service.inference.face_shape import SHAPES
from service.inference.mesh import Floats, Network
from service.values import Image
from tests.fixtures.pictures import Pictures
from tests.unit.attributes.conftest import Read, largest, load

PEOPLE = ["astronaut.png", "obama.jpg", "biden.jpg", "obama2.jpg"]


@pytest.mark.parametrize("name", PEOPLE)
def test_every_field_has_its_type_and_range(read: Read, pictures: Pictures, name: str) -> None:
    face = read(load(pictures, name))
    assert face.presence > 0.99
    assert 0 <= face.age <= 100
    assert 0 <= face.beauty <= 100
    assert 0 <= face.spoofing <= 1
    assert 0 <= face.eye_status.left_eye <= 1
    assert 0 <= face.eye_status.right_eye <= 1
    for value, names in [
        (face.gender, ("male", "female")),
        (face.emotion, EMOTIONS),
        (face.expression, ("none", "smile", "laugh")),
        (face.face_shape, SHAPES),
        (face.glasses, GLASSES),
        (face.face_type, ("human", "cartoon")),
        (face.mask, ("0", "1")),
    ]:
        assert value.type in names
        assert 1 / len(names) <= value.probability <= 1
    assert tuple(shape.type for shape in face.face_shapes) == SHAPES
    assert sum(shape.probability for shape in face.face_shapes) == pytest.approx(1)


def test_what_the_pictures_show(read: Read, astronaut: Image, obama: Image, biden: Image) -> None:
    woman, laughing, serious = read(astronaut), read(obama), read(biden)
    assert woman.gender.type == "female"
    assert laughing.gender.type == serious.gender.type == "male"
    assert woman.age < laughing.age < serious.age
    assert woman.emotion.type == laughing.emotion.type == "happy"
    assert woman.expression.type in ("smile", "laugh")
    assert serious.expression.type == "none"
    for face in (woman, laughing, serious):
        assert face.glasses.type == "none"
        assert face.mask.type == "0"
        assert face.face_type.type == "human"
        assert min(face.eye_status.left_eye, face.eye_status.right_eye) > 0.5


def test_a_pasted_mask_is_seen(engine: Engine, attribute_models: AttributeModels, astronaut: Image) -> None:
    found = largest(engine, astronaut)
    face = FaceReader(attribute_models, astronaut, found)
    covered = astronaut.copy()
    points = face.mesh.flat
    outline = np.round(points[[234, 93, 58, 172, 149, 152, 378, 397, 288, 323, 454, 197]]).astype(np.int32)
    cv2.fillPoly(covered, [outline], (200, 160, 120))
    assert FaceReader(attribute_models, covered, found).mask.type == "1"


def test_dark_lenses_are_sunglasses(engine: Engine, attribute_models: AttributeModels, astronaut: Image) -> None:
    found = largest(engine, astronaut)
    face = FaceReader(attribute_models, astronaut, found)
    dark = astronaut.copy()
    for corners in ((33, 133), (362, 263)):
        centre, width = face.mesh.flat[list(corners)].mean(axis=0), np.ptp(face.mesh.flat[list(corners)], axis=0)[0]
        cv2.ellipse(dark, (centre.tolist(), (float(width * 1.8), float(width * 1.3)), 0.0), (10, 10, 10), -1)
    assert FaceReader(attribute_models, dark, found).glasses.type == "sun"


def test_regions_lie_where_they_belong(read: Read, astronaut: Image) -> None:
    face = read(astronaut)
    labels = face.parsing
    assert labels.shape == astronaut.shape[:2]
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) <= {int(region) for region in Region}
    assert labels[0, 0] == Region.BACKGROUND
    centre = {region: np.argwhere(labels == region).mean(axis=0) for region in Region}
    assert centre[Region.RIGHT_EYE][1] < centre[Region.NOSE][1] < centre[Region.LEFT_EYE][1]
    assert centre[Region.RIGHT_BROW][0] < centre[Region.RIGHT_EYE][0] < centre[Region.NOSE][0]
    assert centre[Region.UPPER_LIP][0] < centre[Region.MOUTH_INSIDE][0] < centre[Region.LOWER_LIP][0]
    areas = np.bincount(labels.ravel(), minlength=len(Region))
    assert areas[Region.SKIN] > areas[Region.NOSE] > areas[Region.RIGHT_EYE] > 0


def test_no_face_no_presence(attribute_models: AttributeModels) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    assert attribute_models.mesh.fit(noise, (50, 50, 200, 200), 0.0).presence < 0.5


class CountedNetwork:
    """Passes on to a network and counts the runs."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.runs = 0

    def run(self, batch: Floats) -> list[Floats]:
        self.runs += 1
        return self._network.run(batch)


def test_work_is_done_when_asked_and_shared(
    engine: Engine, attribute_models: AttributeModels, astronaut: Image
) -> None:
    faceres = CountedNetwork(attribute_models.faceres)
    models = dataclasses.replace(attribute_models, faceres=faceres)
    face = FaceReader(models, astronaut, largest(engine, astronaut))
    assert face.age > 0
    assert faceres.runs == 0
    assert face.gender.type == "female"
    assert face.beauty > 0
    assert face.mask.type == "0"
    assert faceres.runs == 1
    assert face.gender == face.gender
    assert faceres.runs == 1
    assert face.glasses.type == "none"
    assert face.face_type.type == "human"
    assert faceres.runs == 1, "the heads share one embedding"
    assert 0 <= face.spoofing <= 1
    assert faceres.runs == 2, "the wider crop of spoofing is the only other run"
