"""``aipface doctor`` looks at what a server would use, and changes nothing."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from models.manifest import load_pack
from service.administration import open_admin
from service.cli.doctor import Check, examine
from service.cli.failures import FAILED
from service.cli.main import application
from service.identity.register import Person
from service.settings import Settings, load_settings
from service.storage import migrations
from service.storage.models import LibraryModels
from service.storage.urls import driver_address
from tests.fixtures.library import new_app, random_embedding, stored_face
from tests.fixtures.milvus import own_milvus
from tests.fixtures.people import claim
from tests.fixtures.sealing import execute

REFUSED = ("database", "secret key", "weights")
CORE = load_pack("core").model_id


@pytest.fixture
def settings(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("AIPFACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIPFACE_MODEL_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("AIPFACE_DATABASE_URL", database_url)
    return load_settings(pack="light")


def checked(settings: Settings) -> dict[str, Check]:
    checks = list(examine(settings))
    found = {check.name: check for check in checks}
    assert len(found) == len(checks)
    return found


def test_the_weights_are_those_of_the_pack_that_the_library_is_in(settings: Settings) -> None:
    assert checked(settings)["weights"].mend == "aipface models fetch --pack light"  # nobody is enrolled yet
    with open_admin(settings) as admin:
        app = new_app(admin.database)
        with admin.database.write(app.pk) as work:
            user = work.users.insert(work.groups.get_or_create("group"), "user")
            work.faces.insert(user, stored_face("token"), CORE, random_embedding(1))
    found = checked(settings)
    assert found["weights"].mend == "aipface models fetch --pack core"
    assert found["index"].found == f"1 faces of {CORE}"
    with open_admin(settings) as admin, admin.database.read() as reader:
        assert reader.models.in_use() == LibraryModels()  # as before: no server has said it


def test_without_a_database_the_setting_names_the_pack(settings: Settings, empty_database_url: str) -> None:
    for address, reached in ((empty_database_url, True), ("postgresql://127.0.0.1:1/nowhere", False)):
        elsewhere = load_settings(pack="light", database_url=address)
        found = checked(elsewhere)
        assert (found["database"].ok, found["secret key"].ok) == (reached, True)
        assert found["weights"].mend == "aipface models fetch --pack light"
    assert not settings.secret_key_file.exists()


def test_a_setting_that_names_no_pack_hides_nothing_else(settings: Settings) -> None:
    with open_admin(settings) as admin:
        admin.apps.create("one")
    found = checked(load_settings(pack="none"))
    assert "there is no pack called 'none'" in found["weights"].found
    assert found.keys() >= {"database", "schema", "encrypted faces", "secret key", "snapshots", "disk"}
    assert [name for name, check in found.items() if not check.ok] == ["weights"]


def test_a_strange_key_is_told_with_what_its_apps_need(settings: Settings) -> None:
    with open_admin(settings) as admin:
        admin.register.put(Person(claim(1), None, None), b"handed in")
        admin.apps.create("one")
    settings.secret_key_file.write_text("ab" * 32)
    mend = checked(settings)["secret key"].mend
    assert mend.endswith("without that: aipface app rotate APP_ID for each of these")


def test_a_database_of_a_newer_release_is_not_to_be_upgraded_by_this_one(settings: Settings, database_url: str) -> None:
    with psycopg.connect(driver_address(database_url)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    found = checked(settings)["schema"]
    assert (found.ok, found.mend) == (False, "take the newer release that the database is of")
    with psycopg.connect(driver_address(database_url)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    found = checked(settings)["schema"]
    assert (found.ok, found.mend) == (False, "aipface db upgrade")


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("DROP TABLE face_keys CASCADE", "face_keys"),
        ("DROP TABLE apps CASCADE", "apps"),
        ("DROP TABLE feedback", "feedback"),  # which doctor itself does not read
        ("ALTER TABLE faces DROP COLUMN model_id CASCADE", "faces.model_id"),
    ],
)
def test_a_table_that_was_dropped_by_hand_is_told(
    settings: Settings, database_url: str, statement: str, missing: str
) -> None:
    execute(database_url, statement)
    found = checked(settings)
    head = migrations.head()
    assert (found["schema"].ok, found["schema"].found) == (False, f"{head}, newest {head}; {missing} missing")
    assert {name for name, check in found.items() if not check.ok} == {"schema", "weights"}
    done = CliRunner().invoke(application, ["doctor"])
    assert (done.exit_code, "PROBLEM  schema" in done.stdout) == (FAILED, True)


def test_what_the_account_may_not_read_is_told_in_one_sentence(
    settings: Settings, database_url: str, operator: psycopg.Connection[tuple[object, ...]]
) -> None:
    with open_admin(settings):
        pass
    operator.execute("CREATE ROLE visitor LOGIN")
    execute(database_url, "GRANT SELECT ON alembic_version TO visitor")
    url = make_url(database_url).set(username="visitor").render_as_string(False)
    try:
        *_, told, secret_key, weights = [
            check for check in examine(load_settings(pack="light", database_url=url)) if check.name in REFUSED
        ]
        assert (secret_key.name, weights.name) == ("secret key", "weights")
        assert (told.ok, told.found) == (False, "AIPFACE_DATABASE_URL: permission denied for table apps")
    finally:
        execute(database_url, "DROP OWNED BY visitor")
        operator.execute("DROP ROLE visitor")


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_without_every_letter_is_no_database_for_us(
    empty_database_url: str, operator: psycopg.Connection[tuple[object, ...]], encoding: str
) -> None:
    operator.execute(f"CREATE DATABASE small TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        url = make_url(empty_database_url).set(database="small").render_as_string(False)
        found = checked(load_settings(pack="light", database_url=url))
        assert (found["database"].ok, "schema" in found) == (False, False)
        assert f"encoding is {encoding}; make one with: CREATE DATABASE" in found["database"].found
    finally:
        operator.execute("DROP DATABASE small WITH (FORCE)")


@pytest.mark.usefixtures("settings")
def test_an_account_that_may_make_no_tables_is_told_what_it_needs(
    empty_database_url: str, operator: psycopg.Connection[tuple[object, ...]]
) -> None:
    operator.execute("CREATE ROLE visitor LOGIN")
    operator.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    elsewhere = load_settings(
        pack="light", database_url=make_url(empty_database_url).set(username="visitor").render_as_string(False)
    )
    try:
        for schema in ("public", "nowhere"):
            operator.execute(f"ALTER ROLE visitor SET search_path = {schema}")
            found = checked(elsewhere)["schema"]
            assert (found.ok, "GRANT CREATE, USAGE ON SCHEMA public" in found.mend) == (False, True)
        operator.execute("ALTER ROLE visitor RESET search_path")
        operator.execute("GRANT CREATE, USAGE ON SCHEMA public TO visitor")
        assert checked(elsewhere)["schema"].ok
    finally:
        operator.execute("DROP OWNED BY visitor")
        operator.execute("DROP ROLE visitor")


def test_milvus_is_asked_where_it_is_used(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "milvus" not in checked(settings)
    monkeypatch.setattr("service.cli.doctor.MILVUS_SECONDS", 1.0)
    file = tmp_path / "milvus.db"
    assert checked(load_settings(pack="light", search_backend="milvus", milvus_uri=str(file)))["milvus"].ok
    assert not file.exists()
    strange = load_settings(pack="light", search_backend="milvus", milvus_uri="http://host:port")
    assert not checked(strange)["milvus"].ok
    with own_milvus(tmp_path) as milvus:
        served = load_settings(pack="light", search_backend="milvus", milvus_uri=milvus.uri)
        found = checked(served)["milvus"]
        assert (found.ok, found.found) == (True, f"{milvus.uri}, answers")
        milvus.end()
        away = checked(served)["milvus"]
    assert (away.ok, "AIPFACE_MILVUS_URI" in away.mend, away.found != "") == (False, True, True)
