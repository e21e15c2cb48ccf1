"""Weights loaded once for all tests of bulk work."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.parts import Models, load_models
from service.settings import load_settings


@pytest.fixture(scope="session")
def models(model_dir: Path) -> Models:
    return load_models(load_settings(model_dir=model_dir))
