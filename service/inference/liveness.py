"""How live a face looks in a single colour picture: raw log-odds of each anti-spoofing network, and its aperiodicity.

What these mean as a served score is told by ``service.calibration.liveness``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from models.manifest import Preprocessing
from service.inference.geometry import Box, lying, warpable
from service.inference.periodicity import aperiodicity
from service.inference.preprocessing import planes
from service.inference.session import Session
from service.values import Image

_UNTOUCHED = Preprocessing("bgr", (0.0,), (1.0,))
_UNIT_RGB = Preprocessing("rgb", (0.0,), (255.0,))


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one network is fed and read.

    ``margin``: side of what it sees, in multiples of the detector's box; ``side``: pixels of its square input;
    ``window``: ``clamped`` keeps the box's proportions and pushes (if need be shrinks) the window into the picture,
    as the Silent-Face-Anti-Spoofing project crops; ``reflected`` is a square of the longer side whose overhang
    mirrors the picture; ``live``: the class that means a living person.
    """

    margin: float
    side: int
    window: Literal["clamped", "reflected"]
    preprocessing: Preprocessing
    live: int


# shared/models.md names margins, colours and classes (measured on Replay-Attack); the windows are those that told
# real pictures from simulated recaptures best, see models/cards/liveness.md.
RECIPES: Mapping[str, Recipe] = {
    "fr_liveness": Recipe(2.7, 128, "clamped", _UNTOUCHED, live=0),
    "minifasnet_v2": Recipe(2.7, 80, "clamped", _UNTOUCHED, live=1),
    "minifasnet_v1se": Recipe(4.0, 80, "clamped", _UNTOUCHED, live=1),
    "minifas128": Recipe(1.5, 128, "reflected", _UNIT_RGB, live=0),
}
"""By the name of the weight file in the pack."""

APERIODICITY = "aperiodicity"
"""The name of the one measure that comes from no network: ``service.inference.periodicity``."""

CORE_PARTS = ("fr_liveness", APERIODICITY)
EXTENDED_PARTS = ("fr_liveness", "minifasnet_v2", "minifasnet_v1se", "minifas128")


class LivenessMeter:
    """One or several networks that look at the same face, and how little of its detail repeats itself.

    ``sessions``: by file name; each name must be in ``RECIPES``. ``parts``: names of what is measured, the networks and
    then ``APERIODICITY``; a pack's table says which of them count.
    """

    def __init__(self, sessions: Mapping[str, Session]) -> None:
        self._sessions = dict(sessions)
        self.parts = (*sessions, APERIODICITY)

    def measures(self, image: Image, box: Box, parts: Sequence[str], roll: float = 0.0) -> NDArray[np.float64]:
        """``(parts,)``, the more the more alive: natural log-odds of "live" of the networks, and the aperiodicity.

        ``box`` is a ``Face``'s, in pixels; ``roll``: degrees of the eye line, clockwise positive. Only what ``parts``
        names is computed.
        """
        quarters = round(roll / 90) % 4
        return np.array([self._measure(part, image, lying(box, roll), quarters) for part in parts])

    def _measure(self, part: str, image: Image, box: Box, quarters: int) -> float:
        if part == APERIODICITY:
            return aperiodicity(image, box)
        recipe = RECIPES[part]
        # The networks know upright faces; a square window turns by whole quarters without a pixel lost.
        seen = np.ascontiguousarray(np.rot90(window(image, box, recipe), quarters))
        (logits, *_) = self._sessions[part].run(planes([seen], recipe.preprocessing))
        return log_odds(logits[0], recipe.live)


def log_odds(logits: NDArray[np.float32], live: int) -> float:
    """log(p / (1 - p)) of class ``live`` under the softmax of ``logits`` ``(classes,)``, without overflow."""
    values = logits.astype(np.float64)
    rest = np.delete(values, live)
    highest = float(rest.max())
    return float(values[live]) - highest - float(np.log(np.sum(np.exp(rest - highest))))


def window(image: Image, box: Box, recipe: Recipe) -> Image:
    """What the network sees: ``(side, side, 3)`` BGR."""
    size = (recipe.side, recipe.side)
    if recipe.window == "clamped":
        left, top, right, bottom = clamped(box, recipe.margin, image.shape[1], image.shape[0])
        return np.asarray(cv2.resize(image[top:bottom, left:right], size, interpolation=cv2.INTER_LINEAR), np.uint8)
    x, y, width, height = box
    side = max(width, height) * recipe.margin
    zoom = recipe.side / side
    left_edge, top_edge = x + (width - side) / 2, y + (height - side) / 2
    transform = np.array([[zoom, 0, -left_edge * zoom], [0, zoom, -top_edge * zoom]])
    # What overhangs mirrors what the window sees, as long as its centre lies in the picture.
    part, transform = warpable(image, transform, size)
    return np.asarray(
        cv2.warpAffine(part, transform, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), np.uint8
    )


def clamped(box: Box, margin: float, width: int, height: int) -> tuple[int, int, int, int]:
    """``box`` enlarged ``margin`` times about its centre, or as far as the picture allows, and pushed inside.

    Answers left, top, right, bottom in whole pixels, right and bottom exclusive, at least one pixel each way.
    """
    x, y, box_width, box_height = box
    factor = min(margin, (width - 1) / max(box_width, 1e-3), (height - 1) / max(box_height, 1e-3))
    wide, high = box_width * factor, box_height * factor
    left = min(max(x + (box_width - wide) / 2, 0.0), max(width - 1 - wide, 0.0))
    top = min(max(y + (box_height - high) / 2, 0.0), max(height - 1 - high, 0.0))
    first_column, first_row = int(left), int(top)
    last_column, last_row = min(int(left + wide), width - 1), min(int(top + high), height - 1)
    return first_column, first_row, max(last_column, first_column) + 1, max(last_row, first_row) + 1
