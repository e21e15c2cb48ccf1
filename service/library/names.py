"""What groups and users may be called: the API's rule, which holds for every way into the library."""

from __future__ import annotations

import re

MAX_IDENTIFIER_LENGTH = 128
MAX_USER_INFO_BYTES = 256
"""Of UTF-8; both of the API's documents."""

_IDENTIFIER = re.compile(r"[A-Za-z0-9_]+")


def is_identifier(text: str, max_length: int = MAX_IDENTIFIER_LENGTH) -> bool:
    """Whether ``text`` is 1 to ``max_length`` ASCII letters, digits and underscores."""
    return len(text) <= max_length and _IDENTIFIER.fullmatch(text) is not None
