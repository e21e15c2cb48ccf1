"""The figures of the attribute cards, from the data at hand.

    python -m benchmarks.attributes [--quick] [--json] [--lfw FOLDER] [--features FILE]

On Labeled Faces in the Wild, which has no attribute labels: agreement of the head pose with a pose network, of the eye
centres with another landmark network, of landmarks and regions with those of the mirror image; gender against first
names that leave no doubt; sunglasses against a committed list; the shares of each class, and how often two pictures of
one person get the same answer. From the features that the heads were trained on: what a head fitted on one half tells
of the other. What needs data that are not at hand is named. Neither LFW nor the features are part of this project;
``benchmarks/accuracy.py`` says where LFW is described, ``models/cards/heads.md`` what the features are.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Report, parser, skip, weights
from models.train import fit_heads
from models.train.meshes import Portrait, read_portraits
from models.train.people import noted
from service.inference import geometry
from service.inference.attributes import MODEL_FILES
from service.inference.face_regions import Region
from service.inference.landmark_names import NAMES_150, mirrored_name
from service.inference.mesh import square
from service.inference.session import Session, load_session
from tests.fixtures.places import MODELS, SHARED

MEN = """
    George John Bill Tony James David Robert Michael William Richard Paul Mark Peter Thomas Tom Tim Tiger Donald
    Gerhard Jacques Hugo Hans Roger Jeff Kevin Steve Steven Brad Jim Joe Mike Jason Andrew Daniel Carlos
    Fernando Juan Luis Jose Jorge Pedro Pablo Vladimir Igor Silvio Vicente Mohammed Ahmed Howard Larry Harry
    Gary Greg Charles Frank Fred Jack Keith Kenneth Matthew Nick Patrick Phil Ronald Scott Sean Simon Ted Tommy
    Walter Wayne Bernard Brian Bruce Chuck Dennis Edward Eric Gordon Joseph Ricardo Roberto Rudolph
"""
WOMEN = """
    Jennifer Julia Julie Angelina Halle Nicole Winona Gloria Serena Venus Laura Hillary Condoleezza Martha Mary
    Catherine Elizabeth Britney Christina Sarah Megawati Naomi Renee Salma Anna Ann Anne Angela Barbara Carla
    Carmen Carolina Charlotte Claire Claudia Cristina Diana Elena Emma Eva Gwyneth Heather Helen Isabella Jane
    Janet Jelena Jessica Joan Judy Kate Katherine Kathleen Katie Kirsten Lisa Lucy Maria Marie Martina Melissa
    Michelle Monica Nancy Natalie Olivia Pamela Patricia Paula Penelope Rachel Rebecca Sandra Shannon Sophia
    Susan Tara Teresa Vanessa Victoria
