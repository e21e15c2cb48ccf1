"""What the liveness networks see of a face that lies."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from service.inference import liveness
from service.inference.geometry import Box
from service.inference.liveness import APERIODICITY, RECIPES, LivenessMeter
from service.inference.session import Array
from service.values import Image

SIDE = 400
BOX = (150.0, 130.0, 60.0, 80.0)
CENTRE = (180.0, 170.0)

LARGEST_PART = 0.03
"""Of the range of values, by which what is seen may differ: half a pixel of rounding, no more."""


class Recording:
    """A network that keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[Array] = []

    def run(self, batch: Array) -> list[Array]:
        self.seen.append(batch)
        return [np.zeros((len(batch), 3), np.float32)]


def lying(quarters: int) -> Box:
    """The box of the same face once the picture was turned clockwise: where it is then, with its sides as it stands."""
    x, y = CENTRE
    for _ in range(quarters):
        x, y = SIDE - y, x
    return x - BOX[2] / 2, y - BOX[3] / 2, BOX[2], BOX[3]


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("name", RECIPES)
def test_a_lying_face_is_seen_as_one_that_stands(name: str, quarters: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (SIDE // 20, SIDE // 20, 3), np.uint8)
    image = np.asarray(cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)
    network = Recording()
    meter = LivenessMeter({name: network})  # type: ignore[dict-item] # all that is asked of it
    meter.measures(image, BOX, [name])
    meter.measures(np.ascontiguousarray(np.rot90(image, -quarters)), lying(quarters), [name], 90.0 * quarters)
    standing, turned = network.seen
    assert np.abs(turned - standing).mean() < LARGEST_PART * np.ptp(standing)


def test_the_detail_of_a_lying_face_is_taken_from_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes: list[Box] = []

    def noted(_image: Image, box: Box) -> float:
        boxes.append(box)
        return 0.0

    monkeypatch.setattr(liveness, "aperiodicity", noted)
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    LivenessMeter({}).measures(image, lying(1), [APERIODICITY], 90.0)
    assert boxes == [(190.0, 150.0, 80.0, 60.0)]
