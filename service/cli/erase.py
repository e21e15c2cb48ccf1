"""``aipface erase``: people, groups and apps, with a receipt."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.card_numbers import asked, checked
from service.cli.common import administration, known_app
from service.cli.failures import MISUSED, Failure

if TYPE_CHECKING:
    from service.library.erasure import Receipt
    from service.settings import Settings

erase = typer.Typer(help="Erase people, groups and apps, and print a receipt.", no_args_is_help=True)

AppId = Annotated[str, typer.Argument(metavar="APP_ID", help="The app's id, as `aipface app list` shows it.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Remembered = Annotated[
    bool, typer.Option("--remembered", help="Also every detected face that the app has not enrolled.")
]
Uploads = Annotated[bool, typer.Option("--uploads", help="Also every file that Linkface calls of the app left.")]
Captures = Annotated[bool, typer.Option("--captures", help="Also what the risk rules know of the app's devices.")]


@erase.command("user")
def erase_user(
    app_id: AppId,
    user_id: Annotated[str, typer.Argument(metavar="USER_ID")],
    *,
    group: Annotated[str | None, typer.Option(help="Only in this group.")] = None,
    remembered: Remembered = False,
    uploads: Uploads = False,
    captures: Captures = False,
    identity: Annotated[bool, typer.Option("--identity", help="Also from the register; asks for the number.")] = False,
    gone: Annotated[
        bool, typer.Option("--gone", help="Also where nothing of the user is left: erase the rest that is asked for.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Erase a user from every group: faces, embeddings, crops, face tokens, feedback that names the user."""
    from service.library.erasure import AlsoErased

    _sure(f"user {user_id} of app {app_id}", yes=yes)
    number = checked(asked()) if identity else None  # before anything is erased: who mistypes it can begin again
    with administration() as admin:
        app = known_app(admin, app_id)
        also = AlsoErased(remembered, uploads, captures)
        receipt = admin.erasure.user(app, user_id, group, also, gone=gone)
        found = [] if number is None else [admin.register.erase(number, owner) for owner in (app, None)]
        _show(receipt, admin.settings, also=(remembered, uploads, captures), registered=any(found))
    if not receipt.counts["users"]:
        typer.echo(f"nobody is enrolled as {user_id} there", err=True)
    _finished(receipt)
    if identity and not any(found):
        raise Failure("there is nobody with that number in the register; the rest was erased, as the receipt says")


@erase.command("group")
def erase_group(
    app_id: AppId,
    group_id: Annotated[str, typer.Argument(metavar="GROUP_ID")],
    *,
    remembered: Remembered = False,
    uploads: Uploads = False,
    captures: Captures = False,
    yes: Yes = False,
) -> None:
    """Erase a group with all its users."""
    from service.library.erasure import AlsoErased

    _sure(f"group {group_id} of app {app_id}", yes=yes)
    with administration() as admin:
        receipt = admin.erasure.group(known_app(admin, app_id), group_id, AlsoErased(remembered, uploads, captures))
        _show(receipt, admin.settings, also=(remembered, uploads, captures))
    _finished(receipt)


@erase.command("app")
def erase_app(app_id: AppId, *, yes: Yes = False) -> None:
    """Erase an app with everything that is its own. Its entries in the audit log stay as long as others."""
    _sure(f"app {app_id} with its whole library", yes=yes)
    with administration() as admin:
        _show(admin.erasure.app(known_app(admin, app_id)), admin.settings, also=(True, True, True))


def _sure(what: str, *, yes: bool) -> None:
    if not yes and not typer.confirm(f"Erase {what}? It cannot be undone", err=True):
        raise Failure("nothing was erased", MISUSED)


def _finished(receipt: Receipt) -> None:
    if receipt.unfinished:
        raise Failure(f"{receipt.unfinished}; the rest was erased, as the receipt says: give the same command again")


def _show(
    receipt: Receipt, settings: Settings, *, also: tuple[bool, bool, bool], registered: bool | None = None
) -> None:
    content = {**asdict(receipt), "when": receipt.when.isoformat()}
    unfinished = content.pop("unfinished")
    content["remains"] = [*([unfinished] if unfinished else []), *_remaining(settings, also)]
    if registered is not None:
        content["identity"] = registered
    typer.echo(json.dumps(content, ensure_ascii=False, indent=2))


def _remaining(settings: Settings, also: tuple[bool, bool, bool]) -> list[str]:
    """What an erasure does not reach, and for how long."""
    days = f"{settings.audit_days} days" if settings.audit_days else "ever"
    remaining = [
        f"the audit log names ids for {days}",
        "backups made before hold what was erased until they are destroyed",
        "the database's own files and its log of writes until they are written over",
    ]
    if settings.search_backend == "milvus":
        remaining.append("deleted embeddings in Milvus until it compacts")
    for erased, sentence in zip(
        also,
        (
            f"faces that were detected and not enrolled, for at most {settings.face_token_ttl} s",
            f"files of Linkface calls, for at most {settings.upload_ttl} s",
            f"devices and people of captures, encrypted, for at most {settings.risk_history} s",
        ),
        strict=True,
    ):
        if not erased:
            remaining.append(sentence)
    return remaining
