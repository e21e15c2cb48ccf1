"""A register in a database of the test's own, and recognition with the real weights."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from models.fetch import ensure
from models.manifest import load_pack
from service.access.keys import Keyring
from service.identity.register import Register
from service.inference.admission import Admission
from service.inference.engine import Engine
from service.inference.providers import providers_for
from service.intake.intake import Intake
from service.intake.memory import FaceMemory
from service.storage.engine import Database


@pytest.fixture(scope="session")
def engine(model_dir: Path) -> Engine:
    """The networks of the default pack."""
    pack = load_pack("core")
    return Engine(pack, ensure(pack, model_dir, offline=True), providers_for("cpu"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Migrated and empty."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def keyring() -> Keyring:
    """One master key."""
    return Keyring(b"k" * 32)


@pytest.fixture
def register(database: Database, keyring: Keyring) -> Register:
    """Nobody is in it."""
    return Register(database, keyring)


@pytest.fixture
def intake(engine: Engine, database: Database, keyring: Keyring) -> Intake:
    """What reads pictures."""
    return reading(engine, database, keyring)


@pytest.fixture(scope="module")
def looker(engine: Engine, postgres_url: str) -> Iterator[Intake]:
    """What reads pictures, for tests that write nothing."""
    database = Database(postgres_url)
    yield reading(engine, database, Keyring(b"k" * 32))
    database.close()


def reading(engine: Engine, database: Database, keyring: Keyring) -> Intake:
    def download(_: str) -> bytes:
        raise AssertionError("nothing is downloaded here")

    admission = Admission(2, 8)
    return Intake(
        engine=engine,
        reporter=None,
        admission=admission,
        memory=FaceMemory(database, admission, timedelta(minutes=1)),
        keyring=keyring,
        download=download,
        max_picture_bytes=2**20,
        max_picture_pixels=10_000_000,
    )
