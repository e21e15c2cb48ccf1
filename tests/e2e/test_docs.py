"""Marked blocks of the quick start, and the README's session, are run as a reader would, against a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.documents import RUN, Block, documents
from tests.fixtures.node import NodeSdk
from tests.fixtures.pictures import Pictures
from tests.fixtures.places import ROOT
from tests.fixtures.server import LiveServer

ADDRESS = "http://127.0.0.1:8000"
SECONDS = 120
OWN = {"face_token", "log_id", "timestamp"}
"""Fields that are others at every run."""
NEAR = 3.0
"""Pixels, degrees, years and points: processors, and precisions, differ by less."""


def marked(page: str) -> list[Block]:
    return [
        block for document in documents() if document.name == page for block in document.blocks if block.mark == RUN
    ]


@pytest.fixture
def reader(server: LiveServer, pictures: Pictures, tmp_path: Path) -> dict[str, str]:
    """A folder with two photographs of one person, and a shell's variables with the keys of an app of its own."""
    shutil.copy(pictures.path("obama.jpg"), tmp_path / "me.jpg")
    shutil.copy(pictures.path("obama2.jpg"), tmp_path / "me-too.jpg")
    keys = server.home.create_app("reader")
    return {
        **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        "APP_ID": keys.app_id,
        "API_KEY": keys.api_key,
        "SECRET_KEY": keys.secret_key,
        "NO_PROXY": "*",
        "PYTHONPATH": str(ROOT),
    }


def run(block: Block, folder: Path, server: LiveServer, variables: dict[str, str]) -> str:
    """What a block prints when the address in it is the server's."""
    assert ADDRESS in block.text
    program = ["bash", "-euo", "pipefail"] if block.language == "bash" else [sys.executable]
    script = folder / "block"
    script.write_text(block.text.replace(ADDRESS, server.base_url), encoding="utf-8")
    done = subprocess.run(
        [*program, str(script)], cwd=folder, env=variables, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="no curl or no bash")
@pytest.mark.parametrize("page", ["docs/quickstart.md"])
def test_the_quick_start(page: str, server: LiveServer, reader: dict[str, str], tmp_path: Path) -> None:
    shell, python = marked(page)
    detected = run(shell, tmp_path, server, reader)
    assert '"error_code":0' in detected
    assert '"age":' in detected
    enrolled, found = run(python, tmp_path, server, reader).splitlines()
    assert "'error_code': 0" in enrolled
    assert "'user_id': 'me'" in found


def recorded(text: str) -> list[Any]:
    """JSON documents that stand one behind the other."""
    decoder, answers = json.JSONDecoder(), []
    while text := text.strip():
        answer, end = decoder.raw_decode(text)
        answers.append(answer)
        text = text[end:]
    return answers


def differences(told: Any, given: Any, place: str = "") -> list[str]:
    """Where an answer is not what the page tells; numbers may be near it."""
    if isinstance(told, dict) and isinstance(given, dict) and told.keys() == given.keys():
        return [each for name in told.keys() - OWN for each in differences(told[name], given[name], f"{place}.{name}")]
    if isinstance(told, list) and isinstance(given, list) and len(told) == len(given):
        pairs = enumerate(zip(told, given, strict=True))
        return [each for index, (one, other) in pairs for each in differences(one, other, f"{place}.{index}")]
    if isinstance(told, int | float) and isinstance(given, int | float) and not place.endswith("error_code"):
        return [] if abs(told - given) <= NEAR else [f"{place}: {told}, {given}"]
    return [] if told == given else [f"{place}: {told}, {given}"]


def test_the_session_of_the_readme(
    server: LiveServer, reader: dict[str, str], pictures: Pictures, tmp_path: Path
) -> None:
    """Its four calls get the answers that are printed below them."""
    for name in ("obama.jpg", "obama2.jpg", "biden.jpg"):
        shutil.copy(pictures.path(name), tmp_path / name)
    (readme,) = [document for document in documents() if document.name == "README.md"]
    python, answers = [block for block in readme.blocks if block.language in {"python", "json"}]
    names = "app_id, api_key, secret_key = (os.environ[name] for name in ('APP_ID', 'API_KEY', 'SECRET_KEY'))"
    calls, count = re.subn(r"^client\..*$", r"print(json.dumps(\g<0>))", python.text, flags=re.MULTILINE)
    session = Block(python.language, f"import json, os\n{names}\n{calls}", python.mark)
    given = [json.loads(line) for line in run(session, tmp_path, server, reader).splitlines()]
    told = recorded(answers.text)
    assert len(told) == len(given) == count == 4
    envelope = told[0].keys() - {"error_code", "result"}
    for one, other in zip(told[1:], given[1:], strict=True):
        for name in envelope - one.keys():
            del other[name]
    assert differences(told, given) == []


def test_javascript_of_the_pages_parses(node_sdk: NodeSdk, tmp_path: Path) -> None:
    blocks = [block for document in documents() for block in document.blocks if block.language == "js"]
    assert blocks
    for number, block in enumerate(blocks):
        file = tmp_path / f"{number}.js"
        file.write_text(block.text, encoding="utf-8")
        done = subprocess.run([node_sdk.node, "--check", str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
