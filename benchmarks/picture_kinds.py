"""What the preprocessing of watermarked and infrared pictures gains: verification on Labeled Faces in the Wild.

Each person's first picture is drawn on (or tinted) and compared with the second one, untouched, of everybody. A probe
in which no face is found any more counts as rejected.

    python -m benchmarks.picture_kinds [--quick] [--json] [--lfw FOLDER] [--models FOLDER]

LFW is not part of this project: its authors' site at the University of Massachusetts Amherst (vis-www.cs.umass.edu/lfw)
describes it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Report, parser, skip
from models.fetch import ensure
from models.manifest import load_pack
from models.train.people import Finder, Person, pictures
from models.train.watermarks import reduced, watermarked
from service.inference.picture_kinds import prepare
from service.values import Image, PictureType
from tests.fixtures.places import MODELS, SHARED

SEED = 7
PEOPLE = {False: 200, True: 40}
SMALL = 48
"""Width in pixels of the face of a small official portrait."""
_TINT = np.array([1.05, 0.8, 1.0], np.float32)
"""Gains of blue, green and red of an infrared camera's violet cast."""

Change = Callable[[np.random.Generator, Image, float], Image]
Similarities = NDArray[np.float32]


def pairs(people: Sequence[Person], count: int) -> list[tuple[Image, Image]]:
    """Two pictures of each of ``count`` people who have two, evenly spread over the alphabet."""
    albums: dict[str, list[Image]] = {}
    for person in people:
        albums.setdefault(person.identity, []).append(person.image)
    several = [album for album in albums.values() if len(album) > 1]
    step = max(1, len(several) // count)
    return [(album[0], album[1]) for album in several[::step][:count]]


def tinted(image: Image) -> Image:
    """As an infrared camera shows it: gray with a cast."""
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return np.asarray(np.clip(gray[..., np.newaxis] * _TINT, 0, 255), np.uint8)


CHANGES: dict[str, tuple[Change, PictureType]] = {
    "untouched, as WATERMARK": (lambda rng, image, face: image, PictureType.WATERMARK),
    "watermark": (watermarked, PictureType.WATERMARK),
    "small": (lambda rng, image, face: reduced(image, face, SMALL), PictureType.WATERMARK),
    "small watermark": (
        lambda rng, image, face: watermarked(rng, reduced(image, face, SMALL), SMALL),
        PictureType.WATERMARK,
    ),
    "infrared cast": (lambda rng, image, face: tinted(image), PictureType.INFRARED),
}


def embedded(finder: Finder, image: Image) -> NDArray[np.float32]:
    """Embedding of the central face; zeros (like nobody) where none is found."""
    face = finder.central(image)
    if face is None:
        return np.zeros(finder.engine.dimension, np.float32)
    return np.asarray(finder.engine.embed([finder.engine.align(image, face.points)])[0], np.float32)


def accept_rate(similarities: Similarities, far: float) -> float:
    """TAR at ``far``: genuine pairs stand on the diagonal of ``(n, n)``."""
    impostors = similarities[~np.eye(len(similarities), dtype=bool)]
    return float((np.diag(similarities) > np.quantile(impostors, 1 - far)).mean())


def main() -> int:
    """Command line."""
    options = parser(__doc__)
    options.add_argument("--lfw", type=Path, default=SHARED / "data" / "lfw-dev")
    options.add_argument("--models", type=Path, default=MODELS)
    arguments = options.parse_args()
    report = Report("picture_kinds", arguments.json)
    if not arguments.lfw.is_dir():
        return skip(report, f"there is no LFW at {arguments.lfw}; see --help")
    if arguments.models == MODELS:
        ensure(load_pack("core"), MODELS)
    finder = Finder(arguments.models)
    chosen = pairs(list(pictures(arguments.lfw)), PEOPLE[arguments.quick])
    gallery = np.stack([embedded(finder, second) for _, second in chosen])
    widths = [face.location.width if (face := finder.central(first)) else 90.0 for first, _ in chosen]
    report.figure("pairs", len(chosen))
    for name, (change, kind) in CHANGES.items():
        rng = np.random.default_rng(SEED)
        probes = [change(rng, first, width) for (first, _), width in zip(chosen, widths, strict=True)]
        told: dict[str, object] = {}
        for step, images in (("without", probes), ("with", [prepare(probe, kind) for probe in probes])):
            probe_embeddings = np.stack([embedded(finder, image) for image in images])
            missed = float((np.abs(probe_embeddings).sum(axis=1) == 0).mean())
            told |= {f"{step}: TAR@1e-3": accept_rate(probe_embeddings @ gallery.T, 1e-3), f"{step}: missed": missed}
        report.figure(name, told)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
