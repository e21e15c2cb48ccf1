"""Whether a measured face is good enough and alive enough for what the caller asked: pure functions.

Quality comes before liveness, liveness before recognition. Within quality the grossest defect comes first, because it
spoils the later measures: a face that is cut off seems covered, one of few pixels seems blurred, and a dark one too.
"""

from __future__ import annotations

from dataclasses import fields

from service.calibration import spoofing
from service.calibration.liveness import THRESHOLDS
from service.errors import (
    ChinCovered,
    FaceCovered,
    FaceFuzzy,
    FaceIncomplete,
    FaceLightPoor,
    FaceTooSmall,
    LeftCheekCovered,
    LeftEyeCovered,
    LivenessFailed,
    MouthCovered,
    NoseCovered,
    PoseTooLarge,
    RightCheekCovered,
    RightEyeCovered,
    SyntheticPicture,
)
from service.inference.occlusion import Occlusion
from service.inference.quality import Quality
from service.intake.quality_limits import QUALITY_LIMITS
from service.values import Angles, Control, Location

PARTS: tuple[str, ...] = tuple(field.name for field in fields(Occlusion))

COVERED: dict[str, type[FaceCovered]] = {
    "left_eye": LeftEyeCovered,
    "right_eye": RightEyeCovered,
    "nose": NoseCovered,
    "mouth": MouthCovered,
    "left_cheek": LeftCheekCovered,
    "right_cheek": RightCheekCovered,
    "chin_contour": ChinCovered,
}
"""What is raised for each part."""

LIVENESS_LIMITS: dict[Control, float | None] = {
    Control.NONE: None,
    Control.LOW: THRESHOLDS["frr_1e-4"],
    Control.NORMAL: THRESHOLDS["frr_1e-3"],
    Control.HIGH: THRESHOLDS["frr_1e-2"],
}
"""Least served liveness score by ``liveness_control``: LOW passes nearly everybody, HIGH stops most attacks."""

SPOOFING_LIMITS: dict[Control, float | None] = {
    Control.NONE: None,
    Control.LOW: spoofing.THRESHOLDS["frr_5e-2"],
    Control.NORMAL: spoofing.THRESHOLDS["frr_1e-2"],
    Control.HIGH: spoofing.THRESHOLDS["frr_1e-3"],
}
"""Highest served ``spoofing`` by ``spoofing_control``: here LOW is a low limit and therefore the strictest."""


def check_quality(control: Control, quality: Quality, location: Location, angles: Angles) -> None:
    """Raises the first failure in the order completeness, size, pose, light, blur, hidden parts (in wire order).

    A value that equals its limit passes, except that occlusion, blur and angles must stay *below* and light *above*
    theirs, as the API's documents put it ("less than 0.7", "greater than 40"). NaN never passes, here and in the checks
    of liveness and spoofing, because each comparison is written as the condition for passing.
    """
    limits = QUALITY_LIMITS[control]
    if limits is None:
        return
    if limits.complete and not quality.completeness:
        raise FaceIncomplete
    if not (location.width >= limits.side and location.height >= limits.side):
        raise FaceTooSmall
    for axis, degrees in (("yaw", angles.yaw), ("pitch", angles.pitch), ("roll", angles.roll)):
        if not abs(degrees) < limits.angle:
            raise PoseTooLarge(axis)
    if not quality.illumination > limits.illumination:
        raise FaceLightPoor
    if not quality.blur < limits.blur:
        raise FaceFuzzy
    hidden = hidden_parts(quality.occlusion, limits.occlusion)
    if hidden:
        raise FaceCovered if len(hidden) == len(PARTS) else COVERED[hidden[0]]


def hidden_parts(occlusion: Occlusion, limits: Occlusion) -> tuple[str, ...]:
    """Names of the parts that are hidden at least as much as ``limits`` says, in wire order."""
    return tuple(part for part in PARTS if not getattr(occlusion, part) < getattr(limits, part))


def check_liveness(control: Control, score: float) -> None:
    """Raises ``LivenessFailed`` when the served ``score`` (0..1; of several pictures the best) is below the limit."""
    limit = LIVENESS_LIMITS[control]
    if limit is not None and not score >= limit:
        raise LivenessFailed


def check_spoofing(control: Control, score: float) -> None:
    """Raises ``SyntheticPicture`` when ``score`` (0..1, higher is more synthetic) is above the limit."""
    limit = SPOOFING_LIMITS[control]
    if limit is not None and not score <= limit:
        raise SyntheticPicture
