"""Fixtures for all tests live in ``tests/fixtures``; the caller's settings are kept away from the tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests.fixtures.places import forget_settings

pytest_plugins = [
    "tests.fixtures.weights",
    "tests.fixtures.pictures",
    "tests.fixtures.server",
    "tests.fixtures.node",
    "tests.fixtures.postgres",
    "tests.fixtures.files",
    "tests.fixtures.python_sdk",
    "tests.fixtures.torture",
]

forget_settings()

# One runtime for all tests, so that none begins with a measurement: what measures says otherwise.
os.environ["AIPFACE_DEVICE"] = "cpu"

# FAISS's threads wait for each other actively, which on a busy machine takes many times the time of the work.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine fails no test: nothing timed is asserted.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``make torture`` runs experiments with this option; without it the same ones are short."""
    parser.addoption("--torture", action="store_true", help="run experiments in their long form")
    parser.addoption("--replica-seconds", type=float, help="how long tests/e2e/test_replicas.py runs")
