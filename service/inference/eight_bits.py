"""Quantises a network's convolutions to 8-bit integers, for runtimes that are faster with them.

Weights become 8-bit integers with a scale for each output channel. Inputs become 8-bit integers with one scale for the
whole tensor, whose range was measured on faces (``models/train/fit_ranges.py``). Everything else (depthwise
convolutions, norms, activations, sums) stays in 32 bits.

Channels of one tensor differ in range by orders of magnitude, and the largest would leave the others a few steps each.
So each is scaled before it is rounded, and the weights that it meets are divided by the same factor: nothing changes
but what rounding takes (Nagel, van Baalen, Blankevoort, Welling 2019, "Data-Free Quantization Through Weight
Equalization and Bias Correction"; the exponents as in Xiao et al. 2023, "SmoothQuant").
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, version_converter

from service.inference.graphs import Constants, constants, name_inputs_alone
from service.inference.idle_channels import prune
from service.inference.session import DeviceUnavailable

VERSION = 1
"""Of what is done to graphs: times measured with another one do not hold."""

_OPSET = 13
"""First version of ONNX's operators in which weights have a scale for each channel."""

_FEWEST_CHANNELS = 16
"""Of an input worth rounding: a network's first layer sees three, and is fast as it is."""

_EVENNESS = 0.75
"""How far activations are evened out at the expense of weights, 0 to 1; of .5, .75 and 1 the closest to 32 bits."""

_STEPS = 255
_LARGEST_WEIGHT = 127
_LEAST = 1e-9
_FACE = "mean face"

_Array = NDArray[np.float32]


class RangesMismatch(DeviceUnavailable):
    """The ranges were read off another network, or cannot be read."""


