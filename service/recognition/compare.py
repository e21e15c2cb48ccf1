"""1:1, whether the faces of two pictures are the same person's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from service.calibration.scores import IDENTITY_SCORE, ScoreTable
from service.errors import WrongPictureCount
from service.intake.controls import NO_CONTROLS, Controls
from service.intake.intake import Intake
from service.intake.order import FaceOrder
from service.intake.seen import SeenFace
from service.values import App, FaceField, ImageSource

PICTURES_COMPARED = 2


@dataclass(frozen=True, slots=True)
class Probe:
    """One picture of a comparison: which of its faces counts, the controls it must pass, what is asked about it."""

    source: ImageSource
    controls: Controls = NO_CONTROLS
    fields: frozenset[FaceField] = frozenset()
    order: FaceOrder = FaceOrder.AREA


@dataclass(frozen=True, slots=True)
class Comparison:
    """``score`` 0..100, 80 at a false accept rate of 1e-4; ``faces`` in the order of the probes."""

    score: float
    faces: tuple[SeenFace, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two of several pictures, by their positions, ``first < second``."""

    first: int
    second: int
    score: float


@dataclass(frozen=True, slots=True)
class Pairs:
    """Every pair of several pictures; ``faces`` in the order of the probes."""

    pairs: tuple[Pair, ...]
    faces: tuple[SeenFace, ...]


class CompareFaces:
    """The ``match`` calls: one face of each of two pictures, the largest unless a probe says otherwise."""

    def __init__(self, intake: Intake, scores: ScoreTable) -> None:
        self._intake = intake
        self._scores = scores

    def __call__(self, app: App, probes: Sequence[Probe]) -> Comparison:
        """Raises ``WrongPictureCount`` unless there are exactly two probes, before any work on them."""
        if len(probes) != PICTURES_COMPARED:
            raise WrongPictureCount
        faces = self._faces(app, probes)
        self._intake.remember(app, faces)
        return Comparison(self._score(*faces), faces)

    def pairs(self, app: App, probes: Sequence[Probe]) -> Pairs:
        """Compare each picture with each; the tokens of the faces are not kept.

        Raises ``WrongPictureCount`` for fewer than two probes, before any work on them.
        """
        if len(probes) < PICTURES_COMPARED:
            raise WrongPictureCount
        faces = self._faces(app, probes)
        positions = itertools.combinations(range(len(faces)), 2)
        return Pairs(tuple(Pair(i, j, self._score(faces[i], faces[j])) for i, j in positions), faces)

    def _faces(self, app: App, probes: Sequence[Probe]) -> tuple[SeenFace, ...]:
        return tuple(self._intake.side_by_side([partial(self._face, app, probe) for probe in probes]))

    def _face(self, app: App, probe: Probe) -> SeenFace:
        return self._intake.faces(
            app, probe.source, embed=True, fields=probe.fields, controls=probe.controls, order=probe.order
        )[0]

    def _score(self, first: SeenFace, second: SeenFace) -> float:
        if first.token == second.token:
            return IDENTITY_SCORE
        return self._scores.score(float(np.dot(first.embedding, second.embedding)))
