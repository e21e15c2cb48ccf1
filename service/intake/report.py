"""What is told about one face: the fields that were asked for, and no work for those that were not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from service import beside
from service.calibration.liveness import LivenessTable
from service.calibration.spoofing import served
from service.errors import FaceRejected
from service.inference.analyst import Analyst
from service.inference.attributes import EyeStatus, FaceReader, Typed
from service.inference.quality import Quality
from service.intake.acceptance import check_liveness, check_quality, check_spoofing
from service.intake.controls import Controls
from service.metrics import measured
from service.values import Angles, Control, Face, FaceField, Image, Points

_OF_THE_MESH = frozenset(
    {FaceField.LANDMARK72, FaceField.LANDMARK150, FaceField.FACE_SHAPE, FaceField.PARSING, FaceField.EYE_STATUS}
)
"""Fields beside which the mesh's angles are told; all others leave those of the regression (decision 10)."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceReport:
    """One value per field of ``FaceField``; ``None`` where it was not asked for.

    ``landmarks``: ``(150, 2)`` in pixels of the picture that was looked at; ``parsing``: ``(height, width)`` labels;
    ``liveness`` and ``spoofing``: 0..1; ``rejection``: why the face fails the controls, if it does.
    """

    age: float | None = None
    beauty: float | None = None
    expression: Typed | None = None
    face_shapes: tuple[Typed, ...] | None = None
    gender: Typed | None = None
    glasses: Typed | None = None
    emotion: Typed | None = None
    face_type: Typed | None = None
    mask: Typed | None = None
    eye_status: EyeStatus | None = None
    spoofing: float | None = None
    landmarks: Points | None = None
    parsing: NDArray[np.uint8] | None = None
    quality: Quality | None = None
    liveness: float | None = None
    angles: Angles | None = None
    rejection: FaceRejected | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Where a face is looked at: the picture or its portrait, the face in it, and what only the picture knows."""

    image: Image
    face: Face
    complete: bool | None = None
    """Completeness in the original picture where ``image`` is a cut of it; ``None`` where it is the picture."""


class Reporter:
    """Makes reports with the analyst's networks and the pack's liveness table."""

    def __init__(self, analyst: Analyst, liveness: LivenessTable) -> None:
        self._analyst = analyst
        self._liveness = liveness

    @property
    def analyst(self) -> Analyst:
        """The networks that reports are made with."""
        return self._analyst

    @measured("analyse")
    def report(self, look: Look, fields: frozenset[FaceField], controls: Controls) -> FaceReport:
        """Compute what was asked for, in the order quality, liveness, spoofing, the rest.

        A face that fails a control comes back with its ``rejection`` and without what would have come after.
        """
        quality = liveness = None
        reader = self._analyst.reader(look.image, look.face)
        wants_liveness = controls.liveness is not Control.NONE or FaceField.LIVENESS in fields
        live = beside.offer(lambda: self._alive(look)) if wants_liveness else None
        if controls.quality is not Control.NONE or FaceField.QUALITY in fields:
            quality = self._quality(look)
        if live is not None:
            liveness = live.take()
        try:
            if quality is not None:
                check_quality(controls.quality, quality, look.face.location, look.face.angles)
            if liveness is not None:
                check_liveness(controls.liveness, liveness)
            if controls.spoofing is not Control.NONE:
                check_spoofing(controls.spoofing, served(reader.spoofing))
        except FaceRejected as rejection:
            return FaceReport(quality=quality, liveness=liveness, rejection=rejection)
        told = _read(reader, fields)
        return replace(
            told,
            quality=quality if FaceField.QUALITY in fields else None,
            liveness=liveness if FaceField.LIVENESS in fields else None,
            # The mesh measures other angles; where a control decided, the answer has those that it decided by.
            angles=told.angles if controls.quality is Control.NONE else None,
        )

    def _alive(self, look: Look) -> float:
        return self._liveness.score(self._analyst.liveness(look.image, look.face, self._liveness.names))

    def _quality(self, look: Look) -> Quality:
        quality = self._analyst.quality(look.image, look.face)
        return quality if look.complete is None else replace(quality, completeness=int(look.complete))


def _read(reader: FaceReader, fields: frozenset[FaceField]) -> FaceReport:
    def asked(*names: FaceField) -> bool:
        return not fields.isdisjoint(names)

    spoofing = None
    if asked(FaceField.SPOOFING):
        _ = reader.mesh  # all that this look shares with the others
        spoofing = beside.offer(lambda: reader.spoofing)
    return FaceReport(
        age=reader.age if asked(FaceField.AGE) else None,
        beauty=reader.beauty if asked(FaceField.BEAUTY) else None,
        expression=reader.expression if asked(FaceField.EXPRESSION) else None,
        face_shapes=reader.face_shapes if asked(FaceField.FACE_SHAPE) else None,
        gender=reader.gender if asked(FaceField.GENDER) else None,
        glasses=reader.glasses if asked(FaceField.GLASSES) else None,
        emotion=reader.emotion if asked(FaceField.EMOTION) else None,
        face_type=reader.face_type if asked(FaceField.FACE_TYPE) else None,
        mask=reader.mask if asked(FaceField.MASK) else None,
        eye_status=reader.eye_status if asked(FaceField.EYE_STATUS) else None,
        landmarks=reader.landmarks if asked(FaceField.LANDMARK, FaceField.LANDMARK72, FaceField.LANDMARK150) else None,
        parsing=reader.parsing if asked(FaceField.PARSING) else None,
        angles=reader.angles if asked(*_OF_THE_MESH) else None,
        spoofing=None if spoofing is None else served(spoofing.take()),
    )
