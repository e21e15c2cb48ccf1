"""Checking that a converted graph still answers as it did where it was recorded.

A fingerprint is a handful of outputs for an input made by a formula, so that nothing random or library-dependent goes
into it. Files differ in bytes from one version of the converter's libraries to the next; their answers must not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.errors import ConversionError, ManifestError
from models.specs import Dimension

Floats = NDArray[np.float32]

SAMPLES = 16
"""Values kept of each output, evenly spaced over its flattened elements."""

TOLERANCE = 2e-3
"""Largest difference allowed, as a share of the output's largest magnitude. Runtimes and processors differ by 1e-5 or
so in float32; a wrong scale, plane order or block differs by more than 1e-1."""

FREE_SIZES: Mapping[str, int] = {"batch": 2, "height": 96, "width": 160}
"""What free dimensions of an input are set to: batches of two, and pictures that are no square."""


@dataclass(frozen=True)
class OutputPrint:
    """One output: its shape, its largest magnitude, and ``SAMPLES`` of its values."""

    shape: tuple[int, ...]
    largest: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Fingerprint:
    """What a graph answered. The input was ``probe(input_shape)`` scaled to ``low``..``high``."""

    input_shape: tuple[int, ...]
    low: float
    high: float
    outputs: tuple[OutputPrint, ...]


def probe(shape: Sequence[int]) -> Floats:
    """Numbers 0..1 in a fixed pattern: the top 8 bits of Knuth's multiplicative hash of each element's index.

    The multiplier 2654435761 is 2**32 divided by the golden ratio (The Art of Computer Programming, volume 3, 6.4).
    """
    index = np.arange(int(np.prod(shape)), dtype=np.uint64)
    hashed = ((index + np.uint64(1)) * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF)
    levels: Floats = ((hashed >> np.uint64(24)).astype(np.float32) / np.float32(255)).reshape(tuple(shape))
    return levels


def probe_shape(signature: Sequence[Dimension]) -> tuple[int, ...]:
    """The input's shape with its free dimensions set to :data:`FREE_SIZES`."""
    return tuple(FREE_SIZES.get(size, 1) if isinstance(size, str) else size for size in signature)


def run(path: Path, batch: Floats) -> list[Floats]:
    """All outputs of the graph, on the CPU with one thread. Raises :class:`ConversionError` when it does not run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return [np.asarray(item) for item in session.run(None, {session.get_inputs()[0].name: batch})]
    except Exception as error:  # the runtime raises a dozen unrelated classes
        raise ConversionError(f"the runtime cannot run {path.name}: {str(error).splitlines()[0]}") from error


def measure(path: Path, input_shape: Sequence[int], low: float, high: float) -> Fingerprint:
    """The fingerprint of the graph at ``path``."""
    batch = probe(input_shape) * np.float32(high - low) + np.float32(low)
    return Fingerprint(tuple(input_shape), low, high, tuple(_print(item) for item in run(path, batch)))


def _print(output: Floats) -> OutputPrint:
    flat = output.ravel()
    places = np.linspace(0, flat.size - 1, min(SAMPLES, flat.size)).round().astype(int)
    return OutputPrint(tuple(output.shape), float(np.abs(flat).max()), tuple(float(value) for value in flat[places]))


def compare(path: Path, recorded: Fingerprint, tolerance: float = TOLERANCE) -> float:
    """Largest relative difference of the graph's answers from ``recorded``.

    Raises :class:`ConversionError` when it exceeds ``tolerance`` or a shape differs.
    """
    now = measure(path, recorded.input_shape, recorded.low, recorded.high)
    if [item.shape for item in now.outputs] != [item.shape for item in recorded.outputs]:
        raise ConversionError(f"{path.name} answers in other shapes than recorded")
    worst = 0.0
    for ours, theirs in zip(now.outputs, recorded.outputs, strict=True):
        difference = np.abs(np.subtract((*ours.values, ours.largest), (*theirs.values, theirs.largest))).max()
        worst = max(worst, float(difference / max(theirs.largest, 1e-6)))
    if not worst <= tolerance:  # also when the answers are no numbers
        raise ConversionError(f"{path.name} answers {worst:.2g} off its fingerprint; {tolerance:g} is allowed")
    return worst


def fingerprints_path(manifests: Path, pack: str) -> Path:
    """Where the fingerprints of ``pack`` are recorded: beside its manifest."""
    return manifests / f"{pack}.fingerprints.json"


def load_fingerprints(path: Path) -> dict[str, Fingerprint]:
    """The recorded fingerprints of a pack by file name; none when nothing was recorded."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: _parse(item) for name, item in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(f"the fingerprints {path.name} cannot be read: {error!r}") from None


def _parse(item: Mapping[str, object]) -> Fingerprint:
    outputs = item["outputs"]
    if not isinstance(outputs, list):
        raise TypeError("outputs must be a list")
    prints = (OutputPrint(tuple(one["shape"]), float(one["largest"]), tuple(one["values"])) for one in outputs)
    shape, low, high = item["input_shape"], item["low"], item["high"]
    if not isinstance(shape, list) or not isinstance(low, (int, float)) or not isinstance(high, (int, float)):
        raise TypeError("input_shape, low and high must be there")
    return Fingerprint(tuple(shape), float(low), float(high), tuple(prints))


def save_fingerprints(path: Path, fingerprints: Mapping[str, Fingerprint]) -> None:
    """Write what :func:`load_fingerprints` reads, values with seven digits."""
    content = {name: asdict(item) for name, item in fingerprints.items()}
    for item in content.values():
        for output in item["outputs"]:
            output["largest"] = float(f"{output['largest']:.7g}")
            output["values"] = [float(f"{value:.7g}") for value in output["values"]]
    lines = [f"{json.dumps(name)}: {json.dumps(item)}" for name, item in content.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
