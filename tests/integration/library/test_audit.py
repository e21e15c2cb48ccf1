"""The audit log: written with what it tells of, append-only, and telling when somebody went around that."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import psycopg
import pytest
import sqlalchemy as sa

from service import auditing
from service.auditing import Operation
from service.capture.rules import RiskLimits
from service.errors import FaceExists
from service.library.audit import AuditTrail, ChainReport
from service.storage.audit import AuditDraft, linked
from service.storage.engine import Database
from service.storage.urls import driver_address
from service.upkeep import Calendar, Upkeep
from service.values import App
from tests.fixtures.library import enrol, new_app, random_embedding
from tests.fixtures.waiting import end_other_connections
from tests.integration.library.conftest import KEY

NEXT = b"n" * 32

COPIED = """
    INSERT INTO audit SELECT chain, 6, time, actor, call, outcome, groups, users, log_id, detail, hash
    FROM audit WHERE seq = 5 AND chain = %d
"""
HEAD_BACK = """
    UPDATE audit_heads SET seq = 4, hash = (SELECT hash FROM audit WHERE chain = audit_heads.chain AND seq = 4)
    WHERE chain = %d
"""
REWRITTEN = "UPDATE audit SET outcome = '0', hash = '\\x%s' WHERE seq = %d AND chain = %d"
ODD = "UPDATE audit SET call = '%s', detail = '%s' WHERE seq = %d AND chain = %d"
AGED = "UPDATE audit SET time = time - interval '400 days' WHERE chain = %d"
FORGED = "UPDATE audit_heads SET seal = '\\x00' WHERE chain = %d"
CUT_OFF = [
    "INSERT INTO audit_anchors SELECT chain, seq, hash, '\\x00' FROM audit WHERE seq = 3 AND chain = %d",
    "DELETE FROM audit WHERE seq <= 3 AND chain = %d",
]


@pytest.fixture
def trail(database: Database) -> AuditTrail:
    return AuditTrail(database, [KEY])


@pytest.fixture
def app(database: Database, trail: AuditTrail) -> App:
    """An app with a chain of five entries, all sound."""
    app = new_app(database)
    for number in range(4):
        with auditing.operation(Operation("app:1", "addUser", app.pk, ("g",), (f"u{number}",), 7)):
            enrol(database, app, "g", f"u{number}", f"t{number}", random_embedding(number))
    trail.note(Operation("app:1", "search", app.pk, ("g",), ()), "222207")
    trail.flush()
    assert problems(trail, app) == ()
    return app


def report(trail: AuditTrail, app: App, expected: dict[int, tuple[int, str]] | None = None) -> ChainReport:
    return next(each for each in trail.verify(expected) if each.chain == app.pk)


def problems(trail: AuditTrail, app: App, expected: dict[int, tuple[int, str]] | None = None) -> tuple[str, ...]:
    return report(trail, app, expected).problems


def tampered(url: str, *statements: str) -> None:
    """Do what only the database's owner can: switch the guard off and write."""
    with psycopg.connect(driver_address(url)) as connection:
        connection.execute("SET session_replication_role = replica")  # no triggers
        for statement in statements:
            connection.execute(statement.encode())


def test_entries_tell_who_did_what(trail: AuditTrail, app: App) -> None:
    newest, *_, oldest = [entry.draft for entry in trail.latest(10, chain=app.pk)]
    assert (newest.call, newest.outcome, newest.groups, newest.detail) == ("search", "222207", ("g",), None)
    assert (oldest.actor, oldest.call, oldest.outcome, oldest.users) == ("app:1", "addUser", "0", ("u0",))
    assert (oldest.log_id, oldest.detail) == (7, {"add_face": 1})
    assert [entry.draft.users for entry in trail.latest(10, user="u2")] == [("u2",)]


def test_what_is_undone_leaves_no_entry(database: Database, trail: AuditTrail, app: App) -> None:
    before = report(trail, app).last
    with pytest.raises(FaceExists):
        enrol(database, app, "g", "u0", "t0", random_embedding(0))
    assert report(trail, app).last == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET outcome = '0'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "DELETE FROM audit_heads",
        "DELETE FROM audit_anchors",
    ],
)
def test_the_database_refuses_to_change_it(
    database: Database, trail: AuditTrail, app: App, database_url: str, statement: str
) -> None:
    if "anchors" in statement:
        with database.admin() as work:
            work.audit_retention.cut(app.pk, datetime.now(timezone.utc))
    with (
        psycopg.connect(driver_address(database_url)) as connection,
        pytest.raises(psycopg.errors.RestrictViolation, match="append-only"),
    ):
        connection.execute(statement.encode())
    assert problems(trail, app) == ()


