"""Keys, nonces and the history of devices: one wins, everything ends, nothing crosses apps."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql

from service.access.keys import Keyring
from service.capture import jose
from service.capture.envelope import OpenEnvelopes
from service.capture.keys import EnvelopeKeys
from service.capture.rules import RiskLimits
from service.errors import EnvelopeNotOpened, EnvelopeReplayed, EnvelopeStale
from service.storage.captures import CaptureWriter
from service.storage.engine import Database
from service.storage.envelopes import StoredKey
from service.storage.urls import driver_address
from service.upkeep import Upkeep
from service.values import App
from tests.fixtures.envelopes import content, seal
from tests.fixtures.library import MODEL, new_app

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def key(kid: str, algorithm: str = "ECDH-ES") -> StoredKey:
    return StoredKey(kid, algorithm, {"kid": kid}, b"sealed")


def age(database_url: str, table: str, column: str, how_much: str) -> None:
    """Let time go by for the rows of a table."""
    with psycopg.connect(driver_address(database_url)) as connection:
        statement = sql.SQL("UPDATE {0} SET {1} = {1} - {2}::interval")
        connection.execute(statement.format(sql.Identifier(table), sql.Identifier(column), sql.Literal(how_much)))


def rows(database_url: str, table: str) -> int:
    with psycopg.connect(driver_address(database_url)) as connection:
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
        (found,) = connection.execute(query).fetchone() or (0,)
        return int(found)


# --- keys -------------------------------------------------------------------------------------------------------------


def test_keys_come_and_go(database: Database, database_url: str, app: App) -> None:
    other = new_app(database)
    with database.admin() as work:
        work.envelopes.add_keys(app.pk, [key("first"), key("rsa", "RSA-OAEP-256")])
        work.envelopes.add_keys(app.pk, [key("second")])  # there is a current one already
        assert [stored.kid for stored in work.envelopes.current_keys(app.pk)] == ["first", "rsa"]
        assert work.envelopes.current_keys(other.pk) == []
        assert work.envelopes.accepted_key(other.pk, "first") is None
        work.envelopes.retire_keys(app.pk, HOUR)
    with database.admin() as work:
        work.envelopes.add_keys(app.pk, [key("third")])
        assert [stored.kid for stored in work.envelopes.current_keys(app.pk)] == ["third"]
        assert work.envelopes.accepted_key(app.pk, "first") == key("first")
        assert work.envelopes.purge_keys() == 0
    age(database_url, "envelope_keys", "retires", "2 hours")
    with database.admin() as work:
        assert work.envelopes.accepted_key(app.pk, "first") is None
        assert work.envelopes.purge_keys() == 2
        assert work.envelopes.accepted_key(app.pk, "third") == key("third")


def test_two_processes_publish_the_same_keys(database: Database, database_url: str, app: App) -> None:
    keyring = Keyring(bytes(32))
    second = Database(database_url)
    try:
        publishers = [EnvelopeKeys(each, keyring, grace=HOUR) for each in (database, second)] * 2
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda keys: keys.published(app), publishers))
    finally:
        second.close()
    assert all(keys == found[0] for keys in found)
    assert [jwk["alg"] for jwk in found[0]] == ["ECDH-ES", "RSA-OAEP-256"]


def test_with_another_master_key_new_keys_help(database: Database, app: App) -> None:
    (curve, _) = EnvelopeKeys(database, Keyring(bytes(32)), grace=HOUR).published(app)
    renewed = EnvelopeKeys(database, Keyring(b"2" * 32), grace=HOUR)
    with pytest.raises(EnvelopeNotOpened):
        renewed.private(app, curve["kid"], jose.ECDH)
    (curve, _) = renewed.rotate(app, at_once=True)
    assert renewed.private(app, curve["kid"], jose.ECDH).is_private


def test_private_keys_are_sealed_and_bound_to_their_app(database: Database, app: App) -> None:
    keyring, other = Keyring(bytes(32)), new_app(database)
    keys = EnvelopeKeys(database, keyring, grace=HOUR)
    curve, rsa = keys.published(app)
    with database.admin() as work:
        (stored, _) = work.envelopes.current_keys(app.pk)
        work.envelopes.add_keys(other.pk, [stored])  # as if somebody had copied the row
    assert keys.private(app, curve["kid"], jose.ECDH).is_private
    for whose, kid in ((other, curve["kid"]), (app, rsa["kid"]), (app, "unknown")):
        with pytest.raises(EnvelopeNotOpened):
            keys.private(whose, kid, jose.ECDH)
    with pytest.raises(ValueError):  # noqa: PT011 (no key can be read from it)
        jose.load(jose.ECDH, stored.private)


# --- nonces -----------------------------------------------------------------------------------------------------------


def test_a_nonce_is_claimed_once_whoever_asks(database: Database, database_url: str, app: App) -> None:
    second, other = Database(database_url), new_app(database)

    def claim(where: Database, app_pk: int = app.pk) -> bool:
        with where.admin() as work:
            return work.envelopes.claim_nonce(app_pk, b"digest", HOUR)

    try:
        with ThreadPoolExecutor(6) as pool:
            won = list(pool.map(claim, [database, second] * 3))
    finally:
        second.close()
    assert sorted(won) == [False] * 5 + [True]
    assert claim(database, other.pk)
    assert not claim(database)


def test_nonces_are_forgotten_when_they_are_of_no_use(database: Database, database_url: str, app: App) -> None:
    with database.admin() as work:
        for number in range(3):
            assert work.envelopes.claim_nonce(app.pk, bytes([number]), HOUR)
        assert work.envelopes.purge_nonces(10) == 0
    age(database_url, "envelope_nonces", "expires", "2 hours")
    with database.admin() as work:
        assert work.envelopes.purge_nonces(2) == 2
        assert work.envelopes.purge_nonces(2) == 1


def test_a_nonce_is_remembered_for_as_long_as_its_envelope_can_be_opened(
    database: Database, database_url: str, app: App
) -> None:
    keys, max_age = EnvelopeKeys(database, Keyring(bytes(32)), grace=HOUR), timedelta(minutes=5)
    opening = OpenEnvelopes(keys, database, max_age=max_age, max_picture_bytes=1000)
    ahead = time.time() + max_age.total_seconds() - 1  # of a device whose clock is nearly as far ahead as it may be
    sealed = seal(keys.published(app)[0], content("AAAA", timestamp=ahead))
    opening(app, sealed)
    age(database_url, "envelope_nonces", "expires", "10 minutes")
    with database.admin() as work:
        assert work.envelopes.purge_nonces(10) == 0
    with pytest.raises(EnvelopeReplayed):
        opening(app, sealed)


@pytest.mark.parametrize("offset", [-3600, 330, DAY.total_seconds()])
def test_an_envelope_that_is_early_or_late_is_used_up_until_its_time_is_over(
    database: Database, database_url: str, app: App, monkeypatch: pytest.MonkeyPatch, offset: float
) -> None:
    """Refused early, it must not be accepted when its time has come."""
    keys, max_age = EnvelopeKeys(database, Keyring(bytes(32)), grace=HOUR), timedelta(minutes=5)
    opening = OpenEnvelopes(keys, database, max_age=max_age, max_picture_bytes=1000)
    public = keys.published(app)[0]  # made now, which takes a while
    time_of_capture = time.time() + offset
    sealed = seal(public, content("AAAA", timestamp=time_of_capture))
    with pytest.raises(EnvelopeStale):
        opening(app, sealed)
    last_chance = max(offset, 0) + max_age.total_seconds()
    age(database_url, "envelope_nonces", "expires", f"{last_chance:.0f} seconds")
    with database.admin() as work:
        assert work.envelopes.purge_nonces(10) == 0
    monkeypatch.setattr(time, "time", lambda: time_of_capture)
    with pytest.raises(EnvelopeReplayed):
        opening(app, sealed)


def test_nothing_is_kept_of_an_envelope_of_a_distant_future(database: Database, database_url: str, app: App) -> None:
    keys = EnvelopeKeys(database, Keyring(bytes(32)), grace=HOUR)
    opening = OpenEnvelopes(keys, database, max_age=timedelta(minutes=5), max_picture_bytes=1000)
    for days in (3, 4000):
        ahead = time.time() + days * DAY.total_seconds()
        with pytest.raises(EnvelopeStale):
            opening(app, seal(keys.published(app)[0], content("AAAA", timestamp=ahead)))
    assert rows(database_url, "envelope_nonces") == 0


# --- devices ----------------------------------------------------------------------------------------------------------


def see(work: CaptureWriter, app: App, device: bytes, *, passed: bool = True) -> tuple[int, int]:
    seen = work.see_device(app.pk, device, passed=passed, history=DAY)
    return seen.pk, seen.passed_before


def test_devices_are_known_by_what_passed(database: Database, app: App) -> None:
    other = new_app(database)
    with database.admin() as work:
        first, passed = see(work.captures, app, b"a", passed=False)
        assert passed == 0
        assert see(work.captures, app, b"a") == (first, 0)
        assert see(work.captures, app, b"a", passed=False) == (first, 1)
        for app_, name in ((app, b"b"), (other, b"a")):
            pk, passed = see(work.captures, app_, name)
            assert pk != first
            assert passed == 0


def test_pictures_are_recognised(database: Database, app: App) -> None:
    other = new_app(database)
    with database.admin() as work:
        (a, _), (b, _), (c, _) = (see(work.captures, app_, n) for app_, n in ((app, b"a"), (app, b"b"), (other, b"a")))
        seen = [
            work.captures.see_pictures(app_.pk, device, pictures, DAY)
            for app_, device, pictures in (
                (app, a, [b"1", b"1"]),
                (app, a, [b"1", b"2"]),
                (app, b, [b"2"]),
                (app, b, [b"3"]),
                (other, c, [b"1"]),
            )
        ]
    found = [(pictures.repeated, pictures.elsewhere) for pictures in seen]
    assert found == [(False, False), (True, False), (True, True), (False, False), (False, False)]


def test_of_two_devices_that_bring_a_picture_at_once_one_is_the_first(database: Database, app: App) -> None:
    together = threading.Barrier(2)

    def bring(name: bytes, pictures: list[bytes]) -> tuple[bool, bool]:
        with database.admin() as work:
            device, _ = see(work.captures, app, name)
            together.wait(30)
            seen = work.captures.see_pictures(app.pk, device, pictures, DAY)
            return seen.repeated, seen.elsewhere

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(bring, [b"a", b"b"], [[b"1", b"2"], [b"2", b"1"]]))
    assert sorted(found) == [(False, False), (True, True)]


def test_what_is_too_old_counts_no_more(database: Database, database_url: str, app: App) -> None:
    with database.admin() as work:
        device, _ = see(work.captures, app, b"a")
        work.captures.see_pictures(app.pk, device, [b"1"], DAY)
        work.captures.add_failure(device)
        work.captures.add_person(device, MODEL, b"somebody", keep=5)
        assert work.captures.failures(device, HOUR) == 1
        assert len(work.captures.people(device, MODEL, HOUR)) == 1
        assert work.captures.people(device, "another model", HOUR) == []
    for table, column in (("capture_failures", "created"), ("capture_people", "last_seen")):
        age(database_url, table, column, "2 hours")
    for table in ("capture_devices", "capture_pictures"):
        age(database_url, table, "last_seen", "2 days")
    with database.admin() as work:
        assert work.captures.failures(device, HOUR) == 0
        assert work.captures.people(device, MODEL, HOUR) == []
        other, _ = see(work.captures, app, b"b")
        assert not work.captures.see_pictures(app.pk, other, [b"1"], DAY).repeated
        assert see(work.captures, app, b"a") == (device, 0)


def test_only_the_last_people_stay(database: Database, app: App) -> None:
    with database.admin() as work:
        device, _ = see(work.captures, app, b"a")
        for name in (b"1", b"2", b"3"):
            work.captures.add_person(device, MODEL, name, keep=2)
        assert {person.embedding for person in work.captures.people(device, MODEL, HOUR)} == {b"2", b"3"}


def test_upkeep_forgets(database: Database, database_url: str, app: App) -> None:
    with database.admin() as work:
        for name in (b"a", b"b"):
            device, _ = see(work.captures, app, name)
            work.captures.see_pictures(app.pk, device, [name], DAY)
            work.captures.add_failure(device)
            work.captures.add_person(device, MODEL, b"somebody", keep=5)
        assert work.captures.purge(window=HOUR, history=DAY, limit=10) == 0
    for table, column in (("capture_failures", "created"), ("capture_people", "last_seen")):
        age(database_url, table, column, "2 hours")
    with database.admin() as work:
        assert work.captures.purge(window=HOUR, history=DAY, limit=1) == 2
        assert work.captures.purge(window=HOUR, history=DAY, limit=10) == 2
    for table in ("capture_devices", "capture_pictures"):
        age(database_url, table, "last_seen", "2 days")
    limits = RiskLimits(people=5, failures=5, clock=HOUR, window=HOUR, history=DAY)
    Upkeep(database, limits)._forget_envelopes()
    assert rows(database_url, "capture_devices") == 0
    assert rows(database_url, "capture_pictures") == 0


def test_a_picture_outlasts_the_device_that_brought_it_first(database: Database, database_url: str, app: App) -> None:
    with database.admin() as work:
        first, _ = see(work.captures, app, b"a")
        work.captures.see_pictures(app.pk, first, [b"1"], DAY)
    for table in ("capture_devices", "capture_pictures"):
        age(database_url, table, "last_seen", "2 hours")
    with database.admin() as work:
        second, _ = see(work.captures, app, b"b")
        assert work.captures.see_pictures(app.pk, second, [b"1"], DAY).elsewhere
    age(database_url, "capture_devices", "last_seen", "23 hours")  # the first was seen 25 hours ago, the picture now
    with database.admin() as work:
        assert work.captures.purge(window=HOUR, history=DAY, limit=10) == 0
        third, _ = see(work.captures, app, b"c")
        assert work.captures.see_pictures(app.pk, third, [b"1"], DAY).elsewhere
    age(database_url, "capture_pictures", "last_seen", "2 days")
    with database.admin() as work:
        assert work.captures.purge(window=HOUR, history=DAY, limit=10) == 2  # the picture, then the first device


def test_everything_goes_with_its_app(database: Database, database_url: str, app: App) -> None:
    with database.admin() as work:
        work.envelopes.add_keys(app.pk, [key("first")])
        work.envelopes.claim_nonce(app.pk, b"digest", HOUR)
        device, _ = see(work.captures, app, b"a")
        work.captures.see_pictures(app.pk, device, [b"1"], DAY)
        work.captures.add_person(device, MODEL, b"somebody", keep=5)
        work.apps.delete(app.pk)
    for table in ("envelope_keys", "envelope_nonces", "capture_devices", "capture_pictures", "capture_people"):
        assert rows(database_url, table) == 0
