"""Suspicious pairs on vectors small enough to see."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from service.bulk import doubles
from service.bulk.doubles import Suspicion, pairs_of

RIGHT, UP = (1.0, 0.0), (0.0, 1.0)
NEARLY = (0.8, 0.6)


def test_two_ids_of_one_person_and_one_id_of_two() -> None:
    vectors = np.array([RIGHT, NEARLY, UP, RIGHT, UP, UP], np.float32)
    users = np.array([1, 2, 3, 4, 4, 5])
    faces = np.array([10, 20, 30, 40, 41, 50])
    found = pairs_of(faces, users, vectors, np.arange(6), (0.9, 0.5))
    same = {pair.user_pks: pair.face_pks for pair in found if pair.suspicion is Suspicion.SAME_PERSON}
    assert same == {(1, 4): (10, 40), (3, 4): (30, 41), (3, 5): (30, 50), (4, 5): (41, 50)}
    (other,) = (pair for pair in found if pair.suspicion is Suspicion.TWO_PEOPLE)
    assert (other.user_pks, set(other.face_pks), other.score) == ((4, 4), {40, 41}, 0.0)


def test_only_pairs_with_the_rows_asked_for() -> None:
    vectors = np.array([RIGHT, RIGHT, UP, UP], np.float32)
    keys = np.array([1, 2, 3, 4])
    found = pairs_of(keys, keys, vectors, np.array([2]), (0.9, 0.5))
    assert [pair.user_pks for pair in found] == [(3, 4)]


def test_a_third_face_that_fits_clears_the_suspicion() -> None:
    vectors = np.array([RIGHT, NEARLY, UP], np.float32)
    found = pairs_of(np.array([1, 2, 3]), np.array([7, 7, 7]), vectors, np.arange(3), (0.9, 0.55))
    assert found == []


def test_a_large_group_is_compared_in_small_steps_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((2_000, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    keys, users = np.arange(2_000), rng.integers(0, 900, 2_000)
    whole = pairs_of(keys, users, vectors, keys, (0.97, 0.1))
    monkeypatch.setattr(doubles, "_MOST_COSINES", 20_000)
    tracemalloc.start()
    try:
        parts = pairs_of(keys, users, vectors, keys, (0.97, 0.1))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {pair.suspicion for pair in whole} == set(Suspicion)
    told = [(pair.suspicion, pair.user_pks, pair.face_pks) for pair in whole]
    assert [(pair.suspicion, pair.user_pks, pair.face_pks) for pair in parts] == told
    assert peak < 3_000_000  # 512 faces with all others: 12 MB
