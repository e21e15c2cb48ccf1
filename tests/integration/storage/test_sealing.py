"""Faces sealed at rest: read by whoever has the key, found in no dump, and never mistaken for somebody else's."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest

from service.access.keys import Keyring, KeyringError
from service.face_keys import check_face_keys, missing_keys, outstanding, reseal_faces
from service.rotation import reseal
from service.search.catalog import Catalog
from service.storage import source
from service.storage.engine import Database
from service.storage.face_keys import FURTHER, ROWS_AT_ONCE, Wish
from service.storage.library import LibraryDamaged, StoredUserFace, read_library
from service.storage.rows import RememberedFace, embedding_bytes
from service.storage.sealing import OVERHEAD, Mode
from service.storage.source import PostgresChangeSource
from service.values import App, ChangeKind
from tests.fixtures.library import DIMENSION, MODEL, enrol, new_app, random_embedding, random_embeddings, stored_face
from tests.fixtures.sealing import dumped, execute, opened
from tests.fixtures.waiting import wait_for, waiting

KEY, NEW = b"k" * 32, b"n" * 32
HOUR = timedelta(hours=1)
CROP = b"\xff\xd8\xff\xe0 a crop that nobody may read"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with opened(database_url, Mode.ON, KEY) as database:
        yield database


def enrolled(database: Database, app: App, count: int, first: int = 0) -> None:
    """Users ``u0``… of group ``group``, each with one face under a token of its own."""
    with database.write(app.pk) as work:
        group_pk = work.groups.get_or_create("group")
        for number in range(first, first + count):
            user_pk = work.users.insert(group_pk, f"u{number}")
            face = stored_face(f"token{number}", portrait=CROP + str(number).encode())
            work.faces.insert(user_pk, face, MODEL, random_embedding(number))


def searchable(database: Database, app: App, model: str = MODEL) -> dict[int, tuple[int, bytes]]:
    """User number and embedding of every face that an index would hold, by its number."""
    found: dict[int, tuple[int, bytes]] = {}
    with contextlib.closing(PostgresChangeSource(database, model, DIMENSION).snapshot(app.pk)) as snapshot:
        for _, _, blocks in snapshot:
            for face_pks, user_pks, _, embeddings in blocks:
                rows = zip(face_pks.tolist(), user_pks.tolist(), embeddings, strict=True)
                found |= {face: (user, embedding.tobytes()) for face, user, embedding in rows}
    return found


def replayed(database: Database, app: App, model: str = MODEL) -> dict[int, tuple[int, bytes]]:
    """The same as the change log tells it."""
    changes = PostgresChangeSource(database, model, DIMENSION).changes_since(app.pk, 0, 1000)
    added = [change for change in changes if change.kind is ChangeKind.ADD_FACE]
    return {
        change.face_pk: (change.user_pk, embedding_bytes(change.embedding))
        for change in added
        if change.embedding is not None
    }


def embedding_numbers(database: Database, app: App, count: int) -> set[int]:
    """Which of the first embeddings an index would hold."""
    known = {random_embedding(number).tobytes(): number for number in range(count)}
    return {known[content] for _, content in searchable(database, app).values()}


def test_what_is_written_is_sealed_and_read_as_it_was(database: Database, database_url: str) -> None:
    app = new_app(database)
    enrolled(database, app, 3)
    with database.admin() as work:
        faces = [RememberedFace(stored_face(token, CROP), random_embedding(7)) for token in ("seen", "again")]
        work.tokens.put(app.pk, faces, MODEL, HOUR)
        work.tokens.put(app.pk, [RememberedFace(stored_face("again", CROP), None)], MODEL, HOUR)
    expected = {random_embedding(number).tobytes() for number in range(3)}
    assert {content for _, content in searchable(database, app).values()} == expected
    assert replayed(database, app) == searchable(database, app)
    with database.read(app.pk) as reader:
        (user_pk,) = (entry.pk for entry in reader.users.entries(app.pk, "u1"))
        ((token, embedding),) = reader.faces.embeddings_of_users([user_pk], MODEL)
        assert (token, embedding.tobytes()) == ("token1", random_embedding(1).tobytes())
        pk = reader.faces.pk_by_token(user_pk, "token1")
        assert pk is not None
        assert reader.faces.portrait(pk) == CROP + b"1"
        assert reader.faces.portraits([pk, pk + 100]) == {pk: CROP + b"1"}
        by_token = reader.faces.stored_by_token(app.pk, "token2", MODEL)
        assert by_token is not None
        assert by_token.embedding is not None
        assert by_token.embedding.tobytes() == random_embedding(2).tobytes()
        assert by_token.face.portrait == CROP + b"2"
        for name in ("seen", "again"):
            known = reader.tokens.get(app.pk, name, MODEL)
            assert known is not None
            assert known.embedding is not None
            assert (known.face.portrait, known.embedding.tobytes()) == (CROP, random_embedding(7).tobytes())
        (held,) = reader.disclosure.faces(user_pk)
        assert (held.face.portrait, held.damaged) == (CROP + b"1", False)
    rows = [row for row in read_library(database, app.pk) if isinstance(row, StoredUserFace)]
    assert {row.embedding.tobytes() for row in rows} == expected
    content = dumped(database_url)
    assert CROP not in content
    assert [number for number in (0, 1, 2, 7) if random_embedding(number).tobytes() in content] == []
    assert b"u1" in content  # it is a dump


def test_a_copied_face_is_bound_to_its_new_user(database: Database) -> None:
    app = new_app(database)
    enrolled(database, app, 1)
    with database.write(app.pk) as work:
        (source_pk,) = (user.pk for user in work.users.entries(app.pk, "u0"))
        copied_pk = work.users.insert(work.groups.insert("other"), "u0")
        assert work.faces.copy(source_pk, copied_pk) == 1
        assert work.faces.copy(source_pk, copied_pk) == 0
    assert {user for user, _ in searchable(database, app).values()} == {source_pk, copied_pk}
    with database.read() as reader:
        assert len(reader.faces.embeddings_of_users([source_pk, copied_pk], MODEL)) == 2


def test_what_a_further_model_made_is_sealed_copied_renewed_and_taken_in(database: Database, database_url: str) -> None:
    app, other = new_app(database), "another model"
    enrolled(database, app, 2)
    with database.write(app.pk) as work:
        pks = [pk for pk, _ in sorted(searchable(database, app).items())]
        made = {pk: random_embedding(50 + number) for number, pk in enumerate(pks)}
        assert work.embeddings.add(other, {**made, 10**9: random_embedding(60)}) == 2
    with database.write(app.pk) as work:
        (source_pk,) = (user.pk for user in work.users.entries(app.pk, "u0"))
        copied_pk = work.users.insert(work.groups.insert("other"), "u0")
        assert work.faces.copy(source_pk, copied_pk) == 1
    expected = sorted(random_embedding(number).tobytes() for number in (50, 50, 51))
    assert [number for number in (50, 51) if random_embedding(number).tobytes() in dumped(database_url)] == []
    keyring = Keyring(NEW, KEY)
    with opened(database_url, Mode.ON, NEW, KEY) as renewed:
        assert reseal_faces(renewed, keyring, Wish.RENEWED)[FURTHER].done == 3
    with opened(database_url, Mode.ONLY, NEW) as later:
        check_face_keys(later)
        assert sorted(content for _, content in searchable(later, app, other).values()) == expected
        assert replayed(later, app, other) == searchable(later, app, other)
        with later.read() as reader:
            (held,) = reader.disclosure.faces(copied_pk)
            assert held.by_others[other].tobytes() == random_embedding(50).tobytes()
            assert list(reader.face_keys.broken()) == []
        execute(database_url, "UPDATE face_embeddings SET embedding = %s WHERE face_pk = %s", b"\x01" * 61, pks[1])
        with later.read() as reader:
            assert [broken.user_id for broken in reader.face_keys.broken()] == ["u1"]
        assert sorted(content for _, content in searchable(later, app, other).values()) == expected[:2]
        with later.admin() as work:
            assert work.models.tidy(app.pk, other) == 3
        assert sorted(content for _, content in searchable(later, app, other).values()) == expected[:2]


def test_plain_and_sealed_rows_lie_side_by_side(
    database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "BLOCK_ROWS", 16)
    app, count = new_app(database), 0
    with opened(database_url, Mode.OFF, KEY) as off:
        for writer, rows in ((off, 40), (database, 40), (off, 1), (database, 1), (off, 2), (database, 3), (off, 20)):
            enrolled(writer, app, rows, count)
            count += rows
        for reader in (off, database):
            assert embedding_numbers(reader, app, count) == set(range(count))
            assert replayed(reader, app) == searchable(reader, app)
    with opened(database_url, Mode.ONLY, KEY) as only:
        sealed = {*range(40, 80), 81, 84, 85, 86}
        assert embedding_numbers(only, app, count) == sealed
        assert len(replayed(only, app)) == len(sealed)
        with pytest.raises(KeyringError, match="seal-faces"):
            check_face_keys(only)


def _swap_embeddings(url: str) -> None:
    execute(url, "UPDATE faces SET embedding = (SELECT embedding FROM faces other WHERE other.token <> faces.token)")


def _swap_users(url: str) -> None:
    execute(url, "UPDATE faces SET user_pk = (SELECT user_pk FROM faces other WHERE other.token <> faces.token)")


def _flip_a_bit(url: str) -> None:
    execute(url, "UPDATE faces SET embedding = set_bit(embedding, 300, 1 - get_bit(embedding, 300))")


def _flip_the_key(url: str) -> None:
    execute(url, "UPDATE faces SET embedding = set_bit(embedding, 12, 1 - get_bit(embedding, 12))")


def _cut(url: str) -> None:
    execute(url, "UPDATE faces SET embedding = substring(embedding FROM 1 FOR octet_length(embedding) - 2)")


def _empty(url: str) -> None:
    execute(url, "UPDATE faces SET embedding = '\\x01'")


@pytest.mark.parametrize("tamper", [_swap_embeddings, _swap_users, _flip_a_bit, _flip_the_key, _cut, _empty])
def test_a_face_that_was_tampered_with_matches_nobody(
    database: Database, database_url: str, tamper: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    app, other = new_app(database), new_app(database)
    enrolled(database, app, 2)
    enrolled(database, other, 1, 2)
    catalog = Catalog(PostgresChangeSource(database, MODEL, DIMENSION), DIMENSION)
    execute(database_url, "DELETE FROM faces WHERE app_pk = %s", other.pk)
    tamper(database_url)
    with caplog.at_level(logging.ERROR):
        catalog.load()
        assert catalog.faces() == 0
        assert replayed(database, app) == {}
    assert "cannot be opened" in caplog.text
    with database.read() as reader:
        users = [entry.pk for name in ("u0", "u1") for entry in reader.users.entries(app.pk, name)]
        assert reader.faces.embeddings_of_users(users, MODEL) == []
        assert reader.faces.stored_by_token(app.pk, "token0", MODEL) is None
        assert [held.damaged for user in users for held in reader.disclosure.faces(user)] == [True, True]
        broken = list(reader.face_keys.broken())
    assert {(face.app_id, face.token) for face in broken} == {(app.app_id, "token0"), (app.app_id, "token1")}
    with pytest.raises(LibraryDamaged):
        list(read_library(database, app.pk))
    check_face_keys(database)  # damage is no reason not to start


def test_a_remembered_face_that_was_moved_is_unknown(database: Database, database_url: str) -> None:
    app, other = new_app(database), new_app(database)
    with database.remembering(app.pk) as tokens:
        faces = [RememberedFace(stored_face("mine", CROP), random_embedding(1))]
        tokens.put(app.pk, [*faces, RememberedFace(stored_face("bare", CROP), None)], MODEL, HOUR)
    execute(database_url, "UPDATE face_tokens SET app_pk = %s", other.pk)
    with database.read() as reader:
        assert [reader.tokens.get(other.pk, token, MODEL) for token in ("mine", "bare")] == [None, None]


def test_turning_it_on_and_off_on_a_live_library(database_url: str) -> None:
    count = ROWS_AT_ONCE + 20
    with opened(database_url, Mode.OFF, KEY) as plain, opened(database_url, Mode.ON, KEY) as sealing:
        app = new_app(plain)
        with plain.write(app.pk) as work:
            user_pk = work.users.insert(work.groups.insert("group"), "many")
            for number, embedding in enumerate(random_embeddings(count, 5)):
                work.faces.insert(user_pk, stored_face(f"t{number}", CROP), MODEL, np.asarray(embedding))
        with plain.remembering(app.pk) as tokens:
            known = [RememberedFace(stored_face("seen", CROP), random_embedding(1))]
            tokens.put(app.pk, [*known, RememberedFace(stored_face("bare", CROP), None)], MODEL, HOUR)
        before = searchable(plain, app)
        assert CROP in dumped(database_url)
        ring = Keyring(KEY)
        assert outstanding(plain, ring, Wish.SEALED) == count + 2

        def break_off(_: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            reseal_faces(plain, ring, Wish.SEALED, break_off)
        assert outstanding(plain, ring, Wish.SEALED) == count + 2 - ROWS_AT_ONCE
        assert searchable(plain, app) == searchable(sealing, app) == before

        told: list[int] = []
        outcomes = reseal_faces(plain, ring, Wish.SEALED, told.append)
        assert (outcomes["faces"].done, outcomes["remembered faces"].done, sum(told)) == (20, 2, 22)
        assert CROP not in dumped(database_url)
        assert searchable(plain, app) == searchable(sealing, app) == before
        with sealing.read() as reader:
            assert reader.tokens.get(app.pk, "bare", MODEL) is not None
        with opened(database_url, Mode.ONLY, KEY) as only:
            check_face_keys(only)
            assert searchable(only, app) == before

        assert reseal_faces(sealing, ring, Wish.PLAIN)["faces"].done == count
        assert CROP in dumped(database_url)
        assert searchable(plain, app) == before
        with opened(database_url, Mode.OFF, NEW) as another:  # nothing is sealed: any key will do
            check_face_keys(another)
            assert searchable(another, app) == before


def test_a_large_library_may_take_its_time(database_url: str) -> None:
    """Longer than the statements of requests, each of which would end here while the table is held."""
    with opened(database_url, Mode.ON, KEY) as sealing:
        enrolled(sealing, new_app(sealing), 2)
    ring = Keyring(KEY)
    hurried = Database(database_url, statement_seconds=1.0)
    with contextlib.closing(hurried), ThreadPoolExecutor(2) as pool, hurried.bulk() as elsewhere:
        elsewhere.execute("LOCK TABLE faces IN ACCESS EXCLUSIVE MODE")
        counting = pool.submit(outstanding, hurried, ring, Wish.PLAIN)
        opening = pool.submit(reseal_faces, hurried, ring, Wish.PLAIN)
        wait_for(lambda: waiting(hurried) == 2)
        time.sleep(1.5)
        elsewhere.rollback()
        assert counting.result(30) in (0, 2)  # before the other, or after it
        assert opening.result(30)["faces"].done == 2


def one_by_one(database: Database, app: App) -> None:
    for number in range(20, 60):
        enrolled(database, app, 1, number)


def test_keys_change_while_faces_are_enrolled(database_url: str) -> None:
    with opened(database_url, Mode.ON, KEY) as before:
        app = new_app(before)
        enrolled(before, app, 20)
    with opened(database_url, Mode.ON, NEW, KEY) as both, ThreadPoolExecutor(1) as pool:
        writing = pool.submit(one_by_one, both, app)
        while not writing.done():
            reseal_faces(both, Keyring(NEW, KEY), Wish.RENEWED)
        writing.result()
        outcome = reseal_faces(both, Keyring(NEW, KEY), Wish.RENEWED)["faces"]
        assert (outcome.broken, outcome.left) == (0, 0)
        assert missing_keys(both, both.sealing.enrolled) == []
    with opened(database_url, Mode.ON, NEW) as alone:
        check_face_keys(alone)
        assert embedding_numbers(alone, app, 60) == set(range(60))


def test_rotation_leaves_plain_faces_plain(database_url: str) -> None:
    with opened(database_url, Mode.OFF, KEY) as plain:
        enrolled(plain, new_app(plain), 2)
        execute(database_url, "DELETE FROM apps WHERE secret <> 'sealed'")
        counts = reseal_faces(plain, Keyring(NEW, KEY), Wish.RENEWED)
        assert counts["faces"].done == 0
        assert CROP in dumped(database_url)
        assert execute(database_url, "SELECT count(*) FROM face_keys") == [(0,)]


def test_a_missing_key_is_told_and_can_be_given_up(database: Database, database_url: str) -> None:
    app = new_app(database)
    enrolled(database, app, 2)
    lost = database.sealing.enrolled.key_ids[0]
    with opened(database_url, Mode.OFF, NEW) as without:
        with pytest.raises(KeyringError, match=lost.hex()):
            check_face_keys(without)
        for wish in Wish:
            with pytest.raises(KeyringError, match=lost.hex()):
                reseal_faces(without, Keyring(NEW), wish)
        with pytest.raises(KeyringError):
            reseal(without, Keyring(NEW))
        assert searchable(without, app) == {}
        with without.admin() as work:
            assert work.face_keys.forget([lost]) == 1
        check_face_keys(without)
        outcome = reseal_faces(without, Keyring(NEW), Wish.SEALED)["faces"]
        assert (outcome.done, outcome.broken, outcome.left) == (0, 2, 0)
    assert len(searchable(database, app)) == 2  # nothing was harmed


def test_a_database_without_any_key_reads_no_sealed_face(database: Database, database_url: str) -> None:
    app = new_app(database)
    enrol(database, app, "group", "user", "t", random_embedding(1))
    keyless = Database(database_url)
    try:
        assert searchable(keyless, app) == replayed(keyless, app) == {}
    finally:
        keyless.close()
    ((length,),) = execute(database_url, "SELECT octet_length(embedding) FROM faces")
    assert length == 4 * DIMENSION + OVERHEAD
