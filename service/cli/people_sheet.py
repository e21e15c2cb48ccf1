"""Draws people that were sorted out of nameless pictures: a row of faces each, the surest and the doubtful ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np

from service.bulk.sorting import THUMBNAIL_SIDE, SortedPicture
from service.cli.common import drawn_privately
from service.values import Image

FACES_A_ROW = 10
ROWS_A_SHEET = 40
MOST_SHEETS = 25
"""A thousand people; the table has all of them."""

_TEXT_WIDTH = 170
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.42
_PAPER, _INK = 250, (30, 30, 30)


def draw(people: Sequence[SortedPicture], names: Sequence[str], folder: Path) -> list[Path]:
    """Write ``people-01.png`` and so on, people of one picture left out; returns what was written.

    ``names`` go with the pictures. Raises ``Failure`` when a file cannot be written.
    """
    named = groupby(zip(people, names, strict=True), key=lambda pair: pair[0].person)
    rows = [_row(own) for _, pairs in named if len(own := list(pairs)) > 1]
    written = []
    for number, start in enumerate(range(0, min(len(rows), ROWS_A_SHEET * MOST_SHEETS), ROWS_A_SHEET), start=1):
        path = folder / f"people-{number:02}.png"
        drawn_privately(path, np.concatenate(rows[start : start + ROWS_A_SHEET]))
        written.append(path)
    return written


def _row(pairs: Sequence[tuple[SortedPicture, str]]) -> Image:
    """A name, how many pictures there are, and some of them: the surest, then the least sure at the right."""
    pictures = [picture for picture, _ in pairs]
    most = FACES_A_ROW // 2
    shown = pictures if len(pictures) <= FACES_A_ROW else [*pictures[:most], *pictures[-most:]]
    text = np.full((THUMBNAIL_SIDE, _TEXT_WIDTH, 3), _PAPER, np.uint8)
    lines = (pairs[0][1], f"{len(pictures)} pictures", f"least sure: {pictures[-1].confidence:.1f}")
    for number, line in enumerate(lines, start=1):
        cv2.putText(text, line, (6, number * 24), _FONT, _FONT_SCALE, _INK, 1, cv2.LINE_AA)
    blank = np.full((THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3), _PAPER, np.uint8)
    faces = [_face(picture.thumbnail, blank) for picture in shown]
    return np.concatenate([text, *faces, *[blank] * (FACES_A_ROW - len(faces))], axis=1)


def _face(thumbnail: bytes, blank: Image) -> Image:
    image = cv2.imdecode(np.frombuffer(thumbnail, np.uint8), cv2.IMREAD_COLOR) if thumbnail else None
    return blank if image is None else np.asarray(image, np.uint8)
