"""What is done to a picture before a face is looked for, by the kind of photograph that the caller names.

Only what was measured to help is done (``benchmarks/picture_kinds.py``, figures in ``models/cards/quality.md``).
Median and Gaussian filters, sharpening and enlarging were tried on watermarks and on portraits of 20 and 30 pixels:
on watermarks they help less than what is here, on small portraits not at all or worse than nothing.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from service.values import Image, PictureType

# Diameter of the opening as a share of the picture's longer side: wider than a watermark's lines, narrower than
# an eye. 5 pixels in 250 where it was tuned; never below 3, which is the least that removes a line.
_OPENING_SHARE = 0.016
_LEAST_OPENING, _LARGEST_OPENING = 3, 9

# A spectral line counts as the net's when it stands this many times above the median of its distance from the centre.
_PEAK = 2.5
# Frequencies below this (cycles per pixel) carry the portrait itself and are left alone.
_LOWEST_FREQUENCY = 0.03
_RINGS = 60
"""Rings per cycle per pixel in which that median is taken."""

# Larger pictures are no small portraits with nets, and a spectrum of theirs would cost too much.
_LARGEST_SIDE = 1600


ALTERED = frozenset({PictureType.WATERMARK, PictureType.INFRARED})
"""Kinds whose pictures ``prepare`` may change."""


def prepare(image: Image, kind: PictureType) -> Image:
    """The picture to look at: the very ``image`` where nothing is to be done, else a new one of the same size.

    ``WATERMARK``: lines brighter than what lies below are taken away and periodic patterns damped. ``INFRARED``: gray
    in three equal planes, whatever tint the camera gave. ``LIVE``, ``IDCARD`` and ``CERT`` stay as they are.
    """
    if kind is PictureType.INFRARED:
        return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8)
    if kind is PictureType.WATERMARK and max(image.shape[:2]) <= _LARGEST_SIDE:
        return damped(opened(image))
    return image


def opened(image: Image) -> Image:
    """Morphological opening of each plane, which removes bright lines, and a light blur over its flat spots."""
    diameter = round(max(image.shape[:2]) * _OPENING_SHARE) | 1
    diameter = min(max(diameter, _LEAST_OPENING), _LARGEST_OPENING)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
    return np.asarray(cv2.GaussianBlur(cv2.morphologyEx(image, cv2.MORPH_OPEN, disc), (0, 0), 0.7), np.uint8)


def damped(image: Image) -> Image:
    """Each plane with the peaks of its spectrum cut down to ``_PEAK`` times their surroundings."""
    height, width = image.shape[:2]
    vertical, horizontal = np.fft.fftfreq(height)[:, np.newaxis], np.fft.rfftfreq(width)[np.newaxis]
    frequency = np.hypot(vertical, horizontal)
    ring = (frequency * _RINGS).astype(np.intp)
    planes = [_damped(image[..., channel], frequency, ring) for channel in range(image.shape[2])]
    return np.stack(planes, axis=-1)


def _damped(plane: NDArray[np.uint8], frequency: NDArray[np.float64], ring: NDArray[np.intp]) -> NDArray[np.uint8]:
    spectrum = np.fft.rfft2(plane.astype(np.float32))
    strength = np.abs(spectrum)
    usual = np.array([_median(strength[ring == index]) for index in range(int(ring.max()) + 1)])
    limit = _PEAK * usual[ring]
    peaks = (strength > limit) & (frequency > _LOWEST_FREQUENCY)
    gain = np.where(peaks, limit / np.maximum(strength, 1e-6), 1.0)
    restored = np.fft.irfft2(spectrum * gain, plane.shape)
    return np.clip(np.round(restored), 0, 255).astype(np.uint8)


def _median(values: NDArray[np.floating]) -> float:
    return float(np.median(values)) if values.size else 0.0
