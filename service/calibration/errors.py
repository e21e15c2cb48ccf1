"""What can be wrong with a calibration table; told to the operator at start, never to a caller."""

from __future__ import annotations


class CalibrationError(Exception):
    """A table is missing, malformed, or was fitted on other weights; the message says the way out."""
