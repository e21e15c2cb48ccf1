"""The register: people are found by number, nothing about them is readable in the database, and they can be erased."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import psycopg
import pytest

from service.access.keys import Keyring, KeyringError
from service.identity.claims import Validity
from service.identity.register import PAGE, Person, ReferencePicture, Register
from service.storage.engine import Database
from service.storage.identities import SealedIdentity, StoredIdentity
from service.storage.urls import driver_address
from service.values import App
from tests.fixtures.library import new_app, random_embedding
from tests.fixtures.people import claim, number

TERM = Validity(date(2016, 3, 4), date(2036, 3, 4))
PORTRAIT = b"\xff\xd8 a portrait"


def person(sequence: int, *, portrait: bytes | None = PORTRAIT) -> Person:
    return Person(claim(sequence), TERM, ReferencePicture("weights-1", random_embedding(sequence), portrait))


def dump(url: str) -> bytes:
    """Every column of every row, as text and as bytes."""
    with psycopg.connect(driver_address(url)) as connection:
        rows = connection.execute("SELECT * FROM identities").fetchall()
    assert rows
    return b"".join(value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row)


def test_somebody_is_found_by_number(register: Register) -> None:
    register.put(person(1), b"f")
    entry = register.find(number(1))
    assert entry is not None
    assert entry.person.claim == claim(1)
    assert entry.person.validity == TERM
    assert (entry.common, entry.revoked) == (True, False)
    picture = entry.person.picture
    assert picture is not None
    assert (picture.model_id, picture.portrait) == ("weights-1", PORTRAIT)
    assert np.array_equal(picture.embedding, random_embedding(1))
    assert register.find(number(2)) is None
    assert register.fingerprint_of(number(1)) == b"f"
    assert register.fingerprint_of(number(2)) is None


def test_what_may_be_left_out(register: Register) -> None:
    register.put(Person(claim(1), None, None), b"")
    register.put(Person(claim(2), Validity(date(2016, 3, 4), None), None), b"")
    register.put(person(3, portrait=None), b"")
    assert [(entry.person.validity, entry.person.picture is None) for entry in register.entries()] == [
        (None, True),
        (Validity(date(2016, 3, 4), None), True),
        (TERM, False),
    ]


def test_nothing_in_the_database_is_readable(register: Register, database_url: str) -> None:
    register.put(person(1), register.fingerprint(number(1).encode()))
    content = dump(database_url)
    secrets = [number(1).encode(), number(1)[6:14].encode(), claim(1).name.encode(), b"2016-03-04", PORTRAIT]
    assert [secret for secret in (*secrets, random_embedding(1).tobytes()) if secret in content] == []


def test_the_same_person_is_stored_differently_each_time(register: Register, database_url: str) -> None:
    register.put(person(1), b"")
    first = dump(database_url)
    register.put(person(1), b"")
    assert dump(database_url) != first


def test_another_key_finds_and_opens_nothing(register: Register, database: Database) -> None:
    register.put(person(1), b"")
    stranger = Register(database, Keyring(b"x" * 32))
    assert stranger.find(number(1)) is None
    with pytest.raises(KeyringError):
        list(stranger.entries())


def test_a_row_moved_under_another_number_does_not_open(register: Register, database_url: str) -> None:
    register.put(person(1), b"")
    register.put(person(2), b"")
    with psycopg.connect(driver_address(database_url)) as connection:
        connection.execute("UPDATE identities SET person = (SELECT person FROM identities WHERE pk = 1) WHERE pk = 2")
    with pytest.raises(KeyringError):
        register.find(number(2))


def test_a_new_master_key(register: Register, database: Database) -> None:
    register.put(person(1), b"")
    register.put(person(2), b"")
    register.revoke(number(1))
    rotated = Register(database, Keyring(b"n" * 32, b"k" * 32))
    assert rotated.find(number(1)) is not None
    rotated.put(person(1), b"")
    only_new = Register(database, Keyring(b"n" * 32))
    entry = only_new.find(number(1))
    assert entry is not None
    assert entry.revoked
    assert register.find(number(1)) is None
    assert rotated.erase(number(1))
    assert rotated.erase(number(2))
    assert list(rotated.entries()) == []


def test_a_new_master_key_loses_and_revives_nobody(register: Register, database: Database, database_url: str) -> None:
    """Somebody else writes between the moment that a person is read and the moment that they are sealed anew."""
    for sequence in range(5):
        register.put(person(sequence), b"before")
    both = Keyring(b"n" * 32, b"k" * 32)
    second = Database(database_url)
    elsewhere = Register(second, both)
    stale = elsewhere.find(number(4))
    assert stale is not None
    meanwhile: dict[int, Callable[[], object]] = {
        0: lambda: elsewhere.erase(number(0)),
        1: lambda: elsewhere.put(Person(claim(1, "another name"), None, None), b"after"),
        2: lambda: elsewhere.revoke(number(2)),
        3: lambda: elsewhere.replace_picture(
            next(entry for entry in elsewhere.entries() if entry.person.claim.number == number(3)),
            ReferencePicture("weights-2", random_embedding(33), None),
        ),
    }

    class Interrupted(Register):
        """Lets the other one write before what it has made is written."""

        def _anew(self, row: StoredIdentity, app: App | None) -> SealedIdentity:
            made = super()._anew(row, app)
            meanwhile.pop(row.pk - 1, lambda: None)()
            return made

    assert Interrupted(database, both).reseal() == 4
    elsewhere.replace_picture(stale, ReferencePicture("weights-2", random_embedding(44), None))
    second.close()
    only_new = Register(database, Keyring(b"n" * 32))
    found = {entry.person.claim.number: entry for entry in only_new.entries()}
    assert found.keys() == {number(sequence) for sequence in (1, 2, 3, 4)}
    assert found[number(1)].person.claim.name == "another name"
    assert only_new.fingerprint_of(number(1)) == b"after"
    assert found[number(2)].revoked
    picture = found[number(3)].person.picture
    assert picture is not None
    assert (picture.model_id, picture.embedding.tobytes()) == ("weights-2", random_embedding(33).tobytes())
    kept = found[number(4)].person.picture
    assert kept is not None
    assert kept.model_id == "weights-1"  # what was made for the old hash came too late
    assert only_new.fingerprint_of(number(4)) == b"before"


def entered_by_an_older_server(register: Register, rotated: Register) -> None:
    """Somebody who was sealed anew and revoked is entered again by a server that has the old master key alone."""
    register.put(Person(claim(1, "张三"), None, None), b"before")
    rotated.reseal()
    rotated.revoke(number(1))
    register.put(Person(claim(1, "李四"), None, None), b"after")


def test_whom_a_server_with_an_older_key_enters_anew_stays_revoked(register: Register, database: Database) -> None:
    rotated = Register(database, Keyring(b"n" * 32, b"k" * 32))
    entered_by_an_older_server(register, rotated)
    entry = rotated.find(number(1))
    assert entry is not None
    assert entry.revoked
    assert entry.person.claim.name == "李四"


@pytest.mark.parametrize("by", ["putting", "sealing anew"])
def test_of_two_entries_of_one_person_one_is_left(by: str, register: Register, database: Database) -> None:
    rotated = Register(database, Keyring(b"n" * 32, b"k" * 32))
    entered_by_an_older_server(register, rotated)
    if by == "putting":
        rotated.put(Person(claim(1, "李四"), None, None), b"after")
    else:
        rotated.reseal()
    (entry,) = Register(database, Keyring(b"n" * 32)).entries()
    assert entry.revoked
    assert entry.person.claim.name == "李四"
    assert rotated.fingerprint_of(number(1)) == b"after"


@pytest.mark.parametrize("common_first", [False, True])
def test_an_app_s_own_register_is_its_own(register: Register, database: Database, *, common_first: bool) -> None:
    one, other = new_app(database), new_app(database)
    for common in (common_first, not common_first):
        register.put(Person(claim(1, "李四" if common else "张三"), None, None), b"", None if common else one)
    register.put(Person(claim(2), None, None), b"", one)

    def name(sequence: int, app: object) -> str | None:
        entry = register.find(number(sequence), app)  # type: ignore[arg-type]
        return None if entry is None else entry.person.claim.name

    assert [name(1, app) for app in (one, other, None)] == ["张三", "李四", "李四"]
    assert [name(2, app) for app in (one, other, None)] == ["韦小宝", None, None]
    assert [entry.common for entry in register.entries(one)] == [False, False]
    assert len(list(register.entries())) == 1
    assert not register.erase(number(2), other)
    assert not register.erase(number(2))
    with database.admin() as work:
        work.apps.delete(one.pk)
    assert name(1, one) == "李四"
    assert name(2, one) is None


def test_a_number_looks_different_in_each_register(register: Register, database: Database, database_url: str) -> None:
    register.put(person(1), b"", new_app(database))
    register.put(person(1), b"", new_app(database))
    register.put(person(1), b"")
    with psycopg.connect(driver_address(database_url)) as connection:
        assert connection.execute("SELECT count(DISTINCT lookup) FROM identities").fetchone() == (3,)


def test_erasing_leaves_nothing(register: Register, database_url: str) -> None:
    register.put(person(1), b"")
    assert register.erase(number(1))
    assert not register.erase(number(1))
    with psycopg.connect(driver_address(database_url)) as connection:
        assert connection.execute("SELECT count(*) FROM identities").fetchone() == (0,)


def test_who_is_revoked_stays_so_until_restored(register: Register) -> None:
    def revoked() -> bool:
        entry = register.find(number(1))
        assert entry is not None
        return entry.revoked

    assert not register.revoke(number(1))
    register.put(person(1), b"")
    assert register.revoke(number(1))
    assert register.revoke(number(1))
    register.put(person(1), b"changed")
    assert revoked()
    assert register.revoke(number(1), revoked=False)
    assert not revoked()


def test_entries_come_in_pages(register: Register, database_url: str) -> None:
    for sequence in range(3):
        register.put(Person(claim(sequence), None, None), b"")
    assert [entry.person.claim.number for entry in register.entries()] == [number(n) for n in range(3)]
    with psycopg.connect(driver_address(database_url)) as connection:
        connection.execute(
            "INSERT INTO identities (lookup, person, fingerprint)"
            " SELECT int4send(n), person, '' FROM identities, generate_series(1, %s) AS n WHERE pk = 1",
            (PAGE,),
        )
    with pytest.raises(KeyringError):  # rows of the test's own making do not open, and every page is read
        list(register.entries())


@pytest.mark.parametrize("made_by", ["weights-1", "weights-3"])
def test_a_picture_replaced_meanwhile_is_not_written_over(made_by: str, register: Register) -> None:
    """Also by the weights that made the older one: an import that began before the library moved goes on with them."""
    register.put(person(1), b"")
    entry = register.find(number(1))
    assert entry is not None
    newest = ReferencePicture(made_by, random_embedding(3), PORTRAIT)
    register.put(Person(claim(1), TERM, newest), b"")
    register.replace_picture(entry, ReferencePicture("weights-2", random_embedding(2), PORTRAIT))
    found = register.find(number(1))
    assert found is not None
    assert found.person.picture is not None
    assert found.person.picture.model_id == made_by
    assert found.person.picture.embedding.tobytes() == random_embedding(3).tobytes()
