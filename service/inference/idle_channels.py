"""Prunes dead channels, whose values never change, from graphs of convolutions. The outputs stay the same.

Training with weight decay lets channels die. Two fifths of the inner channels of ``fr_feature``'s blocks have weights
below 1e-12, many so small that float32 can hold them only as subnormal numbers. They cost as much time as any other
channel, and several times as much on processors that are slow with subnormal numbers, as Intel's are (decision 30).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from service.inference.graphs import Constants, constants, name_inputs_alone, read

VERSION = 1
"""Of what is done to graphs: times measured with another one do not hold."""

Kept = NDArray[np.intp]
"""Old numbers of the channels that are left of a tensor, ascending."""

_Weights = NDArray[np.float32]

_NEGLIGIBLE = 1e-12
"""Least weight that counts: 1,000 activations of 10, weighted so, come to a sixth of float32's step at 1 (6e-8)."""

_BLOCK = 16
"""Channels that kernels take at once, 16 numbers of 32 bits in 512: a part of a block costs as much as a whole one."""

_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul", "PRelu"}
"""Operations whose constants are factors of activations or added to such products; no variances, no epsilons."""


def without_idle_channels(path: Path) -> bytes | None:
    """The network at ``path`` without them, as an ONNX model; ``None`` where it has none, or is no ONNX model."""
    model = read(path)
    return None if model is None or prune(model) is None else bytes(model.SerializeToString())


def prune(model: onnx.ModelProto) -> Mapping[str, Kept] | None:
    """Take channels that never change out of ``model``, and put zeros in place of negligible weights.

    As many channels stay as fill whole blocks. Returns what is left of each tensor that lost some, by its name;
    ``None`` where there was nothing to do.
    """
    zeroed = _zero_negligible(model.graph)
    kept: dict[str, Kept] = {}
    for bottleneck in _bottlenecks(model.graph):
        left = bottleneck.worth_keeping()
        if len(left) < bottleneck.channels:
            bottleneck.keep(left)
            kept.update(dict.fromkeys(bottleneck.tensors, left))
    if kept:
        name_inputs_alone(model)
        model.graph.ClearField("value_info")  # inferred for the old sizes
    return kept if kept or zeroed else None


def _zero_negligible(graph: onnx.GraphProto) -> bool:
    """Whether there were any."""
    known, found = constants(graph), False
    factors = {name for node in graph.node if node.op_type in _WEIGHTED for name in node.input}
    for item in (known[name] for name in factors & known.keys()):
        values = numpy_helper.to_array(item)
        negligible = (values != 0) & (np.abs(values) < _NEGLIGIBLE)
        if values.dtype == np.float32 and negligible.any():
            _put(item, np.where(negligible, np.float32(0), values))
            found = True
    return found


def _bottlenecks(graph: onnx.GraphProto) -> Iterator[_Bottleneck]:
    """Every one in ``graph`` whose inner tensors and weights nothing else uses."""
    known = constants(graph)
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(item.name for item in graph.output)
    taken_by = {name: node for node in graph.node for name in node.input}
    for first in graph.node:
        nodes = [first]
        while len(nodes) < len(_Bottleneck.KINDS) and uses[made := nodes[-1].output[0]] == 1 and made in taken_by:
            nodes.append(taken_by[made])
        if tuple(node.op_type for node in nodes) != _Bottleneck.KINDS:
            continue
        weights = [name for node in nodes for name in node.input[1:]]
        if all(name in known and uses[name] == 1 for name in weights):
            bottleneck = _Bottleneck(nodes, known)
            if bottleneck.is_one():
                yield bottleneck


@dataclass(frozen=True)
class _Bottleneck:
    """A convolution into many channels, one within each of them, and one of single pixels out of them again.

    ``nodes`` are of ``KINDS``, each with the one before as its first input (Sandler et al. 2018, "MobileNetV2").
    """

    KINDS = ("Conv", "PRelu", "Conv", "PRelu", "Conv")

    nodes: Sequence[onnx.NodeProto]
    constants: Constants

    def is_one(self) -> bool:
        """Whether channels are where they are looked for."""
        weights = [self._weights(node) for node in self.nodes]
        into, first_slopes, within, second_slopes, out = weights
        convolutions = self.nodes[::2]
        channels = len(into)
        return (
            all(array.dtype == np.float32 for array in weights)
            and all(one.output[0] == other.input[0] for one, other in pairwise(self.nodes))
            and all(len(node.input) == 3 for node in convolutions)  # with a bias
            and [_groups(node) for node in convolutions] == [1, channels, 1]
            and within.shape[:2] == (channels, 1)
            and out.shape[1:] == (channels, 1, 1)
            and first_slopes.shape == second_slopes.shape == (channels, 1, 1)
        )

    @property
    def channels(self) -> int:
        """Inner ones."""
        return len(self._weights(self.nodes[0]))

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of those with inner channels."""
        return tuple(node.output[0] for node in self.nodes[:-1])

    def worth_keeping(self) -> Kept:
        """Channels that change and are made use of, and as many others as fill the last block."""
        changes = self._weights(self.nodes[2]).any(axis=(1, 2, 3))
        is_used = self._weights(self.nodes[4]).any(axis=(0, 2, 3))
        needed = np.flatnonzero(changes & is_used)
        idle = np.flatnonzero(~(changes & is_used))
        blocks = max(1, -(-len(needed) // _BLOCK))  # kernels need some channels, even to add nothing
        return np.union1d(needed, idle[: blocks * _BLOCK - len(needed)])

    def keep(self, left: Kept) -> None:
        """Take all channels but ``left`` out; what they add to everything, being constant, joins the last bias."""
        into, first, within, second, out = self.nodes
        gone = np.setdiff1d(np.arange(self.channels), left)
        constant = self._bias(within)[gone]
        constant = np.where(constant > 0, constant, self._weights(second)[gone, 0, 0] * constant)
        added = self._weights(out)[:, gone, 0, 0].astype(np.float64) @ constant
        _put(self.constants[out.input[2]], self._bias(out) + added)
        _put(self.constants[out.input[1]], self._weights(out)[:, left])
        for name in (*into.input[1:], first.input[1], *within.input[1:], second.input[1]):
            _put(self.constants[name], numpy_helper.to_array(self.constants[name])[left])
        next(item for item in within.attribute if item.name == "group").i = len(left)

    def _weights(self, node: onnx.NodeProto) -> _Weights:
        return numpy_helper.to_array(self.constants[node.input[1]])

    def _bias(self, node: onnx.NodeProto) -> _Weights:
        return numpy_helper.to_array(self.constants[node.input[2]])


def _groups(node: onnx.NodeProto) -> int:
    return next((int(item.i) for item in node.attribute if item.name == "group"), 1)


def _put(item: onnx.TensorProto, values: NDArray[np.generic]) -> None:
    """In place of what the constant ``item`` holds."""
    item.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), item.name))
