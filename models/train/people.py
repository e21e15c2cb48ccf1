"""Labelled Faces in the Wild for fitting and measuring: pictures, identities, the face that each picture is about.

LFW is for research and evaluation; get it from http://vis-www.cs.umass.edu/lfw/ (``lfw.tgz``, the original 250x250
pictures) and point at the folder that holds one folder per person.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from models.manifest import PackManifest, load_pack
from service.inference.engine import Engine
from service.inference.session import Session, load_session
from service.values import Face, Image, Points

HOLD_BACK_EVERY = 5
"""Every fifth person, in alphabetical order, is held back: seen by no fit."""

_MOST_FACES = 5
_BLACK, _BAR_SHARE = 16, 0.9
_PROCESSOR = ("CPUExecutionProvider",)


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """One picture: ``name`` is ``<person>/<file>``."""

    name: str
    image: Image

    @property
    def identity(self) -> str:
        """The person's name."""
        return self.name.split("/")[0]


class Finder:
    """The product's own detection, so that what is fitted sees faces as they will be seen in service."""

    def __init__(self, model_dir: Path) -> None:
        pack = load_pack("core")
        self.engine = Engine(pack, {name: file.path(model_dir) for name, file in pack.files.items()}, _PROCESSOR)

    def central(self, image: Image) -> Face | None:
        """The face nearest to the middle of the picture: the one that LFW names."""
        middle = np.array([image.shape[1], image.shape[0]]) / 2
        faces = self.engine.detect(image, _MOST_FACES)
        return min(faces, key=lambda face: float(np.abs(face.outline.mean(axis=0) - middle).sum()), default=None)

    def outline_about(self, image: Image, true_outline: Points) -> Points | None:
        """The 68 points of the largest face whose box contains the middle of ``true_outline``, if one is found."""
        x, y = true_outline.mean(axis=0)
        for face in self.engine.detect(image, _MOST_FACES):
            left, top, width, height = face.box
            if left < x < left + width and top < y < top + height:
                return face.outline
        return None


def load(pack: PackManifest, name: str, model_dir: Path) -> Session:
    """The session of one of the pack's files, on one thread of the processor."""
    return load_session(pack.files[name].path(model_dir), _PROCESSOR)


def pictures(folder: Path, *, limit: int | None = None) -> Iterator[Person]:
    """All pictures of ``folder``, sorted by name; ``limit`` takes evenly spread ones."""
    paths = sorted(folder.glob("*/*.jpg"))
    if not paths:
        raise FileNotFoundError(f"{folder} holds no <person>/<file>.jpg; see the docstring of {__name__}")
    step = 1.0 if limit is None else max(1.0, len(paths) / limit)
    for index in range(int(len(paths) / step)):
        path = paths[int(index * step)]
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is not None:
            yield Person(f"{path.parent.name}/{path.name}", np.asarray(image, np.uint8))


def trimmed(image: Image) -> Image:
    """The picture without black bars at its edges.

    LFW fills what lay outside the press photograph with black, in half of its pictures; to a liveness network such a
    bar looks like the bezel of a screen.
    """
    top, bottom = _bars(image)
    left, right = _bars(image.transpose(1, 0, 2))
    return np.ascontiguousarray(image[top : image.shape[0] - bottom, left : image.shape[1] - right])


def _bars(image: Image) -> tuple[int, int]:
    """How many rows at the top and at the bottom are black, a third of the picture at most."""
    black = (image.max(axis=2) <= _BLACK).mean(axis=1) > _BAR_SHARE
    third = len(black) // 3
    first, last = black[:third], black[::-1][:third]
    return int(np.argmin(np.append(first, False))), int(np.argmin(np.append(last, False)))


def held_back(identities: Sequence[str]) -> frozenset[str]:
    """The identities that no fit may see."""
    return frozenset(sorted(set(identities))[::HOLD_BACK_EVERY])


def noted(*kinds: str) -> frozenset[str]:
    """Names (``<person>/<file>``) of the pictures that ``lfw_notes.txt`` lists under one of ``kinds``.

    ``opaque`` and ``tinted``: sunglasses; ``reprint``: a picture of a picture.
    """
    lines = (Path(__file__).parent / "lfw_notes.txt").read_text(encoding="utf-8").splitlines()
    words = [line.split() for line in lines if line and not line.startswith("#")]
    return frozenset(name for kind, name in words if kind in kinds)
