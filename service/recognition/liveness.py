"""Whether pictures show a living person in front of the camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from service.errors import ServiceUnavailable, WrongPictureCount
from service.intake.intake import Intake
from service.intake.seen import SeenFace
from service.values import App, FaceField, ImageSource

MOST_PICTURES = 8
"""Of the API's documents: one, three or eight pictures of one person; any number in between does no harm."""


@dataclass(frozen=True, slots=True)
class LivenessVerdict:
    """``score``: served score 0..1 of the best picture; ``faces``: the largest face of each, in order, each read."""

    score: float
    faces: tuple[SeenFace, ...]


class VerifyLiveness:
    """The ``faceverify`` call: several pictures of one person, of which the best counts."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def __call__(self, app: App, sources: Sequence[ImageSource], fields: frozenset[FaceField]) -> LivenessVerdict:
        """Raises ``WrongPictureCount`` before any work, and what ``Intake.faces`` raises for any of the pictures.

        Raises ``ServiceUnavailable`` with a pack that brings no networks for liveness.
        """
        if not 1 <= len(sources) <= MOST_PICTURES:
            raise WrongPictureCount
        asked = fields | {FaceField.LIVENESS}
        looks = [partial(self._intake.faces, app, source, fields=asked) for source in sources]
        faces = tuple(found[0] for found in self._intake.side_by_side(looks))
        score = max(liveness_of(face) for face in faces)
        self._intake.remember(app, faces)
        return LivenessVerdict(score, faces)


def liveness_of(face: SeenFace) -> float:
    """Served score 0..1 of a face that was asked for it. Raises ``ServiceUnavailable`` where the pack tells none."""
    score = face.report.liveness
    if score is None:
        raise ServiceUnavailable("this pack brings nothing to tell liveness with")
    return score
