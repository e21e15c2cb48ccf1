"""Numbers of identity cards that commands ask for."""

from __future__ import annotations

import typer

from service.cli.failures import MISUSED, Failure


def asked(number: str | None = None) -> str:
    """What an argument says, every user of the machine can read while the command runs, and a shell writes down."""
    return typer.prompt("number", hide_input=True, err=True) if number is None else number


def checked(text: str) -> str:
    """The number as the register knows it, however it was typed. Raises ``Failure`` for what is none."""
    from service.errors import IdNumberMalformed
    from service.identity.claims import number_of

    try:
        return number_of(text)
    except IdNumberMalformed as error:
        raise Failure(f"that is no number of an identity card: {error}", MISUSED) from None
