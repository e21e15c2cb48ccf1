"""Faces that are removed from segments while others search, and what is left of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from service.search.flat import FlatIndex
from service.search.pooled import Pool
from service.search.protocol import Faces
from service.search.segment import Segment
from service.search.tiered import TieredIndex
from service.search.tuning import short_list
from service.values import Embedding, Embeddings

DIMENSION = 32
PEOPLE = 2_500
SEAL_AT = 500
ONE, NEW = 7, 100_000
"""Somebody by the number of the only face, and the face that replaces it."""
IN_CODES = [(Segment, "similarities"), (Segment, "rows_of_users"), (Pool, "search"), (FlatIndex, "search")]
IN_ALL = [(Segment, "compare_all"), (Segment, "rows_of_users"), (FlatIndex, "search")]
INSIDE = [
    (place, when, exact)
    for exact in (False, True)
    for place in (IN_CODES, IN_ALL)[exact]
    for when in ("before", "after")
]
"""Parts of a search, whether something happens before or after them, and whether everything is compared."""


@pytest.fixture(scope="module")
def faces() -> Embeddings:
    # Alike enough for codes to be worth their while.
    random = np.random.default_rng(5)
    made = random.standard_normal((PEOPLE, 8)) @ random.standard_normal((8, DIMENSION))
    made += 0.1 * random.standard_normal(made.shape)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), dtype=np.float32)


def sealed(faces: Embeddings, *, exact: bool) -> TieredIndex:
    """Everybody in segments, each with one face, and a tail for new ones."""
    index = TieredIndex(DIMENSION, seal_at=SEAL_AT, exact=exact)
    index.add_many(np.arange(len(faces)), np.arange(len(faces)), faces)
    index.maintain(threading.Event())
    assert index.sealed()[0] == PEOPLE
    return index


def meanwhile(
    monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str], change: Callable[[], None], when: str
) -> threading.Event:
    """Have ``change`` made once, before or after what the place does in the middle of a search; set once it was."""
    owner, name = place
    work, made = getattr(owner, name), threading.Event()

    def interrupted(*arguments: Any, **named: Any) -> Any:
        first = not made.is_set()
        made.set()
        if first and when == "before":
            change()
        result = work(*arguments, **named)
        if first and when == "after":
            change()
        return result

    monkeypatch.setattr(owner, name, interrupted)
    return made


def found(index: TieredIndex, probe: Embedding) -> list[int]:
    return [one.user_pk for one in index.search(probe, 1, 0.5)]


@pytest.mark.parametrize(("place", "when", "exact"), INSIDE)
def test_whose_face_is_replaced_during_a_search_is_found(
    monkeypatch: pytest.MonkeyPatch, faces: Embeddings, place: tuple[Any, str], when: str, exact: bool
) -> None:
    index = sealed(faces, exact=exact)

    def replace() -> None:
        index.add(NEW, ONE, faces[ONE])
        index.remove_face(ONE)

    made = meanwhile(monkeypatch, place, replace, when)
    assert found(index, faces[ONE]) == [ONE]
    assert made.is_set()
    monkeypatch.undo()
    assert found(index, faces[ONE]) == [ONE]


@pytest.mark.parametrize(("place", "when", "exact"), INSIDE)
def test_whose_face_is_replaced_while_the_tail_is_frozen_is_found(
    monkeypatch: pytest.MonkeyPatch, faces: Embeddings, place: tuple[Any, str], when: str, exact: bool
) -> None:
    index = sealed(faces, exact=exact)
    index.add(NEW, ONE, faces[ONE])
    index.remove_face(ONE)
    tail = index._parts.tail

    def replace() -> None:
        others = np.arange(NEW + 2, NEW + 2 + SEAL_AT)
        index.add_many(others, others, -faces[:SEAL_AT])
        index.add(NEW + 1, ONE, faces[ONE])
        index.remove_face(NEW)

    made = meanwhile(monkeypatch, place, replace, when)
    assert found(index, faces[ONE]) == [ONE]
    assert made.is_set()
    assert tail in index._parts.frozen
    monkeypatch.undo()
    assert found(index, faces[ONE]) == [ONE]


@pytest.mark.parametrize(("place", "when", "exact"), INSIDE)
def test_who_goes_during_a_search_leaves_his_place_to_the_next(
    monkeypatch: pytest.MonkeyPatch, faces: Embeddings, place: tuple[Any, str], when: str, exact: bool
) -> None:
    index = sealed(faces, exact=exact)
    second = [one.user_pk for one in index.search(faces[ONE], 2, 0.5)][1]
    made = meanwhile(monkeypatch, place, lambda: index.remove_face(ONE), when)
    assert found(index, faces[ONE]) in ([ONE], [second])
    assert made.is_set()
    monkeypatch.undo()
    assert found(index, faces[ONE]) == [second]


def test_whoever_begins_after_a_removal_sees_it(faces: Embeddings) -> None:
    index = sealed(faces, exact=False)
    for user in range(50):
        index.remove_face(user)
        assert user not in found(index, faces[user])


def test_recall_is_watched_on_faces_that_are_there(monkeypatch: pytest.MonkeyPatch, faces: Embeddings) -> None:
    index = sealed(faces, exact=False)
    (segment, *_) = index._parts.segments
    gone = np.arange(len(segment.face_pks) - 3)
    segment.mark(gone)
    segment.embeddings[gone] = 0  # as a snapshot brings them back
    probes: list[Embedding] = []
    search = Pool.search

    def watched(pool: Pool, segments: Any, probe: Embedding, *arguments: Any) -> Any:
        probes.append(probe)
        return search(pool, segments, probe, *arguments)

    monkeypatch.setattr(Pool, "search", watched)
    for _ in range(20):
        index.probe_recall()
    assert probes
    assert all(np.any(probe) for probe in probes)


def test_lists_are_measured_on_faces_that_are_there(faces: Embeddings) -> None:
    index = sealed(faces, exact=False)
    (segment, *_) = index._parts.segments
    before = short_list([segment])
    gone = np.arange(0, len(segment.face_pks), 6)
    segment.mark(gone)
    segment.embeddings[gone] = 0
    assert 0 < short_list([segment]) <= 1.5 * before
    segment.mark(np.flatnonzero(~segment.removed))
    assert short_list([segment]) == 0


def test_memory_of_marks_counts() -> None:
    faces = Faces(np.arange(1000), np.arange(1000), np.zeros((1000, DIMENSION), np.float32))
    assert Segment(faces).nbytes() >= 1000 * (2 * DIMENSION + 3 * 8 + 4)
