"""Every model card says where the weights come from, under which licence, what they measured and where they fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.manifest import ROOT, available_packs, load_pack

CARDS = sorted(card for card in (ROOT / "cards").glob("*.md") if card.stem != "quality")
"""``quality.md`` tells formulas that have no weights."""

SECTIONS = {
    "source": ("| from |", "| file |", "| networks |", "| parts |"),
    "licence": ("| licence |",),
    "test data": ("| trained on |", "| fitted on |"),
    "figure": ("**Measured",),
    "limits": ("**Limits",),
}
"""What a card must hold, and the ways in which it may be marked."""


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.stem)
def test_a_card_has_its_sections(card: Path) -> None:
    text = card.read_text(encoding="utf-8")
    missing = [section for section, marks in SECTIONS.items() if not any(mark in text for mark in marks)]
    assert not missing
    figures = text[text.index("**Measured") :]
    assert any(character.isdigit() for character in figures) or "No annotated" in figures or "See `" in figures


@pytest.mark.parametrize("pack", available_packs())
def test_the_weights_of_a_pack_that_are_converted_have_a_card(pack: str) -> None:
    files = [file for file in load_pack(pack).files.values() if file.convert]
    assert {file.card for file in files} <= {card.name for card in CARDS}
