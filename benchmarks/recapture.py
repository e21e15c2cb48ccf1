"""How many simulated recaptures the liveness score rejects, by kind of attack and threshold; how many people it keeps.

The attacks are drawn (``models/train/recapture.py``), none was ever photographed: read the figures as "which traces
does the score react to" and as a guard against getting worse, not as what a real attacker meets.

    python -m benchmarks.recapture [--quick] [--json] [--pack core|extended] [--lfw FOLDER] [--models FOLDER]

Without LFW (its authors' site at the University of Massachusetts Amherst, vis-www.cs.umass.edu/lfw, describes it) the
faces of the test pictures are used.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Report, parser, skip
from models.fetch import ensure
from models.manifest import ROOT, PackManifest, load_pack
from models.train.people import Finder, load, noted, pictures, trimmed
from models.train.recapture import ATTACKS
from service.calibration.liveness import THRESHOLDS, LivenessTable
from service.inference.liveness import CORE_PARTS, EXTENDED_PARTS, RECIPES, LivenessMeter
from service.values import Image
from tests.fixtures.pictures import fetch_pictures
from tests.fixtures.places import MODELS, SHARED

PARTS = {"core": CORE_PARTS, "extended": EXTENDED_PARTS}
SEED = 20
PEOPLE = {False: 400, True: 60}
"""Pictures taken from LFW, by ``--quick``."""

PORTRAITS = ("astronaut.png", "obama.jpg", "obama2.jpg", "biden.jpg", *(f"sample{n}.jpg" for n in range(1, 7)))
_LEAST_SIDE = 60
_PORTRAIT_SIDE = 250


class Scorer:
    """Served liveness scores of whole pictures: the largest face of each."""

    def __init__(self, pack: PackManifest, model_dir: Path) -> None:
        self.finder = Finder(model_dir)
        networks = [name for name in PARTS[pack.name] if name in RECIPES]
        self._meter = LivenessMeter({name: load(pack, name, model_dir) for name in networks})
        hashes = {name: file.sha256 for name, file in pack.files.items()}
        self._table = LivenessTable.load(ROOT / "calibration" / f"liveness-{pack.name}.json", hashes)

    def scores(self, images: Iterable[Image]) -> NDArray[np.float64]:
        """One score per picture in which a face is found."""
        faces = ((image, self.finder.engine.detect(image, 1)) for image in images)
        names = self._table.names
        measured = [self._meter.measures(image, found[0].box, names) for image, found in faces if found]
        return np.array([self._table.score(values) for values in measured])


def portraits(finder: Finder, files: Iterable[Path]) -> list[Image]:
    """Every face of the files that is large enough, with its surroundings, 250 pixels wide."""
    cuts = []
    for file in files:
        image = np.asarray(cv2.imread(str(file), cv2.IMREAD_COLOR), np.uint8)
        for face in finder.engine.detect(image, 10):
            if min(face.box[2:]) >= _LEAST_SIDE:
                cut, _ = finder.engine.portrait(image, face)
                zoom = _PORTRAIT_SIDE / max(cut.shape[:2])
                cuts.append(np.asarray(cv2.resize(cut, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8))
    return cuts


def attacked(images: Sequence[Image], kind: str, seed: int = SEED) -> list[Image]:
    """Each picture recaptured once; the room is made of the next picture."""
    rng = np.random.default_rng([seed, list(ATTACKS).index(kind)])
    return [ATTACKS[kind](rng, image, images[(index + 1) % len(images)]) for index, image in enumerate(images)]


def separation(real: NDArray[np.float64], attack: NDArray[np.float64]) -> float:
    """Area under the ROC curve: how often a real picture scores above an attack, ties counting half."""
    above = (real[:, np.newaxis] > attack).mean() + 0.5 * (real[:, np.newaxis] == attack).mean()
    return float(above)


def main() -> int:
    """Command line."""
    options = parser(__doc__)
    options.add_argument("--lfw", type=Path, default=SHARED / "data" / "lfw-dev")
    options.add_argument("--models", type=Path, default=MODELS)
    arguments = options.parse_args()
    report = Report("recapture", arguments.json)
    pack = load_pack(arguments.pack)
    if pack.name not in PARTS:
        return skip(report, f"the pack {pack.name} has no liveness networks of its own")
    if arguments.models == MODELS:
        ensure(pack, MODELS)
    scorer = Scorer(pack, arguments.models)
    if arguments.lfw.is_dir():
        people = pictures(arguments.lfw, limit=PEOPLE[arguments.quick])
        images = [trimmed(person.image) for person in people if person.name not in noted("reprint")]
    else:
        fetched = fetch_pictures()
        images = portraits(scorer.finder, [fetched.path(name) for name in PORTRAITS])
    real = scorer.scores(images)
    report.figure("pictures", len(images))
    report.figure("people rejected", {name: float((real < cut).mean()) for name, cut in THRESHOLDS.items()})
    for kind in ATTACKS:
        scores = scorer.scores(attacked(images, kind))
        rejected = {name: float((scores < cut).mean()) for name, cut in THRESHOLDS.items()}
        report.figure(kind, {"found": len(scores), **rejected, "auc": separation(real, scores)})
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
