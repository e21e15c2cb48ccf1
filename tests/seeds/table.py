"""The table of calls, clients and tests in ``docs/calls.md``, made of the data that the tests walk.

    python -m tests.seeds.table > docs/calls.md

What a client was tested with is not written down anywhere: it is read off the tests.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.fixtures.places import ROOT
from tests.seeds import data
from tests.seeds.data import SeedCall

E2E = ROOT / "tests" / "e2e"
WALK = "test_seeds"
FORMS = {"v2": "test_v2_form_client", "v3": "test_form_client"}
"""Tests of clients that send forms, by generation; they name a call by the end of its path."""
NOT_RUN = {"java": "Java", "csharp": "C#", "php": "PHP"}
"""Clients that no test runs."""

INTRODUCTION = """\
# Calls, clients, tests

Made by `python -m tests.seeds.table` of what the tests use. `tests/seeds/*.toml` transcribes the vendors' documents,
call by call, parameter by parameter. `test_seeds` (in `tests/contract/`) sends every parameter in a good and a bad form
by plain HTTP and looks for every field in the answer; what it passes over stands in `tests/seeds/missing.toml`.
The official Python and Node clients run unchanged in `tests/e2e/`: behind a method stand the files that call it.
Java, C# and PHP are not run here; the table has their methods' names where we know them. V2 and Linkface are called by
plain forms and multipart.
"""


def markdown() -> str:
    """The whole page."""
    head = ["call", "path", "plain HTTP", "Python", "Node", *NOT_RUN.values()]
    python, node = python_calls(), node_calls()
    names = data.clients()
    rows = [_row(call, names.get(call.name, {}), python, node) for call in data.calls()]
    lines = [_line(head), _line(["---"] * len(head)), *rows]
    return f"{INTRODUCTION}\n" + "\n".join(lines) + "\n"


def python_calls() -> Mapping[str, set[str]]:
    """Names of the tests' files by the method of the official Python client that they call."""
    found: dict[str, set[str]] = {}
    for path in sorted(E2E.glob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        if "aip" in imported or "tests.fixtures.python_sdk" in imported:
            for name in _methods_of_client(tree):
                found.setdefault(name, set()).add(path.stem)
    return found


def node_calls() -> Mapping[str, set[str]]:
    """The same for Node, whose calls are lists that begin with the method's name."""
    found: dict[str, set[str]] = {}
    for path in sorted(E2E.glob("test_*node*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.List) and node.elts and isinstance(node.elts[0], ast.Constant):
                found.setdefault(str(node.elts[0].value), set()).add(path.stem)
    return found


def _methods_of_client(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == "client":
                yield node.func.attr


def _row(call: SeedCall, names: Mapping[str, str], python: Mapping[str, set[str]], node: Mapping[str, set[str]]) -> str:
    clients = [_tested(names.get("python"), python), _tested(names.get("node"), node)]
    others = [f"`{names[name]}`" if name in names else "" for name in NOT_RUN]
    return _line([call.name, f"`{call.path}`", _plainly(call), *clients, *others])


def _plainly(call: SeedCall) -> str:
    """Files of the tests that make the call by plain HTTP."""
    if call.name in data.missing().calls:
        return "not yet answered"
    if call.refused:
        return f"{WALK} (refused)"
    if call.dialect == "linkface":
        return f"{WALK}, test_linkface"
    generation, _, name = call.path.removeprefix("/rest/2.0/face/").partition("/")
    forms = FORMS.get(generation)
    return f"{WALK}, {forms}" if forms and name in _constants(E2E / f"{forms}.py") else WALK


def _constants(path: Path) -> set[object]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}


def _tested(method: str | None, files: Mapping[str, set[str]]) -> str:
    if method is None:
        return ""
    where = ", ".join(sorted(files.get(method, ()))) or "no test"
    return f"`{method}`: {where}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the page."""
    sys.stdout.write(markdown())


if __name__ == "__main__":
    main()
