"""What was fetched and converted, written beside the files so that the next start need not do it again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

RECORD_NAME = "fetched.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: SHA-256 as published and as served, and what turned the one into the other."""

    source_sha256: str
    sha256: str
    convert: tuple[str, ...]
    converter: str


def load_record(folder: Path) -> dict[str, Entry]:
    """Entries by file name; none when there is no record or it cannot be understood, which means fetching again."""
    try:
        content = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            return {}
        return {
            name: Entry(item["source_sha256"], item["sha256"], tuple(item["convert"]), item["converter"])
            for name, item in content["files"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def save_record(folder: Path, entries: Mapping[str, Entry]) -> None:
    """Replace the record as a whole; a reader sees the old or the new one."""
    content = {"format": FORMAT, "files": {name: asdict(entry) for name, entry in sorted(entries.items())}}
    draft = folder / f".{RECORD_NAME}.{os.getpid()}"
    draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    draft.replace(folder / RECORD_NAME)
