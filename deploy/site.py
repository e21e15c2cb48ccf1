"""MkDocs hooks: the site shows the repository's pages as they are, links included, and loads nothing from elsewhere.

Pages link to one another as they lie in the repository, so that they read well on its host. Those outside ``docs/`` are
mounted under their own path, those in it at the top; links are moved accordingly, and what they name comes along.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs/"
PAGES = (
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "SECURITY.md",
    *sorted(f"models/cards/{p.name}" for p in ROOT.glob("models/cards/*.md")),
)
REST = "Further"

log = logging.getLogger("mkdocs.hooks.site")

_FENCE = re.compile(r"^(```.*?^```|~~~.*?^~~~)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_LOADED = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)[^>]*>")
_STYLE_LOADED = re.compile(r"(?:url\(|@import\s+)[\"']?(?:https?:)?//")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Mount the pages outside ``docs/`` and what pages link to, and settle the navigation."""
    for name in PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    for page in list(files.documentation_pages()):
        for target in _LINK.findall(_FENCE.sub("", page.content_string)):
            place = _place(page.src_uri, target)
            if (
                place
                and not place.startswith(DOCS)
                and (ROOT / place).is_file()
                and not files.get_file_from_path(place)
            ):
                files.append(File.generated(config, place, abs_src_path=str(ROOT / place)))
    names = sorted(page.src_uri for page in files.documentation_pages())
    config.nav = _expanded(config.nav or [], names)
    if rest := [name for name in names if name not in _mentioned(config.nav)]:
        config.nav.append({REST: rest})
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its links as the site has them."""
    del config, files
    parts = _FENCE.split(markdown)
    for number in range(0, len(parts), 2):  # between the fenced blocks
        parts[number] = _LINK.sub(lambda found: _moved(page.file.src_uri, found[1]), parts[number])
    return "".join(parts)


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Warn, which ends a strict build, of a page that a browser would complete from elsewhere."""
    del config
    for address in _LOADED.findall(output):
        log.warning("%s loads %s", page.file.src_uri, address)
    return output


def on_post_build(*, config: MkDocsConfig) -> None:
    """The same of the style sheets."""
    for path in Path(config.site_dir).rglob("*.css"):
        if _STYLE_LOADED.search(path.read_text(encoding="utf-8")):
            log.warning("%s loads something from elsewhere", path.name)


def _repository(uri: str) -> str:
    """Where a page of the site lies in the repository."""
    return uri if (ROOT / uri).is_file() else DOCS + uri


def _place(uri: str, target: str) -> str | None:
    """The path in the repository that a link on a page names, or ``None`` for addresses and anchors."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc or not parts.path:
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(_repository(uri)), parts.path))


def _moved(uri: str, target: str) -> str:
    place = _place(uri, target)
    if place is None:
        return target
    _, hash_sign, anchor = target.partition("#")
    site = place.removeprefix(DOCS)
    return posixpath.relpath(site, posixpath.dirname(uri) or ".") + hash_sign + anchor


def _expanded(entries: list[Any], names: list[str]) -> list[Any]:
    """The navigation with folders (``decisions/``) replaced by their pages."""
    result: list[Any] = []
    for entry in entries:
        if isinstance(entry, dict):
            result.append({k: _expanded(v, names) if isinstance(v, list) else v for k, v in entry.items()})
        elif entry.endswith("/"):
            result.extend(name for name in names if posixpath.dirname(name) == entry.rstrip("/"))
        else:
            result.append(entry)
    return result


def _mentioned(entries: list[Any]) -> set[str]:
    """Every page that the navigation names."""
    found: set[str] = set()
    for entry in entries:
        values = entry.values() if isinstance(entry, dict) else [entry]
        for value in values:
            found |= _mentioned(value) if isinstance(value, list) else {value}
    return found
