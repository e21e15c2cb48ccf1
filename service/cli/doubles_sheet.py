"""Draws suspicious pairs of faces side by side, so that a person can judge them at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from service.bulk.doubles import NamedPair, Suspicion
from service.cli.common import drawn_privately
from service.storage.engine import Database
from service.values import Image

MOST_DRAWN = 60
_SIDE = 160
_TEXT_HEIGHT = 58
_COLUMNS = 3
_GAP = 12
_LETTERS = 38
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.42
_PAPER, _INK, _GRAY = (250, 250, 250), (30, 30, 30), (200, 200, 200)
_TITLES = {Suspicion.SAME_PERSON: "one person, two ids?", Suspicion.TWO_PEOPLE: "two people, one id?"}


def draw(pairs: Sequence[NamedPair], database: Database, path: Path) -> None:
    """Write a PNG of the first pairs of each kind; a face whose crop was not kept is a gray square.

    Raises ``Failure`` when the file cannot be written.
    """
    kinds = [[named for named in pairs if named.pair.suspicion is kind] for kind in Suspicion]
    chosen = [named for kind in kinds for named in kind[: MOST_DRAWN // len(kinds)]]
    with database.read() as reader:
        portraits = reader.faces.portraits([pk for named in chosen for pk in named.pair.face_pks])
    drawn_privately(path, sheet(chosen, portraits))


def sheet(pairs: Sequence[NamedPair], portraits: Mapping[int, bytes]) -> Image:
    """The pairs in rows of three, BGR. ``portraits``: JPEG files by the faces' numbers."""
    cards = [_card(named, portraits) for named in pairs]
    blank = np.full_like(cards[0], _PAPER[0])
    cards += [blank] * (-len(cards) % _COLUMNS)
    rows = [np.concatenate(cards[start : start + _COLUMNS], axis=1) for start in range(0, len(cards), _COLUMNS)]
    return np.concatenate(rows)


def _card(named: NamedPair, portraits: Mapping[int, bytes]) -> Image:
    first, second = named.users
    faces = np.concatenate([_face(portraits.get(pk)) for pk in named.pair.face_pks], axis=1)
    text = np.full((_TEXT_HEIGHT, faces.shape[1], 3), _PAPER, np.uint8)
    owners = [first.user_id] if first.pk == second.pk else [first.user_id, second.user_id]
    lines = [
        f"{_TITLES[named.pair.suspicion]}  score {named.pair.score:.1f}",
        *(f"{_short(first.group_id, 12)} / {_short(owner, _LETTERS - 15)}" for owner in owners),
    ]
    for number, line in enumerate(lines, start=1):
        cv2.putText(text, line, (4, number * 17), _FONT, _FONT_SCALE, _INK, 1, cv2.LINE_AA)
    card = np.concatenate([faces, text])
    return np.asarray(np.pad(card, ((_GAP, 0), (_GAP, 0), (0, 0)), constant_values=_PAPER[0]), np.uint8)


def _face(portrait: bytes | None) -> Image:
    """A square of the sheet's size; the portrait keeps its proportions."""
    canvas = np.full((_SIDE, _SIDE, 3), _GRAY, np.uint8)
    image = None if portrait is None else cv2.imdecode(np.frombuffer(portrait, np.uint8), cv2.IMREAD_COLOR)
    if image is not None:
        scale = _SIDE / max(image.shape[:2])
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        top, left = (_SIDE - size[1]) // 2, (_SIDE - size[0]) // 2
        canvas[top : top + size[1], left : left + size[0]] = small
    return canvas


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 2]}.."
