"""Large groups: sealed segments beside the exact tail."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from benchmarks.gallery import Gallery, Statistics
from service import beside
from service.search import sealing
from service.search.codec import LEAST_TRAINING_ROWS, Codec
from service.search.exact import ExactIndex
from service.search.flat import FlatIndex
from service.search.maintenance import Maintenance
from service.search.pages import HUGE_PAGE, prefer_huge
from service.search.pooled import Pool
from service.search.protocol import Candidate, Faces
from service.search.sealing import Sealer
from service.search.segment import Segment
from service.search.tiered import REMOVED_SHARE, TieredIndex
from service.search.tuning import short_list
from service.values import Embeddings
from tests.unit.search.two_threads import Idle, Meeting

DIMENSION = 12
EVERYTHING = -1.5
PEOPLE = 4_000
TURNS = 4
SEAL_AT = 1_000
POOL = np.random.default_rng(3).standard_normal((60, DIMENSION)).astype(np.float32)
POOL /= np.linalg.norm(POOL, axis=1, keepdims=True)


def enrol(index: TieredIndex, faces: Embeddings, first: int) -> None:
    """Enrol one face of each person, numbered from ``first``."""
    index.add_many(np.arange(first, first + len(faces)), np.arange(len(faces)), faces)


class Interleaving(RuleBasedStateMachine):
    """An index that seals and merges at every turn, beside the oracle."""

    def __init__(self) -> None:
        super().__init__()
        self.oracle = ExactIndex(DIMENSION)
        self.index = TieredIndex(DIMENSION, seal_at=LEAST_TRAINING_ROWS)
        self.next = 1

    @rule(users=strategies.lists(strategies.integers(1, 15), min_size=1, max_size=30), seed=strategies.integers(0, 99))
    def add(self, users: list[int], seed: int) -> None:
        """Equal embeddings under different numbers are likely, and so are users in several parts."""
        face_pks = np.arange(self.next, self.next + len(users))
        self.next += len(users)
        faces = POOL[np.random.default_rng(seed).integers(len(POOL), size=len(users))]
        for index in (self.oracle, self.index):
            index.add_many(face_pks, np.array(users), faces)

    @rule(face=strategies.integers(1, 300), user=strategies.integers(1, 15))
    def add_again(self, face: int, user: int) -> None:
        if face < self.next:
            for index in (self.oracle, self.index):
                index.add(face, user, POOL[face % len(POOL)])

    @rule(face=strategies.integers(1, 300))
    def remove_face(self, face: int) -> None:
        for index in (self.oracle, self.index):
            index.remove_face(face)

    @rule(user=strategies.integers(1, 15))
    def remove_user(self, user: int) -> None:
        for index in (self.oracle, self.index):
            index.remove_user(user)

    @rule(user=strategies.integers(1, 15), row=strategies.integers(0, len(POOL) - 1))
    def replace(self, user: int, row: int) -> None:
        for index in (self.oracle, self.index):
            index.remove_user(user)
            index.add(self.next, user, POOL[row])
        self.next += 1

    @rule(
        row=strategies.integers(0, len(POOL) - 1),
        limit=strategies.integers(0, 20),
        threshold=strategies.sampled_from([EVERYTHING, 0.0, 0.5, 0.99]),
        user=strategies.integers(1, 15),
    )
    def search(self, row: int, limit: int, threshold: float, user: int) -> None:
        probe = POOL[row]
        assert self.index.search(probe, limit, threshold) == self.oracle.search(probe, limit, threshold)
        assert self.index.search_user(probe, user) == self.oracle.search_user(probe, user)

    @invariant()
    def as_many(self) -> None:
        assert len(self.index) == len(self.oracle)


Interleaving.TestCase.settings = settings(max_examples=40, stateful_step_count=60, deadline=None)
TestInterleaving = Interleaving.TestCase


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return Gallery(Statistics.load(192), PEOPLE)


@pytest.fixture
def large(gallery: Gallery) -> TieredIndex:
    index = TieredIndex(192, seal_at=SEAL_AT)
    for turn in range(TURNS):
        enrol(index, gallery.faces(np.arange(PEOPLE), turn), turn * PEOPLE)
    return index


def by_user(found: list[Candidate]) -> dict[int, Candidate]:
    return {one.user_pk: one for one in found}


def compared(index: TieredIndex, probe: Embeddings, limit: int, threshold: float) -> list[Candidate]:
    """What the same index answers when it compares everything."""
    index.exact = True
    try:
        return index.search(probe, limit, threshold)
    finally:
        index.exact = False


def test_codes_lose_hardly_anybody_and_change_no_score(large: TieredIndex, gallery: Gallery) -> None:
    assert large.coded_faces() >= PEOPLE * TURNS / 2
    threshold = Statistics.load(192).threshold
    found_of = asked_of = 0
    for person, probe in enumerate(gallery.faces(np.arange(100), turn=50)):
        for limit, least in ((1, threshold), (50, EVERYTHING)):
            expected = by_user(compared(large, probe, limit, least))
            found = by_user(large.search(probe, limit, least))
            own = large.search_user(probe, person)
            assert own is not None
            assert all(found[user] == expected[user] for user in found.keys() & expected.keys())
            assert all(found[user] == large.search_user(probe, user) for user in found)
            found_of += len(found.keys() & expected.keys())
            asked_of += len(expected)
    assert found_of >= 0.99 * asked_of


def test_removed_faces_do_not_crowd_others_out() -> None:
    """A thousand faces of a person were replaced one after the other; the look-alike behind them is still found."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((6000, 32)).astype(np.float32)
    rows[:1000] = rows[0]
    rows[1000] = rows[0] + 0.2 * rows[2000]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    segment = Segment(Faces(np.arange(6000), np.arange(6000), rows))
    segment.code(Codec(rows, 6000), 0, 6000)
    segment.short_list = 60
    assert Pool().search([segment], rows[0], 1, 0.5)[0][0].face_pk == 0
    segment.mark(np.arange(1000))
    assert Pool().search([segment], rows[0], 1, 0.5)[0][0].face_pk == 1000


