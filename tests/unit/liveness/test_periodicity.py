"""Whether detail repeats itself: grids against grain, on made surfaces and on faces."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.inference.periodicity import TILE, aperiodicity
from service.values import Image

BOX = (20.0, 20.0, 120.0, 120.0)


def grain(seed: int = 1) -> Image:
    """Gray with the noise of a sensor."""
    noise = np.random.default_rng(seed).normal(0, 6, (160, 160, 1))
    return np.asarray(np.clip(128 + np.repeat(noise, 3, axis=2), 0, 255), np.uint8)


def gridded(image: Image, period: float, depth: float, degrees: float = 20) -> Image:
    """The picture behind a weak sinusoidal grid."""
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    along = x * np.cos(np.radians(degrees)) + y * np.sin(np.radians(degrees))
    wave = depth * np.cos(2 * np.pi * along / period)
    return np.asarray(np.clip(image + wave[..., np.newaxis], 0, 255), np.uint8)


@pytest.mark.parametrize("period", [2.5, 3, 4, 6])
def test_a_grid_lowers_it_the_more_the_stronger_it_is(period: float) -> None:
    values = [aperiodicity(gridded(grain(), period, depth), BOX) for depth in (0, 2, 4, 8)]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[-1] > 2


def test_blocks_of_jpeg_and_doubled_pixels_between_neighbours_hardly_count() -> None:
    plain = grain()
    done, coded = cv2.imencode(".jpg", plain, [cv2.IMWRITE_JPEG_QUALITY, 50])
    assert done
    blocks = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    assert aperiodicity(blocks, BOX) - aperiodicity(plain, BOX) > -1.5


def test_brightness_does_not_count() -> None:
    darker = np.asarray(grain() // 2 + 20, np.uint8)
    assert aperiodicity(darker, BOX) == pytest.approx(aperiodicity(grain(), BOX), abs=0.5)


@settings(deadline=None)
@given(
    st.integers(1, 2 * TILE),
    st.integers(1, 2 * TILE),
    st.tuples(st.floats(-900, 900), st.floats(-900, 900), st.floats(0.5, 900), st.floats(0.5, 900)),
)
def test_any_box_in_any_picture_has_a_finite_value(
    height: int, width: int, box: tuple[float, float, float, float]
) -> None:
    image = np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)
    assert np.isfinite(aperiodicity(image, box))