@pytest.mark.parametrize(
    ("statements", "problem"),
    [
        (["UPDATE audit SET users = '{other}' WHERE seq = 3 AND chain = %d"], "entry 3 was altered"),
        (["UPDATE audit SET time = time - interval '1 us' WHERE seq = 1 AND chain = %d"], "entry 1 was altered"),
        (["DELETE FROM audit WHERE seq = 2 AND chain = %d"], "entry 3 does not follow entry 1"),
        (["DELETE FROM audit WHERE seq = 5 AND chain = %d"], "ends with entry 4, its head says 5"),
        (["DELETE FROM audit WHERE chain = %d"], "ends with entry 0, its head says 5"),
        (["DELETE FROM audit_heads WHERE chain = %d"], "no head"),
        (
            [COPIED],
            "entry 6 was altered",
        ),
        (
            ["DELETE FROM audit WHERE seq = 5 AND chain = %d",
             HEAD_BACK],
            "seal of entry 4 is not ours",
        ),
        (
            CUT_OFF,
            "seal of entry 3 is not ours",
        ),
    ],
)  # fmt: skip
def test_what_was_changed_around_the_guard_is_found(
    trail: AuditTrail, app: App, database_url: str, statements: list[str], problem: str
) -> None:
    tampered(database_url, *(statement % app.pk for statement in statements))
    assert any(problem in found for found in problems(trail, app))


def test_a_last_entry_that_was_rewritten_with_its_hash_is_found(trail: AuditTrail, app: App, database_url: str) -> None:
    before, last = list(trail.entries(app.pk))[-2:]
    digest = linked(before.hash, app.pk, last.seq, replace(last.draft, outcome="0"))
    tampered(database_url, REWRITTEN % (digest.hex(), last.seq, app.pk))
    assert problems(trail, app) == ("the chain ends with entry 5, its head says 5",)


def test_a_chain_put_back_as_a_whole_is_found_by_an_end_written_down_elsewhere(
    database: Database, trail: AuditTrail, app: App, database_url: str
) -> None:
    with psycopg.connect(driver_address(database_url)) as connection:
        earlier = connection.execute("SELECT seq, hash, seal FROM audit_heads WHERE chain = %s", (app.pk,)).fetchone()
    assert earlier is not None
    enrol(database, app, "g", "u9", "t9", random_embedding(9))
    now = report(trail, app)
    written_down = {app.pk: (now.last, now.hash)}
    assert problems(trail, app, written_down) == ()
    with psycopg.connect(driver_address(database_url)) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("DELETE FROM audit WHERE chain = %s AND seq = %s", (app.pk, now.last))
        put_back = "UPDATE audit_heads SET seq = %s, hash = %s, seal = %s WHERE chain = %s"
        connection.execute(put_back, (*earlier, app.pk))
    assert problems(trail, app) == ()
    assert problems(trail, app, written_down) == ("the expected entry is not in the chain",)


def test_the_retention_leaves_a_sealed_anchor(database: Database, app: App) -> None:
    old = datetime.now(timezone.utc) - timedelta(days=100)
    with database.admin() as work:
        other = new_app(database)
        work.audit.append(other.pk, [AuditDraft("app:2", "search", time=old + timedelta(days=n)) for n in range(100)])
    trail = AuditTrail(database, [KEY], retention=timedelta(days=30))
    assert trail.purge() in {70, 71}
    kept = report(trail, other)
    assert (kept.problems, kept.last) == ((), 100)
    assert kept.first == kept.last - kept.entries + 1
    assert trail.purge() == 0
    assert problems(trail, app) == ()
    assert AuditTrail(database, [KEY]).purge() == 0
    assert AuditTrail(database, [KEY], retention=timedelta(0)).purge() > 0


