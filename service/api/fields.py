"""Typed reading of parameters that arrive as text or numbers, in any mixture.

``None`` and the empty string count as "not sent". Every method names the parameter in what it raises:
``ParameterMissing`` or ``ParameterMalformed``.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Mapping
from typing import TypeVar

from service.api.body import BODY, Parameters
from service.errors import ParameterMalformed, ParameterMissing, ParameterTooLong
from service.library.names import MAX_IDENTIFIER_LENGTH, is_identifier
from service.values import LongText

__all__ = ["MAX_IDENTIFIER_LENGTH", "Fields", "is_identifier", "single"]

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")

E = TypeVar("E", bound=enum.Enum)
T = TypeVar("T")


class Fields:
    """The parameters of one request, or of one picture of a request."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def optional_text(self, name: str, max_bytes: int | None = None) -> str | None:
        """Text of at most ``max_bytes`` bytes of UTF-8; numbers and booleans are taken as JSON means them.

        So ``1.10`` becomes ``1.1``, and a number of thirty digits loses some.
        """
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, int | float | str | LongText):
            text = str(value)
        else:
            raise ParameterMalformed(name)
        if "\0" in text:
            raise ParameterMalformed(name)
        if max_bytes is not None and len(text.encode()) > max_bytes:
            raise ParameterTooLong(name)
        return text or None

    def text(self, name: str, max_bytes: int | None = None) -> str:
        """As ``optional_text``, and must be there."""
        value = self.optional_text(name, max_bytes)
        if value is None:
            raise ParameterMissing(name)
        return value

    def picture(self, name: str) -> str | LongText:
        """As ``text``; what is long stays as it was received."""
        value = self._values.get(name)
        return value if isinstance(value, LongText) else self.text(name)

    def optional_identifier(self, name: str, *, max_length: int = MAX_IDENTIFIER_LENGTH) -> str | None:
        """Letters, digits and underscores (ASCII)."""
        value = self.optional_text(name)
        if value is not None and not is_identifier(value, max_length):
            raise ParameterMalformed(name)
        return value

    def identifier(self, name: str, *, also: Collection[str] = (), max_length: int = MAX_IDENTIFIER_LENGTH) -> str:
        """An identifier or one of the words ``also``; must be there."""
        value = self.text(name)
        if value not in also and not is_identifier(value, max_length):
            raise ParameterMalformed(name)
        return value

    def identifiers(self, name: str) -> tuple[str, ...]:
        """Identifiers separated by commas, blanks around them ignored, each once, in order; at least one."""
        names = self._items(name)
        if not names:
            raise ParameterMissing(name)
        if any(not is_identifier(item, MAX_IDENTIFIER_LENGTH) for item in names):
            raise ParameterMalformed(name)
        return names

    def lacks(self, name: str) -> bool:
        """Whether nothing was sent, or nothing but an empty text or array."""
        return self._values.get(name) in (None, "", [], [""])

    def lists_nothing(self, name: str) -> bool:
        """Whether a JSON array was sent that names nothing."""
        return isinstance(self._values.get(name), list) and self.lacks(name)

    def words(self, name: str, known: Mapping[str, frozenset[T]]) -> frozenset[T]:
        """Everything that the words of a comma list stand for in ``known``; another word is malformed."""
        words = self._items(name)
        if any(word not in known for word in words):
            raise ParameterMalformed(name)
        return frozenset().union(*(known[word] for word in words))

    def integer(self, name: str, *, default: int, low: int, high: int) -> int:
        """A whole number in ``[low, high]``; ``2.0`` is one."""
        text = self._numeric(name, _INTEGER)
        value = default if text is None else int(text.partition(".")[0])
        if not low <= value <= high:
            raise ParameterMalformed(name)
        return value

    def number(self, name: str, *, default: float, low: float, high: float) -> float:
        """A number in ``[low, high]``."""
        text = self._numeric(name, _NUMBER)
        value = default if text is None else float(text)
        if not low <= value <= high:
            raise ParameterMalformed(name)
        return value

    def choice(self, name: str, kind: type[E], default: E | None = None, *, among: Collection[E] | None = None) -> E:
        """A value of an enumeration, of those in ``among`` if given; must be there when there is no default."""
        text = self.optional_text(name)
        if text is None:
            if default is None:
                raise ParameterMissing(name)
            return default
        try:
            value = kind(text.strip())
        except ValueError:
            raise ParameterMalformed(name) from None
        if among is not None and value not in among:
            raise ParameterMalformed(name)
        return value

    def _items(self, name: str) -> tuple[str, ...]:
        """Parts of a comma list (or of a JSON array, which some clients send instead), blanks off, each once."""
        value = self._values.get(name)
        if isinstance(value, list):
            if not all(isinstance(item, str | int) and not isinstance(item, bool) for item in value):
                raise ParameterMalformed(name)
            parts = [str(item) for item in value]
        else:
            parts = (self.optional_text(name) or "").split(",")
        items = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
        if not items and parts not in ([], [""]):
            raise ParameterMalformed(name)
        return items

    def _numeric(self, name: str, form: re.Pattern[str]) -> str | None:
        if isinstance(self._values.get(name), bool):
            raise ParameterMalformed(name)
        text = self.optional_text(name)
        if text is None:
            return None
        text = text.strip()
        if not form.fullmatch(text):
            raise ParameterMalformed(name)
        return text


def single(parameters: Parameters) -> Fields:
    """The parameters of a call that takes one set of them. Raises ``ParameterMalformed`` for a list of several."""
    if not isinstance(parameters, Mapping):
        raise ParameterMalformed(BODY, "one set of parameters is expected")
    return Fields(parameters)
