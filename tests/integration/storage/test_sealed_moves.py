"""Faces sealed at rest while a library moves to another model."""

from __future__ import annotations

import contextlib

import pytest

from service.access.keys import Keyring
from service.bulk.reembedding import tidied
from service.face_keys import check_face_keys, outstanding, reseal_faces
from service.storage import face_keys
from service.storage.engine import Database
from service.storage.face_keys import Wish
from service.storage.library import StoredUserFace, read_library
from service.storage.sealing import Mode
from service.storage.source import PostgresChangeSource
from service.values import App
from tests.fixtures.library import DIMENSION, enrol, new_app, random_embedding
from tests.fixtures.sealing import execute, opened

KEY, NEW = b"k" * 32, b"n" * 32
OTHER = "another model"


def embedded_beside(database: Database, app: App) -> None:
    """Another model embeds what there is."""
    with database.read() as reader:
        pks = [face.pk for face in reader.models.unembedded(OTHER, 0, 10)]
    with database.write(app.pk) as work:
        assert work.embeddings.add(OTHER, {pk: random_embedding(pk) for pk in pks}) == len(pks)


def found(database: Database, app: App) -> int:
    """How many faces the other model finds."""
    with contextlib.closing(PostgresChangeSource(database, OTHER, DIMENSION).snapshot(app.pk)) as snapshot:
        return sum(len(block[0]) for _, _, blocks in snapshot for block in blocks)


def test_the_end_of_a_move_hides_nothing_from_a_change_of_keys(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is taken into the rows of faces while both are gone through is sealed anew in one place or the other."""
    monkeypatch.setattr(face_keys, "ROWS_AT_ONCE", 1)
    with opened(database_url, Mode.ON, KEY) as before:
        app = new_app(before)
        for number in range(2):
            enrol(before, app, "group", f"u{number}", f"t{number}", random_embedding(number))
        embedded_beside(before, app)
    with opened(database_url, Mode.ON, NEW, KEY) as both:

        def finish(_: int) -> None:
            renewed = "SELECT FROM face_embeddings WHERE substring(embedding FROM 2 FOR 4) = %s"
            if execute(database_url, renewed, both.sealing.enrolled.key_ids[0]):
                assert sum(tidied(both, OTHER)) == 2

        outcomes = reseal_faces(both, Keyring(NEW, KEY), Wish.RENEWED, finish)
        assert [(outcome.broken, outcome.left) for outcome in outcomes.values()] == [(0, 0)] * 3
    with opened(database_url, Mode.ON, NEW) as alone:
        check_face_keys(alone)
        assert found(alone, app) == 2


def test_a_crop_is_opened_whose_embedding_is_plain(database_url: str) -> None:
    """The end of a move replaces the embedding alone: one of each kind may lie in a row."""
    with opened(database_url, Mode.ON, KEY) as sealing:
        app = new_app(sealing)
        enrol(sealing, app, "group", "ada", "t", random_embedding(1))
    with opened(database_url, Mode.OFF, KEY) as plain:
        embedded_beside(plain, app)
        assert sum(tidied(plain, OTHER)) == 1
        assert outstanding(plain, Keyring(KEY), Wish.PLAIN) == 1
        assert reseal_faces(plain, Keyring(KEY), Wish.PLAIN)["faces"].done == 1
    keyless = Database(database_url)
    with contextlib.closing(keyless):
        (face,) = [row for row in read_library(keyless, app.pk) if isinstance(row, StoredUserFace)]
    assert face.face.portrait is not None
