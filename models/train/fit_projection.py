"""Fit the projection of a pack's fused embedder, and judge it on people it has not seen.

    python -m models.train.fit_projection --pictures lfw-dev --pairs lfw-dev-pairs.txt --model-dir MODELS

``--pictures`` is a folder of pictures named as LFW names them (``Some_Person/Some_Person_0003.jpg``; the data set:
"Labeled Faces in the Wild", University of Massachusetts, for research and evaluation). The map is fitted on all of them
and written with ``--write``; the figures printed for it come from two halves of the people, each judged with the map of
the other half. Detection, landmarks and alignment are those that the server runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.fetch import ensure
from models.manifest import PackManifest, load_pack
from models.projection import fit_projection, project, save_projection
from models.train.verification import (
    acceptance_at,
    fold_accuracy,
    person_of,
    read_pairs,
)
from service.calibration.fitting import all_against_all, few_of_each
from service.inference.engine import Engine

FARS = (1e-3, 1e-4)
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Gallery:
    """``embeddings`` (n, d) of unit length, fused and not projected; ``pictures`` their names."""

    embeddings: Floats
    pictures: tuple[str, ...]

    @property
    def people(self) -> list[str]:
        """Who is in each picture."""
        return [person_of(picture) for picture in self.pictures]


def embed_pictures(pack: PackManifest, model_dir: Path, paths: Iterable[Path]) -> Gallery:
    """Embeddings of the face nearest to the centre of each picture, before any projection."""
    width = sum(part.dimension for part in pack.embedder.parts)
    fused = replace(pack, embedder=replace(pack.embedder, projection=None, dimension=width))
    return embed_central_faces(fused, ensure(pack, model_dir), paths)


def embed_central_faces(pack: PackManifest, files: Mapping[str, Path], paths: Iterable[Path]) -> Gallery:
    """Embeddings, as the server makes them, of the face nearest to the centre of each picture."""
    engine = Engine(pack, files, ["CPUExecutionProvider"])
    rows, names = [], []
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        faces = [] if image is None else engine.detect(np.asarray(image, np.uint8), 10)
        if image is None or not faces:
            print(f"no face in {path}")
            continue
        middle = np.array(image.shape[1::-1]) / 2
        face = min(faces, key=lambda one: float(np.hypot(*(one.points.mean(axis=0) - middle))))
        rows.append(engine.embed([engine.align(np.asarray(image, np.uint8), face.points)])[0])
        names.append(path.stem)
    return Gallery(np.stack(rows), tuple(names))


def parts_of(pack: PackManifest, gallery: Gallery) -> dict[str, Floats]:
    """Each part of the fused embeddings alone, of unit length, and the whole."""
    found, start = {}, 0
    for part in pack.embedder.parts:
        rows = gallery.embeddings[:, start : start + part.dimension]
        found[part.file] = np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)
        start += part.dimension
    return {**found, f"fused, {start} numbers": gallery.embeddings}


def crosswise(gallery: Gallery, dimension: int) -> list[tuple[NDArray[np.bool_], Floats]]:
    """For each half of the people: which rows are theirs, and those rows projected by the other half's map."""
    people = gallery.people
    place = {person: index for index, person in enumerate(sorted(set(people)))}
    halves = np.array([place[person] % 2 for person in people])
    return [
        (
            halves == half,
            project(gallery.embeddings[halves == half], fit_projection(gallery.embeddings[halves != half], dimension)),
        )
        for half in (0, 1)
    ]


def _tars(embeddings: Floats, people: list[str]) -> str:
    kept = few_of_each(people)
    genuine, impostor = all_against_all(embeddings[kept], list(np.asarray(people)[kept]))
    figures = (acceptance_at(genuine, impostor, far) for far in FARS)
    texts = [f"TAR@{far:g} {100 * tar:.2f} % (cosine {at:.3f})" for far, (tar, at) in zip(FARS, figures, strict=True)]
    return f"{', '.join(texts)}; {len(genuine)} genuine, {len(impostor)} impostor pairs"


def _report(pack: PackManifest, gallery: Gallery, pairs: Path | None, projection: Floats) -> None:
    people = gallery.people
    projected = project(gallery.embeddings, projection.astype(np.float16))
    listed = read_pairs(pairs, {name: row for row, name in enumerate(gallery.pictures)}) if pairs else None
    for name, rows in {
        **parts_of(pack, gallery),
        f"projected to {projection.shape[1]} (seen people)": projected,
    }.items():
        accuracy = f"accuracy {100 * fold_accuracy(rows, *listed):.2f} %, " if listed else ""
        print(f"{name}: {accuracy}{_tars(rows, people)}")
    for marks, rows in crosswise(gallery, projection.shape[1]):
        half = list(np.asarray(people)[marks])
        print(f"unseen half, not projected: {_tars(gallery.embeddings[marks], half)}")
        print(f"unseen half, projected: {_tars(rows, half)}")


def main() -> None:
    """Fit, print the figures, and write the map when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--pack", default="core")
    parser.add_argument("--dimension", type=int, default=192)
    parser.add_argument("--embeddings", type=Path, help="npz to keep the embeddings in, or to take them from")
    parser.add_argument("--write", type=Path, help="npz to write the projection to")
    arguments = parser.parse_args()
    pack = load_pack(arguments.pack)
    if arguments.embeddings and arguments.embeddings.is_file():
        kept: Any = np.load(arguments.embeddings)
        gallery = Gallery(kept["embeddings"], tuple(str(name) for name in kept["pictures"]))
    else:
        gallery = embed_pictures(pack, arguments.model_dir, sorted(arguments.pictures.rglob("*.jpg")))
        if arguments.embeddings:
            np.savez(arguments.embeddings, embeddings=gallery.embeddings, pictures=np.array(gallery.pictures))
    projection = fit_projection(gallery.embeddings, arguments.dimension)
    _report(pack, gallery, arguments.pairs, projection)
    if arguments.write:
        save_projection(arguments.write, projection)


if __name__ == "__main__":
    main()