def test_a_clock_that_was_set_deletes_no_entries(database: Database) -> None:
    """Not before it is right again: what a date that cannot be believed calls old is gone for good."""
    old = datetime.now(timezone.utc) - timedelta(days=100)
    with database.admin() as work:
        app = new_app(database)
        work.audit.append(app.pk, [AuditDraft("app:2", "search", time=old + timedelta(days=n)) for n in range(100)])
    trail = AuditTrail(database, [KEY], retention=timedelta(days=30))
    kept, ahead, hour = report(trail, app).entries, [0.0], timedelta(hours=1)
    limits = RiskLimits(people=5, failures=5, clock=hour, window=hour, history=hour)
    upkeep = Upkeep(database, limits, trail, calendar=Calendar(lambda: 1e9 + ahead[0], lambda: 50.0))
    for ahead[0] in (365 * 86400.0, -365 * 86400.0):
        upkeep.purge_old()
        assert report(trail, app).entries == kept
    ahead[0] = 0.0
    upkeep.purge_old()
    assert report(trail, app).entries < kept


def test_a_chain_under_an_older_key_is_known_and_one_under_a_foreign_key_is_not(database: Database, app: App) -> None:
    assert problems(AuditTrail(database, [bytes(32), KEY]), app) == ()
    assert "seal" in problems(AuditTrail(database, [bytes(32)]), app)[0]


def test_chains_are_carried_over_to_another_key(
    database: Database, trail: AuditTrail, app: App, database_url: str
) -> None:
    """Those too in which nothing happens any more, and what the retention has cut off; both stay sound without it."""
    cut, forged = new_app(database), new_app(database)
    with database.admin() as work:
        for chain in (cut.pk, forged.pk):
            work.audit.append(chain, [AuditDraft("app:2", "search") for _ in range(3)])
        work.audit_retention.cut(cut.pk, datetime.now(timezone.utc))
    with database.admin() as work:
        assert work.audit_retention.drop(cut.pk) == (3, 3)
    tampered(database_url, FORGED % forged.pk)
    before = report(trail, app)
    for keys, carried in (([NEXT, KEY], 2), ([NEXT, KEY], 0), ([bytes(32), NEXT, KEY], 2)):
        renewed = Database(database_url, audit_keys=keys)
        assert AuditTrail(renewed, keys).reseal() == carried
        renewed.close()
        alone = AuditTrail(database, keys[:1])
        assert problems(alone, app, {app.pk: (before.last, before.hash)}) == problems(alone, cut) == ()
        assert problems(alone, forged) == ("the seal of entry 3 is not ours",)


def test_what_is_written_behind_a_forged_end_does_not_make_it_ours(
    database: Database, trail: AuditTrail, app: App, database_url: str
) -> None:
    last = report(trail, app).last
    tampered(database_url, FORGED % app.pk)
    assert problems(trail, app) == (f"the seal of entry {last} is not ours",)
    with database.admin() as work:
        assert [entry.draft.call for entry in work.audit.append(app.pk, [AuditDraft("app:1", "search")])] == ["search"]
        work.audit.append(app.pk, [AuditDraft("app:1", "search")])
    expected = f"the seal of entry {last} was not ours when entry {last + 1} was written"
    assert problems(trail, app) == (expected,)
    assert report(trail, app).last == last + 3


def test_the_retention_reaches_a_chain_in_which_nothing_happens_any_more_behind_an_end_that_is_not_ours(
    database: Database, app: App, database_url: str
) -> None:
    """As under a key that was dropped before chains were carried over; an entry says so, and it stays."""
    last = report(AuditTrail(database, [KEY]), app).last
    tampered(database_url, AGED % app.pk)
    later = Database(database_url, audit_keys=[NEXT])
    trail = AuditTrail(later, [NEXT], retention=timedelta(days=30))
    assert (trail.purge(), trail.purge()) == (last, 0)
    expected = f"the seal of entry {last} was not ours when entry {last + 1} was written"
    assert problems(trail, app) == (expected,)
    later.close()


