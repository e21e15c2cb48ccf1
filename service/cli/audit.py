"""``aipface audit``: who did what, and whether anybody has changed what stands there."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import administration, known_app, print_json, written_privately
from service.cli.failures import FAILED, MISUSED, Failure

if TYPE_CHECKING:
    from service.library.audit import ChainReport
    from service.storage.audit import AuditEntry

audit = typer.Typer(help="The audit log: who did what, when, and how it ended.", no_args_is_help=True)

MOST_ENTRIES = 100_000

AppId = Annotated[str | None, typer.Option("--app", help="Only this app's entries.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


@audit.command("list")
def list_entries(
    *,
    app_id: AppId = None,
    user: Annotated[str | None, typer.Option(help="Only entries that name this user id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_ENTRIES, help="Most entries to show.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show entries, newest first."""
    with administration() as admin:
        chain = None if app_id is None else known_app(admin, app_id).pk
        entries = admin.audit.latest(limit, chain=chain, user=user)
    if as_json:
        print_json([as_dict(entry) for entry in entries])
        return
    for entry in entries:
        draft = entry.draft
        about = " ".join([*draft.groups, *draft.users, "" if draft.detail is None else json.dumps(draft.detail)])
        time = f"{draft.time.astimezone():%Y-%m-%d %H:%M:%S}"
        place = f"{entry.chain}:{entry.seq}"
        typer.echo(f"{time}  {place:10}  {draft.actor}  {draft.call}  {draft.outcome}  {about}".rstrip())


@audit.command("verify")
def verify(
    *,
    expect: Annotated[
        list[str] | None,
        typer.Option(help="CHAIN:SEQ:HASH as printed by an earlier verification; may be given several times."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every chain from its beginning to its sealed end. Exit status 1 when something was changed."""
    expected = dict(_expected(text) for text in expect or [])
    with administration() as admin:
        reports = admin.audit.verify(expected)
    if as_json:
        print_json([asdict(report) for report in reports])
    else:
        for report in reports:
            typer.echo(_line(report))
            for problem in report.problems:
                typer.echo(f"  PROBLEM  {problem}")
    if any(report.problems for report in reports):
        raise typer.Exit(FAILED)


@audit.command("export")
def export(
    out: Annotated[Path, typer.Argument(help="File to write, one JSON document a line; `-` is standard output.")],
    *,
    app_id: AppId = None,
) -> None:
    """Write every entry with its hash, in order, chain after chain; the format is told in docs/privacy.md."""
    with administration() as admin:
        chosen = None if app_id is None else known_app(admin, app_id).pk
        chains = [state.head.chain for state in admin.audit.states()]
        entries = (entry for chain in chains if chosen in (None, chain) for entry in admin.audit.entries(chain))
        lines = (json.dumps(as_dict(entry), ensure_ascii=False) + "\n" for entry in entries)
        with written_privately(out) as file:
            file.writelines(line.encode() for line in lines)


def as_dict(entry: AuditEntry) -> dict[str, object]:
    """An entry as JSON; with the hash before it, it can be checked by anybody."""
    draft = entry.draft
    return {
        "chain": entry.chain,
        "seq": entry.seq,
        "time": draft.time.isoformat(timespec="microseconds"),
        "actor": draft.actor,
        "call": draft.call,
        "outcome": draft.outcome,
        "groups": draft.groups,
        "users": draft.users,
        "log_id": draft.log_id,
        "detail": draft.detail,
        "hash": entry.hash.hex(),
    }


def _line(report: ChainReport) -> str:
    name = f"app {report.app_id}" if report.app_id else "installation"
    state = "PROBLEM" if report.problems else "ok     "
    return f"{state}  {name}: {report.entries} entries from {report.first}  {report.chain}:{report.last}:{report.hash}"


def _expected(text: str) -> tuple[int, tuple[int, str]]:
    chain, _, rest = text.partition(":")
    seq, _, digest = rest.partition(":")
    if not (chain.isdigit() and seq.isdigit() and digest):
        raise Failure(f"{text} is not CHAIN:SEQ:HASH", MISUSED)
    return int(chain), (int(seq), digest)
