"""The parameters that say who somebody is, as V3 and V4 both take them."""

from __future__ import annotations

import unicodedata

from service.api.fields import Fields
from service.errors import ParameterMalformed
from service.identity import claims
from service.identity.claims import Claim, Validity
from service.identity.validity import validity_of

NUMBER, NAME = "id_card_number", "name"

MAX_NUMBER_BYTES = 64
MAX_NAME_BYTES = 4 * claims.MOST_NAME_CHARACTERS

_CONTROLS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that a number or name may not contain. Of the categories C*, private use (Co) and unassigned (Cn)
are missing: names have rare characters that fonts keep in private use or that this Python's Unicode does not know."""


def claim(fields: Fields) -> Claim:
    """Read from ``id_card_number`` and ``name``.

    Raises ``ParameterMalformed`` where the form is wrong (length, control characters), ``IdNumberMalformed`` and
    ``NameMalformed`` where the form is right and the rules of numbers and names are broken.
    """
    number, name = fields.text(NUMBER, MAX_NUMBER_BYTES), fields.text(NAME)
    if not claims.has_form(number):
        raise ParameterMalformed(NUMBER)
    if len(name.encode()) > MAX_NAME_BYTES or not _is_line(name.strip()):
        raise ParameterMalformed(NAME)
    return Claim.of(number, name)


def validity(fields: Fields) -> Validity:
    """Read from ``start_date`` and ``end_date``, eight digits each."""
    return validity_of(fields.text("start_date"), fields.text("end_date"))


def _is_line(text: str) -> bool:
    """Whether ``text`` is one non-empty line without control characters."""
    return bool(text) and not any(unicodedata.category(letter) in _CONTROLS for letter in text)
