"""Faces with things drawn over them, as crops with the hidden share of each part.

The picture with its occluder goes through detection and landmarks again, so that the crop is as misaligned as it will
be in service: the label comes from where the parts really are, the crop from where they seem to be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.train import face_parts, occluders
from models.train.textures import Rng
from service.inference import geometry, occlusion
from service.values import Image, Points

MAP_SIDE = 24
"""Side of the coarse map of what is covered, the network's second, training-only output."""

FindOutline = Callable[[Image, Points], Points | None]
"""The 68 points found in a picture for the face whose true outline is given; None when that face is not found."""

_CLEAN = 0.35
_SECOND = 0.2
_CUT = 0.06


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """``crop`` ``(96, 96, 3)`` BGR; ``ratios`` ``(7,)`` 0..1; ``covered`` ``(24, 24)`` 0..1; what was drawn."""

    crop: Image
    ratios: NDArray[np.float32]
    covered: NDArray[np.float32]
    kinds: tuple[str, ...]
    found: bool


def degrade(rng: Rng, picture: Image) -> Image:
    """Light, colour, focus, grain, compression and resolution as they vary between cameras; hides nothing."""
    changed = picture.astype(np.float32)
    if rng.random() < 0.6:
        changed = 255 * (changed / 255) ** np.float32(np.exp(rng.normal(0, 0.35)))
        changed = changed * np.float32(rng.uniform(0.5, 1.15)) + np.float32(rng.uniform(-8, 20))
    if rng.random() < 0.4:
        changed = changed * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    if rng.random() < 0.12:
        changed = np.repeat(changed.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.35:
        changed = np.asarray(cv2.GaussianBlur(changed, (0, 0), float(rng.uniform(0.4, 3.0))), np.float32)
    if rng.random() < 0.3:
        changed = changed + rng.normal(0, rng.uniform(2, 12), changed.shape).astype(np.float32)
    pixels = np.clip(np.round(changed), 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        height, width = pixels.shape[:2]
        factor = rng.uniform(0.3, 0.9)
        small = cv2.resize(pixels, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
        pixels = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    if rng.random() < 0.4:
        _, coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))])
        pixels = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return pixels


def _cut(rng: Rng, picture: Image, covered: NDArray[np.uint8], outline: Points) -> tuple[Image, NDArray[np.uint8]]:
    """Blackens all beyond a line through the face, as if the picture ended there: counted as covered."""
    line = outline[int(rng.integers(68))]
    height, width = covered.shape
    keep = np.zeros((height, width), bool)
    side = int(rng.integers(4))
    x, y = round(float(line[0])), round(float(line[1]))
    keep[(slice(0, max(y, 1)), slice(max(y, 0), height), slice(None), slice(None))[side],
         (slice(None), slice(None), slice(0, max(x, 1)), slice(max(x, 0), width))[side]] = True  # fmt: skip
    return np.where(keep[..., None], picture, 0).astype(np.uint8), np.where(keep, covered, 1).astype(np.uint8)


def choose(rng: Rng) -> tuple[str, ...]:
    """What to draw on the next face: nothing, one thing, or two."""
    if rng.random() < _CLEAN:
        return ()
    names = list(occluders.KINDS)
    odds = [occluders.KINDS[name][1] for name in names]
    count = 2 if rng.random() < _SECOND else 1
    return tuple(str(name) for name in rng.choice(names, count, p=odds))


def make(rng: Rng, canvas: occluders.Canvas, kinds: tuple[str, ...], find: FindOutline, *, harm: bool = True) -> Sample:
    """One sample. ``harm``: also degrade the picture at random and cut it off now and then."""
    picture, outline = canvas.picture, canvas.outline
    if rng.random() < 0.5:
        picture, outline = np.ascontiguousarray(picture[:, ::-1]), face_parts.mirror(outline, picture.shape[1])
    covered = np.zeros(picture.shape[:2], np.uint8)
    for kind in kinds:
        picture, now = occluders.draw(rng, occluders.Canvas(picture, outline, canvas.donor), kind)
        covered |= now
    if harm:
        picture = degrade(rng, picture)
        if rng.random() < _CUT:
            picture, covered = _cut(rng, picture, covered, outline)
    seen = find(picture, outline)
    # a face that is hidden too well to be found arrives from trackers and tokens: train on it with a shaken outline
    points = geometry.five_points(outline if seen is None else seen)
    if seen is None or rng.random() < 0.2:
        points = (points + rng.normal(0, 0.02, points.shape) * canvas.face).astype(np.float32)
    transform = occlusion.crop_transform(points)
    size = (occlusion.SIDE, occlusion.SIDE)
    outside = 1 - cv2.warpAffine(np.ones_like(covered), transform, size, flags=cv2.INTER_NEAREST)
    flat = np.maximum(cv2.warpAffine(covered, transform, size, flags=cv2.INTER_NEAREST), outside)
    coarse = cv2.resize(flat.astype(np.float32), (MAP_SIDE, MAP_SIDE), interpolation=cv2.INTER_AREA)
    ratios = face_parts.covered_ratios(outline, covered)
    return Sample(occlusion.crop(picture, points), ratios, np.asarray(coarse, np.float32), kinds, seen is not None)
