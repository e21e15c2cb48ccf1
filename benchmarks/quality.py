"""Every figure of ``models/cards/occlusion.md`` and ``models/cards/quality.md``.

Occlusion: error and AUC of each part on held-back people with things drawn over their faces, what clean faces read,
real sunglasses, and the photograph of a mask laid over faces. Blur: what it reads for blurred and for small faces.
Completeness: pictures cut at known places. Controls: how many LFW pictures each level of ``quality_control`` turns
away, and why.

    python -m benchmarks.quality [--quick] [--json] [--lfw FOLDER] [--models FOLDER]

LFW is not part of this project: its authors' site at the University of Massachusetts Amherst (vis-www.cs.umass.edu/lfw)
describes it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Report, parser, skip
from models.fetch import ensure
from models.manifest import ROOT, load_pack
from models.train import occlusion_samples
from models.train.face_parts import PARTS
from models.train.occluders import KINDS, Canvas
from models.train.people import Finder, Person, held_back, noted, pictures
from service.errors import ServiceError
from service.inference import quality
from service.inference.geometry import five_points
from service.inference.occlusion import OcclusionMeter
from service.inference.quality import Quality, QualityMeter
from service.inference.session import load_session
from service.intake.acceptance import check_quality
from service.values import Control, Face, Image, Points
from tests.fixtures.pictures import fetch_pictures
from tests.fixtures.places import MODELS, SHARED

SEED = 31
PEOPLE = {False: 400, True: 32}
SIGMAS = (0, 1, 2, 2.5, 3, 4, 8)
ZOOMS = (1.0, 0.6, 0.4, 0.3, 0.2, 0.1)
CUTS = (-0.1, -0.05, 0.05, 0.1, 0.2)
"""Where the picture ends, in shares of the face's extent inside it (negative: beside it)."""

Found = tuple[Person, Face]
Ratios = NDArray[np.float32]


def auc(hidden: Ratios, free: Ratios) -> float:
    """How often a hidden part reads higher than a free one."""
    return float((hidden[:, np.newaxis] > free).mean() + 0.5 * (hidden[:, np.newaxis] == free).mean())


def synthetic(finder: Finder, meter: OcclusionMeter, found: Sequence[Found], report: Report) -> None:
    """Error and AUC on drawn occluders, one kind at a time, and what uncovered faces read."""
    rng = np.random.default_rng(SEED)
    told, true = [], []
    for kind in ("", *KINDS):
        errors = []
        for index, (person, face) in enumerate(found):
            canvas = Canvas(person.image, face.outline, found[index - 1][0].image)
            sample = occlusion_samples.make(rng, canvas, (kind,) if kind else (), finder.outline_about)
            ratios = meter.ratios(sample.crop)
            told.append(ratios)
            true.append(sample.ratios)
            errors.append(float(np.abs(ratios - sample.ratios).mean()))
        report.figure(f"mean absolute error, {kind or 'nothing drawn'}", float(np.mean(errors)))
    values, labels = np.array(told), np.array(true)
    report.figure("mean absolute error", _by_part(np.abs(values - labels).mean(axis=0)))
    areas = [auc(values[labels[:, k] > 0.5, k], values[labels[:, k] < 0.1, k]) for k in range(len(PARTS))]
    report.figure("auc, more than half against less than a tenth hidden", _by_part(np.array(areas, np.float32)))


def _by_part(values: Ratios) -> dict[str, float]:
    return {part: round(float(value), 4) for part, value in zip(PARTS, values, strict=True)}


def real_sunglasses(finder: Finder, meter: OcclusionMeter, shades: Sequence[Person], report: Report) -> None:
    """Real sunglasses of LFW."""
    read = []
    for person in shades:
        face = finder.central(person.image)
        if face is not None:
            read.append(astuple(meter.measure(person.image, face.points)))
    values = np.array(read)
    report.figure("real sunglasses, pictures", len(values))
    report.figure("real sunglasses, median", _by_part(np.median(values, axis=0).astype(np.float32)))
    report.figure("real sunglasses, both eyes at least .6", float((values[:, :2].min(axis=1) >= 0.6).mean()))
    report.figure("real sunglasses, an eye at least .6", float((values[:, :2].max(axis=1) >= 0.6).mean()))


def masked(image: Image, outline: Points, mask: Image) -> Image:
    """The photograph of a mask (edge to edge) laid from the nose's bridge to below the chin, cheek to cheek."""
    down = (outline[8] - outline[27]) * 0.08
    corners = np.stack([outline[1], outline[15], outline[11] + down, outline[5] + down]).astype(np.float32)
    corners[:2] += (outline[28] - corners[:2].mean(axis=0)) * 0.5
    height, width = mask.shape[:2]
    edges = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    homography = cv2.getPerspectiveTransform(edges, corners)
    size = (image.shape[1], image.shape[0])
    laid = cv2.warpPerspective(mask, homography, size, flags=cv2.INTER_AREA)
    there = cv2.warpPerspective(np.full(mask.shape[:2], 255, np.uint8), homography, size)
    return np.where(there[..., np.newaxis] > 127, laid, image).astype(np.uint8)


