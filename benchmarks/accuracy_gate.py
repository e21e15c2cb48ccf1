"""Whether another runtime or precision tells people apart as well as ONNX Runtime on the processor does in 32 bits.

The pictures of LFW's standard pairs go through both engines in this process. A runtime may be offered only if accuracy
over the folds and the share of genuine pairs accepted at a false accept rate of 1e-4 (all pictures against all others)
lose no more than 0.1 points. A gallery may be enrolled by one and searched by the other, so mixed pairs are judged as
well, one side by each; and thresholds are shared, so that all are judged at those of 32 bits too.

    python -m benchmarks.accuracy_gate --judge openvino bf16 int8 [--quick] [--json] [--lfw FOLDER --pairs FILE]

``auto`` is what is fastest here of all that is offered. ``bf16`` and ``int8`` concern the recognisers alone. Where
OpenVINO cannot compute them on this processor they are emulated in 32 bits (``benchmarks/bfloat16.py``; the rounded
graph by ONNX Runtime), and the figures say so.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import (
    Labels,
    Pair,
    Scores,
    accuracy_by_fold,
    best_threshold,
    read_pairs,
    tar_at_far,
)
from benchmarks.bfloat16 import emulated
from benchmarks.harness import Report, parser, skip, weights
from models.manifest import ROOT, PackManifest, load_pack
from service.calibration.scores import ScoreTable
from service.inference.eight_bits import Ranges, quantised
from service.inference.engine import Engine
from service.inference.providers import DEVICES, LOWER, lower_precisions, providers_for
from service.inference.runtimes import runtime_for
from service.inference.session import DeviceUnavailable
from service.processors import available_cpus
from service.values import Embeddings
from tests.fixtures.places import SHARED

MOST_LOST = 0.1
"""Points of accuracy and of TAR."""

LEAST_COSINE = 0.998
"""Between the two embeddings of a face, in the median: embeddings of both are searched together."""

FAR = 1e-4
MOST_FAR_GROWTH = 1.1
"""False accepts at thresholds of 32 bits may become so many times more: far less than the tables' own uncertainty."""

LEAST_ACCEPTED = 100
"""False accepts from which on such a growth is not chance."""

QUICK_PAIRS = 150
REFERENCE = "fp32"


@dataclass(frozen=True)
class Pictures:
    """What is compared: pictures, who they show, and the standard pairs as places in them."""

    paths: list[Path]
    people: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    same: Labels
    folds: NDArray[np.int64]

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Pictures:
        """Those of ``pairs``, each once."""
        paths = sorted({path for pair in pairs for path in (pair.left, pair.right)})
        places = {path: place for place, path in enumerate(paths)}
        return cls(
            paths,
            np.unique([path.parent.name for path in paths], return_inverse=True)[1].astype(np.int64),
            np.array([places[pair.left] for pair in pairs]),
            np.array([places[pair.right] for pair in pairs]),
            np.array([pair.same for pair in pairs]),
            np.array([pair.fold for pair in pairs], dtype=np.int64),
        )


@dataclass(frozen=True)
class Compared:
    """Cosines of the standard pairs, and of all pictures with all others; of the latter, who shows the same person."""

    pairs: Scores
    all_pairs: Scores
    same: Labels


def compared(first: Embeddings, second: Embeddings, pictures: Pictures) -> Compared:
    """``first`` against ``second``, each a row for every picture."""
    rows, columns = np.triu_indices(len(first), 1)
    pairs = np.einsum("ij,ij->i", first[pictures.left], second[pictures.right]).astype(np.float64)
    cosines = (first @ second.T)[rows, columns].astype(np.float64)
    return Compared(pairs, cosines, pictures.people[rows] == pictures.people[columns])


def embeddings_by(finder: Engine, engines: Mapping[str, Engine], paths: Sequence[Path]) -> dict[str, Embeddings]:
    """By each of ``engines`` a row for every path; without a face: zeros, at cosine 0 to everything.

    Faces are found by ``finder``.
    """
    rows = {name: np.zeros((len(paths), engine.dimension), np.float32) for name, engine in engines.items()}

    def embed(number: int) -> None:
        pixels = np.asarray(cv2.imread(str(paths[number]), cv2.IMREAD_COLOR), np.uint8)
        for face in finder.detect(pixels, 1):
            crop = finder.align(pixels, face.points)
            for name, engine in engines.items():
                rows[name][number] = engine.embed([crop])[0]

    with ThreadPoolExecutor(available_cpus()) as pool:
        list(pool.map(embed, range(len(paths))))
    return rows


def reduced_engine(precision: str, pack: PackManifest, files: Mapping[str, Path], folder: Path) -> tuple[str, Engine]:
    """How ``precision``, one of ``LOWER``, is computed here, and an engine that does.

    What it needs besides ``files`` is made in ``folder``.
    """
    ranges = {part.file: ROOT / "heads" / f"{part.file}-ranges.npz" for part in pack.embedder.parts}
    if precision == "int8" and not all(file.is_file() for file in ranges.values()):
        raise DeviceUnavailable(f"{pack.name} has no ranges for 8 bits: python -m models.train.fit_ranges")
    if precision in lower_precisions():
        parts = tuple(replace(part, ranges=ranges[part.file]) for part in pack.embedder.parts)
        judged = replace(pack, embedder=replace(pack.embedder, parts=parts, bfloat16=True))
        return precision, Engine(judged, files, runtime_for("openvino", folder, precision))
    rounded = {name: folder / f"{name}-{precision}.onnx" for name in ranges}
    for name, made in rounded.items():
        if precision == "bf16":
            emulated(files[name], made)
        else:
            made.write_bytes(quantised(files[name], Ranges.load(ranges[name])))
    return f"{precision} emulated", Engine(pack, {**files, **rounded}, providers_for("cpu"))


