"""Passwords, sessions, forms, and how often somebody may guess."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from service.access.failures import Failures
from service.console.password import PasswordError, PasswordFile
from service.console.sessions import IDLE_SECONDS, LONGEST_SECONDS, LoginThrottle, Sessions
from tests.fixtures.clock import Clock

KEY, OTHER_KEY = bytes(32), bytes(range(32))
PASSWORD = "correct horse"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions([KEY], clock)


def test_a_password_is_kept_as_a_hash_for_the_owner_alone(tmp_path: Path) -> None:
    file = PasswordFile(tmp_path / "home" / "console.password")
    assert file.content is None
    assert not file.accepts("")
    file.set(PASSWORD)
    (path,) = (tmp_path / "home").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert PASSWORD not in path.read_text(encoding="ascii")
    assert file.accepts(PASSWORD)
    assert not file.accepts(PASSWORD + " ")
    file.remove()
    assert file.content is None
    assert not file.accepts(PASSWORD)


def test_a_short_password_is_refused_and_a_damaged_file_lets_nobody_in(tmp_path: Path) -> None:
    file = PasswordFile(tmp_path / "console.password")
    with pytest.raises(PasswordError, match="at least 10"):
        file.set("short")
    for content in ("scrypt$1$2", "plain$32768$8$3$AAAA$AAAA", "scrypt$x$8$3$AAAA$AAAA", "\xff"):
        (tmp_path / "console.password").write_text(content, encoding="latin-1")
        assert not file.accepts("scrypt")


def test_a_session_lives_while_it_is_used(sessions: Sessions, clock: Clock) -> None:
    session = sessions.open()
    for _ in range(3):
        cookie = sessions.write(session, "hash")
        clock.now += IDLE_SECONDS - 1
        found = sessions.read(cookie, "hash")
        assert found is not None
        assert found.session_id == session.session_id
    clock.now += 2
    assert sessions.read(cookie, "hash") is None


def test_no_session_lasts_longer_than_half_a_day(sessions: Sessions, clock: Clock) -> None:
    session = sessions.open()
    clock.now += LONGEST_SECONDS + 1
    assert sessions.read(sessions.write(session, "hash"), "hash") is None


def test_a_closed_session_is_over(sessions: Sessions) -> None:
    session = sessions.open()
    cookie = sessions.write(session, "hash")
    sessions.close(session)
    assert sessions.read(cookie, "hash") is None


def test_another_password_or_key_ends_sessions_and_an_older_key_does_not(sessions: Sessions, clock: Clock) -> None:
    cookie = sessions.write(sessions.open(), "hash")
    assert sessions.read(cookie, "another hash") is None
    assert Sessions([OTHER_KEY], clock).read(cookie, "hash") is None
    assert Sessions([OTHER_KEY, KEY], clock).read(cookie, "hash") is not None


@pytest.mark.parametrize("cookie", ["", ".", "x", "x.y", "\udcff.\udcff", "e30=.0", "é.é"])
def test_made_up_cookies_are_refused(sessions: Sessions, cookie: str) -> None:
    assert sessions.read(cookie, "hash") is None


def test_a_changed_cookie_is_refused(sessions: Sessions) -> None:
    payload, _, signature = sessions.write(sessions.open(), "hash").partition(".")
    assert sessions.read(f"{payload[:-2]}AA.{signature}", "hash") is None
    assert sessions.read(f"{payload}.{signature[:-1]}", "hash") is None


def test_forms_belong_to_their_session(sessions: Sessions) -> None:
    mine, other = sessions.open(), sessions.open()
    assert sessions.accepts(mine, sessions.token(mine))
    assert not sessions.accepts(mine, sessions.token(other))
    assert not sessions.accepts(mine, "")


def test_guessing_is_slowed_by_address_and_altogether(clock: Clock) -> None:
    throttle = LoginThrottle(Failures(60, clock=clock), tries=3, most=5)
    for _ in range(3):
        assert throttle.wait("a") == 0
        throttle.failed("a")
    assert 0 < throttle.wait("a") <= 60
    assert throttle.wait("b") == 0
    for address in "bc":
        throttle.failed(address)
    assert throttle.wait("d") > 0
    clock.now += 61
    assert throttle.wait("a") == throttle.wait("d") == 0


def test_strangers_do_not_keep_the_operator_out(clock: Clock) -> None:
    throttle = LoginThrottle(Failures(60, clock=clock), tries=3, most=5)
    throttle.succeeded("operator")
    for stranger in range(5):
        throttle.failed(f"{stranger}")
    assert throttle.wait("stranger") > 0
    assert throttle.wait("operator") == 0
    for _ in range(3):
        throttle.failed("operator")
    assert throttle.wait("operator") > 0


def test_the_right_password_forgives_the_wrong_ones(clock: Clock) -> None:
    throttle = LoginThrottle(Failures(60, clock=clock), tries=2)
    throttle.failed("a")
    throttle.succeeded("a")
    throttle.failed("a")
    assert throttle.wait("a") == 0
