"""From pictures to the planes that a network eats."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from models.manifest import EmbedderPart, Preprocessing
from service.inference.session import Array
from service.values import Image


def planes(images: Sequence[Image], recipe: Preprocessing | EmbedderPart) -> Array:
    """``(n, channels, height, width)`` float32 of BGR pictures of one size: ``(pixel - mean) / scale``.

    Channels come in the recipe's colour order; ``gray`` is the luma of ITU-R BT.601, one channel.
    """
    height, width = images[0].shape[:2]
    pixels = np.empty((len(images), 1 if recipe.colour == "gray" else 3, height, width), dtype=np.float32)
    for image, own in zip(images, pixels, strict=True):
        own[:] = _channels(image, recipe.colour)  # bytes become numbers on the way: no copy in between
    mean, scale = _per_plane(recipe.mean, 0.0), _per_plane(recipe.scale, 1.0)
    if mean is not None:
        pixels -= mean
    if scale is not None:
        pixels /= scale
    return pixels


def _channels(image: Image, colour: str) -> NDArray[np.uint8]:
    """The channels ``(n, height, width)`` of a BGR picture in the order of ``colour``, where they lie.

    Copying from there takes a little longer than from planes that OpenCV has made of it, and the interpreter's lock is
    given away once instead of ten times.
    """
    if colour == "gray":
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), dtype=np.uint8)[np.newaxis]
    channels: NDArray[np.uint8] = image.transpose(2, 0, 1)
    return channels if colour == "bgr" else channels[::-1]


@lru_cache(maxsize=64)
def _per_plane(values: float | tuple[float, ...], neutral: float) -> Array | None:
    """``values`` shaped to be broadcast over (n, channels, height, width); ``None`` where all of them do nothing."""
    shaped = np.reshape(np.asarray(values, dtype=np.float32), (-1, 1, 1))
    return None if np.all(shaped == neutral) else shaped
