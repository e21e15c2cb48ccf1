"""An export and its way back: into the same kind of instance, into one with another model, and damaged on the way."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.bulk.enrolment import Enrolment
from service.bulk.export import export_library
from service.bulk.folder import FolderSource
from service.bulk.journal import Journal
from service.bulk.outcomes import Outcome, Result
from service.bulk.pictures import Layout, SourceError
from service.bulk.restore import Export, Restore
from service.bulk.writing import ReadyUser, Writer
from service.parts import Models, Workbench, open_workbench
from service.settings import load_settings
from service.storage.library import StoredGroup, StoredUser, StoredUserFace, read_library
from service.values import App
from tests.fixtures.pictures import Pictures
from tests.fixtures.sealing import execute

PEOPLE = {"staff/ada/1.png": "astronaut.png", "staff/barack/1.jpg": "obama.jpg", "door/barack/1.jpg": "obama.jpg"}


@dataclass(frozen=True)
class Place:
    """An instance with an app that has people, and an empty one."""

    bench: Workbench
    full: App
    empty: App
    folder: Path

    def export(self, name: str) -> Path:
        told: list[None] = []
        path = self.folder / name
        manifest = export_library(self.bench.admin.database, self.full.pk, path, lambda: told.append(None))
        assert (manifest.groups, manifest.users, manifest.faces, len(told)) == (4, 4, 3, 3)
        return path

    def restore(self, path: Path, *, keep_crops: bool = True) -> list[Result]:
        engine = self.bench.models.engine
        restore = Restore(self.bench.admin.database, self.empty.pk, engine, threads=1, keep_crops=keep_crops)
        return list(restore.run(Export(path), engine.dimension))

    def library(self, app: App) -> tuple[list[StoredGroup | StoredUser], dict[tuple[str, str], StoredUserFace]]:
        rows = list(read_library(self.bench.admin.database, app.pk))
        plain: list[StoredGroup | StoredUser] = [row for row in rows if isinstance(row, StoredGroup | StoredUser)]
        return plain, {(row.group_id, row.user_id): row for row in rows if isinstance(row, StoredUserFace)}


@pytest.fixture
def place(database_url: str, models: Models, pictures: Pictures, tmp_path: Path) -> Iterator[Place]:
    people = tmp_path / "people"
    for name, picture in PEOPLE.items():
        (people / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pictures.path(picture), people / name)
    settings = load_settings(home=tmp_path / "home", database_url=database_url)
    with open_workbench(settings, models=models) as bench:
        full, empty = (bench.admin.apps.by_app_id(bench.admin.apps.create(name).app_id) for name in ("full", "empty"))
        assert full is not None
        assert empty is not None
        enrolment = Enrolment(
            app=full,
            intake=bench.intake,
            database=bench.admin.database,
            journal=Journal(tmp_path / "journal.txt", bench.admin.keyring, full.app_id),
            threads=1,
            keep_crops=True,
            figures=False,
        )
        assert [result.outcome for result in enrolment.run(FolderSource(people, Layout(), 2**24))] == [
            Outcome.ENROLLED
        ] * 3
        with bench.admin.database.write(full.pk) as work:
            work.groups.insert("nobody")
            work.users.insert(work.groups.insert("gate", "SCENE"), "faceless", "查无此人")
            work.users.set_info(work.users.pks([work.groups.get_or_create("staff")], "ada")[0], "Ada")
        yield Place(bench, full, empty, tmp_path)


def test_a_second_import_leaves_what_was_changed_here(place: Place) -> None:
    """As a second `aipface copy` does, which tells users without faces only."""
    path = place.export("out")
    place.restore(path)
    database = place.bench.admin.database
    with database.write(place.empty.pk) as work:
        for user in ("ada", "faceless"):
            work.users.set_info(work.users.entries(place.empty.pk, user)[0].pk, "changed here")
    place.restore(path)
    copied = [
        ReadyUser("staff", "ada", ""),
        ReadyUser("gate", "faceless", "there", "SCENE"),
        ReadyUser("new", "eve", "E"),
    ]
    Writer(database, place.empty.pk, model_id="").write([], copied)
    with database.read() as reader:
        infos = {user: reader.users.entries(place.empty.pk, user)[0].user_info for user in ("ada", "faceless", "eve")}
    assert infos == {"ada": "changed here", "faceless": "changed here", "eve": "E"}


def test_a_group_of_another_scene_is_told_though_it_has_no_faces(place: Place) -> None:
    path = place.export("moved")
    with place.bench.admin.database.write(place.empty.pk) as work:
        work.groups.insert("gate", "OTHER")
    results = [result for result in place.restore(path) if result.outcome is Outcome.REFUSED]
    assert [(result.place, result.group_id, result.reason) for result in results] == [
        ("", "gate", "group_of_another_scene")
    ]


def test_many_groups_are_written_in_several_transactions(place: Place, database_url: str) -> None:
    """Whoever else writes into the app waits for each of them."""
    path = place.export("out")
    library = path / "library.jsonl"
    lines = [json.dumps({"group": {"group_id": f"empty{number}"}}) for number in range(600)]
    library.write_text(library.read_text(encoding="utf-8") + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    place.restore(rewritten(path, lambda _: None))
    made = execute(
        database_url, "SELECT count(*)::int FROM groups WHERE app_pk = %s GROUP BY xmin::text", place.empty.pk
    )
    sizes = [int(str(number)) for (number,) in made]
    assert sum(sizes) == 604
    assert max(sizes) <= 256


def test_an_info_longer_than_the_api_takes_comes_back(place: Place) -> None:
    """Imports of earlier releases made such ones of long names; the library could not be exported."""
    database = place.bench.admin.database
    with database.write(place.full.pk) as work:
        work.users.set_info(work.users.entries(place.full.pk, "ada")[0].pk, "é" * 2000)
    place.restore(place.export("out"))
    with database.read() as reader:
        assert reader.users.entries(place.empty.pk, "ada")[0].user_info == "é" * 2000


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_everything_comes_back(place: Place, name: str) -> None:
    path = place.export(name)
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert {result.outcome for result in place.restore(path)} == {Outcome.ENROLLED}
    before, faces = place.library(place.full)
    after, restored = place.library(place.empty)
    assert after == before
    assert restored.keys() == faces.keys()
    for key, face in faces.items():
        assert restored[key].face == face.face
        assert restored[key].model_id == face.model_id
        np.testing.assert_array_equal(restored[key].embedding, face.embedding)
    with place.bench.admin.database.read() as reader:
        assert reader.changes.head(place.empty.pk) == 3
    assert {result.outcome for result in place.restore(path)} == {Outcome.PRESENT}
    with pytest.raises(SourceError, match="is there already"):
        place.export(name)
    assert [entry.name for entry in place.folder.iterdir() if entry.name.startswith(".")] == []


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The export with each face's line changed, and the manifest true again."""
    library = path / "library.jsonl"
    lines = [json.loads(line) for line in library.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        if "face" in line:
            change(line["face"])
    library.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    manifest["library_sha256"] = hashlib.sha256(library.read_bytes()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return path


def test_another_model_embeds_the_crops_anew(place: Place) -> None:
    def foreign(face: dict[str, Any]) -> None:
        face["model_id"], face["embedding"] = "other-512-0123456789ab", ""
        if face["group_id"] == "door":
            del face["crop"], face["crop_sha256"]

    results = {result.group_id: result for result in place.restore(rewritten(place.export("out"), foreign))}
    assert results["staff"].outcome is Outcome.ENROLLED
    assert results["door"].reason == "needs_picture"
    _, faces = place.library(place.full)
    _, restored = place.library(place.empty)
    assert restored.keys() == {key for key in faces if key[0] == "staff"}
    for key, face in restored.items():
        assert face.model_id == place.bench.models.engine.model_id
        assert float(face.embedding @ faces[key].embedding) > 0.98


def test_crops_are_not_kept_where_the_operator_keeps_none(place: Place) -> None:
    place.restore(place.export("out.zip"), keep_crops=False)
    _, restored = place.library(place.empty)
    assert len(restored) == 3
    assert {face.face.portrait for face in restored.values()} == {None}


def test_a_damaged_library_is_refused_before_anything_is_written(place: Place) -> None:
    path = place.export("out")
    library = path / "library.jsonl"
    library.write_bytes(library.read_bytes().replace(b'"Ada"', b'"Eve"'))
    with pytest.raises(SourceError, match="damaged"):
        place.restore(path)
    assert place.library(place.empty) == ([], {})
    for content in (b"{", b"[]", b'{"format": "other"}', b'{"format": "aipface-export", "version": 99}'):
        (path / "manifest.json").write_bytes(content)
        with pytest.raises(SourceError, match=r"manifest\.json|version 99"):
            Export(path)


def test_a_damaged_crop_or_line_costs_one_face(place: Place) -> None:
    def spoil(face: dict[str, Any]) -> None:
        if face["group_id"] == "door":
            face["embedding"] = face["embedding"][:-8]

    path = rewritten(place.export("out"), spoil)
    crop = next(path.rglob("000000001.jpg"))
    crop.write_bytes(crop.read_bytes()[:-10])
    assert sorted(result.reason for result in place.restore(path)) == ["", "damaged_crop", "damaged_line"]
    missing = place.export("second")
    next(missing.rglob("000000001.jpg")).unlink()
    assert sorted(result.reason for result in place.restore(missing)) == ["", "", "unreadable"]


def test_a_line_cannot_name_files_outside(place: Place) -> None:
    path = rewritten(place.export("out"), lambda face: face.update(crop="../../people/staff/ada/1.png"))
    with pytest.raises(SourceError, match="line"):
        place.restore(path)
    assert not Export.lies_at(place.folder / "people")
    with zipfile.ZipFile(place.folder / "plain.zip", "w") as made:
        made.writestr("g/u/1.jpg", b"-")
    assert not Export.lies_at(place.folder / "plain.zip")
    assert Export.lies_at(path)
