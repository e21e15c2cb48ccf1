"""``aipface user``: what is held about a person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.card_numbers import asked, checked
from service.cli.common import administration, known_app, written_privately
from service.cli.failures import Failure

if TYPE_CHECKING:
    from service.administration import Admin
    from service.values import App

users = typer.Typer(help="What is held about a person.", no_args_is_help=True)


@users.callback()
def _group() -> None:
    """A group of commands, even while there is one."""


@users.command("export")
def export(
    app_id: Annotated[str, typer.Argument(metavar="APP_ID", help="The app's id, as `aipface app list` shows it.")],
    user_id: Annotated[str, typer.Argument(metavar="USER_ID")],
    *,
    out: Annotated[Path | None, typer.Option(help="File to write; default: USER_ID.zip here.")] = None,
    embeddings: Annotated[bool, typer.Option("--embeddings", help="With the templates made of the faces.")] = False,
    identity: Annotated[
        bool, typer.Option("--identity", help="With the entry in the register of identities; asks for the number.")
    ] = False,
) -> None:
    """Write everything that is held about a user into a ZIP: infos, faces, crops, the audit log's entries."""
    number = checked(asked()) if identity else None
    target = out or Path(f"{Path(user_id).name or 'user'}.zip")
    with administration() as admin:
        app = known_app(admin, app_id)
        beside, pictures = ({}, {}) if number is None else _registered(admin, app, number)
        with written_privately(target) as file:
            counts = admin.disclosure.write(app, user_id, file, embeddings=embeddings, beside=beside, pictures=pictures)
    words = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
    typer.echo(f"{target}: {words}", err=True)


def _registered(admin: Admin, app: App, number: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The person in the register, and the portrait there. Raises ``Failure``."""
    entry = admin.register.find(number, app)
    if entry is None:
        raise Failure("there is nobody with that number in the register; nothing was written")
    person, picture = entry.person, entry.person.picture
    content = {
        "number": person.claim.number,
        "name": person.claim.name,
        "valid_from": None if person.validity is None else person.validity.start.isoformat(),
        "valid_to": None if person.validity is None or person.validity.end is None else person.validity.end.isoformat(),
        "revoked": entry.revoked,
        "entered": entry.created.isoformat(),
    }
    portraits = {} if picture is None or picture.portrait is None else {"identity.jpg": picture.portrait}
    return {"identity": content}, portraits
