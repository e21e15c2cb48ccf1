"""What each ``face_field`` costs: milliseconds a face, one thread, inside this process.

    python -m benchmarks.fields [--quick] [--json]

Each field is timed alone on a face that is already found (so it bears the whole shared work it needs), and all of them
together, where shared work is done once. Processor time of the calling thread (which does all of the work, and which
other jobs on the machine disturb less than the clock), median over faces and rounds.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from benchmarks.harness import Report, parser, skip, weights
from models.manifest import load_pack
from service.inference.attributes import MODEL_FILES, AttributeModels, FaceReader
from service.inference.engine import Engine
from service.values import Face, Image
from tests.fixtures.pictures import fetch_pictures

PROVIDERS = ("CPUExecutionProvider",)
PICTURES = ("astronaut.png", "obama.jpg", "biden.jpg", "obama2.jpg")
SIDE = 640
MOST_FOR_ALL = 60.0

FIELDS: dict[str, Callable[[FaceReader], object]] = {
    "angle (mesh)": lambda face: face.angles,
    "landmark, landmark72, landmark150": lambda face: face.landmarks,
    "parsing_info (label map)": lambda face: face.parsing,
    "age": lambda face: face.age,
    "gender": lambda face: face.gender,
    "emotion": lambda face: face.emotion,
    "expression": lambda face: face.expression,
    "beauty": lambda face: face.beauty,
    "face_shape": lambda face: face.face_shape,
    "glasses": lambda face: face.glasses,
    "eye_status": lambda face: face.eye_status,
    "face_type": lambda face: face.face_type,
    "mask": lambda face: face.mask,
    "spoofing": lambda face: face.spoofing,
}


def everything(face: FaceReader) -> object:
    """All fields of one face, shared work done once."""
    return [read(face) for read in FIELDS.values()]


def milliseconds(
    read: Callable[[FaceReader], object], readers: Sequence[Callable[[], FaceReader]], rounds: int
) -> float:
    """Median time of ``read`` over fresh readers."""
    times = []
    for _ in range(rounds):
        for make in readers:
            face = make()
            start = time.thread_time()
            read(face)
            times.append(time.thread_time() - start)
    return statistics.median(times) * 1000


def faces(engine: Engine) -> list[tuple[Image, Face]]:
    """The largest face of each picture."""
    found, pictures = [], fetch_pictures()
    for name in PICTURES:
        image = np.asarray(cv2.imread(str(pictures.path(name))), dtype=np.uint8)
        zoom = min(1.0, SIDE / max(image.shape[:2]))
        small = np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        found.append((small, engine.detect(small, 1)[0]))
    return found


def main() -> int:
    """Run, report, and say by the exit status whether the target was met."""
    chosen = parser(__doc__).parse_args()
    report = Report("fields", chosen.json)
    cv2.setNumThreads(1)
    files = weights(chosen.pack)
    missing = sorted(set(MODEL_FILES) - set(files))
    if missing:
        return skip(report, f"the pack {chosen.pack} does not bring {', '.join(missing)}")
    models = AttributeModels.load(files, PROVIDERS)
    readers = [
        lambda image=image, face=face: FaceReader(models, image, face)
        for image, face in faces(Engine(load_pack(chosen.pack), files, PROVIDERS))
    ]
    everything(readers[0]())
    rounds = 3 if chosen.quick else 15
    for name, read in FIELDS.items():
        report.figure(f"{name} ms", round(milliseconds(read, readers, rounds), 2))
    together = round(milliseconds(everything, readers, rounds), 2)
    report.figure("all together ms", together)
    report.at_most("all fields of a face, ms", together, MOST_FOR_ALL)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