def test_a_list_is_as_long_as_measured_or_there_is_none(gallery: Gallery) -> None:
    faces = np.concatenate([gallery.faces(np.arange(PEOPLE), turn) for turn in range(TURNS)])
    segment = Segment(Faces(np.arange(len(faces)), np.tile(np.arange(PEOPLE), TURNS), faces))
    segment.code(Codec(faces, len(faces)), 0, len(faces))
    assert 0 < short_list([segment]) < len(faces) / 8
    noise = np.random.default_rng(0).standard_normal((20_000, 192)).astype(np.float32)
    hopeless = Segment(Faces(np.arange(20_000), np.arange(20_000), noise / np.linalg.norm(noise, axis=1)[:, None]))
    hopeless.code(Codec(np.asarray(faces, np.float32), len(faces)), 0, 20_000)
    assert not 0 < short_list([hopeless]) < 20_000 / 8


def test_worn_segments_are_rewritten(large: TieredIndex) -> None:
    full = large.nbytes()
    for user in range(PEOPLE // 2):
        large.remove_user(user)
    assert len(large) == PEOPLE // 2 * TURNS
    assert large.nbytes() < (0.5 + REMOVED_SHARE + 0.1) * full


def test_maintenance_runs_beside_searches_and_changes(gallery: Gallery) -> None:
    """While segments are sealed and merged, who stays is found, who has gone is not, and nobody has another's face."""
    maintenance = Maintenance()
    maintenance.start()
    index = TieredIndex(192, maintenance=maintenance, seal_at=500)
    stays = gallery.faces(np.arange(1), turn=60)[0]
    index.add(10**9, 10**9, stays)
    stop = threading.Event()
    failures: list[str] = []

    def read() -> None:
        while not stop.is_set():
            found = index.search(stays, 3, 0.9)
            if [one.user_pk for one in found] != [10**9]:
                failures.append(f"found {found}")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(TURNS):
        faces = gallery.faces(np.arange(1000), turn)
        index.add_many(np.arange(1000) + turn * 1000, np.arange(1000) + turn * 1000, faces)
        for user in range(turn * 1000, turn * 1000 + 900):
            index.remove_user(user)
            if user % 100 == 0 and index.search(faces[user % 1000], 1, 0.999):
                failures.append("a removed user was found")
    stop.set()
    for reader in readers:
        reader.join()
    maintenance.stop()
    assert failures == []
    assert len(index) == 1 + TURNS * 100


def test_memory_keeps_its_content_when_its_pages_change() -> None:
    memory = np.random.default_rng(2).integers(0, 255, 3 * HUGE_PAGE + 77, dtype=np.uint8)
    before = memory.copy()
    prefer_huge(memory.ctypes.data, memory.nbytes)
    prefer_huge(memory.ctypes.data, 10)
    np.testing.assert_array_equal(memory, before)


@pytest.mark.parametrize("faces_each", [1, 5, 60])
def test_all_faces_of_a_found_user_are_scored(gallery: Gallery, faces_each: int) -> None:
    """However many there are, and also at the ends of the segment: a face far down the list may be the best one."""
    people = 3_000 // faces_each
    users = np.repeat(np.arange(people), faces_each)
    faces = gallery.faces(users, 5)
    segment = Segment(Faces(np.arange(len(users)), users, faces))
    segment.code(Codec(faces, len(faces)), 0, len(faces))
    segment.short_list = 300
    for person in (0, 1, people // 2, people - 1):
        probe = np.asarray(segment.embeddings[person * faces_each], dtype=np.float32)
        (found,) = Pool().search([segment], probe, 3, -1.0)
        assert found[0].user_pk == person
        assert all(segment.search_user(probe, one.user_pk) == one for one in found)


def test_parts_that_are_compared_exactly_are_compared_in_two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a library is loaded nothing has been sealed yet; a search is answered by whoever is free."""
    index = TieredIndex(DIMENSION, seal_at=500)
    index.begin_load()
    for turn in range(3):
        enrol(index, POOL[np.arange(600) % len(POOL)], 1 + 600 * turn)
    expected = index.search(POOL[0], 20, EVERYTHING)
    meeting = Meeting()
    monkeypatch.setattr(FlatIndex, "search", meeting.watched(FlatIndex.search))
    with ThreadPoolExecutor(1) as threads, beside.helped(Idle(), threads):
        assert index.search(POOL[0], 20, EVERYTHING) == expected
    assert len(meeting.threads) == 2


def test_whoever_the_tail_finds_is_scored_by_his_coded_faces_too(
    large: TieredIndex, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list may lack a better face of his: here it lacks everybody."""
    better, worse = gallery.faces(np.arange(1), 0)[0], gallery.faces(np.arange(1), 99)[0]
    large.add(10**6, 0, worse)
    monkeypatch.setattr(Pool, "search", lambda *_: [[]])
    first = next(one for one in large.search(better, 5, 0.3) if one.user_pk == 0)
    assert first == large.search_user(better, 0)
    assert first.face_pk != 10**6


def test_codes_of_other_people_are_learnt_anew(gallery: Gallery) -> None:
    """Faces of another camera vary along other axes than those that the codes were learnt of."""
    turned, _ = np.linalg.qr(np.random.default_rng(5).standard_normal((192, 192)))
    others = (gallery.faces(np.arange(PEOPLE), 7) @ turned).astype(np.float32)
    faces = Faces(np.arange(PEOPLE), np.arange(PEOPLE), others)
    sealer = Sealer()
    sealer.sealed(Faces(np.arange(PEOPLE), np.arange(PEOPLE), gallery.faces(np.arange(PEOPLE), 6)), lambda: None)
    known = sealer.codec
    assert known is not None
    stale = Segment(faces)
    stale.code(known, 0, PEOPLE)
    assert sealer.sealed(faces, lambda: None).short_list < 0.6 * (short_list([stale]) or PEOPLE)
    assert sealer.codec is not known
    usual = Faces(np.arange(PEOPLE), np.arange(PEOPLE), gallery.faces(np.arange(PEOPLE), 8))
    assert sealer.sealed(usual, lambda: None).short_list < 2 * Sealer().sealed(usual, lambda: None).short_list


def test_codes_of_a_few_other_people_are_theirs_alone(gallery: Gallery) -> None:
    turned, _ = np.linalg.qr(np.random.default_rng(5).standard_normal((192, 192)))
    few = (gallery.faces(np.arange(PEOPLE - 500), 7) @ turned).astype(np.float32)
    sealer = Sealer()
    sealer.sealed(Faces(np.arange(PEOPLE), np.arange(PEOPLE), gallery.faces(np.arange(PEOPLE), 6)), lambda: None)
    known = sealer.codec
    segment = sealer.sealed(Faces(np.arange(len(few)), np.arange(len(few)), few), lambda: None)
    assert segment.codec is not known
    assert sealer.codec is known


def test_codes_that_would_be_no_better_anew_are_kept(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "POOR_LIST", 0.0)
    learnt = []
    faces = [Faces(np.arange(PEOPLE), np.arange(PEOPLE), gallery.faces(np.arange(PEOPLE), turn)) for turn in range(3)]
    sealer = Sealer()
    first = sealer.sealed(faces[0], lambda: None)
    known = sealer.codec

    def learn(_: Segment) -> Codec:
        learnt.append(1)
        return poor

    monkeypatch.setattr(sealing, "_learnt", learn)
    poor = Codec(np.random.default_rng(1).standard_normal((500, 192)).astype(np.float32), PEOPLE)
    for each in faces[1:]:
        segment = sealer.sealed(each, lambda: None)
        assert sealer.codec is segment.codec is known
        assert 0 < segment.short_list < 2 * first.short_list
        assert len(segment.estimated(gallery.faces(np.arange(1), 8)[0], 10)[1]) == 10
    assert learnt == [1], "nor looked for again before there are more of them"
