"""The figures of the model cards: accuracy over folds and TAR at a FAR, on cases worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.manifest import load_pack
from models.train.fit_projection import Gallery, crosswise, parts_of
from models.train.record_fingerprints import value_range
from models.train.verification import (
    acceptance_at,
    fold_accuracy,
    person_of,
    read_pairs,
)
from service.calibration.fitting import all_against_all, few_of_each
from tests.unit.models.graphs import pattern


def circle(*degrees: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Unit vectors in a plane."""
    angles = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_pairs_in_lfws_form(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text("2\t1\nAnn_A\t1\t2\nAnn_A\t1\tBob\t1\nBob\t1\t2\nBob\t2\tAnn_A\t2\n", encoding="utf-8")
    names = ["Ann_A_0001", "Ann_A_0002", "Bob_0001", "Bob_0002"]
    pairs, same = read_pairs(path, {name: row for row, name in enumerate(names)})
    assert pairs.tolist() == [[[0, 1], [0, 2]], [[2, 3], [3, 1]]]
    assert same.tolist() == [[True, False], [True, False]]
    assert [person_of(name) for name in names] == ["Ann_A", "Ann_A", "Bob", "Bob"]


def test_the_threshold_comes_from_the_other_folds() -> None:
    # Ann at 0 and 20 degrees, Bob at 90 and 130: the second fold alone would accept 40 degrees.
    embeddings = circle(0, 20, 90, 130)
    pairs = np.array([[[0, 1], [1, 2]], [[2, 3], [0, 2]]])
    same = np.array([[True, False], [True, False]])
    assert fold_accuracy(embeddings, pairs, same) == pytest.approx((1 + 0.5) / 2)


def test_acceptance_at_a_false_acceptance_rate() -> None:
    genuine, impostor = np.array([0.9, 0.7, 0.5, 0.3]), np.linspace(-1, 0.6, 1000)
    tar, threshold = acceptance_at(genuine, impostor, 0.01)
    assert (impostor > threshold).sum() == 10
    assert tar == 0.5
    assert acceptance_at(genuine, impostor, 1e-4)[1] == pytest.approx(0.6)


def test_all_against_all_counts_each_pair_once() -> None:
    genuine, impostor = all_against_all(circle(0, 10, 90).astype(np.float32), ["Ann", "Ann", "Bob"])
    assert genuine == pytest.approx([np.cos(np.deg2rad(10))])
    assert impostor == pytest.approx([0, np.cos(np.deg2rad(80))])
    assert few_of_each(["Ann", "Ann", "Bob", "Ann"], most=2).tolist() == [True, True, True, False]


def test_halves_share_no_person_and_parts_are_of_unit_length() -> None:
    rows = pattern(60, 640)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    gallery = Gallery(rows, tuple(f"Person_{index % 20}_{index:04d}" for index in range(60)))
    (first, small), (second, _) = crosswise(gallery, 16)
    people = np.array(gallery.people)
    assert set(people[first]).isdisjoint(people[second])
    assert (first ^ second).all()
    assert small.shape == (first.sum(), 16)
    parts = parts_of(load_pack("core"), gallery)
    assert [part.shape[1] for part in parts.values()] == [128, 512, 640]
    for part in parts.values():
        np.testing.assert_allclose(np.linalg.norm(part, axis=1), 1, atol=1e-5)


def test_fingerprints_feed_what_the_server_feeds() -> None:
    core = load_pack("core")
    assert value_range(core, "sface") == (0, 255)
    assert value_range(core, "fr_feature") == (-1, 1)
    assert value_range(core, "fr_pose") == (-2.1179, 2.64)
    assert value_range(core, "fr_eye") == (0, 1)
