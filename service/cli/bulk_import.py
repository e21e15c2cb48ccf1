"""``aipface import``: a folder, a table or an archive of pictures into an app's library."""

from __future__ import annotations

import codecs
import csv
import enum
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import effective_settings, known_app, print_json, written_privately
from service.cli.counting import counted
from service.cli.failures import MISUSED, Failure
from service.cli.progress import shown_progress
from service.cli.serve import interruptible

if TYPE_CHECKING:
    from service.bulk.doubles import NamedPair
    from service.bulk.outcomes import CsvReport, Result
    from service.bulk.pictures import Layout, Source
    from service.parts import Workbench
    from service.settings import Settings
    from service.values import App, Control

SOME_REFUSED = 3
"""Exit status of a run that came to its end and could not enrol every picture."""

LARGEST_FILE = 64 * 2**20
"""Bytes of a picture's file, unpacked; cameras write up to about 50 MB."""

MOST_COMPARED = 50_000
"""Up to so many faces of an app doubles are sought among all; beyond it among the users of this run."""

ARCHIVES, TABLES = frozenset({".zip"}), frozenset({".csv", ".tsv", ".txt"})
REPORT, DOUBLES, SHEET = "report.csv", "doubles.csv", "doubles.png"


class Level(str, enum.Enum):
    """The values of ``service.values.Control``, which is slow to import."""

    NONE = "NONE"
    LOW = "LOW"
    NORMAL = "NORMAL"
    HIGH = "HIGH"


def import_pictures(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder or ZIP archive (group/user/picture.jpg, group/user.jpg), a CSV table, or an export."
        ),
    ],
    *,
    app_id: Annotated[str, typer.Option("--app", metavar="APP_ID", help="The app whose library is filled.")],
    group: Annotated[
        str | None, typer.Option(help="Put everybody into this group: the layout is user/picture.jpg then.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Where a table's paths begin, and which none may leave; default: its folder.")
    ] = None,
    make_ids: Annotated[
        bool, typer.Option("--make-ids", help="Turn names that are no ids into ids, and keep them as user_info.")
    ] = False,
    quality_control: Annotated[Level, typer.Option(help="Refuse pictures below this quality.")] = Level.NONE,
    figures: Annotated[
        bool, typer.Option(help="Measure the quality of every face for the report; costs a tenth of the speed at most.")
    ] = True,
    output: Annotated[Path, typer.Option(help="Folder for report.csv, doubles.csv and doubles.png.")] = Path(
        "aipface-import"
    ),
    doubles: Annotated[bool, typer.Option(help="Afterwards look for one person under two ids, and the other way.")] = (
        True
    ),
    cluster: Annotated[
        bool,
        typer.Option("--cluster", help="Enrol nobody: sort a folder of nameless pictures into people.csv, for review."),
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Pictures computed at once; default: inference_threads.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
) -> None:
    """Enrol every picture of a folder, archive or table; run it again to go on or to add what is new.

    Works with and without a running server. Ends with status 0 when everything is enrolled, with 3 when some pictures
    were refused: report.csv says which and why.
    """
    _check(source)
    if pictures is not None and not pictures.is_dir():
        raise Failure(f"there is no folder {pictures}", MISUSED)
    if cluster:
        from service.cli.bulk_sort import sort_pictures

        sort_pictures(source, app_id, group or "people", output, threads, as_json=as_json)
        return
    settings = effective_settings(inference_threads=threads)
    from service.bulk.outcomes import csv_report
    from service.bulk.pictures import Layout
    from service.bulk.restore import Export
    from service.logs import configure_logging
    from service.parts import open_workbench
    from service.values import Control

    configure_logging("warning", settings.log_format)
    again = "interrupted; the same command goes on from here"
    with interruptible(again), shown_progress() as progress, open_workbench(settings, progress=progress) as bench:
        app = known_app(bench.admin, app_id)
        bench.admin.tell_sealing()
        if Export.lies_at(source):
            work = _restoring(bench, settings, app, source)
        else:
            opened = open_source(source, pictures, Layout(group, make_ids), bench, app)
            work = _enrolling(bench, settings, app, opened, Control(quality_control.value), figures=figures)
        private_folder(output)
        with csv_report(output / REPORT) as report:
            touched = _run(work, report)
        pairs = _doubles(bench, app, touched, output) if doubles else None
    _tell(report, pairs, output, as_json=as_json)
    if report.reasons:
        raise typer.Exit(SOME_REFUSED)


def private_folder(output: Path) -> None:
    """The folder of the reports: they name people, so that others may not look into it. Raises ``Failure``."""
    try:
        output.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"{output} cannot be made: {error.strerror}", MISUSED) from None


def _check(path: Path) -> None:
    """Tell a slip of the pen before weights are loaded. Raises ``Failure``."""
    if not path.exists():
        raise Failure(f"there is nothing at {path}", MISUSED)
    if not path.is_dir() and path.suffix.lower() not in ARCHIVES | TABLES:
        raise Failure(f"{path} is neither a folder nor a .zip nor a .csv file", MISUSED)


