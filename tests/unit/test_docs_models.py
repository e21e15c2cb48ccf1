"""What pages say of packs is what the manifests say: how much is downloaded, which cards and licences there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.manifest import available_packs, load_pack
from models.specs import PackManifest
from tests.fixtures.documents import read
from tests.fixtures.places import ROOT

MODEL_CARDS = ROOT / "docs" / "model-cards.md"
CARDS = ROOT / "models" / "cards"


def downloaded(pack: PackManifest) -> float:
    """Megabytes of the archives that the files of a pack lie in."""
    return sum(source.size or 0 for source in {file.source for file in pack.files.values()}) / 1e6


def kept(pack: PackManifest, model_dir: Path) -> float:
    """Megabytes of its files."""
    return sum(file.path(model_dir).stat().st_size for file in pack.files.values()) / 1e6


@pytest.mark.parametrize("name", ["Dockerfile", "docs/quickstart.md", "docs/zh/quickstart.md"])
def test_pages_tell_what_the_default_pack_takes(name: str, model_dir: Path) -> None:
    core = load_pack("core")
    told = re.findall(r"\b(\d+) MB", (ROOT / name).read_text(encoding="utf-8"))
    assert set(told) == {f"{downloaded(core):.0f}", f"{kept(core, model_dir):.0f}"}


def test_the_card_of_light_tells_what_it_saves(model_dir: Path) -> None:
    core, light = load_pack("core"), load_pack("light")
    fewer = downloaded(core) - downloaded(light)
    smaller = kept(core, model_dir) - kept(light, model_dir)
    text = (CARDS / "light-embedder.md").read_text(encoding="utf-8")
    assert f"fetches {fewer:.0f} MB less and keeps {smaller:.0f} MB less" in text


def test_every_card_is_listed() -> None:
    listed = {Path(link).name for link in read(MODEL_CARDS).links if link.startswith("../models/cards/")}
    assert listed == {card.name for card in CARDS.glob("*.md")}


def test_every_pack_is_listed_with_what_its_licence_allows() -> None:
    rows = [line for line in MODEL_CARDS.read_text(encoding="utf-8").splitlines() if re.match(r"\| `", line)]
    allowed = {name: "| yes |" in row for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert allowed == {name: load_pack(name).commercial for name in available_packs()}


def test_files_that_the_operator_has_to_supply_are_named() -> None:
    text = MODEL_CARDS.read_text(encoding="utf-8")
    files = [file for name in available_packs() for file in load_pack(name).files.values()]
    supplied = {Path(file.member).name for file in files if file.source.kind == "dir"}
    assert supplied
    assert {name for name in supplied if f"`{name}`" not in text} == set()
