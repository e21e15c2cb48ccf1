"""From the public score 0..100 to the confidence 0..1 of the Linkface documents, a pure function.

Their table: 0.4 at an error rate of 1e-1, 0.5 at 1e-2, and a tenth more for each power of ten, up to 0.9 at 1e-6. The
score of ``scores.py`` stands at 50 for 1e-1 and rises by ten for each power of ten, so both scales are straight lines
in the exponent and lie a constant apart.
"""

from __future__ import annotations

from service.calibration.scores import IDENTITY_SCORE

_KNEE_SCORE, _KNEE_CONFIDENCE = 50.0, 0.4
_PER_POINT = 0.01


def confidence(score: float) -> float:
    """0..1 for a score 0..100; rises with it. The same picture has 1, mere similarity stays below 0.9."""
    if score >= IDENTITY_SCORE:
        return 1.0
    if score >= _KNEE_SCORE:
        return _KNEE_CONFIDENCE + (score - _KNEE_SCORE) * _PER_POINT
    return max(score, 0.0) * _KNEE_CONFIDENCE / _KNEE_SCORE
