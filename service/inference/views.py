"""Ways to hold a picture in front of a detector: at a size, turned, with a border, cut into tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from service.inference.geometry import Transform, compose, shift
from service.values import Image

# Larger pictures are cut into tiles of this side. A tile's feature maps stay in the processor's cache: twelve
# megapixels take a third of the time of one pass, and a third of the memory.
_TILE = 704
_LARGEST_UNCUT = 704 * 704

# Tiles share this many pixels. A face cut by one tile's edge lies whole in the next, if it is not larger than this;
# larger ones belong to a smaller look at the picture.
_OVERLAP = 128


class Pyramid:
    """A picture and, as they are asked for, its halves; belongs to one thread.

    Halving by averaging is several times faster than any other shrinking, and the halves serve every look.
    """

    def __init__(self, image: Image) -> None:
        self._levels = [image]

    def sized(self, longest: float) -> tuple[Image, Transform]:
        """The picture with its longer side ``longest`` pixels long, and the transform of the picture into it."""
        level = 0
        while max(self._level(level).shape[:2]) >= 2 * longest:
            level += 1
        source = self._level(level)
        height, width = source.shape[:2]
        scale = longest / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        # Between a half and the whole nothing is gained by averaging areas, which takes seven times as long.
        sized = source if size == (width, height) else cv2.resize(source, size, interpolation=cv2.INTER_LINEAR)
        zoom_x, zoom_y = size[0] / width / 2**level, size[1] / height / 2**level
        return np.asarray(sized, dtype=np.uint8), np.array([[zoom_x, 0, 0], [0, zoom_y, 0]])

    def _level(self, level: int) -> Image:
        while len(self._levels) <= level:
            last = self._levels[-1]
            # An odd last row or column is left out, so that a half is exactly a half.
            height, width = max(1, last.shape[0] // 2), max(1, last.shape[1] // 2)
            even = last[: height * 2, : width * 2]
            self._levels.append(np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8))
        return self._levels[level]


@dataclass(frozen=True, slots=True)
class View:
    """A way to hold the picture: turned counter-clockwise by ``quarters`` right angles, and with a border around it.

    ``border`` is the border's width as a part of the picture's longer side.
    """

    quarters: int = 0
    border: float = 0.0

    def take(self, pyramid: Pyramid, look: float) -> tuple[Image, Transform]:
        """The picture held this way with its longer side (borders included) ``look`` pixels long, and how it came."""
        margin = round(look * self.border / (1 + 2 * self.border))
        canvas, way = pyramid.sized(look - 2 * margin)
        if margin:
            bordered = cv2.copyMakeBorder(canvas, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
            canvas, way = np.asarray(bordered, dtype=np.uint8), compose(shift(margin, margin), way)
        for _ in range(self.quarters):
            # A point at (x, y) of a picture of width w comes to (y, w - x).
            way = compose(np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, canvas.shape[1]]]), way)
            canvas = np.rot90(canvas)
        return canvas, way


def tiles(canvas: Image) -> Iterator[tuple[int, int, Image]]:
    """``canvas`` in overlapping parts, each with the column and row of its top left corner; small ones stay whole."""
    height, width = canvas.shape[:2]
    if height * width <= _LARGEST_UNCUT:
        yield 0, 0, canvas
        return
    for top in _starts(height):
        for left in _starts(width):
            yield left, top, canvas[top : top + _TILE, left : left + _TILE]


def _starts(length: int) -> list[int]:
    """Where tiles begin so that they cover ``length`` pixels, evenly spread."""
    if length <= _TILE:
        return [0]
    count = -(-(length - _OVERLAP) // (_TILE - _OVERLAP))
    return [round(index * (length - _TILE) / (count - 1)) for index in range(count)]
