"""The parameters that describe a picture and what is asked about its faces, as V3 and V4 both take them."""

from __future__ import annotations

from collections.abc import Mapping

from service.api.fields import Fields, is_identifier
from service.errors import FaceTokenNotFound
from service.intake.controls import Controls
from service.intake.order import FaceOrder
from service.values import Control, FaceField, ImageKind, ImageSource, PictureType

MAX_FACE_TOKEN_LENGTH = 64

FACE_FIELDS: Mapping[str, frozenset[FaceField]] = {
    **{field.value: frozenset({field}) for field in FaceField},
    "landmark": frozenset({FaceField.LANDMARK, FaceField.LANDMARK72}),
    "landmark4": frozenset({FaceField.LANDMARK}),
    "faceshape": frozenset({FaceField.FACE_SHAPE}),
    "facetype": frozenset({FaceField.FACE_TYPE}),
    "eyestatus": frozenset({FaceField.EYE_STATUS}),
    "occlusion": frozenset({FaceField.QUALITY}),
    "parsing_info": frozenset({FaceField.PARSING}),
    "faceliveness": frozenset({FaceField.LIVENESS}),
    "qualities": frozenset({FaceField.QUALITY}),
    **dict.fromkeys(("face_token", "location", "angle", "face_probability"), frozenset[FaceField]()),
    **dict.fromkeys(("feature", "race"), frozenset[FaceField]()),
}
"""Every spelling of ``face_field`` that the vendor's documents have used, and the name it goes by here.

Programs also name what every answer tells, what V2 called so (``qualities``), and what is told no more.
"""

_ORDERS = (FaceOrder.AREA, FaceOrder.CENTRE)
"""By the number of ``face_sort_type``."""


def source(fields: Fields, prefix: str = "", *, kind: ImageKind | None = None) -> ImageSource:
    """Read from ``image``, ``image_type`` (default ``kind``) and ``face_type``, with ``prefix`` before the names."""
    text = fields.picture(f"{prefix}image")
    sent = fields.choice(f"{prefix}image_type", ImageKind, kind)
    if sent is not ImageKind.BASE64:
        text = str(text)
    if sent is ImageKind.FACE_TOKEN and not is_identifier(str(text), MAX_FACE_TOKEN_LENGTH):
        raise FaceTokenNotFound("no token of ours looks like that")
    return ImageSource(sent, text, fields.choice(f"{prefix}face_type", PictureType, PictureType.LIVE))


def controls(fields: Fields, prefix: str = "") -> Controls:
    """Read from ``quality_control`` and ``liveness_control``, with ``prefix`` before the names."""
    return Controls(
        quality=fields.choice(f"{prefix}quality_control", Control, Control.NONE),
        liveness=fields.choice(f"{prefix}liveness_control", Control, Control.NONE),
    )


def order(fields: Fields) -> FaceOrder:
    """Read from ``face_sort_type``: 0 by area, 1 by the distance from the centre of the picture."""
    return _ORDERS[fields.integer("face_sort_type", default=0, low=0, high=len(_ORDERS) - 1)]
