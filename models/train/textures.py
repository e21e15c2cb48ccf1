"""Random surfaces for drawn occluders: flat, shaded, noisy, striped, checked, or cut from another picture.

Everything is ``(height, width, 3)`` float32, BGR, 0..255.
"""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

from service.values import Image

Layer = NDArray[np.float32]
Rng = np.random.Generator


def colour(rng: Rng, *, dark: bool = False) -> NDArray[np.float32]:
    """One random BGR colour, plain ones (black, white, gray) as likely as vivid ones."""
    if dark:
        value = rng.uniform(5, 60)
        return np.asarray(value + rng.uniform(-6, 10, 3), np.float32)
    if rng.random() < 0.4:
        value = rng.choice([rng.uniform(0, 50), rng.uniform(190, 255), rng.uniform(50, 190)])
        return np.asarray(np.clip(value + rng.normal(0, 6, 3), 0, 255), np.float32)
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.2, 1), rng.uniform(0.2, 1))
    return np.array([blue, green, red], np.float32) * 255


def waves(rng: Rng, height: int, width: int, cells: int) -> Layer:
    """Smooth noise of mean 0 and standard deviation near 1: ``(height, width)``, about ``cells`` bumps across."""
    coarse = rng.normal(0, 1, (max(2, cells), max(2, cells))).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _ramp(rng: Rng, height: int, width: int) -> Layer:
    """A slope 0..1 in a random direction: ``(height, width)``."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    slope = x * np.cos(angle) + y * np.sin(angle)
    return np.asarray((slope - slope.min()) / (np.ptp(slope) + 1e-6), np.float32)


def _stripes(rng: Rng, height: int, width: int) -> Layer:
    """0/1 bars, or a check of two sets of bars: ``(height, width)``."""
    period = rng.uniform(4, 30)
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    bars = np.sin(along * 2 * np.pi / period) > rng.uniform(-0.5, 0.5)
    if rng.random() < 0.4:
        bars = bars ^ (np.sin(across * 2 * np.pi / period) > 0)
    return np.asarray(bars, np.float32)


def cutting(rng: Rng, donor: Image, height: int, width: int) -> Layer:
    """A piece of a corner of ``donor`` (faces stand in the middle of ours), enlarged to size."""
    rows, columns = donor.shape[0] // 4, donor.shape[1] // 4
    top = int(rng.choice([0, donor.shape[0] - rows]))
    left = int(rng.choice([0, donor.shape[1] - columns]))
    piece = donor[top : top + rows, left : left + columns]
    return np.asarray(cv2.resize(piece, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def surface(rng: Rng, height: int, width: int, donor: Image) -> Layer:
    """One random surface."""
    kind = rng.random()
    if kind < 0.3:
        return cutting(rng, donor, height, width)
    layer = np.empty((height, width, 3), np.float32)
    layer[:] = colour(rng)
    if kind < 0.5:
        layer += (colour(rng) - layer) * _ramp(rng, height, width)[..., None]
    elif kind < 0.65:
        layer += (colour(rng) - layer) * _stripes(rng, height, width)[..., None]
    layer += waves(rng, height, width, int(rng.integers(2, 8)))[..., None] * rng.uniform(0, 18)
    if rng.random() < 0.5:
        layer += rng.normal(0, rng.uniform(1, 12), (height, width, 1)).astype(np.float32)
    return np.clip(layer, 0, 255)


def skin(rng: Rng, height: int, width: int, tone: NDArray[np.float32]) -> Layer:
    """Skin of about the colour ``tone`` (BGR), lit unevenly: what a hand in front of this face looks like."""
    layer = np.empty((height, width, 3), np.float32)
    layer[:] = tone * rng.uniform(0.8, 1.4) + rng.normal(0, 6, 3)
    light = 1 + waves(rng, height, width, int(rng.integers(3, 7))) * rng.uniform(0.03, 0.12)
    light += (_ramp(rng, height, width) - 0.5) * rng.uniform(0, 0.5)
    return np.asarray(np.clip(layer * light[..., None], 0, 255), np.float32)
