"""Feedback is bounded by number and by age."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from service import upkeep
from service.capture.rules import RiskLimits
from service.storage.engine import Database
from service.storage.urls import driver_address
from tests.fixtures.library import new_app


def contents(database: Database, app_pk: int) -> list[object]:
    with database.read() as reader:
        return [stored.content for stored in reader.feedback.latest(app_pk, 100)]


def test_an_app_keeps_its_last_items(database: Database) -> None:
    first, second = new_app(database), new_app(database)
    for app, numbers in ((first, range(3)), (second, range(2)), (first, range(3, 5))):
        with database.admin() as work:
            work.feedback.insert(app.pk, [{"number": number} for number in numbers], keep=4)
    assert contents(database, first.pk) == [{"number": number} for number in (4, 3, 2, 1)]
    assert contents(database, second.pk) == [{"number": 1}, {"number": 0}]


def test_old_items_are_deleted(database: Database, database_url: str) -> None:
    app = new_app(database)
    with database.admin() as work:
        work.feedback.insert(app.pk, [{"number": number} for number in range(4)], keep=10)
    with psycopg.connect(driver_address(database_url)) as connection:
        connection.execute("UPDATE feedback SET created = now() - interval '2 days' WHERE content ->> 'number' < '3'")
    with database.admin() as work:
        assert work.feedback.purge(timedelta(days=1), limit=2) == 2
        assert work.feedback.purge(timedelta(days=1), limit=2) == 1
        assert work.feedback.purge(timedelta(days=1), limit=2) == 0
    assert contents(database, app.pk) == [{"number": 3}]


def test_upkeep_deletes_all_that_is_old_and_not_only_so_many(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "FEEDBACK_AT_ONCE", 2)
    app = new_app(database)
    with database.admin() as work:
        work.feedback.insert(app.pk, [{"number": number} for number in range(6)], keep=10)
    with psycopg.connect(driver_address(database_url)) as connection:
        connection.execute("UPDATE feedback SET created = now() - interval '2 days' WHERE content ->> 'number' < '5'")
    hour = timedelta(hours=1)
    limits = RiskLimits(people=5, failures=5, clock=hour, window=hour, history=hour)
    upkeep.Upkeep(database, limits, retention=upkeep.Retention(feedback=timedelta(days=1))).purge_old()
    assert contents(database, app.pk) == [{"number": 5}]


def test_feedback_goes_with_its_app(database: Database) -> None:
    app = new_app(database)
    with database.admin() as work:
        work.feedback.insert(app.pk, [{"number": 1}], keep=10)
        work.apps.delete(app.pk)
    assert contents(database, app.pk) == []
