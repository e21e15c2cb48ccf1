"""What codes keep of the faces that they stand for."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.gallery import Gallery, Statistics
from service.search import codec as module
from service.search.codec import Codec
from service.values import Embeddings

PEOPLE = 6_000
DIMENSION = 192


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return Gallery(Statistics.load(DIMENSION), PEOPLE)


@pytest.fixture(scope="module")
def faces(gallery: Gallery) -> Embeddings:
    return gallery.faces(np.arange(PEOPLE))


@pytest.fixture(scope="module")
def codec(faces: Embeddings) -> Codec:
    return Codec(faces, PEOPLE)


def estimates(codec: Codec, faces: Embeddings, probes: Embeddings) -> NDArray[np.float32]:
    """Of each of the probes with each of the faces by its code, ``(probes, faces)``."""
    codes = codec.empty_codes()
    codes.add(codec.encode(faces))
    questions = np.concatenate([codec.question(probe) for probe in probes])
    return np.asarray(questions @ faiss_rows(codes).T, dtype=np.float32)


def faiss_rows(codes: faiss.Index) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = codes.reconstruct_n(0, codes.ntotal)
    return rows


def kept(codec: Codec, faces: Embeddings) -> NDArray[np.float32]:
    """Of each face's similarity with itself."""
    codes = codec.empty_codes()
    codes.add(codec.encode(faces))
    questions = np.concatenate([codec.question(face) for face in faces])
    each: NDArray[np.float32] = np.einsum("ij,ij->i", questions, faiss_rows(codes))
    return each


def test_codes_keep_as_much_of_every_face(codec: Codec, faces: Embeddings, monkeypatch: pytest.MonkeyPatch) -> None:
    after = kept(codec, faces)
    monkeypatch.setattr(module, "SWEEPS", 0)
    before = kept(codec, faces)
    assert after.std() < 0.1 * before.std()
    assert before.min() < before.mean() - 3 * before.std()
    assert after.min() > before.mean() - before.std()
    assert abs(after.mean() - before.mean()) < 0.2 * before.std()


def test_other_similarities_are_told_about_as_well_as_before(
    codec: Codec, faces: Embeddings, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes = gallery.faces(np.arange(100), turn=1)
    similarities = probes @ faces.T
    after = estimates(codec, faces, probes) - similarities
    monkeypatch.setattr(module, "SWEEPS", 0)
    before = estimates(codec, faces, probes) - similarities
    assert after.std() < 1.06 * before.std()


def places(codec: Codec, faces: Embeddings, gallery: Gallery, who: NDArray[np.int64]) -> NDArray[np.int64]:
    """At which place of all by their codes each of some people stands for poor pictures of theirs."""
    each = []
    for turn in range(50, 60):
        estimated = estimates(codec, faces, gallery.faces(who, turn, poorness=1.6))
        each.append(1 + np.count_nonzero(estimated > estimated[np.arange(len(who)), who, np.newaxis], axis=1))
    return np.concatenate(each)


def test_mates_of_badly_coded_faces_stand_higher(
    codec: Codec, faces: Embeddings, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(module, "SWEEPS", 0)
        worst = np.argsort(kept(codec, faces))[:100]
        before = places(codec, faces, gallery, worst)
    after = places(codec, faces, gallery, worst)
    assert np.quantile(after, 0.9) < 0.6 * np.quantile(before, 0.9)


def test_rows_are_coded_alone_as_among_others(codec: Codec, faces: Embeddings) -> None:
    together = codec.encode(faces[:50])
    assert np.allclose(together, np.concatenate([codec.encode(face[np.newaxis]) for face in faces[:50]]), atol=1e-6)
    assert codec.encode(faces[:0]).shape == (0, 128)


def test_what_was_put_away_codes_as_before(codec: Codec, faces: Embeddings) -> None:
    """How much codes usually keep is not put away, and told by the rows."""
    after = kept(Codec.restored(codec.state()), faces)
    assert after.std() < 0.005
    assert abs(after.mean() - kept(codec, faces).mean()) < 0.01


def test_rows_of_zeros_and_equal_rows_are_coded(codec: Codec, faces: Embeddings) -> None:
    """Of a face that was removed nothing may be left but zeros."""
    rows = np.concatenate([np.zeros((40, DIMENSION), np.float32), np.repeat(faces[:1], 60, axis=0)])
    assert np.isfinite(codec.encode(rows)).all()
    assert len(np.unique(codec.encode(rows)[40:], axis=0)) == 1
