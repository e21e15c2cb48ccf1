"""Regularised linear models on a few thousand rows, exactly solved with numpy: ridge and multinomial logistic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEWTON_STEPS = 30
SMALL_STEP = 1e-7


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """``x @ weights + bias``; ``weights``: ``(features, outputs)``, ``bias``: ``(outputs,)``."""

    weights: Floats
    bias: Floats

    def __call__(self, features: NDArray[Any]) -> Floats:
        return np.asarray(features.astype(np.float64) @ self.weights + self.bias)


def ridge(features: NDArray[Any], targets: NDArray[Any], penalty: float) -> Linear:
    """Least squares with an L2 penalty on standardised features; one output."""
    basis = _Basis(features)
    centred = targets - targets.mean()
    solved = np.linalg.solve(basis.rows.T @ basis.rows + penalty * np.eye(basis.rank), basis.rows.T @ centred)
    return basis.unfold(solved[:, np.newaxis], np.array([targets.mean()]))


def logistic(features: NDArray[Any], labels: NDArray[Any], penalty: float) -> Linear:
    """Multinomial logistic regression, classes weighted alike whatever their number of rows; Newton's method.

    ``labels``: ``(n,)`` integers 0..K-1. The answer has K outputs whose softmax are the probabilities; class 0's is 0.
    """
    basis = _Basis(features)
    classes = int(labels.max()) + 1
    rows = np.hstack([basis.rows, np.ones((len(labels), 1))])
    weight = 1 / np.bincount(labels)[labels] * len(labels) / classes
    truth = np.eye(classes)[labels][:, 1:]
    size = rows.shape[1]
    damping = np.diag(np.tile(np.append(np.full(basis.rank, penalty), 1e-6), classes - 1))
    beta = np.zeros((classes - 1) * size)
    for _ in range(NEWTON_STEPS):
        share = _softmax(rows @ beta.reshape(classes - 1, size).T)
        gradient = ((share - truth) * weight[:, np.newaxis]).T @ rows
        step = np.linalg.solve(_hessian(rows, share, weight) + damping, gradient.ravel() + damping @ beta)
        beta -= step
        if np.abs(step).max() < SMALL_STEP:
            break
    solved = beta.reshape(classes - 1, size).T
    folded = basis.unfold(solved[:-1], solved[-1])
    zeros = np.zeros((len(folded.weights), 1))
    return Linear(np.hstack([zeros, folded.weights]), np.append(0.0, folded.bias))


def _hessian(rows: Floats, share: Floats, weight: Floats) -> Floats:
    """Second derivatives of the weighted log-loss: one block per pair of classes."""
    classes = share.shape[1]

    def block(i: int, j: int) -> Floats:
        curvature = weight * share[:, i] * ((i == j) - share[:, j])
        return np.asarray(rows.T @ (rows * curvature[:, np.newaxis]))

    return np.block([[block(i, j) for j in range(classes)] for i in range(classes)])


def _softmax(logits: Floats) -> Floats:
    """Probabilities of classes 1.. where class 0 has logit zero."""
    top = np.maximum(logits.max(axis=1, keepdims=True), 0)
    powers = np.exp(logits - top)
    return np.asarray(powers / (powers.sum(axis=1, keepdims=True) + np.exp(-top)))


class _Basis:
    """Standardised features in the space that the rows span: never more dimensions than rows."""

    def __init__(self, features: NDArray[Any]) -> None:
        self._mean = features.astype(np.float64).mean(axis=0)
        self._scale = features.astype(np.float64).std(axis=0) + 1e-3
        u, singular, self._vt = np.linalg.svd((features - self._mean) / self._scale, full_matrices=False)
        keep = singular > singular[0] * 1e-6
        self._vt = self._vt[keep]
        self.rows: Floats = u[:, keep] * singular[keep]
        self.rank = int(keep.sum())

    def unfold(self, solved: Floats, bias: Floats) -> Linear:
        weights = (self._vt.T @ solved) / self._scale[:, np.newaxis]
        return Linear(weights, bias - self._mean @ weights)
