"""``aipface key``: the master key that everything secret in the database is sealed with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from service.cli.common import administration, effective_settings
from service.cli.failures import Failure

if TYPE_CHECKING:
    from pathlib import Path

    from service.administration import Admin

keys = typer.Typer(help="The master key that secrets are sealed with.", no_args_is_help=True)


@keys.command("add")
def add() -> None:
    """Put a new key in front of the key file. It is used from each server's next start; nothing is sealed anew."""
    from service.access import key_file

    path = _file()
    key_file.add(path)
    typer.echo(f"{path} begins with a new key: restart every server, then: aipface key reseal", err=True)


@keys.command("reseal")
def reseal() -> None:
    """Seal everything under the first key. Servers that do not know it must be restarted before."""
    with administration() as admin:
        _reseal(admin)


@keys.command("rotate")
def rotate() -> None:
    """Make a new key and seal everything under it, for a machine alone; restart its server after it."""
    from service.access import key_file

    key_file.add(_file())
    with administration() as admin:
        _reseal(admin)
    typer.echo("restart the server; tokens and names of faces stay good while the old key is in the file", err=True)


@keys.command("drop-old")
def drop_old() -> None:
    """Forget all keys but the first, when everything is sealed under it. Tokens signed with the others end."""
    from service.access import key_file

    path = _file()
    with administration() as admin:
        _reseal(admin)
    typer.echo(f"dropped {key_file.drop_old(path)} old keys; restart every server", err=True)


def _reseal(admin: Admin) -> None:
    from service.rotation import reseal

    for kind, count in reseal(admin.database, admin.keyring).items():
        typer.echo(f"{count:>8}  {kind}")


def _file() -> Path:
    settings = effective_settings()
    if settings.secret_key is not None:
        raise Failure("AIPFACE_SECRET_KEY holds the keys: put a new one first there, then: aipface key reseal")
    return settings.secret_key_file
