"""``aipface copy``: groups and users of another instance, or of the cloud, through its API."""

from __future__ import annotations

import codecs
import csv
import ssl
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from service.cli.bulk_import import SOME_REFUSED
from service.cli.common import administration, known_app, written_privately
from service.cli.counting import counted
from service.cli.failures import MISUSED, Failure
from service.cli.serve import INTERRUPTED, stopped_by_signals

if TYPE_CHECKING:
    from service.administration import Admin
    from service.bulk.remote_library import RemoteLibrary, RemoteUser
    from service.values import App

BATCH = 200
"""Groups, or users, of one transaction."""


def copy(
    context: typer.Context,
    *,
    source: Annotated[str, typer.Option("--from", metavar="URL", help="E.g. https://aip.baidubce.com")],
    app_id: Annotated[str, typer.Option("--app", metavar="APP_ID", help="The app that is filled.")],
    api_key: Annotated[str, typer.Option(envvar="SOURCE_API_KEY", prompt="API key there", help="Of the app there.")],
    secret_key: Annotated[
        str,
        typer.Option(
            envvar="SOURCE_SECRET_KEY",
            prompt="secret key there",
            hide_input=True,
            help="Of the app there; from the environment or typed in, not from the command line.",
        ),
    ],
    ca: Annotated[Path | None, typer.Option(help="Certificate authority to trust, PEM.")] = None,
    output: Annotated[Path, typer.Option(help="The table of those who need pictures.")] = Path("need-pictures.csv"),
) -> None:
    """Copy groups, users and user_info; faces cannot be read through the API, so a table lists who needs a picture.

    Fill its column `picture` and hand it to `aipface import`. From another aipface-server take `aipface export`. Ends
    with status 3 when groups were left out, since their names belong to a scene's groups here.
    """
    given = context.get_parameter_source("secret_key")
    if given is not None and given.name == "COMMANDLINE":
        raise Failure("a secret key on the command line can be read by others: use SOURCE_SECRET_KEY", MISUSED)
    from service.bulk.pictures import printable
    from service.bulk.remote_library import RemoteLibrary

    done = None
    with stopped_by_signals(), administration() as admin:
        app = known_app(admin, app_id)
        with (
            RemoteLibrary(source, api_key.strip(), secret_key.strip(), verify=_trust(ca)) as remote,
            written_privately(output) as file,
        ):
            done = _copy(remote, admin, app, file)
    if done is None:
        raise typer.Exit(INTERRUPTED)
    if done.gone:
        typer.echo(f"{done.gone} groups and users were deleted there meanwhile, and are left out")
    typer.echo(f"{done.users} users; the API gives no pictures: fill the column picture of {output}, then")
    typer.echo(f"  aipface import {output} --app {app_id}")
    if done.foreign:
        named = ", ".join(printable(group) for group in done.foreign)
        typer.echo(f"not copied, since a scene's group has the name here: {named}, with all users")
        raise typer.Exit(SOME_REFUSED)


@dataclass(frozen=True)
class _Done:
    """How many users were copied; and how many groups and users were ``gone`` before they could be read.

    ``foreign``: groups that were not copied, for a group of a scene has the name here.
    """

    users: int
    gone: int
    foreign: list[str]


def _copy(remote: RemoteLibrary, admin: Admin, app: App, file: IO[bytes]) -> _Done:
    from service.bulk.writing import ReadyUser, Writer

    writer = Writer(admin.database, app.pk, model_id="")  # writes no faces
    listed = {group: remote.users(group) for group in remote.groups()}
    groups = {group: users for group, users in listed.items() if users is not None}
    gone = len(listed) - len(groups)
    made = [ReadyUser(group) for group in groups]
    for start in range(0, len(made), BATCH):
        writer.write([], made[start : start + BATCH])
    groups = {group: users for group, users in groups.items() if group not in writer.foreign}
    copied: Counter[str] = Counter()
    total = sum(len(users) for users in groups.values())
    batch: list[ReadyUser] = []
    with counted("users", total) as advance:
        table = csv.writer(codecs.getwriter("utf-8-sig")(file))
        table.writerow(["group_id", "user_id", "picture", "user_info", "faces_there"])
        for user in _each(remote, groups):
            advance("")
            if user is None:
                gone += 1
                continue
            copied[user.group_id] += 1
            table.writerow([user.group_id, user.user_id, "", user.user_info, user.faces])
            batch.append(ReadyUser(user.group_id, user.user_id, user.user_info))
            if len(batch) >= BATCH:
                writer.write([], batch)
                batch = []
        writer.write([], batch)
    users = sum(number for group, number in copied.items() if group not in writer.foreign)
    return _Done(users, gone, sorted(writer.foreign))


def _each(remote: RemoteLibrary, groups: dict[str, list[str]]) -> Iterator[RemoteUser | None]:
    for group, users in groups.items():
        for user in users:
            yield remote.user(group, user)


def _trust(ca: Path | None) -> ssl.SSLContext | bool:
    if ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError):
        raise Failure(f"{ca} is no certificate authority", MISUSED) from None
