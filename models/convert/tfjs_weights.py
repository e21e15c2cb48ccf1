"""Reading the weight shards of TensorFlow.js: the manifest names every tensor, its shape and how it was quantised.

Format: a list of groups ``{"paths": [shard, ...], "weights": [{"name", "shape", "dtype", "quantization"?}, ...]}``; the
shards of a group are one byte stream, the tensors lie in it in order without padding. Quantisation is either
``float16`` (plain half floats) or ``uint8``/``uint16`` with an affine map ``value = q * scale + min``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ConversionError

Weights = dict[str, NDArray[Any]]

_DTYPES = {"float32": "<f4", "float16": "<f2", "int32": "<i4", "uint8": "u1", "uint16": "<u2", "bool": "u1"}


def read_json(path: Path) -> Any:
    """Parse a JSON file; raises ``ConversionError`` when it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConversionError(f"{path.name} cannot be read as JSON: {error}") from error


def read_weights(groups: Sequence[Mapping[str, Any]], folder: Path) -> Weights:
    """All tensors of a weight manifest by name, dequantised to float32 (integers stay integers).

    Raises ``ConversionError`` when a shard is missing, too short or too long, or a type is unknown.
    """
    weights: Weights = {}
    for group in groups:
        data = _shards(group["paths"], folder)
        offset = 0
        for entry in group["weights"]:
            tensor, size = _tensor(entry, data, offset)
            weights[entry["name"]] = tensor
            offset += size
        if offset != len(data):
            raise ConversionError(f"{group['paths'][0]}: {len(data)} bytes, the manifest explains {offset}")
    return weights


def _shards(paths: Sequence[str], folder: Path) -> bytes:
    try:
        return b"".join((folder / path).read_bytes() for path in paths)
    except OSError as error:
        raise ConversionError(f"weight shard cannot be read: {error}") from error


def _tensor(entry: Mapping[str, Any], data: bytes, offset: int) -> tuple[NDArray[Any], int]:
    quantization = entry.get("quantization")
    stored = quantization["dtype"] if quantization else entry["dtype"]
    if stored not in _DTYPES:
        raise ConversionError(f"{entry['name']}: unknown type {stored}")
    dtype = np.dtype(_DTYPES[stored])
    count = math.prod(entry["shape"])
    size = count * dtype.itemsize
    if offset + size > len(data):
        raise ConversionError(f"{entry['name']}: the shards end too early")
    raw = np.frombuffer(data, dtype, count, offset).reshape(entry["shape"])
    if quantization and "scale" in quantization:
        # in float32, as TensorFlow.js does it, so that the numbers agree to the last bit
        raw = raw.astype(np.float32) * np.float32(quantization["scale"]) + np.float32(quantization["min"])
    return raw.astype(np.int64 if entry["dtype"] == "int32" else np.float32), size
