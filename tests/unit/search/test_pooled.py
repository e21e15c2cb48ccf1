"""Several sealed segments searched by one short list."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from benchmarks.gallery import Gallery, Statistics
from service import beside
from service.search import codes, pooled
from service.search.codec import Codec
from service.search.pooled import AT_ONCE, GROWTH, THOROUGH, CommonList, Pool, listed, search_list
from service.search.protocol import Candidate, Faces
from service.search.segment import Segment
from service.search.similarity import best_of_users, exact
from service.values import Embeddings
from tests.unit.search.two_threads import Idle, Meeting

PEOPLE = 3_000
TURNS = 3
LIST = 400
DIMENSION = 192


def sealed(faces: Embeddings, users: Sequence[int], first: int, codec: Codec) -> Segment:
    segment = Segment(Faces(first + np.arange(len(faces)), np.array(users), faces))
    segment.code(codec, 0, len(faces))
    segment.short_list = LIST // TURNS
    return segment


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return Gallery(Statistics.load(DIMENSION), PEOPLE)


@pytest.fixture(scope="module")
def codec(gallery: Gallery) -> Codec:
    return Codec(gallery.faces(np.arange(PEOPLE), 30), PEOPLE)


@pytest.fixture
def segments(gallery: Gallery, codec: Codec) -> list[Segment]:
    """Everybody has a face in each segment."""
    return [
        sealed(gallery.faces(np.arange(PEOPLE), turn), range(PEOPLE), turn * PEOPLE, codec) for turn in range(TURNS)
    ]


def by_user(found: list[Candidate]) -> dict[int, Candidate]:
    return {one.user_pk: one for one in found}


def nothing() -> None:
    """Nobody waits."""


def test_a_users_faces_in_all_segments_count(segments: list[Segment], gallery: Gallery) -> None:
    """Whoever is found by a face in one segment is scored by the best one, though another segment holds that."""
    embeddings = np.concatenate([segment.embeddings for segment in segments])
    face_pks = np.concatenate([segment.face_pks for segment in segments])
    user_pks = np.concatenate([segment.user_pks for segment in segments])
    expected_of = found_of = 0
    for probe in gallery.faces(np.arange(30), turn=50):
        best = best_of_users(face_pks, user_pks, exact(embeddings, probe), PEOPLE, -1.5)
        (answer,) = Pool().search(segments, probe, 50, -1.5)
        found = by_user(answer)
        assert [one.similarity for one in answer] == sorted((one.similarity for one in answer), reverse=True)
        assert all(one == found[one.user_pk] for one in best if one.user_pk in found)
        found_of += len(found.keys() & by_user(best[:50]).keys())
        expected_of += 50
    assert found_of >= 0.99 * expected_of


def test_the_list_holds_the_best_of_all_segments(segments: list[Segment], gallery: Gallery) -> None:
    probe = gallery.faces(np.arange(1), turn=51)[0]
    everything = [segment.estimated(probe, PEOPLE) for segment in segments]
    cut = np.sort(np.concatenate([estimates for estimates, _ in everything]))[-LIST]
    for (estimates, rows), its in zip(everything, listed(segments, probe, LIST)[0], strict=True):
        assert set(rows[estimates > cut].tolist()) <= set(its.tolist()) <= set(rows[estimates >= cut].tolist())


def test_all_of_the_list_may_be_in_one_segment(segments: list[Segment], gallery: Gallery, codec: Codec) -> None:
    """A thousand look-alikes were enrolled at once: more than the segment's share of the list."""
    probe = gallery.faces(np.arange(1), turn=52)[0]
    near = probe + 0.02 * np.random.default_rng(1).standard_normal((1000, DIMENSION)).astype(np.float32)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    alike = sealed(near, range(PEOPLE, PEOPLE + 1000), 10**6, codec)
    rows, _ = listed([*segments, alike], probe, LIST)
    assert len(rows[-1]) >= LIST * 0.9
    assert [len(its) for its in rows[:-1]] < [LIST // 2] * len(segments)


def test_removed_faces_and_equals_make_the_list_longer(segments: list[Segment], gallery: Gallery) -> None:
    probe = gallery.faces(np.arange(1), turn=53)[0]
    for segment, its in zip(segments, listed(segments, probe, LIST)[0], strict=True):
        segment.mark(its)
    assert search_list(segments, probe, 5, -1.5, LIST, 0, 5) == -np.inf
    (found,) = Pool().search(segments, probe, 5, -1.5)
    exact = [one for segment in segments for one in segment.compare_all(probe, 5, -1.5)]
    assert [one.similarity for one in found] == sorted((one.similarity for one in exact), reverse=True)[:5]


def test_where_fewer_are_found_than_asked_for_the_list_is_lengthened_once(
    segments: list[Segment], gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []
    usual = int(AT_ONCE * 399)
    longer = int(THOROUGH / AT_ONCE * usual)

    def counted(*arguments: Any) -> Any:
        lengths.append(arguments[4])
        return search_list(*arguments)

    monkeypatch.setattr(pooled, "search_list", counted)
    probe = gallery.faces(np.arange(1), turn=57)[0]
    Pool().search(segments, probe, 50, 0.3)
    assert lengths == [usual, longer]
    lengths.clear()
    Pool().search(segments, probe, 1, 0.3)
    assert lengths == [usual]
    lengths.clear()
    monkeypatch.setattr(pooled, "AFFORDABLE", 1)
    Pool().search(segments, probe, 50, 0.3)
    Pool().search(segments, probe, 50, 0.9)
    assert lengths == [usual, usual, longer]
    lengths.clear()
    monkeypatch.setattr(pooled, "FEW_FOUND", 50)
    Pool().search(segments, probe, 50, 0.3)
    assert lengths == [usual, longer]
    lengths.clear()
    monkeypatch.setattr(pooled, "LONGEST_LIST", 250)
    Pool().search(segments, probe, 50, 0.9)
    assert lengths == [usual, TURNS * 250], "as a precaution everything is compared never"


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ([-np.inf], 0.0),
        ([4.0], 0.0),
        ([*np.linspace(0, 3, 300)], 0.024),
        ([*np.linspace(2, 3, 300)], 0.29),
        ([*np.linspace(0, 2, 300), *np.linspace(2, 3, 300)], 0.14),
        ([*np.linspace(0, 5, 5000)], 0.0),
    ],
)
def test_what_is_to_be_expected_behind_the_end(gaps: list[float], expected: float) -> None:
    """Of rows that fall short by 3.5 deviations one in 4,300 belongs to the answer, of those behind them fewer."""
    assert pooled._expected_behind(np.array(gaps, dtype=np.float32)) == pytest.approx(expected, rel=0.2, abs=0.001)


