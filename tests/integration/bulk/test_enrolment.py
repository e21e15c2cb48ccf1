"""An import end to end in this process: real weights, real database, interruptions at every place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from service.bulk import enrolment, writing
from service.bulk.doubles import DoubleSearch, Suspicion
from service.bulk.enrolment import Enrolment
from service.bulk.folder import FolderSource
from service.bulk.journal import Journal
from service.bulk.outcomes import Outcome, Result
from service.bulk.pictures import Layout, Picture
from service.bulk.sorting import Sorting
from service.bulk.table import TableSource
from service.cli.bulk_import import open_source
from service.cli.bulk_sort import _write
from service.errors import DatabaseUnavailable
from service.parts import Models, Workbench, open_workbench
from service.settings import load_settings
from service.storage.faces import FaceWriter
from service.values import App, Control
from tests.fixtures.pictures import Pictures

PEOPLE = {
    "staff/ada/1.png": "astronaut.png",
    "staff/barack/1.jpg": "obama.jpg",
    "staff/barack/2.jpg": "obama2.jpg",
    "staff/barack/same.jpg": "obama.jpg",
    "staff/joe/1.jpg": "biden.jpg",
    "staff/twin/1.jpg": "obama3.jpg",
    "staff/mixed/1.jpg": "biden.jpg",
    "staff/mixed/2.png": "astronaut.png",
}


@dataclass(frozen=True)
class Place:
    """An app, and a folder of people to fill it with."""

    bench: Workbench
    app: App
    folder: Path
    journal: Path

    def enrolment(self, quality: Control = Control.NONE, *, figures: bool = False) -> Enrolment:
        return Enrolment(
            app=self.app,
            intake=self.bench.intake,
            database=self.bench.admin.database,
            journal=Journal(self.journal, self.bench.admin.keyring, self.app.app_id),
            threads=1,
            keep_crops=True,
            quality=quality,
            figures=figures,
        )

    def source(self) -> FolderSource:
        return FolderSource(self.folder, Layout(), 2**24)

    def run(self) -> dict[str, Result]:
        return {result.place: result for result in self.enrolment().run(self.source())}

    def enrolled(self) -> int:
        with self.bench.admin.database.read() as reader:
            return reader.faces.count_of_app(self.app.pk)

    def head(self) -> int | None:
        with self.bench.admin.database.read() as reader:
            return reader.changes.head(self.app.pk)


@pytest.fixture
def place(database_url: str, models: Models, pictures: Pictures, tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "people"
    for name, picture in PEOPLE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pictures.path(picture), folder / name)
    (folder / "staff" / "joe" / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    settings = load_settings(home=tmp_path / "home", database_url=database_url)
    with open_workbench(settings, models=models) as bench:
        app = bench.admin.apps.by_app_id(bench.admin.apps.create("import").app_id)
        assert app is not None
        yield Place(bench, app, folder, tmp_path / "journal.txt")


def test_everything_usable_is_enrolled_once(place: Place) -> None:
    results = place.run()
    assert results["staff/joe/broken.jpg"].reason == "picture_unreadable"
    assert results["staff/barack/same.jpg"].outcome is Outcome.PRESENT
    assert place.enrolled() == place.head() == 7
    with place.bench.admin.database.read() as reader:
        group = reader.groups.pk(place.app.pk, "staff")
        assert group is not None
        assert reader.groups.users(group, 0, 10) == ["ada", "barack", "joe", "mixed", "twin"]
        assert reader.models.active_id() == place.bench.models.engine.model_id  # for servers that are set otherwise

    again = place.run()
    assert {name: result.outcome for name, result in again.items()} == {
        name: Outcome.REFUSED if "broken" in name else Outcome.PRESENT for name in results
    }
    place.journal.unlink()  # without it pictures are looked at again, and recognised by their tokens
    assert {result.outcome for name, result in place.run().items() if "broken" not in name} == {Outcome.PRESENT}
    assert place.enrolled() == place.head() == 7

    pairs = DoubleSearch(
        place.bench.admin.database,
        place.bench.models.engine.model_id,
        place.bench.models.engine.dimension,
        place.bench.models.scores,
    ).run(place.app.pk)
    told = {(named.pair.suspicion, *sorted(user.user_id for user in named.users)) for named in pairs}
    assert told == {
        (Suspicion.SAME_PERSON, "barack", "twin"),
        (Suspicion.SAME_PERSON, "joe", "mixed"),
        (Suspicion.SAME_PERSON, "ada", "mixed"),
        (Suspicion.TWO_PEOPLE, "mixed", "mixed"),
    }


def test_a_deleted_user_comes_back_with_the_next_run(place: Place) -> None:
    place.run()
    with place.bench.admin.database.write(place.app.pk) as work:
        (entry,) = work.users.entries(place.app.pk, "joe")
        work.users.delete(entry.pk)
    assert place.run()["staff/joe/1.jpg"].outcome is Outcome.ENROLLED
    assert place.enrolled() == 7


def test_an_interruption_loses_a_batch_at_most(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrolment, "BATCH_FACES", 2)
    monkeypatch.setattr(enrolment, "BATCH_SECONDS", 600)
    results = place.enrolment().run(place.source())
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert place.enrolled() == 2
    place.run()
    assert place.enrolled() == place.head() == 7


def test_a_database_that_fails_leaves_no_half(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> list[int]:
        raise DatabaseUnavailable("gone")

    with monkeypatch.context() as broken:
        broken.setattr(FaceWriter, "insert_many", failing)
        with pytest.raises(DatabaseUnavailable):
            place.run()
    assert place.enrolled() == place.head() == 0
    assert not place.journal.exists()
    with place.bench.admin.database.read() as reader:
        assert reader.groups.names(place.app.pk, 0, 10) == []
    place.run()
    assert place.enrolled() == 7


def test_quality_is_measured_and_controlled(place: Place) -> None:
    results = {result.place: result for result in place.enrolment(Control.HIGH).run(place.source())}
    turned = results["staff/barack/2.jpg"]
    assert (turned.outcome, turned.reason) == (Outcome.REFUSED, "pose_too_large")
    assert turned.quality is not None
    assert turned.angles is not None
    assert results["staff/barack/1.jpg"].outcome is Outcome.ENROLLED
    again = {result.place: result for result in place.enrolment(Control.HIGH).run(place.source())}
    assert again["staff/barack/2.jpg"].reason == "pose_too_large"
    assert {name: result.outcome for name, result in again.items()} == {
        name: Outcome.PRESENT if result.outcome is Outcome.ENROLLED else result.outcome
        for name, result in results.items()
    }


def test_a_user_has_twenty_faces_at_most(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MAX_FACES_PER_USER", 1)
    results = place.run()
    assert results["staff/barack/2.jpg"].reason == "too_many_faces"
    assert results["staff/barack/1.jpg"].outcome is Outcome.ENROLLED
    assert place.enrolled() == 5


def test_a_table_of_several_apps_fills_the_one_that_is_named(place: Place, tmp_path: Path) -> None:
    table = tmp_path / "need-pictures.csv"
    other = place.bench.admin.apps.create("other").app_id
    rows = [(place.app.app_id, "ada", "staff/ada/1.png"), (other, "joe", "staff/joe/1.jpg")]
    lines = ["app_id,group_id,user_id,faces,picture", *(f"{app},staff,{user},1,{path}" for app, user, path in rows)]
    table.write_text("\n".join(lines), encoding="utf-8")
    source = open_source(table, place.folder, Layout(), place.bench, place.app)
    assert [(result.user_id, result.outcome, result.reason) for result in place.enrolment().run(source)] == [
        ("ada", Outcome.ENROLLED, ""),
        ("joe", Outcome.REFUSED, "another_app"),
    ]
    assert place.enrolled() == 1


def test_sorted_pictures_are_found_by_the_table_that_names_them(place: Place, tmp_path: Path) -> None:
    folder, table = os.fsencode(tmp_path / "nameless"), tmp_path / "people.csv"
    os.mkdir(folder)  # noqa: PTH102 (names of bytes)
    named = ("\u3000leading.jpg", "a\u00a0b\u3000c.jpg", " 1.jpg", "a\nb.jpg", "plain, ordinary.jpg")
    for name in (*map(os.fsencode, named), b"caf\xe9.jpg", b"back\\slash.jpg"):
        shutil.copy(os.fsencode(place.folder / "staff" / "barack" / "1.jpg"), os.path.join(folder, name))  # noqa: PTH118
    sorting = Sorting(place.app, place.bench.intake, place.bench.models.scores, threads=1)
    source = FolderSource(tmp_path / "nameless", Layout("people", make_ids=True), 2**24)
    refused = {result.place: result.reason for result in sorting.look(source) if result.outcome is Outcome.REFUSED}
    assert refused == {"caf\\xe9.jpg": "bad_name", "back\\slash.jpg": "bad_name"}
    _write(sorting.people(), "people", table)
    rows = list(TableSource(table, tmp_path / "nameless", Layout(), 2**24).pictures())
    assert len(rows) == len(named)
    for picture in rows:
        assert picture.read()


class Given:
    """Rows of a table: pictures with a user_info each."""

    remote = True

    def __init__(self, rows: Sequence[Picture]) -> None:
        self._rows = rows

    def count(self) -> int:
        return len(self._rows)

    def pictures(self) -> Iterator[Picture]:
        return iter(self._rows)


def test_user_info_of_a_table_is_kept_current(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pictures that the journal knows too; where rows of one user differ, the last one counts."""
    by_place = {picture.place: picture for picture in place.source().pictures()}
    ada, first, second = (by_place[f"staff/{name}"] for name in ("ada/1.png", "barack/1.jpg", "barack/2.jpg"))

    def run(*rows: tuple[Picture, str | None]) -> tuple[set[str], set[str]]:
        list(place.enrolment().run(Given([replace(picture, user_info=info) for picture, info in rows])))
        with place.bench.admin.database.read() as reader:
            ada, barack = (reader.users.entries(place.app.pk, user) for user in ("ada", "barack"))
        return {entry.user_info for entry in ada}, {entry.user_info for entry in barack}

    assert run((ada, "one"), (first, "old"), (second, "new")) == ({"one"}, {"new"})
    monkeypatch.setattr(place.bench.intake, "face_of_file", None)  # the journal knows them all
    assert run((ada, None), (first, "old"), (second, None)) == ({"one"}, {"old"})
    with place.bench.admin.database.read() as reader:
        states = reader.audit.chains()
    assert run((ada, "one"), (first, "new"), (second, "old")) == ({"one"}, {"old"})
    with place.bench.admin.database.read() as reader:
        assert reader.audit.chains() == states  # nothing was to be written
    monkeypatch.setattr(enrolment, "BATCH_SECONDS", 0)  # a batch each
    assert run((ada, "two"), (first, "old"), (second, "last")) == ({"two"}, {"last"})
    monkeypatch.undo()
    with place.bench.admin.database.write(place.app.pk) as work:
        work.faces.delete_of_users(work.users.entries(place.app.pk, "barack")[0].pk)
    assert run((first, "new"), (second, "newest"), (first, "end")) == ({"two"}, {"end"})


