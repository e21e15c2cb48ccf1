"""Labelled Faces in the Wild for fitting and measuring: pictures, identities, the face that each picture is about.

LFW is for research and evaluation; get it from http://vis-www.cs.umass.edu/lfw/ (``lfw.tgz``, the original 250x250
pictures) and point at the folder that holds one folder per person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from models.manifest import load_pack
from service.inference.detector import Detection, YuNet
from service.inference.landmarks import Landmarks
from service.inference.session import Session, load_session
from service.values import Image, Points

HOLD_BACK_EVERY = 5
"""Every fifth person, in alphabetical order, is held back: seen by no fit."""

_LONG_SIDE = 320
_LEAST_CONFIDENCE = 0.5
_UPRIGHT = np.array([[1.0, 0, 0], [0, 1.0, 0]])


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
    """YuNet and the 68 points, upright faces only, at one size: enough for LFW and for copies of it."""

    def __init__(self, model_dir: Path) -> None:
        pack = load_pack("core")
        open_file: Callable[[str], Session] = lambda name: load_session(  # noqa: E731
            pack.files[name].path(model_dir), ["CPUExecutionProvider"], threads=1
        )
        self._detector = YuNet(open_file(pack.detector.file), pack.detector, _LEAST_CONFIDENCE)
        if pack.landmarks is None:
            raise ValueError("the core pack has no landmark network")
        self._landmarks = Landmarks(open_file(pack.landmarks.file), pack.landmarks)

    def detect(self, image: Image, long_side: int = _LONG_SIDE) -> list[Detection]:
        """Faces of ``image`` brought to ``long_side`` pixels, in pixels of ``image``, largest first."""
        zoom = long_side / max(image.shape[:2])
        flags = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
        small = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=flags)
        found = [
            Detection(tuple(v / zoom for v in seen.box), seen.confidence, (seen.points / zoom).astype(np.float32))  # type: ignore[arg-type]
            for seen in self._detector.detect(np.asarray(small, np.uint8))
        ]
        return sorted(found, key=lambda seen: -seen.box[2] * seen.box[3])

    def outline(self, image: Image, seen: Detection) -> Points:
        """The 68 points of a face, in pixels of ``image``."""
        return self._landmarks.locate(image, _UPRIGHT, seen.box)

    def central(self, image: Image) -> Detection | None:
        """The face nearest to the middle of the picture: the one that LFW names."""
        middle = np.array([image.shape[1], image.shape[0]]) / 2
        return min(self.detect(image), key=lambda seen: float(np.abs(_centre(seen) - middle).sum()), default=None)

    def outline_about(self, image: Image, true_outline: Points) -> Points | None:
        """The 68 points of the largest face that contains the middle of ``true_outline``, if one is found."""
        x, y = true_outline.mean(axis=0)
        for seen in self.detect(image):
            left, top, width, height = seen.box
            if left < x < left + width and top < y < top + height:
                return self.outline(image, seen)
        return None


def _centre(seen: Detection) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    x, y, width, height = seen.box
    return np.array([x + width / 2, y + height / 2], dtype=np.float64)


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


def held_back(identities: Sequence[str]) -> frozenset[str]:
    """The identities that no fit may see."""
    return frozenset(sorted(set(identities))[::HOLD_BACK_EVERY])
