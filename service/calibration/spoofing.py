"""From the output of the head for synthetic faces to the served ``spoofing``, on the scale of the API's documents.

The documents state which share of real pictures lies above which value. Clients have these values in their programs,
since no answer contains them. So the head's log-odds are mapped such that real pictures have these shares, measured on
1,463 pictures of Labeled Faces in the Wild of people whom the head was not fitted on
(``models/train/fit_spoofing.py``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

THRESHOLDS: Mapping[str, float] = {"frr_5e-2": 0.00023, "frr_1e-2": 0.00048, "frr_5e-3": 0.00066, "frr_1e-3": 0.00109}
"""Served values by the share of real pictures above them (``v4-online-picture-liveness``; 1e-2 is recommended)."""

LOG_ODDS = (-0.05, 2.24, 3.37, 4.60)
"""The head's log-odds that these shares of real pictures exceed."""
BEYOND = 2.0
"""Slope beyond the last of them, in logits of the served value per unit of log-odds, chosen so that a face that the
head is sure of (log-odds of ten and more) gets a value near 1. The documents' rarer quantiles cannot be measured on so
few pictures."""

_SERVED = np.array([math.log(value / (1 - value)) for value in THRESHOLDS.values()])


def served(probability: float) -> float:
    """0..1 for the head's probability 0..1; rises with it."""
    tiny = float(np.finfo(np.float32).eps)
    odds = math.log(max(probability, tiny) / max(1 - probability, tiny))
    logit = float(np.interp(odds, LOG_ODDS, _SERVED)) + BEYOND * max(0.0, odds - LOG_ODDS[-1])
    logit += float((_SERVED[1] - _SERVED[0]) / (LOG_ODDS[1] - LOG_ODDS[0])) * min(0.0, odds - LOG_ODDS[0])
    return 1 / (1 + math.exp(-logit))
