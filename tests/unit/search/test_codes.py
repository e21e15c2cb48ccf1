"""Codes in slabs answer as those in one piece do, and are kept as one."""

from __future__ import annotations

import numpy as np
import pytest

from service.search import codes
from service.search.codec import Codec
from service.search.codes import Codes
from service.search.precision import halves
from service.search.protocol import Faces
from service.search.segment import Segment
from service.values import Embedding, Embeddings

DIMENSION = 64
SLAB = 256
ROWS = 3 * SLAB + 70
FOUR = [224, 224, 224, 166]
"""As even as whole blocks of 32 rows allow."""


@pytest.fixture(scope="module")
def rows() -> Embeddings:
    made = np.random.default_rng(3).standard_normal((ROWS, DIMENSION)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


@pytest.fixture(scope="module")
def codec(rows: Embeddings) -> Codec:
    return Codec(rows, ROWS)


@pytest.fixture
def small_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "SLAB", SLAB)


def coded(codec: Codec, rows: Embeddings) -> Codes:
    """In uneven pieces, some of which go over a slab's end."""
    made = Codes(codec, len(rows))
    for start in range(0, len(rows), 190):
        made.add(halves(rows[start : start + 190]))
    made.settle()
    return made


def everything(made: Codes, probe: Embedding) -> dict[int, float]:
    """The estimate of each row."""
    question = made.codec.question(probe)
    found: dict[int, float] = {}
    for slab in made.slabs:
        estimates, its = slab.estimated(question, len(slab))
        assert np.all(np.diff(estimates) <= 0)
        assert not found.keys() & set(its.tolist())
        found.update(zip(its.tolist(), estimates.tolist(), strict=True))
    return found


def test_slabs_estimate_as_one_piece_does(codec: Codec, rows: Embeddings, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = coded(codec, rows)
    monkeypatch.setattr(codes, "SLAB", SLAB)
    slabs = coded(codec, rows)
    assert [len(slab) for slab in whole.slabs] == [ROWS]
    assert [len(slab) for slab in slabs.slabs] == FOUR
    assert len(slabs) == ROWS
    for probe in rows[::100]:
        expected, found = everything(whole, probe), everything(slabs, probe)
        assert sorted(found) == list(range(ROWS))
        assert [found[row] for row in range(ROWS)] == pytest.approx([expected[row] for row in range(ROWS)], abs=1e-6)


@pytest.mark.usefixtures("small_slabs")
def test_they_are_kept_as_one_index_and_come_back(codec: Codec, rows: Embeddings) -> None:
    """Whatever the slabs of the process that wrote them: those of the one that reads count."""
    made = coded(codec, rows)
    for size, expected in ((SLAB, FOUR), (2 * SLAB, [448, 390]), (4 * SLAB, [ROWS])):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(codes, "SLAB", size)
            back = Codes.restored(codec, made.serialized(np.array([], dtype=np.int64)), None)
        assert [len(slab) for slab in back.slabs] == expected
        assert back.nbytes() == made.nbytes()
        for probe in rows[::200]:
            assert everything(back, probe) == everything(made, probe)


@pytest.mark.usefixtures("small_slabs")
def test_blank_rows_are_zeroed_in_what_is_kept_alone(codec: Codec, rows: Embeddings) -> None:
    made, blank = coded(codec, rows), np.array([0, FOUR[0] - 1, FOUR[0], ROWS - 1])
    before = everything(made, rows[0])
    back = everything(Codes.restored(codec, made.serialized(blank), None), rows[0])
    changed = {row for row in range(ROWS) if back[row] != before[row]}
    assert changed == set(blank.tolist())
    assert len({back[row] for row in blank.tolist()}) == 1
    assert everything(made, rows[0]) == before


def test_rows_far_behind_can_be_blank(codec: Codec, rows: Embeddings) -> None:
    # FAISS's wrapper looks at a block's bytes times a block's rows, 32,768, and no further.
    many = np.tile(rows, (45_000 // ROWS, 1))
    made, blank = coded(codec, many), np.array([0, 32_767, 32_768, len(many) - 1])
    back = everything(Codes.restored(codec, made.serialized(blank), None), rows[0])
    before = everything(made, rows[0])
    assert {row for row in range(len(many)) if back[row] != before[row]} == set(blank.tolist())


@pytest.mark.usefixtures("small_slabs")
def test_a_segment_asks_all_its_slabs(codec: Codec, rows: Embeddings) -> None:
    segment = Segment(Faces(np.arange(ROWS), np.arange(ROWS), rows))
    segment.code(codec, 0, ROWS)
    estimates, found = segment.estimated(rows[5], 300)
    assert len(found) == len(set(found.tolist())) == 300
    assert np.all(np.diff(estimates) <= 0)
    assert found[0] == 5
    assert [scan.rows for scan in segment.scans(rows[5])] == FOUR
