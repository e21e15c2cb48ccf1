"""``aipface key``: the master key that everything secret in the database is sealed with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import administration, effective_settings
from service.cli.failures import FAILED, MISUSED, Failure

if TYPE_CHECKING:
    from pathlib import Path

    from service.administration import Admin
    from service.storage.face_keys import Wish

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

    path = _file()
    if not path.exists():
        raise Failure(f"there is no master key {path} to change; aipface doctor tells what can be done")
    key_file.add(path)
    with administration() as admin:
        _reseal(admin)
    typer.echo("restart the server; tokens and names of faces stay good while the old key is in the file", err=True)


@keys.command("drop-old")
def drop_old() -> None:
    """Forget all keys but the first, once everything is sealed under it. Tokens signed with the others end.

    Restart every server with the first key before: what one writes under a dropped key cannot be opened.
    """
    from service.access import key_file

    path = _file()
    with administration() as admin:
        _reseal(admin)  # which fails where a key is needed still
        dropped = key_file.drop_old(path, admin.keyring)
    typer.echo(f"dropped {dropped} old keys; restart every server", err=True)


@keys.command("seal-faces")
def seal_faces() -> None:
    """Encrypt every embedding and crop of the database while servers run; broken off, it goes on where it was."""
    from service.storage.face_keys import Wish

    _lay(Wish.SEALED)


@keys.command("open-faces")
def open_faces() -> None:
    """Decrypt every embedding and crop of the database while servers run: the way back from encrypt_faces."""
    from service.storage.face_keys import Wish

    _lay(Wish.PLAIN)


@keys.command("faces")
def faces() -> None:
    """Tell how many faces lie encrypted, and which cannot be opened. Exit status 1 when there are such."""
    from service.face_keys import missing_keys

    with administration() as admin:
        here = admin.database.sealing.enrolled.key_ids
        with admin.database.admin() as work:
            counts = work.face_keys.counts("faces")
        for key_id, count in counts.items():
            told = "in plain" if key_id is None else f"under key {key_id.hex()}"
            old = "" if key_id is None or key_id == here[0] else ", not the current one"
            typer.echo(f"{count:>8}  {told}{old}")
        broken = False
        with admin.database.read() as reader:
            for face in reader.face_keys.broken():
                broken = True
                where = f"app {face.app_id}, group {face.group_id}, user {face.user_id}, face {face.token}"
                typer.echo(f"cannot be opened: {where}")
        missing = missing_keys(admin.database, admin.database.sealing.enrolled)
    for lost in missing:
        typer.echo(f"key {lost} is not here")
    if broken or missing:
        raise typer.Exit(FAILED)


@keys.command("forget")
def forget(key_id: Annotated[str, typer.Argument(help="The lost key, as the start names it.")]) -> None:
    """Start without a lost key: the faces under it stay unreadable until they are deleted, and match nobody."""
    with administration() as admin, admin.database.admin() as work:
        try:
            known = bytes.fromhex(key_id)
        except ValueError:
            known = b""
        if known in admin.database.sealing.enrolled.key_ids:
            raise Failure(f"key {key_id} is not lost: it is here", MISUSED)
        if not work.face_keys.forget([known]):
            raise Failure(f"no faces were encrypted under a key {key_id}", MISUSED)
        work.audit.record("key.forget", {"key": key_id})
    typer.echo("aipface key faces tells which faces are lost", err=True)


def _lay(wish: Wish) -> None:
    """Let all faces lie as wished, with progress, and tell what came of it."""
    from service.cli.counting import counted
    from service.face_keys import outstanding, reseal_faces

    with administration() as admin:
        total = outstanding(admin.database, admin.keyring, wish)
        with counted("faces", total) as count:

            def advance(rows: int) -> None:
                for _ in range(rows):
                    count("")

            outcomes = reseal_faces(admin.database, admin.keyring, wish, advance)
    for kind, outcome in outcomes.items():
        typer.echo(f"{outcome.done:>8}  {kind}")
    broken, left = (sum(getattr(each, name) for each in outcomes.values()) for name in ("broken", "left"))
    if broken:
        raise Failure(f"{broken} faces cannot be opened and stay as they are: aipface key faces")
    if left:
        raise Failure(
            f"{left} faces were written otherwise meanwhile: restart the servers with the setting, then again"
        )


def _reseal(admin: Admin) -> None:
    """Seal everything under the first key and tell what came of it.

    Raises ``Failure`` where faces are left that only an older key opens, or may be.
    """
    from service.rotation import reseal

    resealed = reseal(admin.database, admin.keyring)
    for kind, count in resealed.done.items():
        typer.echo(f"{count:>8}  {kind}")
    if resealed.left or resealed.older_keys:
        raise Failure(
            f"not everything is sealed under the first key: {resealed.left} faces are left, which others were changing "
            "or wrote under an older one. No key was dropped, and the older ones are needed; restart every server with "
            "these keys, then: aipface key reseal"
        )


def _file() -> Path:
    settings = effective_settings()
    if settings.secret_key is not None:
        raise Failure("AIPFACE_SECRET_KEY holds the keys: put a new one first there, then: aipface key reseal")
    return settings.secret_key_file
