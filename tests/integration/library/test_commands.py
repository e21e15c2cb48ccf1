"""What commands have in common: an app that is not there, and files that name people."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from service.bulk.doubles import NamedPair, Suspicion
from service.bulk.outcomes import Outcome, Result, csv_report
from service.bulk.sorting import THUMBNAIL_SIDE, SortedPicture
from service.cli import people_sheet
from service.cli.bulk_import import _tell
from service.cli.common import written_privately
from service.cli.failures import FAILED, Failure
from service.cli.identity import _report
from service.cli.reembed import _write_needing
from service.storage.models import NeedsPicture
from tests.integration.library.test_erasure_commands import admin, app, failure, ran

__all__ = ["admin", "app"]

OF_AN_APP = (
    ("app", "quota", "1"),
    ("app", "disable", "1"),
    ("audit", "list", "--app", "1"),
    ("feedback", "list", "--app", "1"),
    ("identity", "list", "--app", "1"),
    ("erase", "app", "1", "--yes"),
    ("export", "out.zip", "--app", "1"),
    ("copy", "--from", "http://127.0.0.1:9", "--app", "1"),
)


def private(path: Path) -> bool:
    return path.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("admin")
@pytest.mark.parametrize("command", OF_AN_APP, ids=" ".join)
def test_an_app_that_is_not_there_is_told_of_alike(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SOURCE_API_KEY", "SOURCE_SECRET_KEY"):
        monkeypatch.setenv(name, "key")
    assert failure(ran(*command)) == ("there is no app 1; aipface app list shows those there are", FAILED)


@pytest.mark.usefixtures("app")
def test_the_audit_log_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    out = tmp_path / "audit.jsonl"
    out.write_text("older")
    done = ran("audit", "export", str(out))
    assert done.exit_code == 0, done.output
    calls = [json.loads(line)["call"] for line in out.read_text(encoding="utf-8").splitlines()]
    assert "app.create" in calls
    assert private(out)
    assert ran("audit", "export", "-").stdout == out.read_text(encoding="utf-8")
    for nowhere in (tmp_path / "absent" / "audit.jsonl", tmp_path):
        told, status = failure(ran("audit", "export", str(nowhere)))
        assert (told.startswith(f"{nowhere} cannot be written: "), status) == (True, FAILED)


def broken_off(out: Path, error: Exception) -> None:
    with written_privately(out) as file:
        file.write(b"newer")
        raise error


def test_what_could_not_be_finished_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"older")
    with pytest.raises(ZeroDivisionError):
        broken_off(out, ZeroDivisionError())
    with pytest.raises(Failure, match="cannot be written: No space left on device"):
        broken_off(out, OSError(28, "No space left on device"))
    assert out.read_bytes() == b"older"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with written_privately(pipe) as file:
            file.write(b"content")
        assert os.read(reader, 100) == b"content"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_what_a_link_leads_to_is_written(tmp_path: Path) -> None:
    link, file = tmp_path / "latest", tmp_path / "today"
    link.symlink_to(file.name)
    for content in (b"first", b"second"):  # one that there is no file of yet, and one that there is
        with written_privately(link) as out:
            out.write(content)
        assert (link.readlink(), file.read_bytes(), private(file)) == (Path(file.name), content, True)
    assert {path.name for path in tmp_path.iterdir()} == {"latest", "today"}


def test_those_who_need_pictures_are_listed_for_the_owner_alone(tmp_path: Path) -> None:
    out = tmp_path / "need.csv"
    out.write_text("older")
    _write_needing([NeedsPicture("1", "group", "用户", 2)], out)
    with out.open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file))[1:] == [["1", "group", "用户", "2", ""]]
    assert out.read_bytes().startswith(b"\xef\xbb\xbfapp_id,")
    assert private(out)
    with pytest.raises(Failure, match="cannot be written"):
        _write_needing([], tmp_path / "absent" / "need.csv")


@pytest.mark.parametrize("older", [True, False])
def test_what_an_import_writes_is_for_the_owner_alone(tmp_path: Path, older: bool) -> None:
    report, link = tmp_path / "report.csv", tmp_path / "latest.csv"
    sheet = tmp_path / "people-01.png"
    link.symlink_to("linked.csv")
    if older:
        for path in (report, link, sheet):
            path.write_bytes(b"older")
            path.chmod(0o644)
    for path in (report, link):
        with csv_report(path) as rows:
            rows.add(Result("a.jpg", "group", "用户", Outcome.ENROLLED))
        assert "用户" in path.read_text(encoding="utf-8-sig")
        assert private(path)
    assert link.readlink() == Path("linked.csv")
    thumbnail = cv2.imencode(".jpg", np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3), np.uint8))[1].tobytes()
    people = [SortedPicture(f"{number}.jpg", 0, 99.0, thumbnail) for number in range(2)]
    assert people_sheet.draw(people, ["person_1"] * 2, tmp_path) == [sheet]
    assert private(sheet)
    drawn = cv2.imread(str(sheet))
    assert drawn is not None
    assert len(drawn) == THUMBNAIL_SIDE
    with pytest.raises(Failure, match=r"people-01\.png cannot be written: No such file"):
        people_sheet.draw(people, ["person_1"] * 2, tmp_path / "absent")


@pytest.mark.parametrize(("pairs", "number"), [(None, None), ([], 0)])
def test_doubles_that_nobody_looked_for_are_not_told_as_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pairs: list[NamedPair] | None, number: int | None
) -> None:
    with csv_report(tmp_path / "report.csv") as report:
        _tell(report, pairs, tmp_path, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert [told[kind.value] for kind in Suspicion] == [number, number]


def test_an_import_that_refused_nobody_leaves_no_older_refusals(tmp_path: Path) -> None:
    header, file, link, pipe = (
        b"line,id_card_number,reason\r\n",
        tmp_path / "file",
        tmp_path / "link",
        tmp_path / "pipe",
    )
    for older in (file, tmp_path / "linked"):
        older.write_bytes(header + b"2,older,older\r\n")
    link.symlink_to("linked")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        for report in (file, link, pipe, tmp_path / "absent"):
            _report([], report)
        assert os.read(reader, 100) == header
    finally:
        os.close(reader)
    assert (link.readlink(), link.read_bytes()) == (Path("linked"), header)
    assert pipe.is_fifo()
    assert {path.name for path in tmp_path.iterdir()} == {"link", "linked", "pipe"}
