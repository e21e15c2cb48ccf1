"""``aipface reembed``: move the library to another model while servers go on, and back."""

from __future__ import annotations

import codecs
import csv
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import administration, print_json, written_privately
from service.cli.counting import counted
from service.cli.failures import MISUSED, Failure
from service.cli.progress import LINE_SECONDS, shown_progress

if TYPE_CHECKING:
    from models.manifest import PackManifest
    from service.administration import Admin
    from service.bulk.reembedding import Embed, Reembedding
    from service.settings import Settings
    from service.storage.models import LibraryModel, NeedsPicture

POLL_SECONDS = 0.5
"""How often servers are asked whether they have loaded the pack."""

MOST_ROUNDS = 50
"""Times that a switch is tried while more is enrolled than can be caught up with."""

PackName = Annotated[str | None, typer.Option(metavar="PACK", help="The pack to move to: see `aipface models list`.")]


def reembed(
    *,
    pack: PackName = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Move back to the pack that the library was in.")
    ] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="Keep the embeddings of the library's pack alone; ends an unfinished move.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what there is to do.")] = False,
    leave_behind: Annotated[
        bool, typer.Option("--leave-behind", help="Move although faces without a crop are not found afterwards.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Where users without crops are listed.")] = Path("need-pictures.csv"),
    wait: Annotated[float, typer.Option(min=0, help="Seconds that servers get to load the pack before the switch.")] = (
        600.0
    ),
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Faces computed at once; default: 1.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as one JSON document.")] = False,
) -> None:
    """Embed every face anew with another pack, then let all servers change over at one moment.

    Servers search and enrol meanwhile, with the pack they have. Run it again after an interruption: it goes on. With
    the library's own pack it embeds what others have left, which is not found otherwise.
    """
    if sum((pack is not None, rollback, finish)) != 1:
        raise Failure("one of --pack, --rollback and --finish is needed", MISUSED)
    from service.cli.serve import interruptible

    again = "interrupted; the same command goes on from here"
    with interruptible(again), administration() as admin, admin.database.moving() as alone:
        if not alone:
            raise Failure("another aipface reembed is at work")
        if finish:
            outcome = _finished(admin)
        else:
            admin.tell_sealing()
            active, target = _models(admin, pack)
            outcome = _planned(admin, active, target, output)
            if target.model_id == active.model_id:
                outcome |= _completed(admin, target, outcome, threads or 1, dry_run=dry_run)
            elif not dry_run:
                _refuse(outcome, output, leave_behind=leave_behind)
                moving = _Move(admin, active, target, wait=wait, threads=threads or 1)
                outcome |= moving.run(leave_behind=leave_behind)
    _tell(outcome, as_json=as_json)


def _models(admin: Admin, pack: str | None) -> tuple[LibraryModel, LibraryModel]:
    """What the library is in, and what it shall be in (``None``: what it was in before). Raises ``Failure``."""
    from models.manifest import load_pack
    from service.storage.models import LibraryModel

    with admin.database.read() as reader:
        previous = reader.models.in_use().previous
    if pack is not None:
        target = LibraryModel(pack, load_pack(pack).model_id)
    elif previous is None:
        raise Failure("there is nothing to go back to: the library has not been moved, or that was finished")
    else:
        target = previous
    return _active(admin), target


def _active(admin: Admin) -> LibraryModel:
    """What the database says that the library is in, whatever the settings are, or would say."""
    from service.library_model import library_model

    with admin.database.read() as reader:
        active = reader.models.in_use().active
    return active or library_model(admin.database, admin.settings)


def _planned(admin: Admin, active: LibraryModel, target: LibraryModel, output: Path) -> dict[str, object]:
    """What there is to do, with the list of those who need pictures written where there are any."""
    with admin.database.read() as reader:
        coverage = reader.models.coverage(target.model_id)
        needing = reader.models.needing_pictures(target.model_id)
        register = reader.models.register_needing_pictures(target.model_id)
    if needing:
        _write_needing(needing, output)
    return {
        "from": active.model_id,
        "to": target.model_id,
        **asdict(coverage),
        "users_needing_pictures": len(needing),
        "register_needing_pictures": register,
        "list": str(output) if needing else None,
        "moved": False,
    }


def _write_needing(needing: Sequence[NeedsPicture], path: Path) -> None:
    """The columns that ``aipface import`` takes, but for the pictures."""
    with written_privately(path) as file:
        writer = csv.writer(codecs.getwriter("utf-8-sig")(file))
        writer.writerow(["app_id", "group_id", "user_id", "faces", "picture"])
        writer.writerows([user.app_id, user.group_id, user.user_id, user.faces, ""] for user in needing)


def _refuse(plan: dict[str, object], output: Path, *, leave_behind: bool) -> None:
    if plan["without_crop"] and not leave_behind:
        raise Failure(
            f"{plan['without_crop']} faces of {plan['users_needing_pictures']} users have no crop to be embedded from: "
            f"{output} lists who needs a new picture; --leave-behind moves without them"
        )


def _completed(
    admin: Admin, active: LibraryModel, plan: dict[str, object], threads: int, *, dry_run: bool
) -> dict[str, object]:
    """Embed by the library's own model the faces that only others have embedded. Raises ``Failure`` without any."""
    from service.bulk.reembedding import Reembedding
    from service.library_model import pack_of, settle

    if not plan["missing"] and not plan["without_crop"]:
        raise Failure(f"the library is in the pack {active.pack} already ({active.model_id})")
    if dry_run:
        return {}
    with admin.database.read() as reader:
        others = reader.faces.count_by_model().keys() - {active.model_id}
    embed = _embedder(admin.settings, active, map(pack_of, others))
    settle(admin.database, active)
    with admin.database.admin() as work:
        work.audit.record("reembed.complete", {"model": active.model_id})
    completing = Reembedding(admin.database, active, embed, threads=threads)
    with counted("faces", completing.coverage().missing) as advance:
        _caught_up(completing, advance)
    return asdict(completing.coverage())


