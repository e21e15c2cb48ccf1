"""Channels of zeros that make the number of channels a multiple of a block's, in graphs of convolutions.

Networks that were pruned have layers of 13 or 103 channels, of which no whole blocks can be made, so that slower
kernels compute the convolutions between them (decision 26).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from service.inference.graphs import constants

Weights = NDArray[np.float32]


class NotWidened(Exception):
    """The graph has an operation that would see the channels that were added."""


def widen(graph: onnx.GraphProto, block: int) -> None:
    """Widen every layer of ``graph`` to a multiple of ``block`` channels; what it answers stays the same.

    Raises :class:`NotWidened` and leaves ``graph`` as it was where that cannot be done.
    """
    widening = _Widening(graph, block)
    for node in graph.node:
        widening.follow(node)
    if not widening.wide.keys().isdisjoint(item.name for item in graph.output):
        raise NotWidened("an output")
    for node, channels in widening.groups:
        next(item for item in node.attribute if item.name == "group").i = channels
    for item in graph.initializer:
        if item.name in widening.weights:
            item.CopyFrom(numpy_helper.from_array(widening.weights[item.name], item.name))
    graph.ClearField("value_info")  # inferred for the old sizes


class _Widening:
    """A walk from the input on, which changes nothing yet."""

    def __init__(self, graph: onnx.GraphProto, block: int) -> None:
        self._block = block
        self._constants = constants(graph)
        self._outputs = {item.name for item in graph.output}
        self.wide: dict[str, int] = {}
        """Channels of tensors that have more than before."""
        self.weights: dict[str, Weights] = {}
        """Constants in their new shapes."""
        self.groups: list[tuple[onnx.NodeProto, int]] = []
        """Convolutions within channels, and how many channels these are now."""

    def follow(self, node: onnx.NodeProto) -> None:
        """Widen ``node`` as its inputs are."""
        rule = _RULES.get(node.op_type)
        if rule is not None:
            rule(self, node)
        elif any(name in self.wide for name in node.input):
            raise NotWidened(node.op_type)

    def convolution(self, node: onnx.NodeProto) -> None:
        weights = self._constant(node.input[1])
        outputs, inputs = weights.shape[:2]
        group = next((helper.get_attribute_value(item) for item in node.attribute if item.name == "group"), 1)
        channels = self.wide.get(node.input[0])
        if group == 1:
            told = node.output[0] in self._outputs
            wider = outputs if told else -(-outputs // self._block) * self._block
            inputs = channels or inputs
        elif group == outputs and inputs == 1:  # each channel by itself
            wider = channels or outputs
            if channels:
                self.groups.append((node, channels))
        elif channels:
            raise NotWidened("a convolution in groups")
        else:
            return
        self._take(node.input[1], _padded(weights, (wider, inputs)))
        for name in node.input[2:]:
            self._take(name, _padded(self._constant(name), (wider,)))
        if wider > outputs:
            self.wide[node.output[0]] = wider

    def activation(self, node: onnx.NodeProto) -> None:
        """Of each number by itself; what it makes of the zeros no later weight takes."""
        channels = self.wide.get(node.input[0])
        if channels:
            for name in node.input[1:]:
                slopes = self._constant(name)
                if slopes.ndim != 3:  # channels, rows and columns
                    raise NotWidened("an activation that does not know its channels")
                self._take(name, _padded(slopes, (channels,)))
            self.wide[node.output[0]] = channels

    def pair(self, node: onnx.NodeProto) -> None:
        widths = {self.wide.get(name) for name in node.input}
        if len(widths) > 1:
            raise NotWidened("two numbers of channels")
        (channels,) = widths
        if channels:
            self.wide[node.output[0]] = channels

    def _constant(self, name: str) -> Weights:
        if name not in self._constants:
            raise NotWidened("weights that are computed")
        return numpy_helper.to_array(self._constants[name])

    def _take(self, name: str, weights: Weights) -> None:
        if name in self.weights and self.weights[name].shape != weights.shape:
            raise NotWidened("weights of two layers")
        self.weights[name] = weights


def _padded(weights: Weights, sizes: tuple[int, ...]) -> Weights:
    """``weights`` with zeros behind, until the first dimensions are as long as ``sizes``."""
    behind = [(0, size - old) for size, old in zip(sizes, weights.shape, strict=False)]
    return np.pad(weights, behind + [(0, 0)] * (weights.ndim - len(behind)))


_RULES: Mapping[str, Callable[[_Widening, onnx.NodeProto], None]] = {
    "Conv": _Widening.convolution,
    "PRelu": _Widening.activation,
    "Relu": _Widening.activation,
    "Sigmoid": _Widening.activation,
    "GlobalAveragePool": _Widening.activation,
    "Add": _Widening.pair,
    "Mul": _Widening.pair,
}
