"""Fine codes: what they estimate, and that nothing is told otherwise for them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.gallery import Gallery, Statistics
from benchmarks.search import HARD_POORNESS
from service.search import pooled
from service.search.codec import FINE_REACH, Codec
from service.search.codes import Rows
from service.search.pooled import Pool, listed
from service.search.protocol import Candidate, Faces
from service.search.segment import Segment
from service.values import Embedding, Embeddings

PEOPLE = 4_000
FACES_EACH = 3
DIMENSION = 512
LIST = 250


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return Gallery(Statistics.load(DIMENSION), PEOPLE)


@pytest.fixture(scope="module")
def codec(gallery: Gallery) -> Codec:
    return Codec(gallery.faces(np.arange(PEOPLE), 30), PEOPLE)


def sealed(turns: range, gallery: Gallery, codec: Codec) -> Segment:
    faces = np.concatenate([gallery.faces(np.arange(PEOPLE), turn) for turn in turns])
    users = np.tile(np.arange(PEOPLE), len(turns))
    segment = Segment(Faces(turns[0] * PEOPLE + np.arange(len(faces)), users, faces))
    segment.code(codec, 0, len(faces))
    segment.short_list = LIST
    return segment


@pytest.fixture
def segments(gallery: Gallery, codec: Codec) -> list[Segment]:
    """Everybody has two faces in the first and one in the second."""
    return [sealed(range(FACES_EACH - 1), gallery, codec), sealed(range(FACES_EACH - 1, FACES_EACH), gallery, codec)]


@pytest.fixture(scope="module")
def probes(gallery: Gallery) -> Embeddings:
    return gallery.faces(np.arange(40), turn=50)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows are compared with their embeddings, each time."""
    counts: list[int] = []
    similarities = Segment.similarities

    def counting(segment: Segment, probe: Embedding, rows: Rows) -> NDArray[np.float32]:
        counts.append(len(rows))
        return similarities(segment, probe, rows)

    monkeypatch.setattr(Segment, "similarities", counting)
    return counts


def without_fine(segments: list[Segment]) -> None:
    for segment in segments:
        assert segment._codes is not None
        segment._codes.fine = None


def at_once(segments: list[Segment], probe: Embedding, limit: int, least: float) -> list[Candidate]:
    """By a list of the same length with fine codes and without."""
    found = pooled.search_list(segments, probe, limit, least, int(pooled.AT_ONCE * 2 * LIST))
    assert isinstance(found, list)
    return found


def test_they_err_a_fifth_as_much_as_short_ones(segments: list[Segment], probes: Embeddings) -> None:
    segment = segments[0]
    errors = []
    for probe in probes:
        short, rows = segment.estimated(probe, 2_000)
        fine = segment.refined(probe, rows)
        assert fine is not None
        exact = segment.similarities(probe, rows)
        errors.append([np.std(exact - short), np.std(exact - fine), np.abs(np.mean(exact - fine))])
    short_deviation, deviation, bias = np.mean(errors, axis=0)
    assert deviation < short_deviation / 5
    assert bias < deviation


def test_mates_are_underestimated_by_less_than_is_reckoned_with(gallery: Gallery, codec: Codec) -> None:
    """They are alike outside the axes, too, where strangers are not; and the deviation is that of strangers."""
    threshold, short = Statistics.load(DIMENSION).threshold, []
    faces = gallery.faces(np.arange(PEOPLE), 1)
    segment = Segment(Faces(np.arange(PEOPLE), np.arange(PEOPLE), faces))
    segment.code(codec, 0, PEOPLE)
    for turn in range(60, 64):
        who = np.arange(0, PEOPLE, 4)
        for person, probe in zip(who, gallery.faces(np.arange(PEOPLE), turn, HARD_POORNESS)[who], strict=True):
            if not threshold <= faces[person] @ probe < threshold + 0.1:
                continue
            estimates = segment.refined(probe, np.arange(PEOPLE))
            assert estimates is not None
            errors = segment.similarities(probe, np.arange(PEOPLE)) - estimates
            nearest = errors[np.argsort(-estimates)[: 50 * pooled.COMPARED_EACH]]
            short.append((errors[person] - max(float(nearest.mean()), 0.0)) / nearest.std())
    assert len(short) > 500
    assert np.median(short) > 1
    assert max(short) < pooled.FINE_SIGMAS


def test_embeddings_of_few_numbers_have_none(segments: list[Segment]) -> None:
    assert all(segment.fine is not None for segment in segments)
    faces = Gallery(Statistics.load(192), 300).faces(np.arange(300))
    small = Segment(Faces(np.arange(300), np.arange(300), faces))
    small.code(Codec(faces, 300), 0, 300)
    assert small.codec is not None
    assert small.fine is None
    assert small.refined(faces[0], np.arange(3)) is None


