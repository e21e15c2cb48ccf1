"""Made galleries that are as hard to search as real ones: face-like embeddings of any number of people.

Random vectors mislead: real embeddings lie close to fewer dimensions than they have numbers, strangers resemble each
other, some pictures of a person are poor, and some people have a look-alike. The model here has these parts, with
statistics measured on real faces (``gallery_statistics.npz``, written by ``benchmarks.gallery_fit``; no face can be
made out of them):

    face = unit(mean + identity + poorness * deviation)
    identity = sqrt(1 - r) * own + sqrt(r) * archetype     (one of a few thousand types of faces that all people share)

``own``, ``archetype`` and ``deviation`` are normal with the measured variances along the measured principal axes, and
``poorness`` has the measured distribution. One person in fifty besides has a twin. Everything follows from the seed.

    python -m benchmarks.gallery [--json] [--dimension 192] [--people 4000]

prints the similarities of a made gallery beside those measured.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Report, parser
from service.values import Embeddings

STATISTICS = Path(__file__).with_name("gallery_statistics.npz")
DIMENSIONS = (192, 512)
FARS = (0.1, 1e-2, 1e-3, 1e-4, 1e-5)
"""False accept rates at which impostors are compared."""
FRRS = (0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 0.9)
"""Shares of genuine pairs below, at which these are compared."""
TWINS = 0.02
"""Share of people who have a look-alike."""
TWIN_LIKENESS = 0.7
"""Share of the identity's variance that look-alikes have in common: cosines of about 0.5."""
BLOCK = 65536

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Statistics:
    """What makes up the faces of one embedder; variances are along the principal axes, largest first."""

    mean: Floats
    between: Floats
    """Variances ``(dimension,)`` of people's identities."""
    within: Floats
    """Variances ``(dimension,)`` of a person's pictures."""
    poorness: Floats
    """Evenly spaced quantiles of how far a picture lies from its person, 1 being usual."""
    archetypes: int
    likeness: float
    """Share of the identity's variance that a person has from the archetype."""
    impostors: Floats
    """Measured cosines of strangers, exceeded by the shares ``FARS``."""
    genuine: Floats
    """Measured cosines of one person's pictures, reached by all but the shares ``FRRS``."""

    @classmethod
    def load(cls, dimension: int, path: Path = STATISTICS) -> Statistics:
        """The committed statistics; raises :class:`KeyError` for a dimension that is not in :data:`DIMENSIONS`."""
        with np.load(path, allow_pickle=False) as archive:
            values: dict[str, Any] = {name: archive[f"{name}_{dimension}"] for name in cls.__dataclass_fields__}
        scalars = {"archetypes": int(values["archetypes"]), "likeness": float(values["likeness"])}
        return cls(**{**values, **scalars})

    @property
    def threshold(self) -> float:
        """Cosine at a false accept rate of 1e-4, which the score of 80 stands for."""
        return float(self.impostors[FARS.index(1e-4)])


class Gallery:
    """People and any number of faces of each; the same seed makes the same people and faces."""

    def __init__(self, statistics: Statistics, people: int, seed: int = 1, archetypes: int | None = None) -> None:
        """``archetypes`` is the seed of the archetypes alone, for several galleries that have theirs in common."""
        self._statistics = statistics
        self._seed = seed
        rng = np.random.default_rng([seed, 0])
        self.identities = _normal(rng, people, statistics.between)
        theirs = rng if archetypes is None else np.random.default_rng([archetypes, 2])
        types = _normal(theirs, statistics.archetypes, statistics.between)
        _blend(self.identities, types, rng.integers(statistics.archetypes, size=people), statistics.likeness)
        twins = int(TWINS * people / 2)
        first = self.identities[:twins].copy()
        _blend(self.identities[people - twins :], first, np.arange(twins), TWIN_LIKENESS)

    def faces(self, people: NDArray[np.int64], turn: int = 0, poorness: float = 1.0) -> Embeddings:
        """One face ``(n, dimension)`` of each of the people named, different ones for every ``turn``.

        ``poorness`` makes all of them worse than measured.
        """
        statistics = self._statistics
        rng = np.random.default_rng([self._seed, 1, turn])
        made = np.empty((len(people), len(statistics.mean)), dtype=np.float32)
        steps = np.linspace(0, 1, len(statistics.poorness))
        for start in range(0, len(people), BLOCK):
            block = made[start : start + BLOCK]
            block[:] = _normal(rng, len(block), statistics.within)
            lengths = poorness * np.interp(rng.random(len(block)), steps, statistics.poorness)
            block *= lengths.astype(np.float32)[:, None]
            block += self.identities[people[start : start + BLOCK]]
            block += statistics.mean
            block /= np.linalg.norm(block, axis=1, keepdims=True)
        return made


def _normal(rng: np.random.Generator, count: int, variances: Floats) -> Floats:
    rows = rng.standard_normal((count, len(variances)), dtype=np.float32)
    rows *= np.sqrt(variances)
    return rows


def _blend(rows: Floats, others: Floats, which: NDArray[np.int64], share: float) -> None:
    """Replace ``share`` of the rows' variance by that of the others."""
    rows *= np.float32(np.sqrt(1 - share))
    rows += np.float32(np.sqrt(share)) * others[which]


def similarities(gallery: Gallery, people: int, pairs: int = 40_000_000) -> tuple[Floats, Floats]:
    """Cosines of about ``pairs`` impostor pairs, and one genuine pair for each of the first ``people``."""
    numbers = np.arange(people, dtype=np.int64)
    left, right = gallery.faces(numbers, 0), gallery.faces(numbers, 1)
    genuine = np.einsum("ij,ij->i", left, right)
    rows = min(people, max(1, pairs // people))
    crossed = left[:rows] @ right.T
    crossed[np.arange(rows), np.arange(rows)] = np.nan
    strangers = crossed.ravel()
    return strangers[~np.isnan(strangers)], genuine


def compare(report: Report, dimension: int, people: int) -> None:
    """Show measured and made cosines side by side, and check that they lie close together."""
    statistics = Statistics.load(dimension)
    strangers, genuine = similarities(Gallery(statistics, people), people)
    for name, made, measured, shares in (
        ("impostors at FAR", np.quantile(strangers, [1 - far for far in FARS]), statistics.impostors, FARS),
        ("genuine at FRR", np.quantile(genuine, FRRS), statistics.genuine, FRRS),
    ):
        for share, cosine, real in zip(shares, made.tolist(), measured.tolist(), strict=True):
            report.figure(f"{dimension}: {name} {share:g}", {"made": round(cosine, 3), "real": round(real, 3)})
        report.at_most(f"{dimension}: {name}, largest difference", float(np.abs(made - measured).max()), 0.04)


def main() -> int:
    """Compare made and measured similarities; the exit status says whether they agree."""
    options = parser(__doc__)
    options.add_argument("--dimension", type=int, choices=DIMENSIONS, help="only this one")
    options.add_argument("--people", type=int, default=6000)
    chosen = options.parse_args()
    report = Report("gallery", chosen.json)
    for dimension in DIMENSIONS if chosen.dimension is None else (chosen.dimension,):
        compare(report, dimension, chosen.people)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
