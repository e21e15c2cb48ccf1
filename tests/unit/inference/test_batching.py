"""Dynamic batching on a small network: the same answers, in fewer runs, and nobody suffers for another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from service.inference.admission import Abandoned, caller_left
from service.inference.batching import BatchedSession, BatchLimits
from service.inference.session import Array, BoundSession, Session, load_session
from tests.unit.inference.small_graphs import linear_graph

SIDE = 4
MATRIX = np.random.default_rng(3).normal(0, 1, (3 * SIDE * SIDE, 5)).astype(np.float32)
PATIENT = BatchLimits(rows=4, seconds=60.0)
"""Who leads waits until the batch is full; no test waits that long unless it fails."""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return linear_graph(tmp_path_factory.mktemp("batching") / "linear", "batch", SIDE, MATRIX)


class Counting(Session):
    """A session that notes how many rows each run had, and fails for rows that begin with a NaN."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.input_shape, self.output_names = session.input_shape, session.output_names
        self.runs: list[int] = []

    @property
    def providers(self) -> tuple[str, ...]:
        return self._session.providers

    def _run(self, batch: Array) -> list[Array]:
        self.runs.append(len(batch))
        if np.isnan(batch).any():
            raise FloatingPointError
        return self._session.run(batch)


@pytest.fixture
def counting(network: Path) -> Counting:
    return Counting(load_session(network, ["CPUExecutionProvider"]))


def rows(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).uniform(0, 255, (count, 3, SIDE, SIDE)).astype(np.float32)


def together(works: list[Callable[[], object]]) -> list[object]:
    """What each of the works returns or raises, all in threads of their own."""
    results: list[object] = [None] * len(works)

    def run(number: int) -> None:
        try:
            results[number] = works[number]()
        except Exception as error:  # noqa: BLE001 (looked at by the test)
            results[number] = error

    threads = [threading.Thread(target=copy_context().run, args=(run, number)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return results


def close(answer: object, expected: Array) -> bool:
    return isinstance(answer, np.ndarray) and bool(np.allclose(answer, expected, rtol=1e-4))


def test_callers_share_a_run_and_get_their_own_rows(counting: Counting) -> None:
    batched = BatchedSession(counting, PATIENT)
    inputs = [rows(1, seed) for seed in range(4)]
    answers = together([lambda each=each: batched.run(each)[0] for each in inputs])  # type: ignore[misc]
    assert counting.runs == [4]
    for each, answer in zip(inputs, answers, strict=True):
        assert close(answer, each.reshape(1, -1) @ MATRIX)


def test_more_rows_than_a_batch_holds_are_run_in_turn(counting: Counting) -> None:
    batched = BatchedSession(counting, BatchLimits(rows=2, seconds=60.0))
    inputs = [rows(1, seed) for seed in range(6)]
    answers = together([lambda each=each: batched.run(each)[0] for each in inputs])  # type: ignore[misc]
    assert counting.runs == [2, 2, 2]
    for each, answer in zip(inputs, answers, strict=True):
        assert close(answer, each.reshape(1, -1) @ MATRIX)


def test_who_is_alone_waits_no_longer_than_the_deadline(counting: Counting) -> None:
    answer = BatchedSession(counting, BatchLimits(rows=4, seconds=0.001)).run(rows(3, 1))[0]
    assert counting.runs == [3]
    assert answer.shape == (3, 5)


def test_a_request_larger_than_a_batch_is_run_as_it_is(counting: Counting) -> None:
    assert BatchedSession(counting, PATIENT).run(rows(9, 1))[0].shape == (9, 5)
    assert counting.runs == [9]


def test_only_whose_rows_fail_is_told_so(counting: Counting) -> None:
    batched = BatchedSession(counting, PATIENT)
    bad = np.full((1, 3, SIDE, SIDE), np.nan, np.float32)
    inputs = [rows(1, 1), bad, rows(1, 2), rows(1, 3)]
    answers = together([lambda each=each: batched.run(each)[0] for each in inputs])  # type: ignore[misc]
    assert isinstance(answers[1], FloatingPointError)
    for number in (0, 2, 3):
        assert close(answers[number], inputs[number].reshape(1, -1) @ MATRIX)


def test_rows_of_another_size_wait_for_their_own_run(counting: Counting) -> None:
    batched = BatchedSession(counting, BatchLimits(rows=2, seconds=0.01))
    odd = np.zeros((1, 3, SIDE, SIDE + 1), np.float32)
    answers = together([lambda: batched.run(odd), lambda: batched.run(rows(1, 1))[0]])
    assert isinstance(answers[0], Exception)
    assert isinstance(answers[1], np.ndarray)


def test_who_left_is_dropped_without_a_run(counting: Counting) -> None:
    batched = BatchedSession(counting, PATIENT)

    def abandoned() -> object:
        caller_left.set(lambda: True)
        return batched.run(rows(1, 1))

    answers = together([abandoned, *([lambda: batched.run(rows(1, 2))[0]] * 3)])
    assert isinstance(answers[0], Abandoned)
    assert counting.runs == [3]


def test_binding_answers_as_copying_does(network: Path) -> None:
    plain = load_session(network, ["CPUExecutionProvider"])
    bound = BoundSession(onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"]), "cpu")
    for count in (1, 3):
        np.testing.assert_array_equal(bound.run(rows(count, 5))[0], plain.run(rows(count, 5))[0])
