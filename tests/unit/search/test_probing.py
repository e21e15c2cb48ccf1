"""Watching the recall of large groups in service."""

from __future__ import annotations

import threading

import numpy as np

from service.metrics import REGISTRY
from service.search.flat import FlatIndex
from service.search.probing import RecallProbe
from service.search.tiered import TieredIndex
from service.values import Embeddings

DIMENSION = 16
PEOPLE = 6_000


def probed(result: str) -> float:
    return REGISTRY.get_sample_value("aipface_recall_probe_users_total", {"result": result}) or 0.0


def faces(count: int) -> Embeddings:
    made = np.random.default_rng(1).standard_normal((count, DIMENSION)).astype(np.float32)
    normal: Embeddings = made / np.linalg.norm(made, axis=1, keepdims=True)
    return normal


def large() -> TieredIndex:
    index = TieredIndex(DIMENSION, seal_at=PEOPLE)
    index.add_many(np.arange(PEOPLE), np.arange(PEOPLE), faces(PEOPLE))
    index.maintain(threading.Event())
    return index


def test_what_is_found_and_missed_is_counted() -> None:
    index = large()
    assert index.coded_faces() == PEOPLE
    found, missed = probed("found"), probed("missed")
    for _ in range(4):
        expected, seen = RecallProbe(lambda: [FlatIndex(DIMENSION), index]).probe() or (0, 0)
        assert expected == 50
        assert 45 <= seen <= expected
    assert probed("found") + probed("missed") == found + missed + 200
    assert probed("found") > found


def test_exact_indexes_are_left_out() -> None:
    small = FlatIndex(DIMENSION)
    small.add_many(np.arange(9), np.arange(9), faces(9))
    assert RecallProbe(lambda: [small, TieredIndex(DIMENSION)]).probe() is None
    assert TieredIndex(DIMENSION).probe_recall() == (0, 0)


def test_the_thread_probes_until_it_is_stopped_and_outlives_failures() -> None:
    asked = threading.Event()
    times = iter(range(100_000))

    def indexes() -> list[object]:
        if next(times) == 0:
            raise RuntimeError("the first time")
        asked.set()
        return []

    probe = RecallProbe(indexes, seconds=0.001)
    probe.start()
    assert asked.wait(30)
    probe.stop()
