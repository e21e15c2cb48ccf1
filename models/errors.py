"""What can go wrong with packs of weights. Every text is one sentence for an operator and names the way out."""

from __future__ import annotations


class ModelsError(Exception):
    """Root of this package's failures."""


class ManifestError(ModelsError):
    """A pack's manifest is missing, malformed, or contradicts itself."""


class ConversionError(ModelsError):
    """A graph cannot be brought into the shape that the manifest asks for."""


class FetchError(ModelsError):
    """Weights could not be fetched, or are not what the manifest says."""


class LicenceError(FetchError):
    """The pack's licence forbids commercial use and the operator has not opted in."""