def open_source(path: Path, pictures: Path | None, layout: Layout, bench: Workbench, app: App) -> Source:
    """What ``path`` is, told by its kind and ending, for filling an app. Raises ``Failure``."""
    from service.bulk.archive import ArchiveSource
    from service.bulk.folder import FolderSource
    from service.bulk.pictures import SourceError
    from service.bulk.table import TableSource

    try:
        if path.is_dir():
            return FolderSource(path, layout, LARGEST_FILE)
        if path.suffix.lower() in ARCHIVES:
            return ArchiveSource(path, layout, LARGEST_FILE)
        download = bench.downloader.fetch
        return TableSource(path, pictures or path.parent, layout, LARGEST_FILE, download, app_id=app.app_id)
    except SourceError as error:
        raise Failure(str(error), MISUSED) from None


@dataclass(frozen=True)
class _Work:
    """Something that gives a result a piece, and the users that got faces once it is done."""

    what: str
    count: int
    results: Iterator[Result]
    touched: Callable[[], frozenset[int]]


def _enrolling(
    bench: Workbench, settings: Settings, app: App, source: Source, quality: Control, *, figures: bool
) -> _Work:
    from service.bulk.enrolment import Enrolment
    from service.bulk.journal import NAME, Journal, file_name
    from service.values import Control

    if quality is not Control.NONE and bench.models.reporter is None:
        raise Failure(f"the pack {bench.models.pack.name} brings nothing to measure quality with", MISUSED)
    journal = settings.home / NAME / file_name(app.app_id, bench.models.pack.model_id, quality)
    enrolment = Enrolment(
        app=app,
        intake=bench.intake,
        database=bench.admin.database,
        journal=Journal(journal, bench.admin.keyring, app.app_id),
        threads=settings.inference_threads,
        keep_crops=settings.keep_crops,
        quality=quality,
        figures=figures,
    )
    return _Work("pictures", source.count(), enrolment.run(source), lambda: enrolment.touched)


def _restoring(bench: Workbench, settings: Settings, app: App, path: Path) -> _Work:
    """The same for what ``aipface export`` wrote."""
    from service.bulk.restore import Export, Restore

    export, engine = Export(path), bench.models.engine
    restore = Restore(
        bench.admin.database,
        app.pk,
        engine,
        threads=settings.inference_threads,
        keep_crops=settings.keep_crops,
    )
    return _Work("faces", export.manifest.faces, restore.run(export, engine.dimension), lambda: restore.touched)


def _run(work: _Work, report: CsvReport) -> frozenset[int]:
    """Do it all; returns the users that got faces."""
    from service.bulk.outcomes import Outcome

    with counted(work.what, work.count) as advance:
        for result in work.results:
            report.add(result)
            refused = report.counts[Outcome.REFUSED]
            if result.place:  # else it is of a whole group
                advance(f"{refused} refused" if refused else "")
    return work.touched()


def _doubles(bench: Workbench, app: App, touched: frozenset[int], output: Path) -> list[NamedPair]:
    from service.bulk.doubles import DoubleSearch
    from service.cli.doubles_sheet import draw

    search = DoubleSearch(
        bench.admin.database, bench.models.engine.model_id, bench.models.engine.dimension, bench.models.scores
    )
    few = search.count(app.pk) <= MOST_COMPARED
    pairs = search.run(app.pk, None if few else touched)
    _write_doubles(output / DOUBLES, pairs)
    (output / SHEET).unlink(missing_ok=True)
    if pairs:
        draw(pairs, bench.admin.database, output / SHEET)
    return pairs


def _write_doubles(path: Path, pairs: Sequence[NamedPair]) -> None:
    with written_privately(path) as file:
        writer = csv.writer(codecs.getwriter("utf-8-sig")(file))
        writer.writerow(["suspicion", "score", "group_id", "user_id_1", "user_id_2", "face_token_1", "face_token_2"])
        for named in pairs:
            first, second = named.users
            score = round(named.pair.score, 2)
            row = [named.pair.suspicion.value, score, first.group_id, first.user_id, second.user_id, *named.tokens]
            writer.writerow(row)


def _tell(report: CsvReport, pairs: Sequence[NamedPair] | None, output: Path, *, as_json: bool) -> None:
    """What became of it all. Where nobody looked for doubles (``None``) it is not known how many there are."""
    from service.bulk.doubles import Suspicion
    from service.bulk.outcomes import Outcome

    counts = {outcome.value: report.counts[outcome] for outcome in Outcome}
    kinds = None if pairs is None else Counter(named.pair.suspicion for named in pairs)
    suspicions = {kind.value: None if kinds is None else kinds[kind] for kind in Suspicion}
    if as_json:
        print_json(
            {**counts, "reasons": dict(report.reasons.most_common()), **suspicions, "report": str(output / REPORT)}
        )
        return
    typer.echo(", ".join(f"{number} {outcome}" for outcome, number in counts.items()))
    for reason, number in report.reasons.most_common():
        typer.echo(f"  {number:6} {reason}")
    if pairs:
        same, other = suspicions[Suspicion.SAME_PERSON.value], suspicions[Suspicion.TWO_PEOPLE.value]
        typer.echo(
            f"perhaps one person under two ids: {same}; perhaps two people under one: {other}; see {output / SHEET}"
        )
    typer.echo(f"every picture: {output / REPORT}")
