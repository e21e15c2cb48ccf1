"""Whether another runtime tells people apart as well as ONNX Runtime on the processor does in 32 bits.

The pictures of LFW's standard pairs go through both engines in this process. A runtime may be offered only if accuracy
over the folds and the share of genuine pairs accepted at a false accept rate of 1e-4 (all pictures against all others)
lose no more than 0.1 points.

    python -m benchmarks.accuracy_gate --device openvino [--quick] [--json] [--lfw FOLDER --pairs FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.accuracy import accuracy_by_fold, all_against_all, embed_all, read_pairs, tar_at_far
from benchmarks.harness import Report, parser, skip, weights
from models.manifest import load_pack
from service.inference.engine import Engine
from service.inference.providers import DEVICES, providers_for
from service.inference.session import DeviceUnavailable
from service.values import Embeddings
from tests.fixtures.places import SHARED

MOST_LOST = 0.1
"""Points of accuracy and of TAR."""

LEAST_COSINE = 0.998
"""Between the two embeddings of a face, in the median: embeddings of both are searched together."""

FAR = 1e-4
QUICK_PAIRS = 150


def main() -> int:
    """Compare; exit status 0 when the gate is passed, or when there is nothing to compare on."""
    options = parser(__doc__)
    options.add_argument("--device", choices=DEVICES, default="openvino", help="the runtime to judge")
    options.add_argument("--lfw", type=Path, default=SHARED / "data" / "lfw-dev", help="folder of people's folders")
    options.add_argument("--pairs", type=Path, default=SHARED / "data" / "lfw-dev-pairs.txt", help="the standard pairs")
    chosen = options.parse_args()
    report = Report("accuracy_gate", chosen.json)
    try:
        judged = providers_for(chosen.device)
    except DeviceUnavailable as error:
        return skip(report, str(error))
    if not chosen.lfw.is_dir() or not chosen.pairs.is_file():
        return skip(report, "Labeled Faces in the Wild is not here; see benchmarks/accuracy.py")
    pairs = read_pairs(chosen.pairs, chosen.lfw)
    if chosen.quick:
        pairs = pairs[:: max(1, len(pairs) // QUICK_PAIRS)][:QUICK_PAIRS]
    paths = sorted({path for pair in pairs for path in (pair.left, pair.right)})
    pack, files = load_pack(chosen.pack), weights(chosen.pack)
    embeddings = {}
    for name, providers in (("cpu", providers_for("cpu")), (chosen.device, judged)):
        found, kept = embed_all(Engine(pack, files, providers), paths)
        embeddings[name] = np.zeros((len(paths), found.shape[1]), np.float32)
        embeddings[name][kept] = found  # without a face: zeros, at cosine 0 to everything
    places = {path: place for place, path in enumerate(paths)}
    left, right = (np.array([places[getattr(pair, side)] for pair in pairs]) for side in ("left", "right"))
    same = np.array([pair.same for pair in pairs])
    folds = np.array([pair.fold for pair in pairs], dtype=np.int64)
    people = np.unique([path.parent.name for path in paths], return_inverse=True)[1].astype(np.int64)

    def judge(rows: Embeddings) -> tuple[float, float]:
        cosines = np.einsum("ij,ij->i", rows[left], rows[right]).astype(np.float64)
        accuracy = float(np.mean(accuracy_by_fold(cosines, same, folds)))
        return accuracy, tar_at_far(*all_against_all(rows, people), FAR)

    results = {name: judge(rows) for name, rows in embeddings.items()}
    for name, (accuracy, tar) in results.items():
        report.figure(name, {"accuracy %": round(accuracy, 3), f"TAR at FAR {FAR:g} %": round(tar, 3)})
    agreement = np.sum(embeddings["cpu"] * embeddings[chosen.device], axis=1)
    report.figure("pictures", len(paths))
    report.figure("cosine of the two", {"median": float(np.median(agreement)), "least": float(agreement.min())})
    for index, name in enumerate(("accuracy", "TAR")):
        lost = results["cpu"][index] - results[chosen.device][index]
        report.at_most(f"{name} lost, points", round(lost, 3), MOST_LOST)
    report.at_least("cosine of the two, median", round(float(np.median(agreement)), 5), LEAST_COSINE)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
