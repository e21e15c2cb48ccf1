"""The code that stands for a request: it must be valid, whatever an operator types."""

from __future__ import annotations

import ast
import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from service.console import samples

NASTY = "a'b\"c $(touch x) `touch y` \\ \n JSON {0} 中"


def body(**options: object) -> dict[str, object]:
    return {"image": samples.mark(0), "image_type": "BASE64", **options}


def test_python_is_valid_and_names_the_picture() -> None:
    code = samples.python("http://h:1", "7", "key", "addUser", [samples.mark(0), "BASE64", NASTY])
    tree = ast.parse(code)
    (call,) = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _name(node) == "addUser"]
    assert ast.unparse(call.args[0]) == "picture('picture.jpg')"
    assert ast.literal_eval(call.args[2]) == NASTY


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def test_python_names_both_pictures_of_a_match() -> None:
    bodies = [{"image": samples.mark(number), "image_type": "BASE64"} for number in (0, 1)]
    code = samples.python("http://h:1", "7", "key", "match", [bodies])
    assert 'picture("picture.jpg")' in code
    assert 'picture("other.jpg")' in code


def test_the_shell_sends_exactly_the_request(tmp_path: Path) -> None:
    """The part after the pipe is run with ``cat`` in place of curl."""
    (tmp_path / "picture.jpg").write_bytes(b"picture")
    script = samples.curl("http://h:1", "key", "/path", body(user_info=NASTY))
    ast_free = 'curl() { [ "$2" = "http://h:1/oauth/2.0/token" ] && echo \'{"access_token":"24.x"}\' || cat; }\n'
    done = subprocess.run(
        ["bash", "-euc", ast_free + script], cwd=tmp_path, capture_output=True, check=True, timeout=20
    )
    assert json.loads(done.stdout) == {
        "image": base64.b64encode(b"picture").decode(),
        "image_type": "BASE64",
        "user_info": NASTY,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["picture.jpg"]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_node_is_valid(tmp_path: Path) -> None:
    code = samples.node("http://h:1", "7", "key", "addUser", [samples.mark(0), "BASE64", NASTY])
    (tmp_path / "sample.js").write_text(code, encoding="utf-8")
    subprocess.run(["node", "--check", str(tmp_path / "sample.js")], check=True, timeout=20)
