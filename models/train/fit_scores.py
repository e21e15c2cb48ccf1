"""Fit the table from similarity to score of a pack; ``service/calibration/fitting.py`` tells the method.

    python -m models.train.fit_scores --pictures lfw --model-dir MODELS --write models/calibration/core.json

``--pictures`` is a folder as LFW lays it out (``Some_Person/Some_Person_0003.jpg``; "Labeled Faces in the Wild",
University of Massachusetts, for research and evaluation). Operators fit their own table with ``aipface calibrate``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from models.fetch import ensure
from models.manifest import load_pack
from models.train.fit_projection import embed_central_faces
from service.calibration.fitting import all_against_all, few_of_each, fit


def main() -> None:
    """Fit, print what the cuts mean, and write the table when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--pack", default="core")
    parser.add_argument("--data", default="LFW, the pictures of the first five folds of its standard pairs")
    parser.add_argument("--write", type=Path, help="table to write")
    arguments = parser.parse_args()
    pack = load_pack(arguments.pack)
    files = ensure(pack, arguments.model_dir)
    gallery = embed_central_faces(pack, files, sorted(arguments.pictures.rglob("*.jpg")))
    kept = few_of_each(gallery.people)
    people = list(np.asarray(gallery.people)[kept])
    genuine, impostor = all_against_all(gallery.embeddings[kept].astype(np.float32), people)
    fitted = fit(pack.model_id, genuine, impostor, data=arguments.data, people=len(set(people)))
    for key in ("people", "genuine_pairs", "impostor_pairs", "anchors", "measured_far", "measured_frr"):
        print(key, json.dumps(fitted[key]))
    if arguments.write:
        arguments.write.write_text(json.dumps(fitted, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
