"""A backup put back elsewhere answers like the original, and a damaged one leaves nothing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from service.access import sealed_stream
from service.access.keys import Keyring, KeyringError
from service.cli.failures import FAILED
from service.face_keys import check_face_keys
from service.library import backup
from service.library.audit import AuditTrail
from service.search.catalog import Catalog
from service.storage import migrations
from service.storage.backup import BackupError, Restoring, Unfitting, snapshot
from service.storage.engine import Database
from service.storage.sealing import Mode
from service.storage.source import PostgresChangeSource
from service.storage.tables import metadata
from service.storage.urls import driver_address
from service.values import App, Hit
from tests.fixtures.library import DIMENSION, MODEL, enrol, new_app, random_embedding, random_embeddings
from tests.fixtures.sealing import opened as sealing
from tests.fixtures.server import Home
from tests.integration.library.conftest import KEY

RING = Keyring(bytes(32))
FACES = 40
MOVING = """
    INSERT INTO library_models (role, pack, model_id)
        SELECT DISTINCT 'active', 'core', model_id FROM faces UNION ALL VALUES ('target', 'extended', 'next');
    INSERT INTO face_embeddings (face_pk, model_id, app_pk, embedding)
        SELECT pk, 'next', app_pk, embedding FROM faces WHERE pk % 2 = 0;
"""
BEFORE_THE_MODELS = "0008"
"""The oldest schema that had backups."""
BEFORE_THE_LIMITS = "0006"
"""An older one, whose tables lack columns that the code maps."""


@pytest.fixture
def app(database: Database) -> App:
    app, other = new_app(database), new_app(database)
    for number, embedding in enumerate(random_embeddings(FACES, 1)):
        enrol(database, app, f"g{number % 3}", f"u{number}", f"t{number}", embedding)
    enrol(database, other, "g0", "other", "t", random_embedding(2))
    with database.admin() as work:
        work.feedback.insert(app.pk, [{"text": 'quotes " and \n lines and 韦小宝'}], 10)
    with psycopg.connect(driver_address(database.url)) as connection:  # as in the midst of a move to another model
        connection.execute(MOVING)
    return app


def written(database: Database, **options: Any) -> bytes:
    out = io.BytesIO()
    backup.write(database, RING, out, files={"calibration/x.json": b"{}"}, **options)
    return out.getvalue()


class Full(io.BytesIO):
    """A disk that takes so many bytes."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