def judge(report: Report, pack: PackManifest, pictures: Pictures, by: Mapping[str, Embeddings]) -> None:
    """Figures of each kind of pairs, and the checks; the first of the two in ``by`` is the reference."""
    reference, judged = by
    kinds = {
        reference: (reference, reference),
        judged: (judged, judged),
        f"{reference} left, {judged} right": (reference, judged),
        f"{judged} left, {reference} right": (judged, reference),
    }
    table = ScoreTable.load(pack.calibration, pack.model_id)
    results: dict[str, dict[str, float]] = {}
    for kind, (first, second) in kinds.items():
        found = compared(by[first], by[second], pictures)
        if kind == reference:
            threshold = best_threshold(found.pairs, pictures.same)
            strict = float(np.sort(found.all_pairs[~found.same])[::-1][int(FAR * np.sum(~found.same))])
        passing = found.all_pairs >= table.similarity(80.0)
        results[kind] = {
            "accuracy %": float(np.mean(accuracy_by_fold(found.pairs, pictures.same, pictures.folds))),
            "accuracy at the reference's threshold %": float(
                np.mean((found.pairs >= threshold) == pictures.same) * 100
            ),
            f"TAR at FAR {FAR:g} %": tar_at_far(found.all_pairs, found.same, FAR),
            "TAR at the reference's threshold %": float(np.mean(found.all_pairs[found.same] > strict) * 100),
            "TAR at score 80 %": float(np.mean(passing[found.same]) * 100),
            "FAR at the reference's threshold": float(np.mean(found.all_pairs[~found.same] > strict)),
            "FAR at score 80": float(np.mean(passing[~found.same])),
        }
        report.figure(kind, {name: float(f"{value:.5g}") for name, value in results[kind].items()})
    agreement = np.sum(by[reference] * by[judged], axis=1)
    agreement = agreement[np.any(by[reference] != 0, axis=1)]
    report.figure(
        "cosine of the two embeddings of a face",
        {
            "median": float(np.median(agreement)),
            "1 %": float(np.quantile(agreement, 0.01)),
            "least": float(agreement.min()),
        },
    )
    for kind in list(kinds)[1:]:
        for name, value in results[kind].items():
            before = results[reference][name]
            if name.endswith("%"):
                report.at_most(f"{kind}: {name}, points lost", round(before - value, 3), MOST_LOST)
            elif before * np.sum(~found.same) >= LEAST_ACCEPTED:
                report.at_most(f"{kind}: {name}, times the reference's", round(value / before, 3), MOST_FAR_GROWTH)
    report.at_least("cosine of the two, median", round(float(np.median(agreement)), 5), LEAST_COSINE)


def main() -> int:
    """Compare; exit status 0 when the gate is passed, or when there is nothing to compare on."""
    options = parser(__doc__)
    options.add_argument("--judge", nargs="+", choices=(*DEVICES, *LOWER), default=["openvino"], help="what to judge")
    options.add_argument("--lfw", type=Path, default=SHARED / "data" / "lfw-dev", help="folder of people's folders")
    options.add_argument("--pairs", type=Path, default=SHARED / "data" / "lfw-dev-pairs.txt", help="the standard pairs")
    chosen = options.parse_args()
    report = Report("accuracy_gate", chosen.json)
    if not chosen.lfw.is_dir() or not chosen.pairs.is_file():
        return skip(report, "Labeled Faces in the Wild is not here; see benchmarks/accuracy.py")
    pack, files = load_pack(chosen.pack), weights(chosen.pack)
    pairs = read_pairs(chosen.pairs, chosen.lfw)
    if chosen.quick:
        pairs = pairs[:: max(1, len(pairs) // QUICK_PAIRS)][:QUICK_PAIRS]
    pictures = Pictures.of(pairs)
    report.figure("pictures", len(pictures.paths))
    reference = Engine(pack, files, providers_for("cpu"))
    with tempfile.TemporaryDirectory() as home:
        try:
            lower = [reduced_engine(name, pack, files, Path(home)) for name in chosen.judge if name in LOWER]
            engines = {
                name: Engine(pack, files, runtime_for(name, Path(home))) for name in chosen.judge if name not in LOWER
            }
        except DeviceUnavailable as error:
            return skip(report, str(error))
    for name, engine in engines.items():
        report.figure(f"{name} is", ", ".join(engine.providers))
    rows = embeddings_by(reference, {REFERENCE: reference, **dict(lower)}, pictures.paths)
    for name, engine in engines.items():
        rows |= embeddings_by(engine, {name: engine}, pictures.paths)
    for name in list(rows)[1:]:
        judge(report, pack, pictures, {REFERENCE: rows[REFERENCE], name: rows[name]})
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
