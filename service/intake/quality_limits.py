"""What LOW, NORMAL and HIGH quality control ask of a face, as one table.

NORMAL holds the limits that the API's documents recommend (occlusion, blur, light, pose, completeness). For the size
they name two figures, at least 100x100 and a useful range from 80x80 on: NORMAL asks for the smaller, HIGH for the
larger one. LOW and HIGH are our own steps to either side; ``models/cards/quality.md`` tells how many faces each
turns away.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.inference.occlusion import Occlusion
from service.values import Control


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """The worst values that still pass.

    ``occlusion``: hidden share of each part; ``blur`` 0..1; ``illumination``: least mean luma, 0..255; ``angle``:
    largest yaw, pitch and roll in degrees; ``complete``: whether the face must lie inside the picture; ``side``:
    least width and height of the face's box in pixels.
    """

    occlusion: Occlusion
    blur: float
    illumination: float
    angle: float
    complete: bool
    side: float


_LOW = QualityLimits(
    occlusion=Occlusion(
        left_eye=0.8, right_eye=0.8, nose=0.85, mouth=0.85, left_cheek=0.9, right_cheek=0.9, chin_contour=0.8
    ),
    blur=0.9,
    illumination=20,
    angle=45,
    complete=False,
    side=40,
)

_NORMAL = QualityLimits(
    occlusion=Occlusion(
        left_eye=0.6, right_eye=0.6, nose=0.7, mouth=0.7, left_cheek=0.8, right_cheek=0.8, chin_contour=0.6
    ),
    blur=0.7,
    illumination=40,
    angle=20,
    complete=True,
    side=80,
)

_HIGH = QualityLimits(
    occlusion=Occlusion(
        left_eye=0.3, right_eye=0.3, nose=0.35, mouth=0.35, left_cheek=0.4, right_cheek=0.4, chin_contour=0.3
    ),
    blur=0.4,
    illumination=60,
    angle=15,
    complete=True,
    side=100,
)

QUALITY_LIMITS: dict[Control, QualityLimits | None] = {
    Control.NONE: None,
    Control.LOW: _LOW,
    Control.NORMAL: _NORMAL,
    Control.HIGH: _HIGH,
}
"""By ``quality_control``; ``None`` asks nothing, and then nothing needs to be measured."""
