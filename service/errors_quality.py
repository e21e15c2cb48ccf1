"""Why a face was turned away by quality or liveness control; to be merged into ``service/errors.py``.

Suggested translation to the v3/v4 codes (the seeds' table has none for pose and size; see each class).
"""

from __future__ import annotations

from service.errors import ServiceError


class FaceRejected(ServiceError):
    """A face was found and does not meet the control that the caller asked for."""


class FaceIncomplete(FaceRejected):
    """The face runs over the picture's border (223116)."""


class FaceTooSmall(FaceRejected):
    """The face has too few pixels. Told as 223114 "face is fuzzy": what helps is the same, a closer picture."""


class PoseTooLarge(FaceRejected):
    """The head is turned too far; ``axis`` is yaw, pitch or roll.

    Told as 223116 "incomplete face": of a turned face not all is seen, and what helps is the same, facing the camera.
    """

    def __init__(self, axis: str) -> None:
        super().__init__(axis)
        self.axis = axis


class FaceLightPoor(FaceRejected):
    """The face is too dark (223115)."""


class FaceFuzzy(FaceRejected):
    """The face is blurred (223114)."""


class FaceCovered(FaceRejected):
    """Something hides a part of the face; ``part`` is its name, or ``None`` when every part is hidden.

    223113 for ``None``; 223121 left_eye, 223122 right_eye, 223123 left_cheek, 223124 right_cheek, 223125 chin_contour,
    223126 nose, 223127 mouth.
    """

    def __init__(self, part: str | None) -> None:
        super().__init__(part or "all parts")
        self.part = part


class LivenessFailed(FaceRejected):
    """The picture does not look taken of a living person (223120)."""
