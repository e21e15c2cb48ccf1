"""Recall of faces by their size in pictures of crowds.

    python -m benchmarks.crowds [--quick] [--json] [--lfw FOLDER] [--picture FILE]

Faces of Labeled Faces in the Wild, each with its surroundings and shrunk to one size, are laid on a gray picture of
1920 x 1440 pixels, 50 at most. A face is found when a detection's centre lies within half a side of it and its side is
between half and twice as long. The engine is asked for 50 and looks at the picture at as many sizes as that takes.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness import Report, parser, skip, weights
from benchmarks.throughput import decode
from models.manifest import load_pack
from service.inference.engine import Engine
from service.values import Face, Image
from tests.fixtures.places import SHARED

SIDES = (12, 16, 20, 24, 32, 48, 64, 96, 128)
MOST_FACES = 50
WIDTH, HEIGHT = 1920, 1440
AROUND = 2.0
"""Side of a pasted square in sides of the face."""

LEAST_SIDE, LEAST_RECALL = 24, 0.95


@dataclass(frozen=True)
class Portrait:
    """A square part of a picture with a face in its middle; ``side`` is the face's in pixels of it."""

    pixels: Image
    side: float


def portraits(engine: Engine, folder: Path, count: int) -> list[Portrait]:
    """Of different people, evenly over the alphabet."""
    people = sorted(path for path in folder.iterdir() if path.is_dir())
    made: list[Portrait] = []
    for person in people[:: max(1, len(people) // (2 * count))]:
        image = decode(min(person.iterdir()).read_bytes())
        (x, y, width, height), *_ = [face.box for face in engine.detect(image, 1)] or [(0.0, 0.0, 0.0, 0.0)]
        side = float(np.sqrt(width * height))
        reach = side * AROUND / 2
        left, top, right, bottom = (
            round(value)
            for value in (
                x + width / 2 - reach,
                y + height / 2 - reach,
                x + width / 2 + reach,
                y + height / 2 + reach,
            )
        )
        if side > 0 and min(left, top) >= 0 and right <= image.shape[1] and bottom <= image.shape[0]:
            made.append(Portrait(image[top:bottom, left:right], side))
        if len(made) == count:
            break
    return made


def crowd(portraits: list[Portrait], side: int) -> tuple[Image, list[tuple[float, float]]]:
    """A picture with every portrait at one size, as many as fit, and the centres of their faces."""
    picture = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    cell = round(side * AROUND * 1.25)
    columns, rows = WIDTH // cell, HEIGHT // cell
    shown = portraits[: min(MOST_FACES, columns * rows)]
    places = np.linspace(0, columns * rows - 1, len(shown)).astype(int)
    centres = []
    for portrait, place in zip(shown, places, strict=True):
        zoom = side / portrait.side
        small = cv2.resize(portrait.pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        left, top = int(place) % columns * cell, int(place) // columns * cell
        picture[top : top + small.shape[0], left : left + small.shape[1]] = small
        centres.append((left + small.shape[1] / 2, top + small.shape[0] / 2))
    return picture, centres


def recall(faces: list[Face], centres: list[tuple[float, float]], side: int) -> float:
    """Part of the faces that were found."""

    def shows(face: Face, centre: tuple[float, float]) -> bool:
        x, y, width, height = face.box
        apart = np.hypot(x + width / 2 - centre[0], y + height / 2 - centre[1])
        return bool(apart <= side / 2 and side / 2 <= np.sqrt(width * height) <= side * 2)

    return sum(any(shows(face, centre) for face in faces) for centre in centres) / len(centres)


def draw(found: dict[int, float], path: Path) -> None:
    """Recall over size."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (only to draw)

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(list(found), list(found.values()), marker="o")
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(found), [str(side) for side in found])
    axes.set(xlabel="side of the face, pixels", ylabel="recall", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    figure.savefig(path)


def main() -> int:
    """Run and report; the exit status says whether faces of 24 pixels are found."""
    options = parser(__doc__)
    options.add_argument("--lfw", type=Path, default=SHARED / "data" / "lfw-dev", help="folder of people's folders")
    options.add_argument("--picture", type=Path, help="also draw the recall into this file")
    chosen = options.parse_args()
    report = Report("crowds", chosen.json)
    if not chosen.lfw.is_dir():
        return skip(report, "Labeled Faces in the Wild is not here; see benchmarks/accuracy.py")
    engine = Engine(load_pack(chosen.pack), weights(chosen.pack), ["CPUExecutionProvider"])
    people = portraits(engine, chosen.lfw, MOST_FACES)
    found = {}
    for side in SIDES[1::2] if chosen.quick else SIDES:
        picture, centres = crowd(people, side)
        begun = time.thread_time()
        faces = engine.detect(picture, MOST_FACES)
        spent = time.thread_time() - begun
        found[side] = recall(faces, centres, side)
        figures = {"recall": found[side], "shown": len(centres), "found": len(faces), "processor s": round(spent, 2)}
        report.figure(f"faces of {side} pixels", figures)
    least = min(part for side, part in found.items() if side >= LEAST_SIDE)
    report.at_least(f"recall of faces from {LEAST_SIDE} pixels on", round(least, 3), LEAST_RECALL)
    if chosen.picture:
        draw(found, chosen.picture)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
