"""``aipface models``: the packs of weights and their files on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import effective_settings, print_json
from service.cli.failures import Failure
from service.cli.progress import shown_progress

if TYPE_CHECKING:
    from pathlib import Path

    from models.fetch import FileState
    from models.manifest import PackManifest

packs = typer.Typer(help="Weights: packs and their files on this machine.", no_args_is_help=True)

PackName = Annotated[str | None, typer.Option("--pack", help="Pack of weights; default: the setting `pack`.")]


@packs.command("list")
def list_packs(*, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """List the packs, their licences and whether their weights are here; hashes every file."""
    from models.manifest import available_packs, load_pack

    settings = effective_settings()
    found = [_describe(load_pack(name), settings.model_dir) for name in available_packs()]
    if as_json:
        print_json(found)
        return
    for pack in found:
        chosen = "*" if pack["name"] == settings.pack else " "
        typer.echo(f"{chosen} {pack['name']:10}  {pack['state']:12}  {pack['title']} ({pack['licence']})")


@packs.command("fetch")
def fetch(*, pack: PackName = None) -> None:
    """Fetch and check what is missing; fetches nothing when everything is here."""
    from models.fetch import ensure
    from models.manifest import load_pack

    settings = effective_settings(pack=pack)
    with shown_progress() as progress:
        paths = ensure(
            load_pack(settings.pack),
            settings.model_dir,
            offline=settings.offline,
            sources=settings.model_sources,
            accept_noncommercial=settings.accept_noncommercial,
            progress=progress,
        )
    typer.echo(f"{len(paths)} files of the pack {settings.pack} are ready in {settings.model_dir}", err=True)


@packs.command("verify")
def verify(*, pack: PackName = None) -> None:
    """Hash every file of a pack; exit status 1 when one is missing or changed."""
    from models.fetch import FileState
    from models.fetch import verify as verify_pack
    from models.manifest import load_pack

    settings = effective_settings(pack=pack)
    statuses = verify_pack(load_pack(settings.pack), settings.model_dir)
    for status in statuses:
        typer.echo(f"{status.state.value:9} {status.path}")
    if any(status.state is not FileState.READY for status in statuses):
        raise Failure(f"weights are missing or changed; mend them: aipface models fetch --pack {settings.pack}")


def _describe(pack: PackManifest, model_dir: Path) -> dict[str, object]:
    from models.fetch import verify as verify_pack

    return {
        "name": pack.name,
        "title": pack.title,
        "licence": pack.licence,
        "commercial": pack.commercial,
        "files": len(pack.files),
        "state": _state({status.state for status in verify_pack(pack, model_dir)}),
    }


def _state(found: set[FileState]) -> str:
    """A pack's state in a word or two, from those of its files; what has to be mended goes before what is lacking."""
    from models.fetch import FileState

    if FileState.CHANGED in found:
        return "damaged"
    if FileState.OUTDATED in found:
        return "outdated"
    if FileState.MISSING in found:
        return "partly here" if FileState.READY in found else "not fetched"
    return "fetched"
