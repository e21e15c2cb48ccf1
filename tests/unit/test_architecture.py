"""Rules that the import contracts of pyproject.toml cannot say by themselves, and that they are complete."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.places import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_LINES = 400
SOURCES = sorted(path for folder in ("service", "models") for path in (ROOT / folder).rglob("*.py"))


ROOMS_OF_ONE_APP = ("bulk", "capture", "intake", "library", "recognition")
"""What they do is done for one app and acts for it (``service.storage.guard``), with these exceptions."""
FOR_ALL_APPS = {
    "bulk/reembedding.py": {"coverage", "_batch", "tidied"},  # the library of all apps moves
    "intake/memory.py": {"_others_run"},  # whether other servers run
    "library/apps.py": {"create", "list", "rotate", "set_enabled", "secret"},
    "library/audit.py": {
        *("record", "_append", "purge", "_dropped", "reseal"),
        *("latest", "states", "_state", "entries", "verify"),
    },
    "library/backup.py": {"write"},
    "library/disclosure.py": {"_told"},  # acting for one app it could not use the index
    "library/erasure.py": {"app"},  # deletes the app itself
    "library/portions.py": {"_ask"},  # quotas are let through and counted for all
    "library/quotas.py": {"set_limits"},  # changes the app itself
}


@pytest.fixture(scope="module")
def contracts() -> list[dict[str, Any]]:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = content["tool"]["importlinter"]["contracts"]
    return found


def packages(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob("*/__init__.py")}


def test_every_room_has_its_place_in_the_direction(contracts: list[dict[str, Any]]) -> None:
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    named = {room.strip("() ") for layer in layers for room in layer.split("|")}
    modules = {path.stem for path in (ROOT / "service").glob("*.py")} - {"__init__"}
    assert named >= {f"service.{room}" for room in packages(ROOT / "service") | modules}


def test_every_generation_of_the_api_is_kept_apart(contracts: list[dict[str, Any]]) -> None:
    (independent,) = [contract["modules"] for contract in contracts if contract["type"] == "independence"]
    assert set(independent) == {f"service.api.{name}" for name in packages(ROOT / "service" / "api")}


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_no_file_grows_beyond_a_room(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_the_environment_is_read_by_the_settings_alone(path: Path) -> None:
    """Starting another program with our environment (``{**os.environ, ...}``) is not reading it.

    Nor is telling libraries what they ask it for, or keeping it from them.
    """
    if path.name == "settings.py":
        return
    text = path.read_text(encoding="utf-8").replace("**os.environ", "")
    text = re.sub(r"\bos\.environ\.(setdefault|pop)\(", "", text)
    assert "os.environ" not in text
    assert "os.getenv" not in text


def acting_for_all(path: Path) -> Iterator[str]:
    """Functions that read, or change, what belongs to all apps: ``read()`` or ``admin()`` names no app."""
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(function, ast.FunctionDef):
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and not call.args and isinstance(call.func, ast.Attribute):
                    holder = ast.unparse(call.func.value)
                    if call.func.attr in ("read", "admin") and holder.endswith("database"):
                        yield function.name


@pytest.mark.parametrize("room", ROOMS_OF_ONE_APP)
def test_work_for_one_app_names_it_to_the_database(room: str) -> None:
    folder = ROOT / "service"
    found = {path.relative_to(folder).as_posix(): set(acting_for_all(path)) for path in (folder / room).rglob("*.py")}
    expected = {path: functions for path, functions in FOR_ALL_APPS.items() if path.startswith(f"{room}/")}
    assert {path: functions for path, functions in found.items() if functions} == expected