def test_the_second_list_ends_where_the_first_one_was_in_doubt(
    segments: list[Segment], gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    floors = []

    def doubting(*arguments: Any) -> Any:
        floors.append(arguments[7])
        found = search_list(*arguments)
        return 0.25 if len(floors) == 1 else found

    monkeypatch.setattr(pooled, "search_list", doubting)
    probe = gallery.faces(np.arange(1), turn=58)[0]
    Pool().search(segments, probe, 1, 0.3)
    assert floors == [-np.inf, 0.25]
    rows, estimates = listed(segments, probe, TURNS * PEOPLE, 0.25)
    everything = np.concatenate([segment.estimated(probe, PEOPLE)[0] for segment in segments])
    assert sorted(estimates) == sorted(everything[everything >= 0.25])
    assert sum(map(len, rows)) == len(estimates) < len(everything)


def test_amid_a_crowd_of_look_alikes_the_list_is_lengthened(gallery: Gallery, codec: Codec) -> None:
    """Six hundred of three thousand people look alike, more than the list of the others holds."""
    rng = np.random.default_rng(3)
    faces = gallery.faces(np.arange(PEOPLE), 60)
    crowd = np.sqrt(0.9) * faces[0] + np.sqrt(0.1) * faces[:600]
    faces[:600] = crowd / np.linalg.norm(crowd, axis=1, keepdims=True)
    segment = sealed(faces, range(PEOPLE), 0, codec)
    segment.short_list = 100
    expected_of = found_of = first_of = 0
    for one in rng.choice(600, 40, replace=False):
        probe = faces[one]
        best = by_user(segment.compare_all(probe, 50, 0.4))
        (answer,) = Pool().search([segment], probe, 50, 0.4)
        first = {segment.user_pks[row] for row in listed([segment], probe, 100)[0][0]}
        expected_of += 50
        found_of += len(best.keys() & by_user(answer).keys())
        first_of += len(best.keys() & first)
    assert first_of < 0.9 * expected_of, "the list would have done"
    assert found_of >= 0.95 * expected_of


def test_the_common_list_is_as_long_as_that_of_any_segment(segments: list[Segment]) -> None:
    pool = Pool(CommonList(TURNS * PEOPLE, 200))
    assert pool.length(segments, 50) == 200
    segments[1].short_list = 350
    assert pool.length(segments, 50) == 350
    segments[1].short_list = 10**6
    assert pool.length(segments, 50) == 200


def test_where_no_list_can_tell_everything_is_compared(codec: Codec, gallery: Gallery) -> None:
    """Twenty thousand equal faces of different users: the first ones by number are due."""
    equal = np.repeat(gallery.faces(np.arange(1), turn=54), 10_000, axis=0)
    pair = [sealed(equal, range(first, first + 10_000), first, codec) for first in (0, 10_000)]
    found = Pool().search(pair, equal[0], 3, 0.5)
    assert [[one.face_pk for one in each] for each in found] == [[0, 1, 2], [10_000, 10_001, 10_002]]


def test_one_list_is_measured_for_all_and_measured_again_when_they_grow(
    segments: list[Segment], gallery: Gallery, codec: Codec
) -> None:
    pool = Pool()
    assert not pool.is_due(segments[:1])
    assert pool.is_due(segments[:2])
    apart = pool.length(segments, 50)
    assert apart == sum(segment.list_length(50) for segment in segments)
    pool.measure(segments, nothing)
    assert not pool.is_due(segments)
    assert 0 < pool.length(segments, 50) < 2 * apart
    assert pool.length(segments, 100) <= pool.length(segments, 50) * 2 + 1
    more = list(segments)
    while sum(len(one) for one in more) <= GROWTH * TURNS * PEOPLE:
        turn = len(more)
        more.append(sealed(gallery.faces(np.arange(PEOPLE), turn), range(PEOPLE), turn * PEOPLE, codec))
    assert pool.is_due(more)


def test_two_threads_find_what_one_does(gallery: Gallery, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slabs of one segment are scanned by whoever is free, and so are the pieces of its list compared."""
    monkeypatch.setattr(codes, "SLAB", 512)
    monkeypatch.setattr(pooled, "WORTH_SHARING", 0)
    monkeypatch.setattr(pooled, "PIECE", 64)
    faces = np.concatenate([gallery.faces(np.arange(PEOPLE), turn) for turn in range(TURNS)])
    segment = sealed(faces, np.tile(np.arange(PEOPLE), TURNS).tolist(), 0, codec)
    segment.short_list = LIST
    scanning, comparing = Meeting(), Meeting()
    probes = gallery.faces(np.arange(20), turn=55)
    alone = [Pool().search([segment], probe, 50, 0.3) for probe in probes]
    monkeypatch.setattr(codes.Slab, "estimated", scanning.watched(codes.Slab.estimated))
    monkeypatch.setattr(Segment, "similarities", comparing.watched(Segment.similarities))
    with ThreadPoolExecutor(1) as threads:
        for probe, expected in zip(probes, alone, strict=True):
            with beside.helped(Idle(), threads):
                assert Pool().search([segment], probe, 50, 0.3) == expected
    assert len(scanning.threads) == len(comparing.threads) == 2


def test_few_codes_are_scanned_by_who_asks(segments: list[Segment], gallery: Gallery) -> None:
    """Another thread would begin when there is nothing left to do."""
    asked = []

    class Lender(Idle):
        def borrow(self) -> bool:
            asked.append(True)
            return False

    with ThreadPoolExecutor(1) as threads, beside.helped(Lender(), threads):
        listed(segments, gallery.faces(np.arange(1), turn=56)[0], LIST)
    assert not asked