@pytest.mark.parametrize("odd", ["time = '-infinity'", "detail = ('1' || repeat('0', 5000))::jsonb"])
def test_the_retention_goes_on_behind_an_entry_that_cannot_be_read(
    database: Database, trail: AuditTrail, app: App, database_url: str, odd: str
) -> None:
    tampered(database_url, AGED % app.pk, f"UPDATE audit SET {odd} WHERE chain = {app.pk} AND seq = 1")  # noqa: S608
    assert problems(trail, app)
    assert AuditTrail(database, [KEY], retention=timedelta(days=30)).purge() == 5
    assert problems(trail, app) == ()


def test_a_connection_that_dies_amid_the_retention_does_not_pass_for_nothing_to_do(
    database: Database, app: App, database_url: str
) -> None:
    tampered(database_url, AGED % app.pk)
    ended: list[bool] = []

    @sa.event.listens_for(database._engine, "after_cursor_execute")
    def end_once(*_: object) -> None:
        if not ended:
            ended.append(True)
            end_other_connections(database_url)

    assert AuditTrail(database, [KEY], retention=timedelta(days=30)).purge() == 5
    assert ended


@pytest.mark.parametrize(
    "odd",
    [
        "UPDATE audit SET time = 'infinity' WHERE chain = %d AND seq >= %d",
        "UPDATE audit SET detail = ('1' || repeat('0', 5000))::jsonb WHERE chain = %d AND seq >= %d",
    ],
)
def test_what_no_entry_can_be_does_not_silence_the_report_and_the_retention_of_others(
    database: Database, trail: AuditTrail, app: App, database_url: str, odd: str
) -> None:
    other, last = new_app(database), report(trail, app).last
    with database.admin() as work:
        work.audit.append(other.pk, [AuditDraft("app:2", "search", time=datetime(2020, 1, 1, tzinfo=timezone.utc))])
    tampered(database_url, odd % (app.pk, last))
    (told,) = problems(trail, app, {app.pk: (last, "00")})
    assert told.startswith("the entries cannot be read at or after entry 1: ")
    assert problems(trail, other) == ()
    tampered(database_url, odd % (app.pk, 1))
    assert AuditTrail(database, [KEY], retention=timedelta(days=30)).purge() == 1
    assert report(trail, other).entries == 0


def test_processes_that_do_not_know_the_new_key_yet_leave_nothing_suspicious(
    database: Database, app: App, database_url: str
) -> None:
    """Key by key: as long as servers are started anew one by one, two of them write in turn."""
    newest = b"o" * 32
    for new, old in ((NEXT, KEY), (newest, NEXT)):
        renewed, lagging = (Database(database_url, audit_keys=keys) for keys in ([new, old], [old]))
        for _ in range(2):
            for one in (renewed, lagging):
                with one.admin() as work:
                    work.audit.append(app.pk, [AuditDraft("app:1", "search")])
        assert problems(AuditTrail(database, [new, old]), app) == ()
        assert AuditTrail(renewed, [new, old]).reseal() >= 1
        assert AuditTrail(renewed, [new, old]).reseal() == 0
        assert problems(AuditTrail(database, [new]), app) == ()
        renewed.close()
        lagging.close()


@pytest.mark.parametrize("detail", ["{}", '{"end": 3, "hash": "zz", "seal": 5}', "[1]", "null"])
def test_what_somebody_wrote_around_the_guard_does_not_silence_the_report(
    trail: AuditTrail, app: App, database_url: str, detail: str
) -> None:
    last = report(trail, app).last
    for call in ("audit.foreign_end", "audit.reseal"):
        tampered(database_url, ODD % (call, detail, last, app.pk))
        assert f"entry {last} was altered, or the one before it" in problems(trail, app)
        trail.reseal()


def test_nothing_vouches_for_an_anchor_that_was_not_ours(database: Database, app: App, database_url: str) -> None:
    tampered(database_url, *(statement % app.pk for statement in CUT_OFF))
    renewed = Database(database_url, audit_keys=[NEXT, KEY])
    assert AuditTrail(renewed, [NEXT, KEY]).reseal() == 1  # its end was ours
    renewed.close()
    assert problems(AuditTrail(database, [NEXT, KEY]), app) == ("the seal of entry 3 is not ours",)


def test_entries_are_json(trail: AuditTrail, app: App) -> None:
    from service.cli.audit import as_dict  # noqa: PLC0415 (a command)

    lines = [json.loads(json.dumps(as_dict(entry))) for entry in trail.entries(app.pk)]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 5]
