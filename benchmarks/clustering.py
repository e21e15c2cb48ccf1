"""How well ``aipface import --cluster`` sorts nameless pictures into people, on Labeled Faces in the Wild.

The central face of every picture is embedded in this process and sorted by embeddings alone; the names come into play
when the result is judged (B-cubed: of the faces that stand with a face, how many show its person, and the reverse). A
last part sorts made people of the same spread, tens of thousands of faces, for time and memory.

    python -m benchmarks.clustering [--quick] [--json] [--lfw FOLDER]

LFW is not part of this project: its authors' site at the University of Massachusetts Amherst (vis-www.cs.umass.edu/lfw)
describes it.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import Report, parser, skip, weights
from models.manifest import load_pack
from models.train.fit_projection import embed_central_faces
from service.bulk.clustering import Labels, people_of
from service.calibration.scores import ScoreTable
from service.values import Embeddings
from tests.fixtures.places import SHARED

QUICK_PICTURES = 200
MADE_FACES = {False: 50_000, True: 5_000}
LEAST_F = 0.98
LEAST_PRECISION = 0.99
"""Two people under one id let one of them in as the other; one person under two ids is only tidied up."""
SEED = 7


def made_faces(count: int, dimension: int, similarity: float) -> tuple[Embeddings, np.ndarray]:
    """People of 1 to 20 faces, whose faces have ``similarity`` to each other on average, and whose they are."""
    random = np.random.default_rng(SEED)
    sizes = random.integers(1, 21, count)
    truth = random.permutation(np.repeat(np.arange(count), sizes)[:count])
    centres = random.standard_normal((int(truth.max()) + 1, dimension)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    noise = random.standard_normal((count, dimension)).astype(np.float32)
    noise *= np.sqrt((1 - similarity) / similarity) / np.linalg.norm(noise, axis=1, keepdims=True)
    rows = centres[truth] + noise
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), truth


def b_cubed(truth: Labels, found: Labels) -> tuple[float, float, float]:
    """Precision, recall and F of a sorting into people, averaged over faces.

    After Amigó et al., "A comparison of extrinsic clustering evaluation metrics", 2009: of the faces that stand with
    a face, how many show its person; of the faces of its person, how many stand with it.
    """
    pairs, back, both = np.unique(np.stack([truth, found]), axis=1, return_inverse=True, return_counts=True)
    del pairs
    together = both[np.ravel(back)]
    precision = float(np.mean(together / np.bincount(found)[found]))
    recall = float(np.mean(together / np.bincount(truth)[truth]))
    return precision, recall, 2 * precision * recall / (precision + recall)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and return the exit status: 1 when a target is missed."""
    options = parser(__doc__)
    options.add_argument("--lfw", type=Path, default=SHARED / "data" / "lfw-dev", help="folder of LFW's pictures")
    chosen = options.parse_args(arguments)
    report = Report("clustering", chosen.json)
    if not chosen.lfw.is_dir():
        return skip(report, f"no pictures in {chosen.lfw}: see the head of this file")
    pack = load_pack(chosen.pack)
    scores = ScoreTable.load(pack.calibration, pack.model_id)
    paths = sorted(chosen.lfw.rglob("*.jpg"))
    gallery = embed_central_faces(pack, weights(chosen.pack), paths[: QUICK_PICTURES if chosen.quick else None])
    truth = np.unique(gallery.people, return_inverse=True)[1]
    begun = time.perf_counter()
    people = people_of(np.ascontiguousarray(gallery.embeddings, dtype=np.float32), scores)
    report.figure("seconds to sort", round(time.perf_counter() - begun, 2))
    precision, recall, f = b_cubed(truth, people.labels)
    report.figure("pictures", len(truth))
    report.figure("people", int(truth.max()) + 1)
    report.figure("people found", int(people.labels.max()) + 1)
    report.figure("B-cubed recall", round(recall, 4))
    report.at_least("B-cubed precision", round(precision, 4), LEAST_PRECISION)
    report.at_least("B-cubed F", round(f, 4), LEAST_F)
    _many(report, scores, pack.embedder.dimension, MADE_FACES[chosen.quick])
    return report.close()


def _many(report: Report, scores: ScoreTable, dimension: int, count: int) -> None:
    embeddings, truth = made_faces(
        count, dimension, similarity=0.66
    )  # of two pictures of one person of LFW, on average
    begun = time.perf_counter()
    people = people_of(embeddings, scores)
    report.figure("made faces", count)
    report.figure("seconds to sort them", round(time.perf_counter() - begun, 1))
    report.figure("most memory, MiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    report.at_least("B-cubed F of made faces", round(b_cubed(truth, people.labels)[2], 4), LEAST_F)


if __name__ == "__main__":
    sys.exit(main())