"""

QUICK_STEP, STEP = 30, 4

MIRRORED_ROWS = [NAMES_150.index(mirrored_name(name)) for name in NAMES_150]
MIRRORED_REGIONS = np.array([0, 1, 3, 2, 5, 4, 6, 7, 8, 9], np.uint8)
"""``Region`` of the mirror image for each ``Region``: brows and eyes change sides."""

NOT_AT_HAND = {
    "age: mean error 4.2 years, adults 5.6": "UTKFace",
    "emotion: .90 right on posed faces, happy against the rest AUC .970": "CK+",
    "eye_status: fr_eye alone AUC .938": "a set of open and closed eyes",
    "face_type: unseen styles, photographs called drawn": "what models/train/draw_faces.mjs draws (see fit_heads)",
    "mask: worn masks, not pasted ones": "photographs of people with masks",
    "spoofing: GAN faces of generators not seen in training": "newer generators' faces",
    "landmarks, parsing, angles: error against what people annotated": "300W, CelebAMask-HQ, BIWI or the like",
    "beauty: other raters than those of SCUT-FBP5500": "another set with votes",
}
"""Figures of the cards (or missing there) and the data that they would need."""

POSE_MEAN, POSE_SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
POSE_SIDE, POSE_K, POSE_BINS, POSE_BIN_DEGREES, POSE_OFFSET = 224, 1.5, 66, 3, 99


def network_pose(session: Session, portrait: Portrait) -> NDArray[np.float64]:
    """Yaw, pitch, roll of ``fr_pose`` with our signs; three outputs of 66 bins of 3 degrees, softmax expectation."""
    x, y, width, height = portrait.reader.mesh.box
    cut = square((x + width / 2, y + height / 2), POSE_K * max(width, height), 0.0, POSE_SIDE)
    crop = geometry.warp(portrait.image, cut, (POSE_SIDE, POSE_SIDE))[:, :, ::-1].astype(np.float32) / 255
    batch = ((crop - np.array(POSE_MEAN, np.float32)) / np.array(POSE_SPREAD, np.float32)).transpose(2, 0, 1)[
        np.newaxis
    ]
    angles = []
    for logits in session.run(batch):
        powers = np.exp(logits[0] - logits[0].max())
        angles.append(float((powers / powers.sum() * np.arange(POSE_BINS)).sum()) * POSE_BIN_DEGREES - POSE_OFFSET)
    yaw, pitch, roll = angles
    return np.array([yaw, -pitch, roll])


def observe(portrait: Portrait, pose: Session) -> dict[str, Any]:
    """Everything that is judged about one face."""
    face, name = portrait.reader, f"{portrait.path.parent.name}/{portrait.path.name}"
    angles = face.angles
    return {
        "person": portrait.path.parent.name,
        "name": name,
        "pose": np.array([angles.yaw, angles.pitch, angles.roll]),
        "network pose": network_pose(pose, portrait),
        "gender": face.gender.type,
        "age": face.age,
        "beauty": face.beauty,
        "spoofing": face.spoofing,
        "eyes open": min(face.eye_status.left_eye, face.eye_status.right_eye) > 0.5,
        "eye centres": eye_centre_distance(portrait),
        **mirror_measures(portrait),
        **{
            field: getattr(face, field).type
            for field in ("expression", "emotion", "face_shape", "glasses", "mask", "face_type")
        },
    }


def eye_centre_distance(portrait: Portrait) -> float:
    """Mean distance of our eye centres from those of ``fr_landmark``, in eye distances."""
    ours, theirs = portrait.reader.landmark4[:2], portrait.face.points[:2]
    return float(np.linalg.norm(ours - theirs, axis=1).mean() / np.linalg.norm(theirs[1] - theirs[0]))


def mirror_measures(portrait: Portrait) -> dict[str, Any]:
    """How landmarks (mean, eye distances) and angles (degrees) differ in a mirror, and what share the regions have."""
    straight, mirrored = portrait.reader, portrait.mirrored()
    back = mirrored.landmarks[MIRRORED_ROWS] * [-1, 1] + [portrait.image.shape[1] - 1, 0]
    right, left = straight.landmark4[:2]
    distances = np.linalg.norm(back - straight.landmarks, axis=1) / np.linalg.norm(left - right)
    labels, turned = straight.parsing, MIRRORED_REGIONS[mirrored.parsing[:, ::-1]]
    shared = [
        float(((labels == region) & (turned == region)).sum() / max(1, ((labels == region) | (turned == region)).sum()))
        for region in Region
    ]
    first, second = straight.angles, mirrored.angles
    turns = np.abs([first.yaw + second.yaw, first.pitch - second.pitch, first.roll + second.roll])
    return {"mirrored landmarks": float(distances.mean()), "mirrored regions": shared, "mirrored angles": turns}


def report_mirror(report: Report, seen: list[dict[str, Any]]) -> None:
    """Landmarks, regions and angles against those of the mirror image, and eye centres against another network."""
    report.figure("landmark: eye centres from fr_landmark's, eye distances", _mean(seen, "eye centres"))
    report.figure("landmark150: apart in the mirror, eye distances", _mean(seen, "mirrored landmarks"))
    regions = np.mean([one["mirrored regions"] for one in seen], axis=0)
    report.figure(
        "parsing_info: shared with the mirror",
        {region.name.lower(): round(float(share), 3) for region, share in zip(Region, regions, strict=True)},
    )
    turns = np.mean([one["mirrored angles"] for one in seen], axis=0)
    report.figure("yaw, pitch, roll: apart in the mirror, degrees", [round(float(turn), 2) for turn in turns])


def _mean(seen: list[dict[str, Any]], key: str) -> float:
    return round(float(np.mean([one[key] for one in seen])), 4)


def report_heads(report: Report, features: Path, quick: bool) -> None:
    """Heads fitted on one half of their features and judged on the other; a quick run leaves out the large sets."""
    if not features.is_file():
        report.figure("heads", f"skipped: no features at {features}; name their file with --features")
        return
    with np.load(features, allow_pickle=False) as data:
        for name in ("mask",) if quick else ("mask", "glasses", "cartoon", "synthetic"):
            figures = fit_heads.judge(name, data)
            report.figure(f"{name}: held-back half", figures)
        if not quick:
            report.figure("beauty: held-back half", fit_heads.judge_beauty(data))


def report_pose(report: Report, seen: list[dict[str, Any]]) -> None:
    """Correlation and mean difference of the mesh's angles and the network's."""
    ours, theirs = (np.array([one[key] for one in seen]) for key in ("pose", "network pose"))
    for index, name in enumerate(("yaw", "pitch", "roll")):
        correlation = float(np.corrcoef(ours[:, index], theirs[:, index])[0, 1])
        report.figure(f"{name}: correlation with fr_pose", round(correlation, 3))
        report.figure(f"{name}: mean difference", round(float((ours - theirs)[:, index].mean()), 2))


def report_gender(report: Report, seen: list[dict[str, Any]]) -> None:
    """Gender against first names."""
    for word, names in (("male", MEN.split()), ("female", WOMEN.split())):
        named = [one["gender"] == word for one in seen if one["person"].split("_")[0] in names]
        report.figure(f"gender: {word} by first name", f"{sum(named)}/{len(named)} right")


def report_shares(report: Report, seen: list[dict[str, Any]]) -> None:
    """Shares of each class over all faces; agreement of the pictures of one person."""
    for field in ("expression", "emotion", "face_shape", "glasses", "mask", "face_type", "eyes open"):
        counts = Counter(str(one[field]) for one in seen)
        report.figure(f"{field}: shares", {key: round(count / len(seen), 3) for key, count in counts.most_common()})
    for field in ("gender", "face_shape", "age", "beauty"):
        report.figure(f"{field}: same person", _within(seen, field))
    report.figure("spoofing over a half", round(float(np.mean([one["spoofing"] > 0.5 for one in seen])), 3))


def _within(seen: list[dict[str, Any]], field: str) -> str:
    """Mean agreement (classes) or mean absolute difference (numbers) over all pairs of one person's pictures."""
    people: dict[str, list[Any]] = defaultdict(list)
    for one in seen:
        people[one["person"]].append(one[field])
    pairs = [(a, b) for values in people.values() for i, a in enumerate(values[:10]) for b in values[i + 1 : 10]]
    if not pairs:
        return "no pairs"
    if isinstance(pairs[0][0], str):
        return f"{np.mean([a == b for a, b in pairs]):.3f} agree"
    return f"{np.mean([abs(a - b) for a, b in pairs]):.2f} apart"


