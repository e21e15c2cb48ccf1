"""Watermarks drawn over portraits, as the nets and wavy lines of small official pictures: for measuring only.

Pictures are BGR uint8; lengths are pixels of the picture.
"""

from __future__ import annotations

import cv2
import numpy as np

from models.train.textures import Rng
from service.values import Image


def watermarked(rng: Rng, picture: Image, face: float) -> Image:
    """A net of two families of wavy lines, white or gray, let in at 40 to 85 percent, then JPEG.

    ``face``: width of the face; lines stand a twelfth to a sixth of it apart and are 1 to 2 pixels wide.
    """
    height, width = picture.shape[:2]
    net = np.zeros((height, width), np.uint8)
    spacing = face * rng.uniform(1 / 12, 1 / 6)
    thickness = int(rng.integers(1, 3))
    first = rng.uniform(0, np.pi)
    reach = float(np.hypot(height, width))
    along = np.linspace(-reach, reach, 160)
    for angle in (first, first + rng.uniform(np.pi / 4, 3 * np.pi / 4)):
        wave = spacing * rng.uniform(0, 0.6) * np.sin(along * 2 * np.pi / (spacing * rng.uniform(2, 6)))
        direction = np.array([np.cos(angle), np.sin(angle)])
        normal = np.array([-direction[1], direction[0]])
        for offset in np.arange(-reach, reach, spacing):
            line = along[:, None] * direction + (wave + offset)[:, None] * normal + (width / 2, height / 2)
            cv2.polylines(net, [np.round(line * 16).astype(np.int32)], False, 255, thickness, cv2.LINE_AA, shift=4)
    opacity = (net.astype(np.float32) / 255 * np.float32(rng.uniform(0.4, 0.85)))[..., None]
    shade = np.float32(rng.choice([rng.uniform(225, 255), rng.uniform(120, 200)]))
    marked = picture * (1 - opacity) + shade * opacity
    _, coded = cv2.imencode(".jpg", marked.round().astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def reduced(picture: Image, face: float, target: float) -> Image:
    """The picture made so small that the face is ``target`` pixels wide, then JPEG: a chip or web portrait."""
    factor = target / face
    small = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    _, coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
