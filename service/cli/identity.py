"""``aipface identity``: the operator's register of people, by which their identity is verified."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.card_numbers import asked, checked
from service.cli.common import (
    administration,
    commanded,
    effective_settings,
    known_app,
    on_terminal,
    print_json,
    written_privately,
)
from service.cli.failures import MISUSED, Failure
from service.cli.serve import interruptible

if TYPE_CHECKING:
    from service.administration import Admin
    from service.identity.claims import Claim, Validity
    from service.identity.enrolment import Enrolment, Result, Row
    from service.identity.register import Entry
    from service.values import App

identity = typer.Typer(help="People whose identity can be verified.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
AppId = Annotated[
    str | None,
    typer.Option("--app", metavar="APP_ID", help="The register of this app alone; default: the one of all apps."),
]
Number = Annotated[
    str | None,
    typer.Argument(metavar="NUMBER", help="Number of the identity card; asked for when left out, and not shown then."),
]
LINES = 100
"""Rows between two lines about an import that nobody watches."""


@identity.command("import")
def import_list(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="id_card_number, name, valid_from, valid_to, picture")
    ],
    *,
    pictures: Annotated[Path | None, typer.Option(help="Folder with the pictures; without it nobody gets one.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Where refused rows are told; default: FILE.refused.csv beside the list.")
    ] = None,
    app_id: AppId = None,
) -> None:
    """Enter everybody of a list. Doing it again skips what has not changed, so an interrupted import can be resumed."""
    from service.identity.enrolment import ListMalformed, Outcome, read_list

    if pictures is not None and not pictures.is_dir():
        raise Failure(f"there is no folder {pictures}", MISUSED)
    try:
        rows = read_list(file)
    except ListMalformed as error:
        raise Failure(str(error), MISUSED) from None
    counts = dict.fromkeys(Outcome, 0)
    refused: list[Result] = []
    settings = effective_settings()
    with interruptible("interrupted; the same command goes on from here"), _enrolment() as (admin, enrolment):
        owner = _owner(admin, app_id)
        results = enrolment.enter_all(rows, pictures, owner, threads=settings.inference_threads)
        for result in _shown(results, rows):
            counts[result.outcome] += 1
            if result.outcome is Outcome.REFUSED:
                refused.append(result)
    told = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items())
    typer.echo(f"{len(rows)} rows: {told}", err=True)
    path = file.with_suffix(".refused.csv") if report is None else report
    _report(refused, path)
    if refused:
        raise Failure(f"{len(refused)} rows were refused; {path} says why")


@identity.command("add")
def add(
    number: Number = None,
    *,
    name: Annotated[str | None, typer.Option(help="The name; asked for when left out.")] = None,
    picture: Annotated[Path | None, typer.Option(help="A picture of the person.")] = None,
    valid_from: Annotated[str | None, typer.Option(help="First day of the card, e.g. 20160304.")] = None,
    valid_to: Annotated[
        str | None, typer.Option(help="Last day of the card; 00000000 for one that does not end.")
    ] = None,
    app_id: AppId = None,
) -> None:
    """Enter one person, or replace what is known of one."""
    claim = _claim(asked(number), typer.prompt("name", hide_input=True, err=True) if name is None else name)
    validity = _validity(valid_from, valid_to)
    content = None if picture is None else _content(picture)
    with _enrolment() as (admin, enrolment):
        outcome = enrolment.enter(claim, validity, content, _owner(admin, app_id))
    typer.echo(outcome.value, err=True)


@identity.command("list")
def list_people(*, as_json: AsJson = False, app_id: AppId = None) -> None:
    """List everybody, numbers and names masked."""
    with administration() as admin:
        entries = admin.register.entries(_owner(admin, app_id))
        if as_json:
            print_json([_as_dict(entry) for entry in entries])
            return
        for entry in entries:
            typer.echo("  ".join(_words(entry)))


@identity.command("show")
def show(number: Number = None, *, as_json: AsJson = False, app_id: AppId = None) -> None:
    """Show what is known of one person, number and name masked."""
    wanted = asked(number)
    with administration() as admin:
        entry = admin.register.find(checked(wanted), _owner(admin, app_id))
        if entry is None:
            raise Failure("there is no such person")
        if as_json:
            print_json(_as_dict(entry))
            return
        for key, value in _as_dict(entry).items():
            typer.echo(f"{key:10} = {value}")


@identity.command("delete")
def delete(number: Number = None, *, app_id: AppId = None) -> None:
    """Erase everything that is known of one person."""
    wanted = asked(number)
    with administration() as admin:
        if not admin.register.erase(checked(wanted), _owner(admin, app_id)):
            raise Failure("there is no such person")
    typer.echo("erased", err=True)


@identity.command("revoke")
def revoke(number: Number = None, *, app_id: AppId = None) -> None:
    """Stop vouching for one person, e.g. after a card was reported lost; nothing is erased."""
    _set_revoked(number, app_id, revoked=True)


@identity.command("restore")
def restore(number: Number = None, *, app_id: AppId = None) -> None:
    """Vouch for one person again."""
    _set_revoked(number, app_id, revoked=False)


def _set_revoked(number: str | None, app_id: str | None, *, revoked: bool) -> None:
    wanted = asked(number)
    with administration() as admin:
        if not admin.register.revoke(checked(wanted), _owner(admin, app_id), revoked=revoked):
            raise Failure("there is no such person")
    typer.echo("revoked" if revoked else "restored", err=True)


@contextmanager
def _enrolment() -> Iterator[tuple[Admin, Enrolment]]:
    """Weights, database and keys. Logs nothing below warnings."""
    from service.cli.progress import shown_progress
    from service.logs import configure_logging
    from service.parts import open_enrolment

    settings = effective_settings()
    configure_logging("warning", settings.log_format)
    with ExitStack() as stack:
        with shown_progress() as progress:  # over before another bar begins: a terminal shows one at a time
            found = stack.enter_context(open_enrolment(settings, progress=progress))
        with commanded():
            yield found


def _shown(results: Iterator[Result], rows: list[Row]) -> Iterator[Result]:
    """The same results, with a bar on a terminal and a line now and then anywhere else."""
    if on_terminal():
        from rich.console import Console
        from rich.progress import track

        yield from track(results, "entering", total=len(rows), console=Console(stderr=True))
        return
    for done, result in enumerate(results, start=1):
        if done % LINES == 0:
            typer.echo(f"{done} of {len(rows)} rows", err=True)
        yield result


def _report(refused: list[Result], path: Path) -> None:
    """Write the refused rows, numbers masked; without any, an older report goes, or has no rows where it is no file."""
    if not refused and not path.is_symlink() and (path.is_file() or not path.exists()):
        path.unlink(missing_ok=True)
        return
    with written_privately(path) as file:
        writer = csv.writer(codecs.getwriter("utf-8")(file))
        writer.writerow(("line", "id_card_number", "reason"))
        writer.writerows((result.line, result.number, result.reason) for result in refused)


def _owner(admin: Admin, app_id: str | None) -> App | None:
    return None if app_id is None else known_app(admin, app_id)


def _claim(number: str, name: str) -> Claim:
    from service.errors import NameMalformed
    from service.identity.claims import Claim, name_of

    try:
        return Claim(checked(number), name_of(name))
    except NameMalformed as error:
        raise Failure(f"that is no name: {error}", MISUSED) from None


def _validity(start: str | None, end: str | None) -> Validity | None:
    from service.errors import ParameterMalformed
    from service.identity.validity import validity_of

    if start is None and end is None:
        return None
    try:
        return validity_of(start or "", end or "", names=("--valid-from", "--valid-to"))
    except ParameterMalformed as error:
        raise Failure(str(error), MISUSED) from None


def _content(picture: Path) -> bytes:
    from service.errors import ParameterMalformed
    from service.identity.enrolment import read_picture

    try:
        return read_picture(picture)
    except ParameterMalformed as error:
        raise Failure(f"{picture}: {error}", MISUSED) from None


def _words(entry: Entry) -> tuple[str, ...]:
    content = _as_dict(entry)
    picture = "picture" if content["picture"] else "no picture"
    return (str(content["number"]), str(content["name"]), f"{picture:10}", "revoked" if entry.revoked else "valid")


def _as_dict(entry: Entry) -> dict[str, object]:
    from service.identity.claims import masked_name, masked_number

    person = entry.person
    validity = person.validity
    return {
        "number": masked_number(person.claim.number),
        "name": masked_name(person.claim.name),
        "valid_from": None if validity is None else validity.start.isoformat(),
        "valid_to": None if validity is None else "permanent" if validity.end is None else validity.end.isoformat(),
        "picture": person.picture is not None,
        "model": None if person.picture is None else person.picture.model_id,
        "revoked": entry.revoked,
        "register": "of all apps" if entry.common else "of one app",
        "created": entry.created.isoformat(timespec="seconds"),
        "updated": entry.updated.isoformat(timespec="seconds"),
    }
