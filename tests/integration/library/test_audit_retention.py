"""The retention of the audit log: in the way of nobody, taken up again, and no reason for an alarm."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import psycopg
import pytest
import sqlalchemy as sa

from service.library import audit
from service.library.audit import AuditTrail
from service.storage import audit_retention
from service.storage.audit import AuditDraft, AuditEntry, seal
from service.storage.engine import Database
from service.storage.urls import driver_address
from service.values import App
from tests.fixtures.library import new_app
from tests.integration.library.conftest import KEY
from tests.integration.library.test_audit import problems, report, tampered

OLD, NEW = 95, 5
OTHER_KEY = bytes(range(32))
FORGED = "INSERT INTO audit_anchors SELECT chain, seq, hash, '\\x00' FROM audit WHERE seq = {} AND chain = {}"


@pytest.fixture(autouse=True)
def _few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_retention, "DROPPED_AT_ONCE", 10)


@pytest.fixture
def trail(database: Database) -> AuditTrail:
    return AuditTrail(database, [KEY], retention=timedelta(days=30))


@pytest.fixture
def app(database: Database) -> App:
    return with_chain(database)


def with_chain(database: Database) -> App:
    """An app with entries that the retention is to take, and some that it is not."""
    app, now = new_app(database), datetime.now(timezone.utc)
    times = [now - timedelta(days=100)] * OLD + [now] * NEW
    with database.admin() as work:
        work.audit.append(app.pk, [AuditDraft("app:1", "search", users=("u",), time=time) for time in times])
    return app


def rows(url: str, app: App) -> list[int]:
    """The numbers that lie in the table, whatever readers are shown."""
    with psycopg.connect(driver_address(url)) as connection:
        found = connection.execute("SELECT seq FROM audit WHERE chain = %s ORDER BY seq", (app.pk,)).fetchall()
    return [seq for (seq,) in found]


def once(answers: int) -> Callable[[], bool]:
    """Tells to stop after so many questions."""
    left = iter([False] * answers)
    return lambda: next(left, True)


def test_writers_wait_neither_for_the_search_of_what_is_old_nor_for_its_deletion(
    database: Database, database_url: str, trail: AuditTrail, app: App
) -> None:
    writer, seen = Database(database_url, audit_keys=[KEY], lock_seconds=0.5), list[str]()

    @sa.event.listens_for(database._engine, "after_cursor_execute")
    def write(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        looking, deleting = "SELECT max(seq) FROM audit WHERE" in statement, "DELETE FROM audit" in statement
        if looking or deleting:
            seen.append("looking" if looking else "deleting")
            with writer.admin() as work:
                work.audit.append(app.pk, [AuditDraft("app:1", "addUser")])

    assert trail.purge() == OLD
    sa.event.remove(database._engine, "after_cursor_execute", write)
    writer.close()
    assert seen == ["looking"] + ["deleting"] * 11
    assert problems(trail, app) == ()


def test_what_an_interruption_left_is_no_alarm_and_goes_the_next_time(
    database_url: str, trail: AuditTrail, app: App
) -> None:
    assert trail.purge(once(3)) == 20
    assert rows(database_url, app) == list(range(21, OLD + NEW + 1))
    kept = list(range(OLD + 1, OLD + NEW + 1))
    assert [entry.seq for entry in trail.entries(app.pk)] == rows(database_url, app)
    assert (report(trail, app).problems, report(trail, app).entries) == ((), NEW)
    assert trail.purge() == OLD - 20
    assert rows(database_url, app) == kept
    assert trail.purge() == 0
    assert problems(trail, app) == ()


def test_a_process_that_finds_another_at_it_leaves_it_the_chain(
    database: Database, trail: AuditTrail, app: App
) -> None:
    trail.purge(once(2))
    with database.admin() as first:
        assert first.audit_retention.drop(app.pk) == (10, 20)
        with database.admin() as second:
            assert second.audit_retention.drop(app.pk, 7) == (0, 7)


def test_processes_that_do_it_at_once_drop_each_entry_once(database: Database, database_url: str) -> None:
    apps = [with_chain(database) for _ in range(3)]
    processes = [Database(database_url, audit_keys=[KEY]) for _ in range(4)]
    trails = [AuditTrail(each, [KEY], retention=timedelta(days=30)) for each in processes]
    with ThreadPoolExecutor(len(trails)) as pool:
        dropped = sum(pool.map(lambda each: each.purge(), trails))
    dropped += trails[0].purge()  # where two met at their last portion
    assert dropped == OLD * len(apps)
    for app in apps:
        assert len(rows(database_url, app)) == NEW
        assert problems(trails[0], app) == ()
    for each in processes:
        each.close()


@pytest.mark.parametrize("seq", [50, OLD, OLD + NEW])
def test_nothing_goes_for_the_sake_of_an_anchor_that_is_not_ours(
    database: Database, database_url: str, trail: AuditTrail, app: App, seq: int
) -> None:
    with psycopg.connect(driver_address(database_url)) as connection:
        connection.execute(FORGED.format(seq, app.pk).encode())
    with database.admin() as work:
        assert work.audit_retention.drop(app.pk) == (0, 0)
    trail.purge()
    assert set(rows(database_url, app)) >= set(range(OLD + 1, OLD + NEW + 1))
    if seq != 50:  # else our own, behind it, is what the chain begins with, as it would have without the other
        assert any(f"the seal of entry {seq} is not ours" in found for found in problems(trail, app))


def test_a_copy_of_the_head_is_no_anchor(database_url: str, trail: AuditTrail, app: App) -> None:
    """Whoever writes to the database, and has no key, can make one; the database would then let everything go."""
    with psycopg.connect(driver_address(database_url)) as connection:
        copied = "INSERT INTO audit_anchors (chain, seq, hash, seal) SELECT chain, seq, hash, seal FROM audit_heads"
        connection.execute(f"{copied} WHERE chain = {app.pk}".encode())
    assert problems(trail, app)
    assert trail.purge() == OLD
    assert rows(database_url, app) == list(range(OLD + 1, OLD + NEW + 1))
    assert problems(trail, app)
    assert [entry.seq for entry in trail.latest(1000, chain=app.pk)][::-1] == list(range(OLD + 1, OLD + NEW + 1))


def test_an_anchor_of_an_earlier_version_is_believed_where_nothing_is_left_before_it(
    database_url: str, trail: AuditTrail, app: App
) -> None:
    assert trail.purge() == OLD
    with psycopg.connect(driver_address(database_url)) as connection:
        (digest,) = connection.execute("SELECT hash FROM audit_anchors WHERE chain = %s", (app.pk,)).fetchone() or ()
        connection.execute("ALTER TABLE audit_anchors DISABLE TRIGGER USER")
        as_heads_are = seal(KEY, app.pk, OLD, bytes(digest))
        connection.execute("UPDATE audit_anchors SET seal = %s WHERE chain = %s", (as_heads_are, app.pk))
        connection.execute("ALTER TABLE audit_anchors ENABLE TRIGGER USER")
    assert problems(trail, app) == ()


def test_what_was_left_goes_before_its_anchor_s_key_does(database: Database, database_url: str, app: App) -> None:
    trail = AuditTrail(database, [KEY], retention=timedelta(days=30))
    trail.purge(once(3))
    with contextlib.closing(Database(database_url, audit_keys=[OTHER_KEY, KEY])) as both:
        AuditTrail(both, [OTHER_KEY, KEY]).reseal()
    assert rows(database_url, app)[0] == OLD + 1
    with contextlib.closing(Database(database_url, audit_keys=[OTHER_KEY])) as newer:
        assert problems(AuditTrail(newer, [OTHER_KEY]), app) == ()


class Reading(AuditTrail):
    """Does something else once, in the middle of reading a chain."""

    meanwhile: Callable[[], object]
    chain: int
    done = False

    def entries(self, chain: int, after: int = 0) -> Iterator[AuditEntry]:
        for number, entry in enumerate(super().entries(chain, after)):
            if chain == self.chain and number == 3 and not self.done:
                self.done = True
                self.meanwhile()
            yield entry


@pytest.fixture
def reading(database: Database, trail: AuditTrail, app: App, monkeypatch: pytest.MonkeyPatch) -> Reading:
    monkeypatch.setattr(audit, "PAGE", 4)
    reading = Reading(database, [KEY])
    reading.chain, reading.meanwhile = app.pk, trail.purge
    return reading


def test_a_chain_that_is_cut_off_while_it_is_verified_is_no_alarm(reading: Reading, app: App) -> None:
    found = report(reading, app)
    assert (reading.done, found.problems, found.entries, found.first) == (True, (), NEW, OLD + 1)


def test_a_chain_that_is_cut_off_while_another_is_verified_is_read_once(
    database: Database, reading: Reading, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MOST_LOOKS", 1)
    now = datetime.now(timezone.utc)
    with database.admin() as work:
        work.audit.append(0, [AuditDraft("local", "app.create", time=now) for _ in range(5)])
    reading.chain = 0
    found = report(reading, app)
    assert (reading.done, found.problems, found.entries) == (True, (), NEW)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE audit SET outcome = '9' WHERE seq = 2 AND chain = {}", "entry 2 was altered"),
        ("UPDATE audit SET outcome = '9' WHERE seq = 98 AND chain = {}", "entry 98 was altered"),
        ("DELETE FROM audit WHERE seq = 98 AND chain = {}", "entry 99 does not follow entry 97"),
        ("DELETE FROM audit WHERE seq = 96 AND chain = {}", "entry 97 does not follow entry 95"),
    ],
)
def test_what_was_tampered_with_is_found_while_the_retention_runs(
    reading: Reading, app: App, database_url: str, statement: str, problem: str
) -> None:
    tampered(database_url, statement.format(app.pk))
    assert len([found for found in problems(reading, app) if problem in found]) == 1
    assert reading.done


def test_what_goes_without_an_anchor_is_found_while_it_is_verified(
    reading: Reading, app: App, database_url: str
) -> None:
    """Also where somebody leaves an anchor that is not sealed by us meanwhile."""
    delete = f"DELETE FROM audit WHERE seq <= 90 AND chain = {app.pk}"  # noqa: S608
    reading.meanwhile = lambda: tampered(database_url, delete)
    assert problems(reading, app) == ("entry 91 does not follow entry 4",)
    reading.meanwhile, reading.done = lambda: tampered(database_url, FORGED.format(95, app.pk)), False
    assert "the seal of entry 95 is not ours" in problems(reading, app)
