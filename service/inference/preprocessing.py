"""From pictures to the planes that a network eats."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from models.manifest import EmbedderPart, Preprocessing
from service.inference.session import Array
from service.values import Image


def planes(images: Sequence[Image], recipe: Preprocessing | EmbedderPart) -> Array:
    """``(n, channels, height, width)`` float32 of BGR pictures of one size: ``(pixel - mean) / scale``.

    Channels come in the recipe's colour order; ``gray`` is the luma of ITU-R BT.601, one channel.
    """
    if recipe.colour == "gray":
        stack = np.stack([cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in images])[:, np.newaxis]
    else:
        ordered = np.stack(images) if recipe.colour == "bgr" else np.stack(images)[..., ::-1]
        # Moving the channels while they are bytes and converting afterwards costs half of the other order.
        stack = np.ascontiguousarray(ordered.transpose(0, 3, 1, 2))
    pixels = stack.astype(np.float32)
    mean, scale = _per_plane(recipe.mean), _per_plane(recipe.scale)
    if np.any(mean != 0):
        pixels -= mean
    if np.any(scale != 1):
        pixels /= scale
    return pixels


def _per_plane(values: float | tuple[float, ...]) -> Array:
    """``values`` shaped to be broadcast over (n, channels, height, width)."""
    return np.reshape(np.asarray(values, dtype=np.float32), (-1, 1, 1))
