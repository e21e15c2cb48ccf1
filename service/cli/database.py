"""``aipface db``: the database's schema."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated

import typer

from service.cli.common import database_address, effective_settings
from service.cli.failures import MISUSED, Failure

database = typer.Typer(help="The database's schema.", no_args_is_help=True)


@database.command("upgrade")
def upgrade(revision: Annotated[str, typer.Argument(help="Revision to reach.")] = "head") -> None:
    """Bring the schema up to date; the server does it by itself at each start."""
    from service.storage import migrations

    with database_address(effective_settings()) as address, _revision_failures():
        migrations.upgrade(address, revision)
        typer.echo(f"the schema is at {migrations.current(address)}", err=True)


@database.command("downgrade")
def downgrade(
    revision: Annotated[str, typer.Argument(help="Revision to go back to; `base` drops every table.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before data are dropped.")] = False,
) -> None:
    """Take the schema back to an older revision. What it has no place for is lost."""
    from service.storage import migrations

    with _revision_failures():
        migrations.check_revision(revision)
    if not yes and not typer.confirm(f"Go back to {revision}? Data that it has no place for are lost", err=True):
        raise Failure("nothing was changed", MISUSED)
    with database_address(effective_settings()) as address, _revision_failures():
        migrations.downgrade(address, revision)
        typer.echo(f"the schema is at {migrations.current(address) or 'base: no tables'}", err=True)


@database.command("current")
def current() -> None:
    """Print the schema's revision, and whether it is the newest."""
    from service.storage import migrations

    with database_address(effective_settings()) as address:
        found, newest = migrations.current(address), migrations.head()
    typer.echo(f"{found or 'none'}{' (newest)' if found == newest else f' (newest: {newest})'}")


@contextlib.contextmanager
def _revision_failures() -> Iterator[None]:
    """A revision that there is none of was asked for wrongly."""
    from service.storage.migrations import UnknownRevision

    try:
        yield
    except UnknownRevision as error:
        raise Failure(str(error), MISUSED) from None
