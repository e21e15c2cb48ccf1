"""Browsers of the console: one that has never been here, and the operator's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.app import Service
from service.console.password import FILE
from tests.contract.console.visits import PASSWORD, login


@pytest.fixture(scope="module", autouse=True)
def password_file(service: Service) -> Iterator[Path]:
    """The password is set once for all tests here: hashing it is meant to be slow."""
    service.operator.password.set(PASSWORD)
    yield service.settings.home / FILE
    service.operator.password.remove()


@pytest.fixture
def password_restored(password_file: Path) -> Iterator[None]:
    """Puts the file back after a test that changed it."""
    content = password_file.read_bytes()
    yield
    password_file.write_bytes(content)


@pytest.fixture
def visitor(http: httpx.Client) -> Iterator[httpx.Client]:
    """A browser that has never been here."""
    with httpx.Client(base_url=http.base_url.join("/console"), timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def operator(http: httpx.Client, password_file: Path) -> Iterator[httpx.Client]:
    """A browser that has logged in."""
    assert password_file.exists()
    with httpx.Client(base_url=http.base_url.join("/console"), timeout=60, trust_env=False) as client:
        assert login(client, PASSWORD).status_code == 303
        yield client