@dataclass(frozen=True)
class Ranges:
    """Least and greatest values that a network's tensors take for faces.

    ``bounds`` names tensors; each has an array ``(2, channels)`` of float32, the least in the first row, or ``(2, 1)``
    for a tensor without channels. ``face`` is what the network is fed with for the mean of these faces: its input
    without the first dimension, float32. Noise would be far beyond the ranges.
    """

    bounds: Mapping[str, _Array]
    face: _Array

    @classmethod
    def load(cls, path: Path) -> Ranges:
        """From an npz that ``save`` wrote. Raises ``RangesMismatch`` when it is missing or damaged."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: np.asarray(archive[name], np.float32) for name in archive.files}
            face = arrays.pop(_FACE)
        except (OSError, EOFError, ValueError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
            raise RangesMismatch(f"the ranges for 8 bits in {path} cannot be read: {error}") from None
        return cls(arrays, face)

    def save(self, path: Path) -> None:
        """Write them as npz, in half precision: a range is a rough thing."""
        halves = {name: values.astype(np.float16) for name, values in {**self.bounds, _FACE: self.face}.items()}
        np.savez_compressed(path, allow_pickle=False, **halves)


def rounded_inputs(graph: onnx.GraphProto) -> list[str]:
    """Names of the tensors that ``quantised`` rounds: inputs of the layers that it turns to eight bits."""
    known = constants(graph)
    return list(dict.fromkeys(node.input[0] for node in graph.node if _weights(node, known) is not None))


def quantised(path: Path, ranges: Ranges) -> bytes:
    """The network at ``path`` in eight bits, as an ONNX model with ``QuantizeLinear`` and ``DequantizeLinear``.

    Raises ``RangesMismatch`` where ``ranges`` are not this network's.
    """
    model = onnx.load(path)
    if min(entry.version for entry in model.opset_import if not entry.domain) < _OPSET:
        model = version_converter.convert_version(model, _OPSET)
    graph = model.graph
    bounds = dict(_bounds(graph, ranges, path.stem))
    for name, left in (prune(model) or {}).items():
        if name in bounds and bounds[name].shape[1] > 1:
            bounds[name] = bounds[name][:, left]
    known = constants(graph)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        weights = _weights(node, known)
        nodes.extend([node] if weights is None else _Layer(graph, node, weights, bounds[node.input[0]]).nodes())
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    for stale in [item for item in graph.initializer if item.name not in used]:
        graph.initializer.remove(stale)
    name_inputs_alone(model)
    made: bytes = model.SerializeToString()
    return made


def _bounds(graph: onnx.GraphProto, ranges: Ranges, network: str) -> Iterator[tuple[str, _Array]]:
    """Of each tensor of ``graph`` that is rounded. Raises ``RangesMismatch``."""
    known = constants(graph)
    for node in graph.node:
        weights = _weights(node, known)
        if weights is None:
            continue
        bounds = ranges.bounds.get(node.input[0])
        if bounds is None or bounds.shape not in {(2, 1), (2, weights.shape[1])}:
            raise RangesMismatch(f"{network}: the ranges of its activations are another network's")
        yield node.input[0], bounds


class _Layer:
    """One layer, its weights ``(channels out, channels in, ...)``, and the bounds of its input as in ``Ranges``."""

    def __init__(self, graph: onnx.GraphProto, node: onnx.NodeProto, weights: _Array, bounds: _Array) -> None:
        self._graph = graph
        self._node = node
        self._weights = weights
        self._bounds = np.stack([np.minimum(bounds[0], 0), np.maximum(bounds[1], 0)])  # zero is padding, and exact

    def nodes(self) -> Iterator[onnx.NodeProto]:
        """What takes its place."""
        source = self._node.input[0]
        if self._bounds.shape[1] > 1:
            factors = self._factors()
            shape = (1, -1, *[1] * (self._weights.ndim - 2))
            yield helper.make_node("Mul", [source, self._constant("even", factors.reshape(shape))], [self._name("x")])
            source = self._name("x")
            self._weights = self._weights / factors.reshape(shape)
            self._bounds = self._bounds * factors
        low, high = float(self._bounds[0].min()), float(self._bounds[1].max())
        step = max((high - low) / _STEPS, _LEAST)
        grid = [self._constant("step", np.float32(step)), self._constant("zero", np.uint8(round(-low / step)))]
        yield helper.make_node("QuantizeLinear", [source, *grid], [self._name("rounded")])
        yield helper.make_node("DequantizeLinear", [self._name("rounded"), *grid], [self._name("input")])
        yield self._rounded_weights()
        layer = onnx.NodeProto()
        layer.CopyFrom(self._node)
        layer.input[0], layer.input[1] = self._name("input"), self._name("weights")
        yield layer

    def _factors(self) -> _Array:
        """For each channel that comes in what it is multiplied by: the wider it is, and the lighter, the less."""
        others = tuple(axis for axis in range(self._weights.ndim) if axis != 1)
        weight = np.maximum(np.abs(self._weights).max(axis=others), _LEAST)
        width = np.maximum(self._bounds[1] - self._bounds[0], _LEAST)
        # A channel that never moved on any face must not stretch the grid of the others should it move one day.
        width = np.maximum(width, np.median(width) * 1e-3)
        factors = weight ** (1 - _EVENNESS) / width**_EVENNESS
        return np.asarray(factors / factors.mean(), dtype=np.float32)

    def _rounded_weights(self) -> onnx.NodeProto:
        rows = np.abs(self._weights).reshape(len(self._weights), -1).max(axis=1)
        steps = (np.maximum(rows, _LEAST) / _LARGEST_WEIGHT).astype(np.float32)
        rounded = np.rint(self._weights / steps.reshape(-1, *[1] * (self._weights.ndim - 1))).astype(np.int8)
        inputs = [
            self._constant("rounded_weights", rounded),
            self._constant("weight_steps", steps),
            self._constant("weight_zeros", np.zeros(len(steps), np.int8)),
        ]
        return helper.make_node("DequantizeLinear", inputs, [self._name("weights")], axis=0)

    def _constant(self, part: str, value: NDArray[np.generic] | np.generic) -> str:
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), self._name(part)))
        return self._name(part)

    def _name(self, part: str) -> str:
        return f"{self._node.output[0]}/{part}"


def _weights(node: onnx.NodeProto, known: Constants) -> _Array | None:
    """``(channels out, channels in, ...)`` of a layer that is worth rounding; ``None`` for any other node."""
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    dense = node.op_type == "Conv" and attributes.get("group", 1) == 1
    product = node.op_type == "Gemm" and attributes.get("transB", 0) == 1 and attributes.get("transA", 0) == 0
    if not (dense or product) or node.input[1] not in known:
        return None
    weights = numpy_helper.to_array(known[node.input[1]])
    return weights if weights.dtype == np.float32 and weights.shape[1] >= _FEWEST_CHANNELS else None
