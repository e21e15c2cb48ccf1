"""``aipface calibrate``: what scores mean on the operator's own pictures, and a score table of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.common import effective_settings, on_terminal, print_json
from service.cli.failures import MISUSED, Failure
from service.cli.progress import shown_progress
from service.images.endings import PICTURE_ENDINGS

if TYPE_CHECKING:
    from service.calibration.fitting import ErrorRates, Floats
    from service.parts import Models
    from service.settings import Settings
    from service.values import Embedding, Embeddings

FACES_IN_SIGHT = 10

_USED = "is used from the next start on by servers whose library is in the pack {}"
"""The database says which pack that is, whatever the settings are, and is not asked here."""


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Embeddings ``(n, dimension)``, whose they are, and the pictures that could not be used with the reason."""

    embeddings: Embeddings
    names: list[str]
    refused: list[tuple[Path, str]]


def calibrate(
    folder: Annotated[Path, typer.Argument(help="One folder of pictures for each person, named as you like.")],
    *,
    pack: Annotated[str | None, typer.Option(help="Pack of weights; default: the setting `pack`.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Use the fitted table from the next start on.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Go back to the table that came with the pack.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Tell the error rates of scores on your own pictures, and fit a score table to them.

    Of each picture the face nearest to its middle counts. A few hundred people with two pictures or more each are a
    good basis; fewer than about ninety are refused. Nothing is sent anywhere, and no picture is kept.
    """
    settings = effective_settings(pack=pack)
    if undo:
        _undo(settings)
        return
    if not folder.is_dir():
        raise Failure(f"{folder} is no folder", MISUSED)
    from service.parts import load_models

    with shown_progress() as progress:
        models = load_models(settings, progress=progress)
    people = embed_people(models, folder, settings.inference_threads, settings.max_picture_pixels)
    for path, reason in people.refused:
        typer.echo(f"left out {path.relative_to(folder)}: {reason}", err=True)
    outcome = _judge(models, people, folder.name)
    if as_json:
        print_json(outcome.content())
    else:
        outcome.show()
    if write:
        path = settings.own_score_table(models.pack.model_id)
        _save(path, outcome.table)
        typer.echo(f"wrote {path}; it {_USED.format(models.pack.name)}", err=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    """The fitted table, and what the cuts mean with it and with the table in use."""

    table: dict[str, Any]
    now: Sequence[ErrorRates]
    fitted: Sequence[ErrorRates]

    def content(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            **{key: self.table[key] for key in ("model_id", "people", "genuine_pairs", "impostor_pairs", "anchors")},
            "in_use": [asdict(rates) | {"measured": rates.measured} for rates in self.now],
            "fitted": [asdict(rates) | {"measured": rates.measured} for rates in self.fitted],
        }

    def show(self) -> None:
        """For a person: two rows for each score."""
        typer.echo(
            f"{self.table['people']} people, {self.table['genuine_pairs']} pairs of one person, "
            f"{self.table['impostor_pairs']} of two, weights {self.table['model_id']}"
        )
        typer.echo("score  table   similarity  false accept rate              false reject rate")
        for now, fitted in zip(self.now, self.fitted, strict=True):
            typer.echo(f"{now.score:5g}  in use  {now.similarity:10.4f}  {_far(now):29}  {now.frr:.3%}")
            typer.echo(f"{'':5}  fitted  {fitted.similarity:10.4f}  {_far(fitted):29}  {fitted.frr:.3%}")
        for anchor in self.table["anchors"]:
            if "Pareto" in anchor["why"]:
                typer.echo(f"the score {anchor['score']:g} is extrapolated: {anchor['why']}")


def _far(rates: ErrorRates) -> str:
    return f"{rates.far:.2e} ({rates.passed} pairs{'' if rates.measured else ', too few'})"


def _judge(models: Models, people: People, data: str) -> _Outcome:
    import numpy as np

    from service.calibration.fitting import all_against_all, error_rates, few_of_each, fit
    from service.calibration.scores import ScoreTable

    kept = few_of_each(people.names)
    names = list(np.asarray(people.names)[kept])
    genuine: Floats
    impostor: Floats
    genuine, impostor = all_against_all(people.embeddings[kept], names)
    if not len(genuine):
        raise Failure("nobody has two usable pictures, so false rejects cannot be told", MISUSED)
    table = fit(models.pack.model_id, genuine, impostor, data=data, people=len(set(names)))
    fitted = ScoreTable(table["curve"], fitted=True)
    return _Outcome(table, error_rates(models.scores, genuine, impostor), error_rates(fitted, genuine, impostor))


def embed_people(models: Models, folder: Path, threads: int, most_pixels: int) -> People:
    """Embed the main face of every picture in the folders of ``folder``, with ``threads`` at once.

    Raises ``Failure`` when no picture has a face.
    """
    import numpy as np

    places = [
        (person.name, path)
        for person in sorted(folder.iterdir())
        if person.is_dir()
        for path in sorted(person.rglob("*"))
        if path.suffix.lower() in PICTURE_ENDINGS
    ]
    rows, names, refused = [], [], []
    with ThreadPoolExecutor(threads) as pool, _counted(len(places)) as advance:
        looks = pool.map(lambda place: _embed(models, place[1], most_pixels), places)
        for (name, path), found in zip(places, looks, strict=True):
            advance()
            if isinstance(found, str):
                refused.append((path, found))
            else:
                rows.append(found)
                names.append(name)
    if not rows:
        raise Failure(f"no picture with a face in the folders of {folder}", MISUSED)
    return People(np.stack(rows), names, refused)


def _embed(models: Models, path: Path, most_pixels: int) -> Embedding | str:
    """The embedding, or why there is none."""
    from service.errors import PictureUnreadable
    from service.images.decode import decode_picture
    from service.intake.order import nearest_first
    from service.intake.seen import embedded

    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for, a device read without end
            return "is no plain file"
        image = decode_picture(path.read_bytes(), most_pixels)
    except (OSError, PictureUnreadable) as error:
        return str(error)
    faces = nearest_first(models.engine.detect(image, FACES_IN_SIGHT), image)
    if not faces:
        return "no face"
    return embedded(models.engine, models.engine.align(image, faces[0].points))


@contextmanager
def _counted(total: int) -> Iterator[Any]:
    """A progress bar on a terminal; gives what is to be called after each picture."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    console = Console(stderr=True)
    with Progress(
        *Progress.get_default_columns(), MofNCompleteColumn(), console=console, disable=not on_terminal()
    ) as bars:
        task = bars.add_task("pictures", total=total)
        yield lambda: bars.advance(task)


def _save(path: Path, table: dict[str, Any]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)


def _undo(settings: Settings) -> None:
    from models.manifest import load_pack

    path = settings.own_score_table(load_pack(settings.pack).model_id)
    if not path.exists():
        raise Failure(f"there is no table of your own: {path}")
    path.unlink()
    typer.echo(f"removed {path}; the pack's own table {_USED.format(settings.pack)}", err=True)
