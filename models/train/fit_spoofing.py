"""What log-odds of the head for synthetic faces real pictures exceed: the knots of ``service.calibration.spoofing``.

    python -m models.train.fit_spoofing --pictures LFW --models MODEL_DIR

Every picture but those that ``fit_heads`` fits on, of everybody and of people of whom it fits on none.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from models.train.fit_heads import PICTURE_STEP
from models.train.meshes import read_portraits
from service.calibration.spoofing import THRESHOLDS, served

SHARES = (5e-2, 1e-2, 5e-3, 1e-3)


def main() -> int:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pictures", type=Path, required=True)
    options.add_argument("--models", type=Path, required=True)
    chosen = options.parse_args()
    if not any(chosen.pictures.rglob("*.jpg")):
        options.error(f"no pictures below {chosen.pictures}")
    fitted = set(sorted(chosen.pictures.rglob("*.jpg"))[::PICTURE_STEP])
    people = {path.parent for path in fitted}
    told = [
        (portrait.path.parent in people, portrait.reader.spoofing)
        for portrait in read_portraits(chosen.pictures, chosen.models)
        if portrait.path not in fitted
    ]
    known = np.array([each for each, _ in told])
    probabilities = np.array([each for _, each in told])
    for name, rows in (("everybody", probabilities), ("people not fitted on", probabilities[~known])):
        print(f"{name}: {len(rows)} pictures")
        for share in SHARES:
            value = float(np.quantile(rows, 1 - share))
            print(f"  {share:g} of them exceed log-odds of {np.log(value / (1 - value)):.2f}")
        answers = np.array([served(float(each)) for each in rows])
        for name_of, threshold in THRESHOLDS.items():
            print(f"  served above {threshold} ({name_of}): {np.mean(answers > threshold):.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
