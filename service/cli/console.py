"""``aipface console``: the operator's password, without which there are no web pages."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import effective_settings
from service.cli.failures import Failure

if TYPE_CHECKING:
    from service.console.password import PasswordFile

console = typer.Typer(help="The web console at /console.", no_args_is_help=True)


@console.command("password")
def password(
    *,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the password from standard input, one line.")] = False,
) -> None:
    """Set the operator's password, which turns the console on and ends every session. No restart is needed."""
    from service.console.password import PasswordError

    file = _file()
    if stdin:
        text = sys.stdin.readline().rstrip("\n")
    else:
        text = typer.prompt("New password", hide_input=True, confirmation_prompt=True)
    try:
        file.set(text)
    except PasswordError as error:
        raise Failure(str(error)) from None
    typer.echo("the console is on: log in at /console", err=True)


@console.command("off")
def off() -> None:
    """Remove the password, which turns the console off at once."""
    _file().remove()
    typer.echo("the console is off", err=True)


def _file() -> PasswordFile:
    from service.console.password import FILE, PasswordFile

    return PasswordFile(effective_settings().home / FILE)
