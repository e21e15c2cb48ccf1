"""Erasing reaches everything that belongs to somebody, nothing of anybody else, and is shown by the audit log."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa

from service.access.keys import Keyring
from service.bulk.journal import ImportJournals, Journal, file_name
from service.errors import AppUnavailable, DatabaseUnavailable, GroupNotFound, UserNotFound
from service.library.audit import AuditTrail
from service.library.disclosure import DOCUMENT, Disclosure
from service.library.erasure import AlsoErased, Erasure, Receipt
from service.storage.engine import Database
from service.storage.rows import RememberedFace, embedding_bytes
from service.storage.tables import metadata
from service.storage.uploads import SealedUpload
from service.storage.urls import driver_address
from service.values import App, Control
from tests.fixtures.library import MODEL, enrol, new_app, random_embedding, stored_face
from tests.integration.library.conftest import KEY

HOUR = timedelta(hours=1)


@pytest.fixture
def apps(database: Database) -> tuple[App, App]:
    """Two apps with the same people, and with rows in every table that belongs to apps."""
    both = new_app(database), new_app(database)
    for app in both:
        fill(database, app)
    return both


def fill(database: Database, app: App) -> None:
    for group, user, token in (("a", "ada", "t1"), ("a", "bob", "t2"), ("b", "ada", "t3"), ("b", "ada", "t4")):
        enrol(database, app, group, user, token, random_embedding(int(token[1])))
    remembered = [RememberedFace(stored_face(token), random_embedding(5)) for token in ("t1", "t2", "seen")]
    with database.admin() as work:
        work.tokens.put(app.pk, remembered, MODEL, HOUR)
        work.feedback.insert(app.pk, [{"log": [{"user_id": "ada"}]}, {"user_id": "adamant"}], 100)
        work.uploads.put(app.pk, SealedUpload(f"{app.pk:032}", "selfie", b"sealed"), HOUR, 1000)
        device = work.captures.see_device(app.pk, b"device", passed=True, history=HOUR)
        work.captures.add_person(device.pk, MODEL, b"sealed", 5)


def rows(url: str, app: App, table: str) -> int:
    with psycopg.connect(driver_address(url)) as connection:
        query = f"SELECT count(*) FROM {table} WHERE app_pk = %s"  # noqa: S608 - a table of ours
        (count,) = connection.execute(query.encode(), (app.pk,)).fetchone() or (-1,)
    return int(count)


def verified(database: Database, receipt: Receipt) -> dict[str, object]:
    """The entry that a receipt names, of a chain that is sound."""
    trail = AuditTrail(database, [KEY])
    assert all(report.problems == () for report in trail.verify())
    chain, _, seq = receipt.position.partition(":")
    (entry,) = [each for each in trail.entries(int(chain)) if each.seq == int(seq)]
    assert entry.hash.hex() == receipt.hash
    assert entry.draft.time == receipt.when
    return dict(entry.draft.detail or {})


def test_a_user_goes_from_everywhere_and_nobody_else_does(
    database: Database, apps: tuple[App, App], database_url: str
) -> None:
    ours, other = apps
    before = {table: rows(database_url, other, table) for table in ("users", "faces", "face_tokens", "feedback")}
    receipt = Erasure(database).user(ours, "ada")
    assert receipt.counts == {"users": 2, "faces": 3, "crops": 3, "face_tokens": 1, "feedback": 1}
    detail = verified(database, receipt)
    assert detail == {**receipt.counts, "remove_user": 2}
    with database.read() as reader:
        assert reader.users.entries(ours.pk, "ada") == []
        assert reader.tokens.get(ours.pk, "t1", MODEL) is None
        assert reader.tokens.get(ours.pk, "t2", MODEL) is not None
        assert reader.disclosure.feedback(ours.pk, "ada") == []
        assert len(reader.disclosure.feedback(ours.pk, "adamant")) == 1
        assert [entry.user_id for entry in reader.users.entries(ours.pk, "bob")] == ["bob"]
    assert {table: rows(database_url, other, table) for table in before} == before


def test_a_user_of_one_group_and_what_cannot_be_told_apart(
    database: Database, apps: tuple[App, App], database_url: str
) -> None:
    app, other = apps
    everything = AlsoErased(remembered=True, uploads=True, captures=True, feedback=True)
    receipt = Erasure(database).user(app, "ada", "b", everything)
    assert receipt.counts["users"] == 1
    assert receipt.counts["all_face_tokens"] == 3
    assert (receipt.counts["uploads"], receipt.counts["capture_devices"], receipt.counts["all_feedback"]) == (1, 1, 2)
    for table in ("face_tokens", "uploads", "capture_devices", "feedback"):
        assert (rows(database_url, app, table), rows(database_url, other, table) > 0) == (0, True)
    with database.read() as reader:
        assert [entry.group_id for entry in reader.users.entries(app.pk, "ada")] == ["a"]


def test_a_group(database: Database, apps: tuple[App, App], database_url: str) -> None:
    receipt = Erasure(database).group(apps[0], "a")
    assert receipt.counts == {"groups": 1, "faces": 2, "crops": 2, "face_tokens": 2, "feedback": 0}
    assert verified(database, receipt)["remove_group"] == 1
    assert [rows(database_url, app, "face_tokens") for app in apps] == [1, 3]  # at once, where the API leaves a while


def test_feedback_goes_with_a_group_whose_users_are_in_no_other(database: Database, apps: tuple[App, App]) -> None:
    app, other = apps
    items: list[dict[str, object]] = [
        {"log": [{"user_id": "bob"}]},
        {"names": ["ada", "bob"]},
        {"user_id": "bobby"},
        {"count": 3},
    ]
    with database.admin() as work:
        for each in apps:
            work.feedback.insert(each.pk, items, 100)
    assert Erasure(database).group(app, "a").counts["feedback"] == 2  # ada is in another group too
    with database.read() as reader:
        assert (reader.disclosure.feedback(app.pk, "bob"), len(reader.disclosure.feedback(app.pk, "ada"))) == ([], 1)
        assert len(reader.disclosure.feedback(other.pk, "bob")) == 2
    assert Erasure(database).group(app, "b").counts["feedback"] == 1
    with database.read() as reader:
        assert {str(item.content) for item in reader.feedback.latest(app.pk, 100)} == {
            "{'user_id': 'adamant'}", "{'user_id': 'bobby'}", "{'count': 3}"
        }  # fmt: skip


def test_what_the_api_s_deletion_left_of_a_user_goes(database: Database, apps: tuple[App, App]) -> None:
    app = apps[0]
    with database.write(app.pk) as work:
        for entry in work.users.entries(app.pk, "ada"):
            work.users.delete(entry.pk)
    receipt = Erasure(database).user(app, "ada")
    assert (receipt.counts["users"], receipt.counts["feedback"]) == (0, 1)
    assert verified(database, receipt) == receipt.counts
    with pytest.raises(UserNotFound, match=f"nothing is known of a user ada in app {app.app_id}"):
        Erasure(database).user(app, "ada", also=AlsoErased(remembered=True))
    receipt = Erasure(database).user(app, "ada", also=AlsoErased(remembered=True), gone=True)
    assert (receipt.counts["users"], receipt.counts["all_face_tokens"]) == (0, 3)  # the error above took nothing


def test_notes_of_imports_go_with_the_faces(database: Database, apps: tuple[App, App], tmp_path: Path) -> None:
    notes = {}
    for app in apps:
        notes[app] = Journal(tmp_path / file_name(app.app_id, MODEL, Control.NONE), Keyring(KEY), app.app_id)
        notes[app].add((notes[app].key(token.encode()), token, None) for token in ("t1", "t2", "t3", "gone"))
        notes[app].add([(notes[app].key(b"refused"), None, "face_not_found")])
    erasure = Erasure(database, journals=ImportJournals(tmp_path))

    def told() -> list[str]:
        texts = (path.read_text() for path in tmp_path.glob(f"{apps[0].app_id}*"))
        return [line.split()[1] for text in texts for line in text.splitlines()]

    with pytest.raises(UserNotFound):
        erasure.user(apps[0], "eve")
    assert told() == ["t1", "t2", "t3"]  # what nobody has any more is of nobody's use
    receipt = erasure.user(apps[0], "ada", "b")
    assert (receipt.counts["import_notes"], told()) == (1, ["t1", "t2"])
    assert "import_notes" not in verified(database, receipt)  # looked through when the transaction has ended
    assert erasure.group(apps[0], "a").counts["import_notes"] == 2
    assert erasure.app(apps[1]).counts["import_notes"] == 5
    assert list(tmp_path.glob("*.txt*")) == []


def test_an_erasure_that_did_not_come_to_the_notes_is_told_and_can_be_made_up_for(
    database: Database, apps: tuple[App, App]
) -> None:
    class Away:
        """Notes that cannot be asked about at first."""

        asked = 0

        def forget(self, _app_id: str, _enrolled: Callable[[Sequence[str]], Collection[str]]) -> int:
            self.asked += 1
            if self.asked in (1, 3):
                raise DatabaseUnavailable("gone for a moment")
            return 3

    notes = Away()
    erasure = Erasure(database, journals=notes)
    receipt = erasure.user(apps[0], "ada")
    assert verified(database, receipt)["users"] == 2
    assert receipt.unfinished == "notes of imports could not be looked through (gone for a moment)"
    with pytest.raises(UserNotFound):
        erasure.user(apps[0], "ada")
    assert notes.asked == 2
    assert erasure.group(apps[0], "a").unfinished
    with pytest.raises(GroupNotFound):
        erasure.group(apps[0], "a")
    assert notes.asked == 4
    assert not erasure.group(apps[0], "b").unfinished


def test_an_app_leaves_nothing_but_its_audit_log(database: Database, apps: tuple[App, App], database_url: str) -> None:
    ours, other = apps
    receipt = Erasure(database).app(ours)
    assert (receipt.counts["faces"], receipt.counts["capture_people"], receipt.counts["uploads"]) == (4, 1, 1)
    assert verified(database, receipt)["app_id"] == ours.app_id
    for table in metadata.sorted_tables:
        if "app_pk" in table.c:
            assert rows(database_url, ours, table.name) == 0, table.name
    assert rows(database_url, other, "faces") == 4
    assert AuditTrail(database, [KEY]).latest(1, chain=ours.pk)
    with pytest.raises(AppUnavailable):
        Erasure(database).app(ours)


def test_who_is_not_there_is_told_and_nothing_is_written(database: Database, apps: tuple[App, App]) -> None:
    erasure, trail = Erasure(database), AuditTrail(database, [KEY])
    before = [state.head.seq for state in trail.states()]
    with pytest.raises(UserNotFound):
        erasure.user(apps[0], "eve")
    with pytest.raises(UserNotFound):
        erasure.user(apps[0], "bob", "b")
    with pytest.raises(GroupNotFound):
        erasure.group(apps[0], "c")
    assert [state.head.seq for state in trail.states()] == before


def test_copies_outside_the_database_go_too(database: Database, apps: tuple[App, App]) -> None:
    asked: list[int] = []

    class Folder:
        def erase(self, app_pk: int) -> int:
            asked.append(app_pk)
            return 2

    erasure = Erasure(database, [Folder()])
    assert erasure.user(apps[0], "bob").counts["copies"] == 2
    assert erasure.group(apps[0], "a").counts["copies"] == 2
    assert verified(database, erasure.app(apps[0]))["copies"] == 2
    assert asked == [apps[0].pk] * 6  # once more after each transaction: something may have been copied before its end


def test_the_change_log_holds_nothing_but_numbers() -> None:
    """What is erased need not be looked for there."""
    kinds = {type(column.type) for column in metadata.tables["changes"].c if column.name != "created"}
    assert kinds <= {sa.BigInteger, sa.SmallInteger}


def exported(database: Database, app: App, user_id: str, *, embeddings: bool) -> tuple[dict[str, Any], Sequence[str]]:
    out = io.BytesIO()
    Disclosure(database).write(app, user_id, out, embeddings=embeddings)
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
        return json.loads(archive.read(DOCUMENT)), archive.namelist()


def test_everything_held_about_a_person_can_be_shown(database: Database, apps: tuple[App, App]) -> None:
    content, names = exported(database, apps[0], "ada", embeddings=True)
    assert sorted(names) == ["faces/a/t1.jpg", "faces/b/t3.jpg", "faces/b/t4.jpg", DOCUMENT, "remembered/t1.jpg"]
    first, second = content["groups"]
    assert (first["group_id"], second["group_id"]) == ("a", "b")
    face = first["faces"][0]
    assert (face["face_token"], face["crop"], face["location"]["rotation"]) == ("t1", "faces/a/t1.jpg", -12)
    np.testing.assert_array_equal(np.float32(face["embedding"]), random_embedding(1))
    assert [item["content"] for item in content["feedback"]] == [{"log": [{"user_id": "ada"}]}]
    content, _ = exported(database, apps[0], "ada", embeddings=False)
    assert "embedding" not in json.dumps(content)
    assert [entry["call"] for entry in content["audit"]] == ["user.export"]
    assert AuditTrail(database, [KEY]).latest(1, user="ada")[0].draft.detail == {
        "groups": 2, "faces": 3, "remembered_faces": 1, "feedback": 1, "audit": 1
    }  # fmt: skip


def test_what_another_model_made_of_a_face_is_shown_and_goes_too(
    database: Database, apps: tuple[App, App], database_url: str
) -> None:
    """While the library moves to another model, and until the one before is forgotten."""
    with psycopg.connect(driver_address(database_url)) as connection:
        connection.execute(
            "INSERT INTO face_embeddings (face_pk, app_pk, model_id, embedding)"
            " SELECT pk, app_pk, 'next', %s FROM faces",
            (embedding_bytes(random_embedding(6)),),
        )
    content, _ = exported(database, apps[0], "ada", embeddings=True)
    for face in (face for group in content["groups"] for face in group["faces"]):
        assert face["other_models"] == ["next"]
        assert "damaged" not in face
        np.testing.assert_array_equal(np.float32(face["embeddings_of_other_models"]["next"]), random_embedding(6))
    content, _ = exported(database, apps[0], "ada", embeddings=False)
    assert "embedding" not in json.dumps(content)
    Erasure(database).user(apps[0], "ada")
    assert (rows(database_url, apps[0], "face_embeddings"), rows(database_url, apps[1], "face_embeddings")) == (1, 4)


def test_of_a_user_whom_nobody_knows_there_is_nothing_to_show(database: Database, apps: tuple[App, App]) -> None:
    with pytest.raises(UserNotFound):
        Disclosure(database).write(apps[0], "eve", io.BytesIO())
