"""The reference clients that seal pictures, and the commands for the keys, against a server in a process of its own."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.fixtures.node import NodeSdk
from tests.fixtures.pictures import Pictures
from tests.fixtures.places import ROOT
from tests.fixtures.server import Credentials, LiveServer

EXAMPLES = ROOT / "examples"


def answer_of(program: list[str], server: LiveServer, keys: Credentials, pictures: Pictures) -> dict[str, Any]:
    paths = [str(pictures.path(name)) for name in ("obama.jpg", "obama2.jpg")]
    done = subprocess.run(
        [*program, server.base_url, keys.api_key, keys.secret_key, *paths],
        env={"PATH": os.environ["PATH"], "NO_PROXY": "*", "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check(answer: dict[str, Any], pictures: Pictures, level: str, tags: list[str]) -> None:
    assert answer["error_code"] == 0, answer
    assert len(answer["result"]["face_list"]) == 2
    assert [base64.b64decode(image) for image in answer["dec_image"]] == [
        pictures.bytes(name) for name in ("obama.jpg", "obama2.jpg")
    ]
    assert (answer["risk_level"], answer["risk_tag"]) == (level, tags)


def test_python(server: LiveServer, pictures: Pictures) -> None:
    keys, program = server.home.create_app("python"), [sys.executable, str(EXAMPLES / "capture_envelope.py")]
    check(answer_of(program, server, keys, pictures), pictures, "3", [])
    check(answer_of(program, server, keys, pictures), pictures, "3", ["picture_repeated"])


def test_node(server: LiveServer, pictures: Pictures, node_sdk: NodeSdk) -> None:
    keys, program = server.home.create_app("node"), [node_sdk.node, str(EXAMPLES / "capture_envelope.mjs")]
    check(answer_of(program, server, keys, pictures), pictures, "3", [])


@pytest.mark.parametrize("name", ["capture_envelope.py", "capture_envelope.mjs"])
def test_the_clients_stay_short(name: str) -> None:
    assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) <= 70


def test_commands_for_the_keys(server: LiveServer) -> None:
    app_id = server.home.create_app("keys").app_id

    def kids(*words: str) -> set[str]:
        done = server.home.run("app", "envelope-key", *words)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["keys"]
        assert not any({"d", "p", "q"} & key.keys() for key in found)
        return {key["kid"] for key in found}

    first = kids("show", app_id)
    assert len(first) == 2
    assert kids("show", app_id) == first
    second = kids("rotate", app_id)
    assert not first & second
    assert not second & kids("rotate", app_id, "--at-once")
    unknown = server.home.run("app", "envelope-key", "show", "1")
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("aipface: there is no app 1")