def _caught_up(moving: Reembedding, advance: Callable[[str], None] | None) -> None:
    for count in moving.catch_up():
        for _ in range(count if advance is not None else 0):
            advance("")  # type: ignore[misc]  # it is one, or there are no rounds


def _embedder(settings: Settings, target: LibraryModel, sources: Iterable[str | None]) -> Embed:
    """What embeds crops by the target's pack; ``sources``: the packs that the faces are from, ``None`` for unknown."""
    from models.manifest import load_pack
    from service.bulk.reembedding import from_known_points, from_new_points
    from service.parts import load_models

    with shown_progress() as progress:
        models = load_models(settings, target, progress=progress)
    points = _points_of(models.pack)
    same = all(pack is not None and _points_of(load_pack(pack)) == points for pack in sources)
    return (from_known_points if same else from_new_points)(models.engine)


class _Move:
    """One move, from beginning to end."""

    def __init__(self, admin: Admin, active: LibraryModel, target: LibraryModel, *, wait: float, threads: int) -> None:
        self._admin = admin
        self._active = active
        self._target = target
        self._wait = wait
        self._threads = threads

    def run(self, *, leave_behind: bool) -> dict[str, object]:
        """Embed, wait for the servers, switch. Raises ``Failure``."""
        from service.bulk.reembedding import Reembedding

        embed = _embedder(self._admin.settings, self._target, [self._active.pack])
        with self._admin.database.admin() as work:
            work.models.begin(self._active, self._target)
            work.audit.record("reembed.begin", {"from": self._active.model_id, "to": self._target.model_id})
        moving = Reembedding(self._admin.database, self._target, embed, threads=self._threads)
        with counted("faces", moving.coverage().missing) as advance:
            _caught_up(moving, advance)
        self._wait_for_servers()
        for _ in range(MOST_ROUNDS):
            _caught_up(moving, None)
            left = moving.coverage().without_crop
            if left and not leave_behind:  # enrolled without a crop meanwhile, or damaged
                raise Failure(f"{left} faces have no crop, or a damaged one; --leave-behind moves without them")
            if moving.switch(leave_behind=leave_behind):
                break
        else:
            raise Failure("faces are enrolled faster than this machine embeds them; try again when less is going on")
        with self._admin.database.admin() as work:
            work.audit.record("reembed.switch", {"from": self._active.model_id, "to": self._target.model_id})
        return {**asdict(moving.coverage()), "moved": True}

    def _wait_for_servers(self) -> None:
        """Until every server has loaded the pack, so that none has to refuse anything after the switch."""
        begun = said_at = time.monotonic()
        while True:
            with self._admin.database.read() as reader:
                running, prepared = reader.models.servers(self._target.model_id)
            if prepared >= running:
                return
            now = time.monotonic()
            if now - begun >= self._wait:
                raise Failure(
                    f"{running - prepared} of {running} servers have not loaded the pack {self._target.pack}; their "
                    "/readyz says why. Nothing was switched; the same command goes on from here"
                )
            if now - said_at >= LINE_SECONDS:
                said_at = now
                typer.echo(f"{prepared} of {running} servers have loaded the pack", err=True)
            time.sleep(POLL_SECONDS)


def _points_of(pack: PackManifest) -> tuple[object, ...]:
    """What decides where a pack finds the five points that faces are aligned by."""
    landmarks = None if pack.landmarks is None else pack.files[pack.landmarks.file].sha256
    return pack.embedder.alignment, pack.files[pack.detector.file].sha256, landmarks


def _finished(admin: Admin) -> dict[str, object]:
    from service.bulk.reembedding import tidied
    from service.search.folder import NAME, purge_left

    active = _active(admin)
    with admin.database.admin() as work:
        beside = work.models.embeddings_beside()
        work.audit.record("reembed.finish", {"model": active.model_id})
    with counted("embeddings", beside) as advance:
        for count in tidied(admin.database, active.model_id):
            for _ in range(count):
                advance("")
    # Of a model that has no embeddings any more; it may be moved to again, and embeds the same faces anew.
    purge_left(admin.settings.home / NAME, active.model_id)
    with admin.database.read() as reader:
        coverage = reader.models.coverage(active.model_id)
    left = coverage.missing + coverage.without_crop
    return {"model": active.model_id, "pack": active.pack, "others": left, "finished": True}


def _tell(outcome: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        print_json(outcome)
        return
    if "finished" in outcome:
        if outcome["others"]:
            typer.echo(
                f"the library is in {outcome['model']}; {outcome['others']} faces are embedded by other packs alone "
                f"and not found: aipface reembed --pack {outcome['pack']}"
            )
        else:
            typer.echo(f"the library has embeddings of {outcome['model']} alone")
        return
    models = dict.fromkeys((outcome["from"], outcome["to"]))
    typer.echo(
        f"{' -> '.join(map(str, models))}: {outcome['embedded']} faces embedded, {outcome['missing']} to embed, "
        f"{outcome['without_crop']} without a crop"
    )
    if outcome["list"]:
        typer.echo(f"{outcome['users_needing_pictures']} users need pictures: {outcome['list']}")
    if outcome["register_needing_pictures"]:
        typer.echo(f"{outcome['register_needing_pictures']} people of the register need pictures too")
    if outcome["moved"]:
        typer.echo("the library has moved. Back: aipface reembed --rollback; for good: aipface reembed --finish")
