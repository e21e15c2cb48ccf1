"""How much of a face's finest detail repeats itself: the dots of a print, the grid of a screen, the moiré of both.

Skin, hair and grain spread their energy evenly over the directions and neighbouring frequencies of a spectrum; ink dots
and pixels gather it in a few peaks. A formula without weights; what it is worth stands in ``models/cards/liveness.md``.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from service.inference.geometry import Box
from service.values import Image

TILE = 64
"""Side of the square pieces whose spectra are averaged, in pixels."""

_TILES = 3
"""Pieces along each side of the face; they overlap where the face is small."""

# Frequencies in cycles per pixel. Below the lowest lies the face itself; near the axes lie edges of the picture and
# the blocks of JPEG.
_LOWEST, _OFF_AXIS = 0.12, 0.04
_INNERMOST, _OUTERMOST, _RING = 0.1, 0.72, 0.03

_PEAKS = 6
"""A real grid shows in its peak, its mirror image and their neighbours."""

_ACROSS, _DOWN = np.meshgrid(np.arange(-TILE // 2, TILE // 2) / TILE, np.arange(-TILE // 2, TILE // 2) / TILE)
_RADIUS = np.hypot(_ACROSS, _DOWN)
_LOOKED_AT = (_RADIUS > _LOWEST) & (np.abs(_ACROSS) > _OFF_AXIS) & (np.abs(_DOWN) > _OFF_AXIS)
_RING_OF = np.digitize(_RADIUS, np.arange(_INNERMOST, _OUTERMOST, _RING))
_RINGS = [ring == _RING_OF for ring in range(1, int(_RING_OF.max()) + 1)]
_WINDOW = np.outer(np.hanning(TILE), np.hanning(TILE))


def aperiodicity(image: Image, box: Box) -> float:
    """The less, the more the face in the detector's ``box`` (pixels) of ``image`` (BGR) looks printed or displayed.

    Minus the mean height of the six highest peaks in the mean power spectrum of the luma, in natural logarithms above
    the median of their ring of equal frequency. A face smaller than a tile is measured with its surroundings.
    """
    luma = cv2.cvtColor(_surroundings(image, box), cv2.COLOR_BGR2GRAY).astype(np.float32)
    height, width = luma.shape
    power = np.zeros((TILE, TILE))
    for top in np.linspace(0, height - TILE, _TILES).astype(int):
        for left in np.linspace(0, width - TILE, _TILES).astype(int):
            tile = luma[top : top + TILE, left : left + TILE]
            power += np.abs(np.fft.fftshift(np.fft.fft2((tile - tile.mean()) * _WINDOW))) ** 2
    return -_peaks(np.log(power / _TILES**2 + 1))


def _peaks(spectrum: NDArray[np.float64]) -> float:
    """Mean height of the highest peaks of a logarithmic spectrum ``(64, 64)`` above their rings."""
    above = spectrum.copy()
    for ring in _RINGS:
        above[ring] -= np.median(spectrum[ring])
    return float(np.partition(above[_LOOKED_AT], -_PEAKS)[-_PEAKS:].mean())


def _surroundings(image: Image, box: Box) -> Image:
    """What of ``image`` lies in ``box``, at least a tile wide and high; mirrored where the picture is smaller."""
    sides = []
    for start, length, limit in ((box[0], box[2], image.shape[1]), (box[1], box[3], image.shape[0])):
        low, high = max(0, int(start)), min(limit, int(start + length))
        if high - low < TILE:
            low = max(0, min(int(start + length / 2) - TILE // 2, limit - TILE))
            high = min(limit, low + TILE)
        sides.append(slice(low, high))
    part: Image = image[sides[1], sides[0]]
    missing = [max(0, TILE - side) for side in part.shape[:2]]
    if any(missing):
        part = np.asarray(cv2.copyMakeBorder(part, 0, missing[0], 0, missing[1], cv2.BORDER_REFLECT), np.uint8)
    return part
