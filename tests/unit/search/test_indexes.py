"""What every index of a group promises, tried on each of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from service.search.codec import LEAST_TRAINING_ROWS
from service.search.exact import ExactIndex
from service.search.flat import MARKED_FLOOR, FlatIndex
from service.search.protocol import GroupIndex
from service.search.tiered import TieredIndex
from service.values import Embeddings

DIMENSION = 24
EVERYTHING = -1.5

Make = Callable[[], GroupIndex]


def units(count: int, seed: int = 0) -> Embeddings:
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION))
    units: Embeddings = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return units


def keys(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


@pytest.fixture(params=["oracle", "flat", "tiered", "sealed soon"])
def make(request: pytest.FixtureRequest) -> Make:
    kinds: dict[str, Make] = {
        "oracle": lambda: ExactIndex(DIMENSION),
        "flat": lambda: FlatIndex(DIMENSION),
        "tiered": lambda: TieredIndex(DIMENSION),
        "sealed soon": lambda: TieredIndex(DIMENSION, seal_at=LEAST_TRAINING_ROWS),
    }
    return kinds[request.param]


def test_an_empty_index_finds_nobody(make: Make) -> None:
    index = make()
    assert len(index) == 0
    assert index.search(units(1)[0], 5, EVERYTHING) == []
    assert index.search_user(units(1)[0], 1) is None


def test_users_are_ranked_by_their_best_face(make: Make) -> None:
    index = make()
    vectors = units(40)
    index.add_many(np.arange(1, 41), np.arange(40) // 4 + 100, vectors)
    found = index.search(vectors[13], 50, EVERYTHING)
    assert (found[0].user_pk, found[0].face_pk) == (103, 14)
    assert found[0].similarity == pytest.approx(1.0, abs=2e-4)  # half precision
    assert len({candidate.user_pk for candidate in found}) == len(found) == 10
    assert [c.similarity for c in found] == sorted((c.similarity for c in found), reverse=True)
    assert index.search_user(vectors[13], 103) == found[0]


def test_limit_and_threshold(make: Make) -> None:
    index = make()
    vectors = units(30)
    index.add_many(np.arange(1, 31), np.arange(1, 31), vectors)
    everybody = index.search(vectors[0], 30, EVERYTHING)
    assert index.search(vectors[0], 7, EVERYTHING) == everybody[:7]
    assert index.search(vectors[0], 30, everybody[4].similarity) == everybody[:5]
    assert index.search(vectors[0], 0, EVERYTHING) == []


def test_equal_faces_are_told_in_the_order_of_enrolment(make: Make) -> None:
    index = make()
    noise, twin = units(500, seed=1), units(1, seed=2)
    index.add_many(np.arange(1000, 1500), np.arange(1000, 1500), noise)
    places = [977, 3, 41, 12, 500, 8]
    for face_pk in places:
        index.add(face_pk, 2000 + face_pk, twin[0])
    found = index.search(twin[0], 4, EVERYTHING)
    assert [candidate.face_pk for candidate in found] == sorted(places)[:4]


def test_a_user_with_many_faces_takes_one_place(make: Make) -> None:
    index = make()
    near = units(1, seed=3)
    index.add_many(np.arange(1, 301), np.full(300, 7), np.repeat(near, 300, axis=0))
    others = units(5, seed=4)
    index.add_many(np.arange(901, 906), np.arange(901, 906), others)
    found = index.search(near[0], 6, EVERYTHING)
    assert found[0].user_pk == 7
    assert {candidate.user_pk for candidate in found} == {7, 901, 902, 903, 904, 905}


def test_adding_twice_changes_nothing(make: Make) -> None:
    index = make()
    vectors = units(4)
    index.add_many(keys(1, 2, 2, 3), keys(5, 6, 9, 6), vectors)
    index.add(1, 8, vectors[3])
    index.add_many(keys(3, 1), keys(6, 5), vectors[:2])
    assert len(index) == 3
    assert index.search_user(vectors[0], 8) is None
    assert index.search_user(vectors[0], 9) is None
    found = index.search_user(vectors[3], 6)
    assert found is not None
    assert found.face_pk == 3


def test_removals(make: Make) -> None:
    index = make()
    vectors = units(6)
    index.add_many(np.arange(1, 7), keys(1, 1, 2, 2, 3, 3), vectors)
    index.remove_face(3)
    index.remove_face(3)
    index.remove_user(1)
    index.remove_user(77)
    assert len(index) == 3
    assert {c.face_pk for c in index.search(vectors[2], 9, EVERYTHING)} <= {4, 5, 6}
    assert index.search_user(vectors[0], 1) is None
    index.remove_face(4)
    assert index.search_user(vectors[3], 2) is None
    assert [c.user_pk for c in index.search(vectors[3], 9, EVERYTHING)] == [3]


def test_removed_rows_are_cleared_away() -> None:
    index = FlatIndex(DIMENSION)
    vectors = units(4000)
    index.add_many(np.arange(4000), np.arange(4000) // 2, vectors)
    full = index.nbytes()
    for user_pk in range(1900):
        index.remove_user(user_pk)
    assert len(index) == 200
    assert index.nbytes() < full / 4
    found = index.search(vectors[3999], 3, EVERYTHING)
    assert (found[0].face_pk, found[0].user_pk) == (3999, 1999)
    index.add(4000, 4000, vectors[0])
    assert index.search(vectors[0], 1, EVERYTHING)[0].user_pk == 4000


def test_searches_beside_changes_are_never_torn() -> None:
    """One user stays, hundreds come and go: the one is always found, and nobody with another's face."""
    index = FlatIndex(DIMENSION)
    vectors = units(3 * MARKED_FLOOR)
    stays = units(1, seed=9)[0]
    index.add(1_000_000, 1_000_000, stays)
    stop = threading.Event()
    failures: list[str] = []

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not stop.is_set():
            found = index.search(stays, 5, EVERYTHING)
            if not found or found[0].user_pk != 1_000_000:
                failures.append("the one who stays was not found")
            face = int(rng.integers(len(vectors)))
            named = {(c.face_pk % len(vectors), c.user_pk - c.face_pk) for c in index.search(vectors[face], 2, 0.999)}
            if not named <= {(face, 0)}:
                failures.append("a face was found under another number")

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(6):
        face_pks = np.arange(len(vectors)) + turn * len(vectors)
        for some in np.array_split(np.arange(len(vectors)), 40):
            index.add_many(face_pks[some], face_pks[some], vectors[some])
        for even, odd in face_pks.reshape(-1, 2).tolist():
            index.remove_user(even)
            index.remove_face(odd)
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert len(index) == 1