def report_sunglasses(report: Report, seen: list[dict[str, Any]]) -> None:
    """Sunglasses found and false alarms (the head was fitted on some of these; see the card for held-back figures)."""
    listed = noted("opaque", "tinted")
    found = [one["glasses"] == "sun" for one in seen if one["name"] in listed]
    alarms = [one["glasses"] == "sun" for one in seen if one["name"] not in listed]
    report.figure("sunglasses found", f"{sum(found)}/{len(found)}")
    report.figure("sunglasses: false alarms", f"{sum(alarms)}/{len(alarms)}")


def main() -> int:
    """Run and report; nothing is required, the cards quote what is printed."""
    options = parser(__doc__)
    options.add_argument("--lfw", type=Path, default=SHARED / "data" / "lfw-dev", help="folder of LFW's people")
    options.add_argument(
        "--features",
        type=Path,
        default=SHARED / "data" / "attribute-heads.npz",
        help="features the heads are fitted on",
    )
    chosen = options.parse_args()
    report = Report("attributes", chosen.json)
    files = weights(chosen.pack)
    missing = sorted(set(MODEL_FILES) - set(files))
    if missing:
        return skip(report, f"the pack {chosen.pack} does not bring {', '.join(missing)}")
    if not chosen.lfw.is_dir():
        return skip(report, f"no pictures of LFW at {chosen.lfw}; name their folder with --lfw")
    cv2.setNumThreads(1)
    pose = load_session(files["fr_pose"], ("CPUExecutionProvider",))
    portraits = read_portraits(chosen.lfw, MODELS, QUICK_STEP if chosen.quick else STEP)
    seen = [observe(portrait, pose) for portrait in portraits]
    report.figure("faces", len(seen))
    report_pose(report, seen)
    report_gender(report, seen)
    report_shares(report, seen)
    report_sunglasses(report, seen)
    report_mirror(report, seen)
    report_heads(report, chosen.features, chosen.quick)
    for figure, needed in NOT_AT_HAND.items():
        report.figure(f"not measured here: {figure}", f"needs {needed}")
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
