"""The error codes of V4: the vendor's table, which is V3's, with V4's names of parameters, and codes of our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from service import errors
from service.api.codes import Code, CodeTable
from service.api.vendors_table import VENDORS_TABLE

ENCRYPTED = "data"
"""The parameter with the envelope. Pictures encrypted for the vendor are refused as malformed in this parameter."""

_PARAMETERS: Mapping[int, tuple[str, ...]] = {
    222013: ("image_list", "register_image", ENCRYPTED),
    222015: ("register_image_type",),
    222019: ("register_quality_control",),
    222020: ("register_liveness_control",),
    222024: ("register_face_type",),
}
"""Parameters that V4 has beside V3's. Others that are malformed, such as ``option``, answer 222001, as in V3."""

_OF_ENVELOPES = (
    Code(
        222950,
        "envelope can not be opened",
        "sealed for another key or app, changed on the way, or not of the form that docs/capture-envelope.md describes",
        (errors.EnvelopeError, errors.EnvelopeNotOpened),
        documented=False,
    ),
    Code(
        222951,
        "envelope timestamp out of range",
        "captured too long ago, or in the future",
        (errors.EnvelopeStale,),
        documented=False,
    ),
    Code(222952, "envelope already used", "its nonce came before", (errors.EnvelopeReplayed,), documented=False),
)

CODES = CodeTable(
    [
        *(replace(code, parameters=(*code.parameters, *_PARAMETERS.get(code.number, ()))) for code in VENDORS_TABLE),
        *_OF_ENVELOPES,
    ]
)
"""Every code of V4: the vendor's table in its order, then ours."""