@pytest.mark.usefixtures("app")
def test_a_backup_that_cannot_be_written_ends(database: Database) -> None:
    """In the midst of a table it waited for its own connection for ever, and kept its transaction open."""
    caught: list[Exception] = []

    def attempt(room: int) -> None:
        try:
            backup.write(database, RING, Full(room), files={})
        except OSError as error:
            caught.append(error)

    whole = len(written(database))
    for room in range(0, whole, max(1, whole // 8)):
        thread = threading.Thread(target=attempt, args=(room,), daemon=True)
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
    assert len(caught) >= 8


def restored(content: bytes, url: str, secret: bytes = b"") -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    source = io.BytesIO(content)
    head = backup.read_head(source)
    backup.restore(source, head, secret, url, files.update)
    return files


def hits(database: Database, app: App) -> list[list[Hit]]:
    catalog = Catalog(PostgresChangeSource(database, MODEL, DIMENSION), DIMENSION)
    catalog.load()
    with database.read() as reader:
        groups = list(reader.groups.pks(app.pk, ["g0", "g1", "g2"]).values())
    return [catalog.search(app.pk, groups, probe, 10, -1.0) for probe in random_embeddings(8, 3)]


def rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Everything that lasts, but for what a backup itself writes into the audit log."""
    found = {}
    with psycopg.connect(driver_address(url)) as connection:
        for table in metadata.sorted_tables:
            known = connection.execute("SELECT to_regclass(%s)", (table.name,)).fetchone() != (None,)
            if known and "UNLOGGED" not in table._prefixes and not table.name.startswith("audit"):
                query = f"SELECT * FROM {table.name} ORDER BY 1, 2"  # noqa: S608 - a table of ours
                found[table.name] = connection.execute(query.encode()).fetchall()
    return found


@contextlib.contextmanager
def opened(url: str) -> Iterator[Database]:
    database = Database(url, audit_keys=[KEY])
    try:
        yield database
    finally:
        database.close()


@pytest.mark.parametrize("encrypted", [False, True])
def test_what_is_put_back_answers_as_before(
    database: Database, app: App, database_url: str, empty_database_url: str, encrypted: bool
) -> None:
    options = {"sealed": sealed_stream.key_parameters(), "secret": KEY} if encrypted else {}
    content = written(database, **options)
    assert (b"quotes" in content) is not encrypted
    expected, before = hits(database, app), rows(database_url)
    enrol(database, app, "g0", "later", "later", random_embedding(9))  # after the moment of the backup
    files = restored(content, empty_database_url, KEY if encrypted else b"")
    assert files == {"calibration/x.json": b"{}"}
    assert rows(empty_database_url) == before
    assert migrations.current(empty_database_url) == migrations.head()
    with opened(empty_database_url) as copy:
        assert hits(copy, app) == expected
        assert all(report.problems == () for report in AuditTrail(copy, [KEY]).verify())
        assert new_app(copy).pk > app.pk + 1
        enrol(copy, app, "g0", "new", "new", random_embedding(10))
        assert len(hits(copy, app)) == len(expected)


def test_a_backup_of_an_earlier_release_is_brought_up_to_date(
    database: Database, app: App, database_url: str, empty_database_url: str
) -> None:
    """What it lacks is as empty as after an upgrade; all the rest answers as before."""
    expected = hits(database, app)
    migrations.downgrade(database_url, BEFORE_THE_MODELS)
    before = rows(database_url)
    content = written(database)
    head = backup.read_head(io.BytesIO(content))
    assert head.schema == BEFORE_THE_MODELS
    restored(content, empty_database_url)
    assert migrations.current(empty_database_url) == migrations.head()
    after = rows(empty_database_url)
    assert {name: after[name] for name in before} == before
    assert [name for name, found in after.items() if found and name not in before] == []
    with opened(empty_database_url) as copy:
        assert hits(copy, app) == expected


@pytest.mark.usefixtures("app")
def test_a_table_has_the_columns_of_the_schema_at_hand(database: Database, database_url: str) -> None:
    migrations.downgrade(database_url, BEFORE_THE_LIMITS)
    with snapshot(database) as found:
        columns = {dump.name: dump.columns for dump in found.tables() if b"".join(dump.blocks)}
    assert "api_key" in columns["apps"]
    assert "qps" not in columns["apps"]
    assert "qps" in metadata.tables["apps"].c


def test_sealed_faces_travel_sealed(database_url: str, empty_database_url: str) -> None:
    """A backup in plain shows no face, and needs the same key where it is put back."""
    with sealing(database_url, Mode.ON, KEY) as original:
        app = new_app(original)
        for number, embedding in enumerate(random_embeddings(3, 1)):
            enrol(original, app, "g0", f"u{number}", f"t{number}", embedding)
        content, expected = written(original), hits(original, app)
        assert [row for row in random_embeddings(3, 1) if row.tobytes() in content] == []
    restored(content, empty_database_url)
    with sealing(empty_database_url, Mode.OFF, KEY) as copy:
        check_face_keys(copy)
        assert hits(copy, app) == expected != []
    with sealing(empty_database_url, Mode.OFF, b"x" * 32) as copy, pytest.raises(KeyringError):
        check_face_keys(copy)


def test_a_home_where_faces_will_be_sealed_is_still_empty(database_url: str, empty_database_url: str) -> None:
    with sealing(database_url, Mode.ON, KEY) as original:
        content = written(original)
        known = rows(database_url)["face_keys"]
    migrations.upgrade(empty_database_url)
    with sealing(empty_database_url, Mode.ON, b"x" * 32):
        assert rows(empty_database_url)["face_keys"] != known
    restored(content, empty_database_url)
    assert rows(empty_database_url)["face_keys"] == known != []


def test_a_backup_is_of_one_moment(database: Database, app: App, empty_database_url: str) -> None:
    """Written while somebody enrols: what was written is neither half there nor torn."""

    class Slow(io.BytesIO):
        number = 0

        def write(self, data: Any, /) -> int:
            if self.number < 5 and b"table" in bytes(data):
                self.number += 1
                enrol(database, app, "g0", f"meanwhile{self.number}", f"m{self.number}", random_embedding(self.number))
            return super().write(data)

    out = Slow()
    backup.write(database, RING, out, files={})
    assert out.number == 5
    restored(out.getvalue(), empty_database_url)
    with opened(empty_database_url) as copy, copy.read() as reader:
        assert reader.users.entries(app.pk, "meanwhile1") == []
        assert reader.changes.head(app.pk) == FACES


@pytest.mark.usefixtures("app")
def test_a_database_that_holds_anything_is_left_alone(database: Database, database_url: str) -> None:
    content, before = written(database), rows(database_url)
    with pytest.raises(BackupError, match="not empty"):
        restored(content, database_url)
    assert rows(database_url) == before


@pytest.mark.usefixtures("app")
def test_a_damaged_backup_leaves_nothing(database: Database, empty_database_url: str) -> None:
    content = written(database)
    start = content.index(b"\n", len(backup.MAGIC)) + 1
    spots = [start, start + 40, len(content) // 2, len(content) - 70]
    damaged = [content[:spot] + bytes([content[spot] ^ 1]) + content[spot + 1 :] for spot in spots]
    damaged += [content[: len(content) * part // 5] for part in range(1, 5)]
    damaged += [content[:-1], content + b"\0", content.replace(b'"created": "2', b'"created": "1', 1)]
    for changed in damaged:
        source = io.BytesIO(changed)
        with pytest.raises(BackupError):
            backup.check(source, backup.read_head(source), b"")
    for changed in (damaged[2], damaged[-2]):  # in the middle of rows, and after the last
        with pytest.raises(BackupError):
            restored(changed, empty_database_url)
        assert not any(rows(empty_database_url).values())
    restored(content, empty_database_url)


@pytest.mark.usefixtures("app")
def test_whatever_bit_is_damaged_it_is_called_damaged(database: Database, empty_database_url: str) -> None:
    """Also where the database refuses the rows before the sum at the end is come to."""
    content = written(database)
    start = content.index(b"\n", len(backup.MAGIC)) + 1
    rows_of_faces = content.index(b'"faces"', start) + 200
    tables = [content.index(f'"{name}"'.encode(), start) for name in ("sequences", "table", "columns", "faces", "file")]
    spots = [spot + 2 for spot in tables]
    spots += range(rows_of_faces, rows_of_faces + 120, 7)  # within the first rows: lengths, numbers, texts
    for spot in spots:
        changed = content[:spot] + bytes([content[spot] ^ 1]) + content[spot + 1 :]
        with pytest.raises(BackupError, match="damaged"):
            restored(changed, empty_database_url)
        assert not any(rows(empty_database_url).values())


@pytest.mark.usefixtures("app")
def test_what_is_whole_and_does_not_fit_is_told_so(database: Database, empty_database_url: str) -> None:
    content = written(database)
    start = content.index(b"\n", len(backup.MAGIC)) + 1
    end = content.rindex(b"J")
    for name, text in (("does not have", b'"faces"'), ("does not fit: column", b'"embedding"')):
        body = content[start:end].replace(text, text.replace(b"e", b"a"))
        digest = hashlib.sha256(content[len(backup.MAGIC) : start] + body).hexdigest()
        last = json.dumps({"sha256": digest}).encode()
        whole = content[:start] + body + b"J" + len(last).to_bytes(4, "big") + last
        with pytest.raises(BackupError, match=name):
            restored(whole, empty_database_url)


@pytest.mark.usefixtures("app")
def test_what_does_not_fit_once_the_sum_was_right_is_not_called_damaged(
    database: Database, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise Unfitting("the backup does not fit: a sequence")

    monkeypatch.setattr(Restoring, "sequence", refused)
    with pytest.raises(Unfitting, match="a sequence"):
        restored(written(database), empty_database_url)


@pytest.mark.usefixtures("app")
def test_a_damaged_backup_is_told_in_one_line(database: Database, empty_database_url: str, tmp_path: Path) -> None:
    content = bytearray(written(database))
    content[content.index(b"t0", content.index(b'"faces"')) - 1] ^= 1  # the length of a token
    home, file = Home(tmp_path, {"DATABASE_URL": empty_database_url}), tmp_path / "backup"
    ends = {len(content): "the backup is damaged: its sum is wrong"}
    ends[content.index(b'"table": "', content.index(b'"faces"')) - 8] = "the backup is damaged or cut off"
    for end, sentence in ends.items():  # cut off behind the damage, the driver has two things to tell
        file.write_bytes(content[:end])
        done = home.run("restore", str(file), "--any-key")
        assert (done.returncode, done.stderr) == (FAILED, f"aipface: {sentence}\n")


def test_what_is_no_backup_or_of_another_release_is_told(database: Database, empty_database_url: str) -> None:
    with pytest.raises(BackupError, match="no backup"):
        backup.read_head(io.BytesIO(b"PK\x03\x04" + bytes(100)))
    content = written(database)
    newer = content.replace(f'"schema": "{migrations.head()}"'.encode(), b'"schema": "9999"', 1)
    with pytest.raises(BackupError, match="newer release"):
        restored(newer, empty_database_url)


def test_the_commands(database_url: str, empty_database_url: str, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    old = Home(tmp_path / "old", {"DATABASE_URL": database_url})
    new = Home(tmp_path / "new", {"DATABASE_URL": empty_database_url})
    phrase, file = tmp_path / "phrase", str(tmp_path / "backup")
    phrase.write_text("correct horse\n", encoding="utf-8")
    sealing = ["--passphrase-file", str(phrase)]
    created = old.create_app("kept")
    tables = old.folder / "calibration"
    tables.mkdir()
    (tables / "model.json").write_text("{}", encoding="utf-8")
    assert "encrypted backup only" in old.run("backup", file, "--with-key").stderr
    done = old.run("backup", file, "--with-key", *sealing)
    assert done.returncode == 0, done.stderr
    assert Path(file).stat().st_mode & 0o077 == 0
    assert created.secret_key.encode() not in Path(file).read_bytes()
    sound = new.run("restore", file, "--check", *sealing)
    assert (sound.returncode, "not encrypted" in sound.stderr) == (0, False)
    plain = str(tmp_path / "plain")
    assert old.run("backup", plain).returncode == 0
    sound = new.run("restore", plain, "--check", *sealing)  # a phrase that it never had
    assert (sound.returncode, "not encrypted" in sound.stderr) == (0, True)
    used = Home(tmp_path / "used", {"DATABASE_URL": empty_database_url})
    assert used.run("key", "add").returncode == 0
    assert "which brings its own: take a new home" in used.run("restore", file, *sealing).stderr
    done = new.run("restore", file, *sealing)
    assert done.returncode == 0, done.stderr
    assert (new.folder / "secret.key").read_bytes() == (old.folder / "secret.key").read_bytes()
    assert (new.folder / "calibration" / "model.json").read_text(encoding="utf-8") == "{}"
    assert [app["app_id"] for app in json.loads(new.run("app", "list", "--json").stdout)] == [created.app_id]
    verified = new.run("audit", "verify", "--json")
    assert verified.returncode == 0
    calls = [entry["call"] for entry in json.loads(new.run("audit", "list", "--json").stdout)]
    assert calls == ["restore", "app.create"]
    again = new.run("restore", file, *sealing)
    assert again.returncode == 1
    assert "not empty" in again.stderr
