"""How a generation of the API writes down its error codes. The tables themselves are in its own ``codes.py``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.errors import ParameterMalformed, ServiceError

LAST_GATEWAY_CODE = 111
"""Codes up to this one come from the gateway: their answers carry nothing but code and text."""


@dataclass(frozen=True, slots=True)
class Code:
    """One error code: its number, its text to the letter, and what raises it or why nothing does.

    ``errors`` are the classes that it translates, together with those that derive from them and have no code of
    their own; ``parameters`` are the malformed parameters that it reports. A code with neither is reserved.
    """

    number: int
    text: str
    when: str
    errors: tuple[type[ServiceError], ...] = ()
    parameters: tuple[str, ...] = ()
    documented: bool = True
    """Whether the vendor's table for this generation lists it."""

    @property
    def reserved(self) -> bool:
        """Whether nothing raises it."""
        return not self.errors and not self.parameters

    @property
    def of_gateway(self) -> bool:
        """Whether its answers carry nothing but code and text."""
        return self.number <= LAST_GATEWAY_CODE


class CodeTable:
    """The codes of one generation and the one translation from errors to them."""

    def __init__(self, codes: Sequence[Code]) -> None:
        self._codes = tuple(codes)
        self._by_error = {error: code for code in codes for error in code.errors}
        self._by_parameter = {name: code for code in codes for name in code.parameters}
        if ServiceError not in self._by_error:
            raise ValueError("the table has no code for errors that it does not name")

    def __iter__(self) -> Iterator[Code]:
        return iter(self._codes)

    def markdown(self) -> str:
        """The table as the documentation shows it."""
        rows = [f"| {code.number} | {code.text} | {code.when} |" for code in self._codes]
        return "\n".join(["| code | text | when |", "|---|---|---|", *rows])

    def of(self, error: ServiceError) -> Code:
        """The code of an error: a malformed parameter's own, else that of the nearest class that has one.

        A table that names a special kind of malformed parameter has a code for it, whichever the parameter.
        """
        special = type(error) is not ParameterMalformed and type(error) in self._by_error
        if isinstance(error, ParameterMalformed) and not special and error.parameter in self._by_parameter:
            return self._by_parameter[error.parameter]
        return next(self._by_error[kind] for kind in type(error).__mro__ if kind in self._by_error)
