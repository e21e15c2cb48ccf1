"""Face detectors: one picture at one size in, boxes with five points out. Decoding of YuNet's and SCRFD's outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.manifest import DetectorSpec
from service.inference.geometry import Box, intersection_over_union
from service.inference.preprocessing import planes
from service.inference.session import Array, Session
from service.values import Image, Points

STRIDES = (8, 16, 32)

# Sides of an input are padded up to a multiple of the coarsest stride.
_GRANULE = STRIDES[-1]

# A hostile picture may be full of near-faces, each worth a closer look: only so many of a pass are told.
MOST_CANDIDATES = 128

# Two boxes overlapping more than this show the same face (the value YuNet's own sample uses is 0.3, SCRFD's 0.4).
OVERLAP_OF_SAME_FACE = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One candidate: box and five points in pixels of the picture that was given, confidence 0..1."""

    box: Box
    confidence: float
    points: Points

    @property
    def side(self) -> float:
        """Side of the square with the area of the box."""
        return math.sqrt(max(0.0, self.box[2] * self.box[3]))

    @property
    def centre(self) -> tuple[float, float]:
        """Centre of the box."""
        return self.box[0] + self.box[2] / 2, self.box[1] + self.box[3] / 2


class Detector(Protocol):
    """Finds faces that stand upright, more or less: detectors also answer for turned faces, with misplaced points."""

    @property
    def sure(self) -> float:
        """Confidence that an upright, well visible face nearly always reaches and a turned one never does."""

    @property
    def threshold(self) -> float:
        """Confidence from which on a candidate is worth a closer look."""

    @property
    def faint(self) -> float:
        """Confidence that some candidate at a lying face nearly always reaches; far below the threshold."""

    def detect(self, image: Image, least: float | None = None) -> list[Detection]:
        """The ``MOST_CANDIDATES`` best of at least that confidence (default: the threshold's), most confident first.

        Those that overlap a more confident one are left out.
        """