def real_mask(finder: Finder, meter: OcclusionMeter, found: Sequence[Found], report: Report) -> None:
    """The photograph of a real mask (no texture of the training) laid over faces; found again as in service."""
    mask = np.asarray(cv2.imread(str(fetch_pictures().path("mask_white.jpg")), cv2.IMREAD_COLOR), np.uint8)
    read = []
    for person, face in found:
        image = masked(person.image, face.outline, mask)
        outline = finder.outline_about(image, face.outline)
        if outline is not None:
            read.append(astuple(meter.measure(image, five_points(outline))))
    values = np.array(read, np.float32)
    report.figure("photographed mask, faces found", f"{len(values)} of {len(found)}")
    report.figure("photographed mask, median", _by_part(np.median(values, axis=0)))
    report.figure("photographed mask, mouth at least .7", float((values[:, PARTS.index("mouth")] >= 0.7).mean()))


def blur_series(finder: Finder, found: Sequence[Found], report: Report) -> None:
    """Median blur of blurred crops and of shrunk pictures."""
    crops = [finder.engine.align(person.image, face.points) for person, face in found]
    for sigma in SIGMAS:
        series = [crop if sigma == 0 else np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), np.uint8) for crop in crops]
        values = [quality.blur(crop) for crop in series]
        quantiles = {"median": np.median(values), "5%": np.quantile(values, 0.05), "95%": np.quantile(values, 0.95)}
        report.figure(f"blur at sigma {sigma:g}", {name: round(float(value), 3) for name, value in quantiles.items()})
    for zoom in ZOOMS:
        values = []
        for person, face in found:
            small = cv2.resize(person.image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
            values.append(
                quality.blur(finder.engine.align(np.asarray(small, np.uint8), face.points * np.float32(zoom)))
            )
        width = np.median([face.location.width for _, face in found]) * zoom
        report.figure(f"blur of a face {width:.0f} pixels wide", round(float(np.median(values)), 3))


def cut_at(image: Image, face: Face, side: str, share: float) -> Image:
    """The picture cut ``share`` of the face's extent inside it; the top is that of the detector's box."""
    low, high = face.outline.min(axis=0), face.outline.max(axis=0)
    width, height = high - low
    edge = {
        "left": low[0] + share * width,
        "right": high[0] - share * width,
        "top": face.box[1] + share * face.box[3],
        "bottom": high[1] - share * height,
    }[side]
    place = round(float(np.clip(edge, 0, max(image.shape[:2]))))
    rows = slice(place, None) if side == "top" else slice(None, place) if side == "bottom" else slice(None)
    columns = slice(place, None) if side == "left" else slice(None, place) if side == "right" else slice(None)
    return np.ascontiguousarray(image[rows, columns])


def completeness(finder: Finder, found: Sequence[Found], report: Report) -> None:
    """Share told to be complete, by side and depth of the cut."""
    for side in ("left", "right", "top", "bottom"):
        told = {}
        for share in CUTS:
            parts = (cut_at(person.image, face, side, share) for person, face in found)
            faces = [(part, part_faces[0]) for part in parts if (part_faces := finder.engine.detect(part, 1))]
            told[f"{share:+g}"] = round(float(np.mean([quality.completeness(part, face) for part, face in faces])), 3)
        report.figure(f"complete, cut at the {side}", told)


def controls(meter: QualityMeter, found: Sequence[Found], report: Report) -> None:
    """What each level turns away, and what plain faces read."""
    measured: list[tuple[Quality, Face]] = [(meter.measure(person.image, face), face) for person, face in found]
    read = np.array([astuple(entry.occlusion) for entry, _ in measured], np.float32)
    report.figure("occlusion of LFW as it is, median", _by_part(np.median(read, axis=0)))
    report.figure("occlusion of LFW as it is, 99%", _by_part(np.quantile(read, 0.99, axis=0).astype(np.float32)))
    for control in (Control.LOW, Control.NORMAL, Control.HIGH):
        reasons: Counter[str] = Counter()
        for entry, face in measured:
            try:
                check_quality(control, entry, face.location, face.angles)
            except ServiceError as error:
                reasons[type(error).__name__] += 1
        shares = {name: round(count / len(measured), 4) for name, count in reasons.most_common()}
        report.figure(f"turned away by {control.value}", {"all": round(sum(shares.values()), 4), **shares})


def main() -> int:
    """Command line."""
    options = parser(__doc__)
    options.add_argument("--lfw", type=Path, default=SHARED / "data" / "lfw-dev")
    options.add_argument("--models", type=Path, default=MODELS)
    options.add_argument("--occlusion", type=Path, default=ROOT / "heads" / "occlusion.onnx")
    arguments = options.parse_args()
    report = Report("quality", arguments.json)
    if not arguments.lfw.is_dir():
        return skip(report, f"there is no LFW at {arguments.lfw}; see --help")
    if arguments.models == MODELS:
        ensure(load_pack("core"), MODELS)
    finder = Finder(arguments.models)
    meter = OcclusionMeter(load_session(arguments.occlusion, ("CPUExecutionProvider",)))
    everybody, glasses = list(pictures(arguments.lfw)), noted("opaque", "tinted")
    people = [person for person in everybody if person.name not in glasses]
    kept_back = held_back([person.identity for person in people])
    chosen = [person for person in people if person.identity in kept_back]
    chosen = chosen[:: max(1, len(chosen) // PEOPLE[arguments.quick])]
    found = [(person, face) for person in chosen if (face := finder.central(person.image)) is not None]
    report.figure("held-back pictures", len(found))
    synthetic(finder, meter, found, report)
    real_sunglasses(finder, meter, [person for person in everybody if person.name in noted("opaque")], report)
    real_mask(finder, meter, found, report)
    blur_series(finder, found, report)
    completeness(finder, found[:60], report)
    controls(QualityMeter(meter), found, report)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
