"""``aipface import --cluster``: nameless pictures sorted into people, for somebody to look through before enrolling."""

from __future__ import annotations

import codecs
import csv
import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from service.cli.bulk_import import LARGEST_FILE, REPORT, SOME_REFUSED, private_folder
from service.cli.common import effective_settings, known_app, print_json, written_privately
from service.cli.counting import counted
from service.cli.failures import MISUSED, Failure
from service.cli.progress import shown_progress
from service.cli.serve import interruptible

if TYPE_CHECKING:
    from service.bulk.outcomes import CsvReport
    from service.bulk.sorting import SortedPicture

PEOPLE = "people.csv"
DIGITS = 5


def sort_pictures(folder: Path, app_id: str, group: str, output: Path, threads: int | None, *, as_json: bool) -> None:
    """Write ``people.csv`` and contact sheets into ``output``; nothing is enrolled, and no embedding is kept.

    Raises ``Failure``; ends with the statuses of ``aipface import``.
    """
    if not folder.is_dir():
        raise Failure(f"--cluster sorts the pictures of a folder, and {folder} is none", MISUSED)
    settings = effective_settings(inference_threads=threads)
    from service.bulk.folder import FolderSource
    from service.bulk.outcomes import csv_report
    from service.bulk.pictures import Layout
    from service.bulk.sorting import Sorting
    from service.cli.people_sheet import draw
    from service.logs import configure_logging
    from service.parts import open_workbench

    configure_logging("warning", settings.log_format)
    told = "interrupted; nothing was enrolled"
    with interruptible(told), shown_progress() as progress, open_workbench(settings, progress=progress) as bench:
        source = FolderSource(folder, Layout(group, make_ids=True), LARGEST_FILE)
        app = known_app(bench.admin, app_id)
        sorting = Sorting(app, bench.intake, bench.models.scores, threads=settings.inference_threads)
        private_folder(output)
        with csv_report(output / REPORT) as report, counted("pictures", source.count()) as advance:
            for result in sorting.look(source):
                report.add(result)
                advance("")
        people = sorting.people()
        _write(people, group, output / PEOPLE)
        sheets = draw(people, [name_of(each.person) for each in people], output)
    _tell(people, report, sheets, folder, output, as_json=as_json)
    if report.reasons:
        raise typer.Exit(SOME_REFUSED)


def name_of(person: int) -> str:
    """The user id that a person gets, until somebody gives another."""
    return f"person_{person + 1:0{DIGITS}}"


def _write(people: Sequence[SortedPicture], group: str, path: Path) -> None:
    """The columns that ``aipface import`` takes, and the confidence to review by."""
    with written_privately(path) as file:
        writer = csv.writer(codecs.getwriter("utf-8-sig")(file))
        writer.writerow(["group_id", "user_id", "picture", "confidence"])
        for each in people:
            confidence = "" if math.isnan(each.confidence) else round(each.confidence, 2)
            writer.writerow([group, name_of(each.person), each.place, confidence])


def _tell(
    people: Sequence[SortedPicture],
    report: CsvReport,
    sheets: Sequence[Path],
    folder: Path,
    output: Path,
    *,
    as_json: bool,
) -> None:
    sizes = [len(list(own)) for _, own in groupby(people, key=lambda each: each.person)]
    refused = sum(report.reasons.values())
    if as_json:
        several = sum(size > 1 for size in sizes)
        counts = {"pictures": len(people), "refused": refused, "people": len(sizes), "people_of_several": several}
        print_json({**counts, "people_csv": str(output / PEOPLE), "sheets": [str(sheet) for sheet in sheets]})
        return
    typer.echo(f"{len(people)} pictures of {len(sizes)} people, {refused} without a face that can be used")
    typer.echo(f"look through {output / PEOPLE} and {len(sheets)} sheets beside it, correct the user ids, and then:")
    typer.echo(f"  aipface import {output / PEOPLE} --pictures {folder} --app ...")
