"""The database's clock jumps: what was counted by it recovers by itself. Instead of the clock, the rows are moved."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import psycopg
import pytest

from service.errors import DailyQuotaExceeded, RateExceeded
from service.library.quotas import Quotas
from service.storage.engine import Database
from service.storage.urls import driver_address
from service.values import App, Limits
from tests.fixtures.library import new_app

Rows = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def rows(database_url: str) -> Iterator[Rows]:
    with psycopg.connect(driver_address(database_url), autocommit=True) as connection:
        yield connection


def limited(database: Database, limits: Limits) -> App:
    app = new_app(database)
    Quotas(database).set_limits(app, limits)
    with database.read() as reader:
        found = reader.apps.by_app_id(app.app_id)
    assert found is not None
    return found


def let_through(database: Database, app: App) -> bool:
    """Whether a process that has asked for nothing yet may answer a request."""
    try:
        with Quotas(database).admitted(app, "detect"):
            return True
    except (RateExceeded, DailyQuotaExceeded):
        return False


@pytest.mark.parametrize("hours", [-24 * 365, -1, 1, 24 * 365])
def test_seconds_of_a_clock_that_was_set(database: Database, rows: Rows, hours: int) -> None:
    app = limited(database, Limits(qps=1))
    rows.execute(
        "INSERT INTO quota_seconds SELECT pk, extract(epoch FROM now())::bigint + %s, 5, 0 FROM apps", [hours * 3600]
    )
    assert let_through(database, app)


def test_a_second_just_ahead_is_the_present_one(database: Database, rows: Rows) -> None:
    """A statement that waited for the row: the second is used up, whatever its own clock said."""
    app = limited(database, Limits(qps=1))
    rows.execute("INSERT INTO quota_seconds SELECT pk, extract(epoch FROM now())::bigint + 8, 1, 0 FROM apps")
    assert not let_through(database, app)


def test_a_process_asks_again_after_a_second_however_far_off_the_end_is(database: Database, rows: Rows) -> None:
    app = limited(database, Limits(qps=1))
    quotas = Quotas(database)
    rows.execute("INSERT INTO quota_seconds SELECT pk, extract(epoch FROM now())::bigint + 12, 1, 0 FROM apps")
    with pytest.raises(RateExceeded), quotas.admitted(app, "detect"):
        pytest.fail("the second is used up")
    rows.execute("UPDATE quota_seconds SET second = 0")
    time.sleep(1.1)
    with quotas.admitted(app, "detect"):
        pass


@pytest.mark.parametrize(("days", "answered"), [(400, True), (2, True), (1, False), (0, False), (-1, True)])
def test_days_of_a_clock_that_was_set(database: Database, rows: Rows, days: int, answered: bool) -> None:
    """One day ahead may be a statement that waited over midnight: that day's quota then lasts two."""
    app = limited(database, Limits(daily=3))
    rows.execute("UPDATE quota_budgets SET day = (now() AT TIME ZONE 'UTC')::date + %s::int, day_taken = 3", [days])
    assert let_through(database, app) is answered


@pytest.mark.parametrize(("seconds", "answered"), [(-3600, True), (0, False), (3600, True)])
def test_slots_of_a_process_that_died_before_the_clock_was_set(
    database: Database, rows: Rows, seconds: int, answered: bool
) -> None:
    app = limited(database, Limits(concurrent=1))
    rows.execute(
        "INSERT INTO quota_slots (app_pk, process, slots, seen) VALUES (%s, %s, 1, now() + make_interval(secs => %s))",
        [app.pk, uuid.uuid4(), seconds],
    )
    assert let_through(database, app) is answered
