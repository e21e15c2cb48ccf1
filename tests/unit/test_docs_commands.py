"""Every ``aipface`` command line of the documentation is one that the program understands."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from service.cli.main import application
from tests.fixtures.documents import Document, documents, read
from tests.fixtures.places import ROOT

COMMENT = re.compile(r"\s#\s.*$")
ENDS = re.compile(r"\s(?:\||&&|;|>|<|2>)\s?.*$")
"""Where one command ends and something of the shell begins."""

BEFORE = re.compile(r"(?:[A-Z_]+=\S+ ?)*|\S+/bin|(?:docker compose|\S+ &&|\$) .*")
"""What may stand in front of a command: variables, the folder of the program, a container to run it in."""

IN_A_CONTAINER = re.compile(
    r"docker compose (?:--profile \S+ )*run (?:(?:--rm|-T|--no-deps|-v \S+) )*(?:server[a-z-]* |(?=copy ))(.*)"
)
"""A container made for one command, of which nothing names the program: its image begins with that."""

LABEL = re.compile(r".* v\d+")
"""Labels of derived keys begin like a command and are none."""


@functools.cache
def program() -> Any:
    """The root of all commands, in the form that parses."""
    return typer.main.get_command(application)


def command_lines(document: Document) -> Iterator[str]:
    """What follows ``aipface`` in blocks of code and code spans, without comments and what the shell does with it."""
    blocks = [line for block in document.blocks for line in re.sub(r"\\\n\s*", " ", block.text).splitlines()]
    for text in (each.strip() for each in (*blocks, *document.spans)):
        if contained := IN_A_CONTAINER.search(text):
            yield ENDS.sub("", COMMENT.sub("", contained[1])).strip()
            continue
        found = re.search(r"(?:^|(?<=[\s/]))aipface (?=[a-z])(.*)", text)
        if found and BEFORE.fullmatch(text[: found.start()].rstrip("/ ")) and not LABEL.fullmatch(text):
            yield ENDS.sub("", COMMENT.sub("", found[1])).strip()


def problem(line: str) -> str | None:
    """Why the program would not understand, or ``None``. Values and missing arguments are not looked at."""
    command = program()
    context = command.make_context("aipface", [], resilient_parsing=True)
    words = shlex.split(re.sub(r"\[(--?[^\]]*)\]", r"\1", line))
    while hasattr(command, "commands"):
        if not words:
            return None  # a group of commands that is spoken of
        names = words.pop(0).split("|")
        if unknown := set(names) - set(command.commands):
            return f"aipface {line}: there is no {unknown}"
        command = command.commands[names[0]]
        context = command.context_class(command, info_name=names[0], parent=context)
    try:
        _, rest, _ = command.make_parser(context).parse_args(words)
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's errors have it, wherever typer keeps its click
            raise
        return f"aipface {line}: {error.format_message()}"
    return f"aipface {line}: {rest} is too much" if rest else None


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_the_program_understands(document: Document) -> None:
    assert [found for line in command_lines(document) if (found := problem(line))] == []


def test_there_are_commands_to_check() -> None:
    assert sum(1 for document in documents() for _ in command_lines(document)) > 150
    contained = [line for line in command_lines(read(ROOT / "docs" / "containers.md")) if line.startswith("restore -")]
    assert len(contained) >= 4  # of containers made for them


@pytest.mark.parametrize("line", ["serve --prot 1", "serv", "app quota A B", "tls init --name", "app crate x"])
def test_what_it_does_not_understand_is_found(line: str) -> None:
    assert problem(line)


def test_every_command_is_documented() -> None:
    text = " ".join(document.path.read_text(encoding="utf-8") for document in documents())
    assert [name for name in program().commands if f"aipface {name}" not in text] == []
