"""Pages hang together: links lead somewhere, snippets parse, messages that are quoted are those of the program."""

from __future__ import annotations

import ast
import functools
import json
import posixpath
import re
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from service.settings import Settings
from tests.fixtures.documents import COMPILE, RUN, Block, Document, documents, read
from tests.fixtures.places import ROOT

TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
LANGUAGES = {"", "bash", "python", "js", "json", "yaml", "toml"}


def dead(document: Document, link: str) -> str | None:
    """Why a link of a page leads nowhere in the repository, or ``None``. Other sites are not asked."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None if parts.scheme in {"http", "https"} else f"{link}: no scheme of the web"
    folder = posixpath.dirname(document.name)
    target = ROOT / posixpath.normpath(posixpath.join(folder, unquote(parts.path))) if parts.path else document.path
    if not target.exists() or ROOT not in (target, *target.parents):
        return f"{link}: not there"
    if parts.fragment and unquote(parts.fragment) not in read(target).anchors:
        return f"{link}: no such heading"
    return None


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_links_lead_somewhere(document: Document) -> None:
    assert [found for link in document.links if (found := dead(document, link))] == []


def test_dead_links_are_found() -> None:
    page = read(TROUBLESHOOTING)
    assert [
        bool(dead(page, link)) for link in ("settings.md", "#it-is-slow", "settings.md#nowhere", "gone.md", "x:y")
    ] == [
        *(False, False),
        *(True, True, True),
    ]


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_snippets_parse(document: Document) -> None:
    for block in document.blocks:
        assert block.language in LANGUAGES, block.language
        parse(block)


def parse(block: Block) -> None:
    """Raise what the language's parser raises; several JSON documents may follow one another."""
    if block.language == "python":
        ast.parse(block.text)
    elif block.language == "yaml":
        yaml.safe_load(block.text)
    elif block.language == "json":
        decoder, rest = json.JSONDecoder(), block.text.strip()
        while rest:
            _, end = decoder.raw_decode(rest)
            rest = rest[end:].strip()


def test_marks_stand_above_what_can_be_run() -> None:
    marked = [block for document in documents() for block in document.blocks if block.mark in {RUN, COMPILE}]
    assert len(marked) >= 4
    assert {block.language for block in marked} <= {"bash", "python"}


@functools.cache
def texts_of_the_program() -> str:
    """Every constant piece of text in the sources, one a line."""
    files = [path for folder in ("service", "models") for path in (ROOT / folder).rglob("*.py")]
    nodes = (node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def quoted_messages() -> list[str]:
    """First cells of the tables whose first column is called "message", and what else has a part that varies."""
    text, inside = TROUBLESHOOTING.read_text(encoding="utf-8"), False
    found = {span: None for span in re.findall(r"`([^`]+)`", text) if "…" in span and span != "…"}
    for line in text.splitlines():
        inside = line.startswith("| message") or (inside and line.startswith("|"))
        if inside and (message := re.match(r"\| `([^`]+)`", line)):
            found[message[1]] = None
    return list(found)


@pytest.mark.parametrize("message", quoted_messages())
def test_quoted_messages_are_the_programs(message: str) -> None:
    """Between the parts that vary (…) stands what the source says, to the letter."""
    if re.match(r"setting \w+ \(AIPFACE_\w+\)", message):
        assert message.split()[1] in Settings.model_fields
        return
    for piece in (each.strip() for each in message.split("…")):
        assert piece in texts_of_the_program(), piece


def test_messages_are_quoted() -> None:
    assert len(quoted_messages()) > 35


def names_of_settings(text: str) -> set[str]:
    return set(re.findall(r"\bAIPFACE_[A-Z_]+\b(?!_?\*)", text))


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_settings_that_pages_name_exist(document: Document) -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    known = (
        {f"AIPFACE_{name.upper()}" for name in Settings.model_fields} | names_of_settings(compose) | {"AIPFACE_CONFIG"}
    )
    named = names_of_settings(document.path.read_text(encoding="utf-8"))
    assert {name for name in named if not name.endswith("_")} - known == set()


def test_the_page_on_containers_names_every_profile_and_variable() -> None:
    text = (ROOT / "docs" / "containers.md").read_text(encoding="utf-8")
    source = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    services: dict[str, Any] = yaml.safe_load(source)["services"]
    profiles = {name for service in services.values() for name in service.get("profiles", ())}
    assert profiles == {"cpu", "gpu", "milvus", "tls", "monitoring", "copy"}
    assert {name for name in profiles if f"| `{name}` |" not in text} == set()
    variables = set(re.findall(r"\$\{(AIPFACE_\w+)", source))
    assert {name for name in variables if f"`{name}`" not in text} == set()


def test_the_quick_starts_say_the_same() -> None:
    """The Chinese one has every marked block of the English one, comments and texts apart, and more commands."""
    english, chinese = (
        [
            re.sub(r"#.*|\"user_info\": \".*?\"", "", block.text)
            for block in read(ROOT / "docs" / name).blocks
            if block.mark == RUN
        ]
        for name in ("quickstart.md", "zh/quickstart.md")
    )
    assert english == chinese
