"""The calls of the four documents and of the SDKs, as the TOML files beside this module transcribe them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
DOCUMENTS = ("v3_v4_sdk", "v4_picture_liveness", "v2_library", "linkface", "sdk")
"""Files of calls, in the order of the table."""

Codes = tuple["int | str", ...]


@dataclass(frozen=True)
class Parameter:
    """One parameter: values that are taken, one that is refused, with the codes that may refuse it.

    ``ignored`` says why no value is refused, ``missing`` is the code when a required one is left out (``None``: the
    generation's own), ``instead`` the parameter whose place it takes, for only one of them is sent.
    """

    name: str
    valid: object
    invalid: object = None
    codes: Codes = ()
    ignored: str = ""
    required: bool = False
    also: tuple[object, ...] = ()
    missing: int | str | None = None
    instead: str | None = None


@dataclass(frozen=True)
class SeedCall:
    """One call as its document has it.

    ``dialect`` is the generation's way of speaking (v1, v2, v3, linkface), ``pictures`` the number of entries where the
    body is a list of pictures, ``answers`` the fields of an answer as dotted paths that pass through lists, ``never``
    the fields that cannot come up here with the reason, ``refused`` the code that answers the call in any case.
    """

    name: str
    path: str
    document: str
    dialect: str
    parameters: tuple[Parameter, ...]
    answers: tuple[str, ...]
    never: Mapping[str, str]
    methods: tuple[str, ...] = ("POST",)
    json: bool = True
    pictures: int = 0
    refused: int | None = None

    def parameter(self, name: str) -> Parameter:
        return next(each for each in self.parameters if each.name == name)

    @property
    def required(self) -> tuple[Parameter, ...]:
        return tuple(each for each in self.parameters if each.required)


@dataclass(frozen=True)
class Missing:
    """What is not answered yet: calls, (call, parameter) and (call, field)."""

    calls: frozenset[str]
    parameters: frozenset[tuple[str, str]]
    answers: frozenset[tuple[str, str]]


def calls() -> tuple[SeedCall, ...]:
    """Every call, in the order of the documents."""
    common = _read("common")
    return tuple(call for document in DOCUMENTS for call in _calls(_read(document), common))


def clients() -> Mapping[str, Mapping[str, str]]:
    """Names of the SDKs' methods by call and client."""
    return _read("clients")


def missing() -> Missing:
    """What the walk passes over."""
    content = _read("missing")
    return Missing(frozenset(content["calls"]), _pairs(content["parameters"]), _pairs(content["answers"]))


def codes() -> Mapping[str, Mapping[str, Any]]:
    """Of ``v3`` and ``v2`` the texts by code, of ``linkface`` the HTTP codes by status."""
    return _read("codes")


def _pairs(lines: Iterable[str]) -> frozenset[tuple[str, str]]:
    return frozenset((call, name) for call, _, name in (line.rpartition(" ") for line in lines))


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def _calls(document: Mapping[str, Any], common: Mapping[str, Any]) -> Iterable[SeedCall]:
    shared = {**common["parameters"], **document.get("parameters", {})}
    for call in document["call"]:
        dialect = call.get("dialect", document.get("dialect", "v3"))
        # A call's own line wins over a shared one of the same name.
        lines = [*(line for name in call.get("use", ()) for line in shared[name]), *call.get("parameters", ())]
        yield SeedCall(
            name=call["name"],
            path=call["path"],
            document=document["document"],
            dialect=dialect,
            parameters=tuple(_parameter(line) for line in {line["name"]: line for line in lines}.values()),
            answers=tuple(dict.fromkeys(_paths(call.get("answers", ()), common["answers"], ""))),
            never=call.get("never", {}),
            methods=tuple(call.get("methods", ("POST",))),
            json=call.get("body") == "json" or dialect != "v2",
            pictures=call.get("list", 0),
            refused=call.get("refused"),
        )


def _parameter(line: Mapping[str, Any]) -> Parameter:
    if ("code" in line) == ("ignored" in line):
        raise ValueError(f"{line['name']} needs a code that refuses it, or a reason why none does")
    code = line.get("code", [])
    return Parameter(
        name=line["name"],
        valid=line["valid"],
        invalid=line.get("invalid"),
        ignored=line.get("ignored", ""),
        codes=tuple(code) if isinstance(code, list) else (code,),
        required=line.get("required", False),
        also=tuple(line.get("also", ())),
        missing=line.get("missing"),
        instead=line.get("instead"),
    )


def _paths(entries: Iterable[Any], sets: Mapping[str, Any], under: str) -> Iterable[str]:
    """Dotted paths; an entry that names a set stands for its paths, below ``under``."""
    for entry in entries:
        if isinstance(entry, str):
            yield f"{under}.{entry}" if under else entry
        else:
            below = ".".join(part for part in (under, entry["under"]) if part)
            yield from _paths(sets[entry["set"]], sets, below)