def test_user_info_that_nobody_said_leaves_what_the_api_wrote(place: Place, tmp_path: Path) -> None:
    """The name of a folder, and an empty cell of a table; also where nothing is left of the journal."""
    (place.folder / "staff" / "ada").rename(place.folder / "staff" / "Ada L")
    table = tmp_path / "people.csv"
    rows = ("staff,barack,staff/barack/1.jpg,Barack O.", "staff,barack,staff/barack/2.jpg,", "staff,Joe J,joe.jpg, ")
    table.write_text("\n".join(("group_id,user_id,picture,user_info", *rows)), encoding="utf-8")
    shutil.copy(place.folder / "staff" / "joe" / "1.jpg", place.folder / "joe.jpg")

    def run() -> dict[str, str]:
        layout = Layout(make_ids=True)
        list(place.enrolment().run(FolderSource(place.folder / "staff", replace(layout, group="staff"), 2**24)))
        list(place.enrolment().run(open_source(table, place.folder, layout, place.bench, place.app)))
        with place.bench.admin.database.read() as reader:
            group = reader.groups.pk(place.app.pk, "staff") or 0
            names = reader.groups.users(group, 0, 100)
            return {name: reader.users.entries(place.app.pk, name)[0].user_info for name in names}

    def written(info: str, user: str) -> None:
        with place.bench.admin.database.write(place.app.pk) as work:
            work.users.set_info(work.users.entries(place.app.pk, user)[0].pk, info)

    made = run()
    ada, joe = (next(user for user, info in made.items() if info == name) for name in ("Ada L", "Joe J"))
    unnamed = dict.fromkeys(("joe", "mixed", "twin"), "")
    assert made == {ada: "Ada L", joe: "Joe J", "barack": "Barack O.", **unnamed}
    for user in made:
        written(f"door of {user}", user)
    kept = {user: f"door of {user}" for user in made} | {"barack": "Barack O."}  # whose row says so
    assert run() == kept
    place.journal.unlink()
    with place.bench.admin.database.write(place.app.pk) as work:
        work.faces.delete_of_users(work.users.entries(place.app.pk, ada)[0].pk)
    assert run() == kept


def test_a_refusal_that_a_setting_made_is_not_for_ever(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as small:
        small.setattr(place.bench.intake, "_max_picture_pixels", 10_000)
        assert {result.reason for result in place.run().values()} == {"picture_unreadable"}
    journal = Journal(place.journal, place.bench.admin.keyring, place.app.app_id)
    known = journal.key((place.folder / "staff/ada/1.png").read_bytes())
    journal.add([(known, None, "picture_unreadable")])  # as earlier releases wrote it down
    assert place.run()["staff/ada/1.png"].outcome is Outcome.ENROLLED
    assert place.enrolled() == 7


def test_a_picture_without_a_face_is_looked_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = cv2.imencode(".png", np.full((200, 200, 3), 128, np.uint8))[1].tobytes()
    (place.folder / "staff" / "joe" / "grey.png").write_bytes(grey)
    assert place.run()["staff/joe/grey.png"].reason == "face_not_found"
    (place.folder / "staff" / "joe" / "broken.jpg").unlink()
    monkeypatch.setattr(place.bench.intake, "face_of_file", None)
    assert place.run()["staff/joe/grey.png"].reason == "face_not_found"
