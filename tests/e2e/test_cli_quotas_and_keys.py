"""The commands around quotas and the master key, against a real database."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from service.cli.failures import FAILED, MISUSED
from service.storage.sealing import Mode
from service.storage.urls import driver_address
from tests.fixtures.library import enrol, new_app, random_embedding
from tests.fixtures.lived import patience
from tests.fixtures.sealing import dumped, execute, opened
from tests.fixtures.server import Home


@pytest.fixture
def home(tmp_path: Path, database_url: str) -> Home:
    return Home(tmp_path, {"DATABASE_URL": database_url, "QUOTA_DAILY": "1000"})


def test_quotas_are_set_shown_and_taken_away(home: Home) -> None:
    app_id = home.create_app("limited").app_id
    nothing = {"qps": None, "daily": 1000, "total": None, "concurrent": None}
    assert json.loads(home.run("app", "quota", app_id, "--json").stdout) == nothing
    done = home.run("app", "quota", app_id, "--qps", "5", "--concurrent", "2", "--daily", "none")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["qps", "=", "5"],
        ["daily", "=", "none"],
        ["total", "=", "none"],
        ["concurrent", "=", "2"],
    ]
    usage = json.loads(home.run("app", "usage", app_id, "--json").stdout)
    assert usage["limits"] == {"qps": 5, "daily": None, "total": None, "concurrent": 2}
    assert (usage["taken"], usage["calls"]) == ({"daily": 0, "total": 0}, [])
    for arguments in (("--qps", "0"), ("--qps", "many"), ("--concurrent", "100001"), ("--daily", "１")):
        refused = home.run("app", "quota", app_id, *arguments)
        assert refused.returncode == MISUSED
        assert arguments[0] in refused.stderr
    assert home.run("app", "quota", "1", "--qps", "1").returncode == FAILED


def test_the_master_key_is_changed_and_the_old_one_dropped(home: Home) -> None:
    made = home.create_app("one")
    key_file = home.folder / "secret.key"
    (first,) = key_file.read_text().split()
    done = home.run("key", "rotate")
    assert done.returncode == 0, done.stderr
    assert "1  app secrets" in done.stdout
    new, old = key_file.read_text().split()
    assert (old, new != first) == (first, True)
    assert first not in done.stdout + done.stderr
    assert new not in done.stdout + done.stderr
    done = home.run("key", "drop-old")
    assert done.returncode == 0, done.stderr
    assert key_file.read_text().split() == [new]
    assert home.run("key", "reseal").returncode == 0
    assert home.run("app", "rotate", made.app_id, "--json").returncode == 0


def test_no_key_is_dropped_that_a_face_needs(home: Home, database_url: str) -> None:
    made = home.create_app("one")
    key_file = home.folder / "secret.key"
    key = bytes.fromhex(key_file.read_text().strip())
    with opened(database_url, Mode.ON, key) as database:
        with database.read() as reader:
            app = reader.apps.by_app_id(made.app_id)
        assert app is not None
        enrol(database, app, "group", "somebody", "token", random_embedding(1))
    with psycopg.connect(driver_address(database_url)) as connection:
        connection.execute("SELECT 1 FROM faces FOR UPDATE")
        for command in ("rotate", "reseal", "drop-old"):
            done = home.run("key", command)
            assert (done.returncode, "aipface key reseal" in done.stderr) == (FAILED, True), command
    assert len(key_file.read_text().split()) == 2
    assert home.run("key", "drop-old").returncode == 0
    assert len(key_file.read_text().split()) == 1
    assert home.run("key", "faces").returncode == 0
    verified = home.run("audit", "verify")
    assert verified.returncode == 0, verified.stdout


def test_a_key_that_comes_while_the_old_ones_are_dropped_is_not_kept_alone(home: Home, database_url: str) -> None:
    home.create_app("one")
    key_file = home.folder / "secret.key"
    assert home.run("key", "add").returncode == 0
    with psycopg.connect(driver_address(database_url)) as connection, ThreadPoolExecutor(1) as pool:
        connection.execute("SELECT 1 FROM apps FOR UPDATE")  # sealing waits, as it does for a long time with many rows
        dropping = pool.submit(home.run, "key", "drop-old")
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        for _ in patience(60, 0.1):
            if execute(database_url, waiting):
                break
        assert home.run("key", "add").returncode == 0
        connection.rollback()
        done = dropping.result()
    assert (done.returncode, "No key was dropped" in done.stderr) == (FAILED, True)
    assert len(key_file.read_text().split()) == 3
    assert home.run("key", "drop-old").returncode == 0
    assert len(key_file.read_text().split()) == 1
    assert home.run("key", "reseal").returncode == 0


def test_a_key_in_the_environment_is_the_operator_s_to_change(home: Home) -> None:
    in_environment = Home(home.folder, {**home.settings, "SECRET_KEY": "ab" * 32})
    in_environment.create_app("one")
    done = in_environment.run("key", "rotate")
    assert done.returncode == FAILED
    assert "AIPFACE_SECRET_KEY" in done.stderr
    renewed = Home(home.folder, {**home.settings, "SECRET_KEY": f"{'cd' * 32} {'ab' * 32}"})
    assert "1  app secrets" in renewed.run("key", "reseal").stdout
    lost = Home(home.folder, {**home.settings, "SECRET_KEY": "ab" * 32}).run("key", "reseal")
    assert lost.returncode == FAILED
    assert "Traceback" not in lost.stderr


def test_faces_are_sealed_opened_and_told_of(home: Home, database_url: str) -> None:
    home.create_app("one")
    key = bytes.fromhex((home.folder / "secret.key").read_text().strip())
    with opened(database_url, Mode.OFF, key) as database:
        enrol(database, new_app(database), "group", "somebody", "token", random_embedding(1))
    plain = random_embedding(1).tobytes()
    assert plain in dumped(database_url)
    done = home.run("key", "seal-faces")
    assert done.returncode == 0, done.stderr
    assert " ".join(done.stdout.split()) == "1 faces 0 embeddings of further models 0 remembered faces"
    assert plain not in dumped(database_url)
    assert "under key" in home.run("key", "faces").stdout
    with opened(database_url, Mode.ON, b"l" * 32) as stranger:
        missing = stranger.sealing.enrolled.key_ids[0].hex()
    done = home.run("key", "open-faces")
    assert (done.returncode, missing in done.stderr, "Traceback" in done.stderr) == (FAILED, True, False)
    assert home.run("key", "faces").returncode == FAILED
    assert home.run("key", "forget", missing).returncode == 0
    assert home.run("key", "forget", "nothing").returncode == MISUSED
    assert home.run("key", "open-faces").returncode == 0
    assert plain in dumped(database_url)
