"""Sorting made faces into people: right on what is clear, sane on what is not."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.clustering import b_cubed
from models.manifest import load_pack
from service.bulk import clustering
from service.bulk.clustering import people_of
from service.calibration.scores import ScoreTable
from service.values import Embeddings

DIMENSION = 128


@pytest.fixture(scope="module")
def scores() -> ScoreTable:
    pack = load_pack("core")
    return ScoreTable.load(pack.calibration, pack.model_id)


def faces(sizes: list[int], seed: int = 1, spread: float = 0.5) -> tuple[Embeddings, np.ndarray]:
    """Unit vectors around one direction a person, in mixed order, and whose they are."""
    random = np.random.default_rng(seed)
    truth = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = random.standard_normal((len(sizes), DIMENSION))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    noise = random.standard_normal((len(truth), DIMENSION)) * spread / np.sqrt(DIMENSION)
    rows = centres[truth] + noise
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), truth


def test_people_are_told_apart(scores: ScoreTable) -> None:
    embeddings, truth = faces([40, 12, 7, 3, *[1] * 60])
    people = people_of(embeddings, scores)
    assert b_cubed(truth, people.labels) == (1.0, 1.0, 1.0)
    assert np.bincount(people.labels)[:4].tolist() == [40, 12, 7, 3]
    several = people.labels < 4
    assert (people.confidence[several] > 80).all()
    assert np.isnan(people.confidence[~several]).all()


def test_one_bridge_does_not_make_two_people_one(scores: ScoreTable) -> None:
    embeddings, truth = faces([20, 20], spread=0.4)
    bridge = embeddings[truth == 0][0] + embeddings[truth == 1][0]
    people = people_of(np.vstack([embeddings, bridge / np.linalg.norm(bridge)]).astype(np.float32), scores)
    assert len(set(people.labels[:-1][truth == 0])) == len(set(people.labels[:-1][truth == 1])) == 1
    assert people.labels[:-1][truth == 0][0] != people.labels[:-1][truth == 1][0]


def test_a_part_that_is_too_large_is_cut(scores: ScoreTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "MOST_TOGETHER", 10)
    embeddings, truth = faces([30, 8])
    people = people_of(embeddings, scores)
    assert b_cubed(truth, people.labels)[0] == 1.0
    assert np.bincount(people.labels).max() <= 10
    same = people_of(np.repeat(embeddings[:1], 25, axis=0), scores)
    assert np.bincount(same.labels).max() <= 10


def test_few_faces(scores: ScoreTable) -> None:
    embeddings, _ = faces([1, 1])
    assert people_of(embeddings[:0], scores).labels.tolist() == []
    assert people_of(embeddings[:1], scores).labels.tolist() == [0]
    assert people_of(embeddings, scores).labels.tolist() == [0, 1]


def test_the_same_faces_give_the_same_people(scores: ScoreTable) -> None:
    embeddings, _ = faces([9, 5, 2, 1, 1], spread=1.2)
    assert people_of(embeddings, scores).labels.tolist() == people_of(embeddings, scores).labels.tolist()


def test_several_threads_give_the_same_people(scores: ScoreTable) -> None:
    embeddings, _ = faces([4] * 600, spread=0.5)
    alone, together = people_of(embeddings, scores), people_of(embeddings, scores, threads=3)
    assert together.labels.tolist() == alone.labels.tolist()
    np.testing.assert_array_equal(together.confidence, alone.confidence)


def test_b_cubed() -> None:
    truth = np.array([0, 0, 0, 1, 1])
    assert b_cubed(truth, truth) == (1.0, 1.0, 1.0)
    assert b_cubed(truth, np.zeros(5, np.int64))[:2] == pytest.approx((0.52, 1.0))
    assert b_cubed(truth, np.arange(5))[:2] == pytest.approx((1.0, 0.4))
