"""What the page on sizing says that a face takes is what the index takes."""

from __future__ import annotations

import re

import numpy as np
import pytest

from service.search.codec import Codec
from service.search.protocol import Faces
from service.search.segment import Segment
from tests.fixtures.places import ROOT

ROWS = 20_480
"""A multiple of what codes are padded to."""


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")


def bytes_of_a_face(dimension: int) -> int:
    """Of a segment that is searched by codes."""
    embeddings = np.random.default_rng(1).standard_normal((ROWS, dimension)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    segment = Segment(Faces(np.arange(ROWS), np.arange(ROWS), embeddings))
    segment.code(Codec(embeddings[:4096], ROWS), 0, ROWS)
    assert segment.codec is not None
    assert segment.nbytes() % ROWS == 0
    return segment.nbytes() // ROWS


def test_the_table_of_memory_counts_what_the_index_holds(page: str) -> None:
    row = re.findall(r"^\| 1 million \| 10⁶ × .*", page, re.MULTILINE)[0]
    told = [int(number.replace(",", "")) for number in re.findall(r"([\d,]+) B", row)]
    assert told == [2 * 192, bytes_of_a_face(192), 2 * 512, bytes_of_a_face(512)]


def test_the_parts_of_a_face_add_up(page: str) -> None:
    code, numbers = (int(found) for found in re.findall(r"^- (\d+) bytes: ", page, re.MULTILINE))
    assert bytes_of_a_face(192) == 2 * 192 + code + numbers