def test_an_axis_beyond_the_reach_of_a_byte_is_taken_for_its_end(codec: Codec, gallery: Gallery) -> None:
    face = gallery.faces(np.arange(1), 3)[0]
    assert np.abs(codec.fine(face[np.newaxis])).max() < 127
    far = codec.fine(10 * FINE_REACH * face[np.newaxis])
    assert np.abs(far).max() == 127
    assert np.array_equal(np.sign(far)[np.abs(far) == 127], np.sign(codec.fine(face[np.newaxis]))[np.abs(far) == 127])


@pytest.mark.parametrize("least", [0.25, 0.4, -2.0])
@pytest.mark.parametrize("limit", [1, 7, 50])
def test_who_is_told_of_is_the_same_without_them(
    segments: list[Segment], probes: Embeddings, limit: int, least: float
) -> None:
    found = [at_once(segments, probe, limit, least) for probe in probes]
    without_fine(segments)
    assert found == [at_once(segments, probe, limit, least) for probe in probes]


@pytest.mark.parametrize("limit", [7, 20, 50])
def test_what_they_err_is_reckoned_with(
    segments: list[Segment], probes: Embeddings, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where hardly more is compared first than is asked for, so that some of the best are behind that."""
    monkeypatch.setattr(pooled, "FEWEST_COMPARED", 16)
    monkeypatch.setattr(pooled, "COMPARED_EACH", 2)
    found = [at_once(segments, probe, limit, -2.0) for probe in probes]
    without_fine(segments)
    assert found == [at_once(segments, probe, limit, -2.0) for probe in probes]


@pytest.mark.parametrize("limit", [1, 50])
def test_a_picture_enrolled_many_times_hides_nobody_who_is_more_similar(
    gallery: Gallery, codec: Codec, limit: int
) -> None:
    """Its copies stand first by their estimates, all err by the same, and tell nothing of what others err."""
    person = np.array([3])
    theirs = np.concatenate([gallery.faces(person, 100 + turn) for turn in range(60)])
    probe = gallery.faces(person, 61)[0]
    estimates = codec.fine(theirs) @ codec.fine_question(probe)
    assert estimates.argmax() != (theirs @ probe).argmax()
    copies = np.repeat(theirs[[estimates.argmax()]], 250, axis=0)
    faces = np.concatenate([gallery.faces(np.arange(PEOPLE), 0), copies, theirs])
    segment = Segment(Faces(np.arange(len(faces)), np.arange(len(faces)), faces))
    segment.code(codec, 0, len(faces))
    found = at_once([segment], probe, limit, 0.1)
    assert [one.user_pk for one in found[:1]] == [PEOPLE + len(copies) + int((theirs @ probe).argmax())]
    without_fine([segment])
    assert found == at_once([segment], probe, limit, 0.1)


def test_few_of_a_list_are_compared(segments: list[Segment], probes: Embeddings, compared: list[int]) -> None:
    for probe in probes:
        at_once(segments, probe, 10, 0.4)
    assert sum(compared) < len(probes) * pooled.AT_ONCE * 2 * LIST / 4


def test_no_list_is_made_anew(segments: list[Segment], probes: Embeddings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where few users are found without them, it is."""
    lengths: list[int] = []

    def noting(parts: list[Segment], probe: Embedding, length: int, floor: float) -> object:
        lengths.append(length)
        return listed(parts, probe, length, floor)

    monkeypatch.setattr(pooled, "listed", noting)
    Pool().search(segments, probes[0], 50, 0.5)
    assert lengths == [int(pooled.AT_ONCE * 2 * LIST)]
    without_fine(segments)
    Pool().search(segments, probes[0], 50, 0.5)
    assert lengths[1:] == [lengths[0], int(pooled.THOROUGH / pooled.AT_ONCE * lengths[0])]


def test_removed_rows_are_neither_compared_nor_told_of(
    segments: list[Segment], probes: Embeddings, compared: list[int]
) -> None:
    before = [at_once(segments, probe, 5, 0.25) for probe in probes]
    gone = {one.user_pk for found in before for one in found[:1]}
    for segment in segments:
        segment.mark(np.flatnonzero(np.isin(segment.user_pks, list(gone))))
    compared.clear()
    after = [at_once(segments, probe, 5, 0.25) for probe in probes]
    assert compared
    assert not gone & {one.user_pk for found in after for one in found}
    for was, found in zip(before, after, strict=True):
        kept = [one for one in was if one.user_pk not in gone]
        assert found[: len(kept)] == kept


def test_equal_faces_are_all_compared(gallery: Gallery, codec: Codec, compared: list[int]) -> None:
    """No estimate tells one of them from another."""
    faces = np.tile(gallery.faces(np.arange(1)), (5_000, 1))
    segment = Segment(Faces(np.arange(5_000), np.arange(5_000), faces))
    segment.code(codec, 0, 5_000)
    segment.short_list = LIST
    (found,) = Pool().search([segment], faces[0], 50, 0.5)
    assert [one.user_pk for one in found] == list(range(50))
    # In one go, or in two where rounding sets one of them apart.
    assert int(pooled.AT_ONCE * LIST) in np.cumsum(compared)
