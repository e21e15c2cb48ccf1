"""Every sentence of the pages has its Chinese, and no Chinese is left over."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

from service.console import texts
from service.console.texts import CHINESE

ROOM = Path(texts.__file__).parent
SAID_BY_PROGRAMS = {"weights", "database", "index", "readiness", "model"}
"""Names of checks, which come from elsewhere."""


def of_templates() -> set[str]:
    calls = re.compile(r"""\bt\((?:"([^"]+)"|'([^']+)')""")
    found: set[str] = set()
    for path in (ROOM / "templates").iterdir():
        text = path.read_text(encoding="utf-8")
        found |= {double or single for double, single in calls.findall(text)}
        found |= set(re.findall(r'else t\("([^"]+)"\)', text))
    return found


def of_programs() -> set[str]:
    """Sentences that pages pass to the templates: all that end with a full stop."""
    found: set[str] = set()
    for path in ROOM.glob("*.py"):
        if path.name in {"texts.py", "password.py"}:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        found |= {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and id(node) not in documentation
            and isinstance(node.value, str)
            and re.match(r"[A-Z].* .*\.$", node.value)
        }
    return found


def test_every_sentence_is_translated_and_no_other() -> None:
    said = of_templates() | of_programs() | SAID_BY_PROGRAMS
    assert said - set(CHINESE) == set()
    assert set(CHINESE) - said == set()


def test_translations_have_the_same_parts() -> None:
    for english, chinese in CHINESE.items():
        assert _parts(english) == _parts(chinese)


def _parts(text: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}