class YuNet:
    """YuNet (Wu, Peng, Yu: "YuNet: a tiny millisecond-level face detector", 2023), OpenCV Zoo's 2023mar weights.

    Outputs per stride s, rows in raster order: ``cls``, ``obj`` (0..1), ``bbox`` (dx, dy, log w,
    log h in strides from the prior), ``kps`` (five points in strides from the prior); score = sqrt(cls · obj).
    """

    # Measured on 300 LFW pictures at 320: upright faces .908 to .957 (median .940), upside-down ones at most .909.
    sure = 0.91

    # With a glance at the picture turned only where a candidate reaches this, 395 of 400 lying faces were found, with a
    # glance always 396, and 91 % of 150 pictures of LFW need none (benchmarks.lying).
    faint = 0.05

    def __init__(self, session: Session, spec: DetectorSpec, threshold: float) -> None:
        self._session = session
        self._spec = spec
        self.threshold = threshold
        names = session.output_names
        self._order = [[names.index(f"{kind}_{s}") for kind in ("cls", "obj", "bbox", "kps")] for s in STRIDES]

    def detect(self, image: Image, least: float | None = None) -> list[Detection]:
        least = self.threshold if least is None else least
        padded = pad_to_granule(image)
        outputs = self._session.run(planes([padded], self._spec.preprocessing))
        found = []
        for stride, order in zip(STRIDES, self._order, strict=True):
            kind, objectness, boxes, points = (outputs[index][0] for index in order)
            score = np.sqrt(_share(kind[:, 0]) * _share(objectness[:, 0]))
            (kept,) = (score >= least).nonzero()
            if len(kept) == 0:
                continue
            prior = priors(kept, padded.shape[1] // stride)
            centre = (prior + boxes[kept, :2]) * stride
            size = np.exp(boxes[kept, 2:]) * stride
            corners = (prior[:, np.newaxis] + points[kept].reshape(-1, 5, 2)) * stride
            found.append((np.hstack([centre - size / 2, size]), score[kept], corners))
        return suppress(found)


class Scrfd:
    """SCRFD with points (Guo et al.: "Sample and computation redistribution for efficient face detection", 2021).

    Outputs, nine arrays with or without a leading batch axis: for strides 8, 16, 32 the
    scores (0..1), then the box distances (left, top, right, bottom in strides), then five points (in strides), each
    with two anchors at every cell.
    """

    # Neither is measured, for want of the weights: published scores of clear upright faces lie around .7 to .9.
    sure = 0.65
    faint = 0.05

    _ANCHORS = 2

    def __init__(self, session: Session, spec: DetectorSpec, threshold: float) -> None:
        if len(session.output_names) != 3 * len(STRIDES):
            raise ValueError(f"SCRFD with points has 9 outputs, this graph has {len(session.output_names)}")
        self._session = session
        self._spec = spec
        self.threshold = threshold

    def detect(self, image: Image, least: float | None = None) -> list[Detection]:
        least = self.threshold if least is None else least
        padded = pad_to_granule(image)
        outputs = self._session.run(planes([padded], self._spec.preprocessing))
        found = []
        for level, stride in enumerate(STRIDES):
            score = outputs[level].reshape(-1)
            kept = np.flatnonzero(score >= least)
            if len(kept) == 0:
                continue
            distance = outputs[level + len(STRIDES)].reshape(-1, 4)[kept] * stride
            centre = priors(kept // self._ANCHORS, padded.shape[1] // stride) * stride
            low, high = centre - distance[:, :2], centre + distance[:, 2:]
            points = outputs[level + 2 * len(STRIDES)].reshape(-1, 5, 2)[kept] * stride + centre[:, np.newaxis]
            found.append((np.hstack([low, high - low]), score[kept], points))
        return suppress(found)


def certainty(confidence: float, sure: float) -> float:
    """How likely a candidate is a face, 0..1, on the cloud's scale: 1 from ``sure`` on, as for nearly every clear face.

    Programs hold it in an integer, or cut at .9 and more, where the bare confidence of a clear face lies (.91 to .96).
    Squared, what is doubtful is not raised: .83 stays about .83, and all below falls.
    """
    return min(1.0, confidence / sure) ** 2


def _share(values: Array) -> Array:
    """``values`` cut to 0..1; ``np.clip`` takes longer to come to the same."""
    return np.minimum(np.maximum(values, 0), 1)


def pad_to_granule(image: Image) -> Image:
    """``image`` with black added to the right and below until both sides are multiples of 32."""
    height, width = image.shape[:2]
    size = (-(-height // _GRANULE) * _GRANULE, -(-width // _GRANULE) * _GRANULE)
    if size == (height, width):
        return image
    canvas = np.zeros((*size, 3), np.uint8)
    canvas[:height, :width] = image
    return canvas


def priors(cells: NDArray[np.intp], columns: int) -> Array:
    """``(n, 2)`` column and row of grid cells that are numbered in raster order."""
    return np.stack([cells % columns, cells // columns], axis=1).astype(np.float32)


def suppress(found: Sequence[tuple[Array, Array, Array]]) -> list[Detection]:
    """Greedy non-maximum suppression over (boxes (n, 4), scores (n,), points (n, 5, 2)) of every stride.

    Ends at ``MOST_CANDIDATES``, the most confident ones.
    """
    if not found:
        return []
    boxes, scores, points = (np.concatenate(parts) for parts in zip(*found, strict=True))
    # A stable sort of the negated scores: equal scores keep raster order, so the answer is always the same.
    waiting = np.argsort(-scores, kind="stable")
    kept: list[np.intp] = []
    while len(waiting) and len(kept) < MOST_CANDIDATES:
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        if len(waiting):
            waiting = waiting[intersection_over_union(boxes[best], boxes[waiting]) <= OVERLAP_OF_SAME_FACE]
    return [_detection(boxes[index], float(scores[index]), points[index]) for index in kept]


def _detection(box: Array, score: float, points: Array) -> Detection:
    x, y, width, height = box.tolist()
    return Detection((x, y, width, height), min(1.0, score), points.astype(np.float32))
