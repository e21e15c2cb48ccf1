"""Fixtures for the tests of packs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.models.small_packs import SmallPack, make_small_pack


@pytest.fixture
def small_pack(tmp_path: Path) -> SmallPack:
    """A pack of two small graphs in a folder of the operator."""
    return make_small_pack(tmp_path)
