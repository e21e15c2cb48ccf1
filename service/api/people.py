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
"""Not all of C: names have characters of private use (Co), and some that this Python's Unicode does not know (Cn)."""


def claim(fields: Fields) -> Claim:
    """Of ``id_card_number`` and ``name``.

    Raises ``ParameterMalformed`` for what is no number or no name by its form: another length, a control character.
    What has the form and breaks the rules raises ``IdNumberMalformed`` or ``NameMalformed``.
    """
    number, name = fields.text(NUMBER, MAX_NUMBER_BYTES), fields.text(NAME)
    if not claims.has_form(number):
        raise ParameterMalformed(NUMBER)
    if len(name.encode()) > MAX_NAME_BYTES or not _is_line(name.strip()):
        raise ParameterMalformed(NAME)
    return Claim.of(number, name)


def validity(fields: Fields) -> Validity:
    """Of ``start_date`` and ``end_date``, eight digits each."""
    return validity_of(fields.text("start_date"), fields.text("end_date"))


def _is_line(text: str) -> bool:
    """Whether there is something, and nothing in it that controls how text is shown or ends its line."""
    return bool(text) and not any(unicodedata.category(letter) in _CONTROLS for letter in text)
