"""Graphs rewritten for the layout that ONNX Runtime's kernels for x86 compute in; what they compute stays the same.

Convolutions run on blocks of 8 or 16 channels (NCHWc). A ``PRelu`` has no kernel for that layout: each one costs a
change of layout before it and one after it, which took a third of ``fr_feature``'s time. So it is put in terms of what
has such kernels, convolutions of single pixels and channels, additions and ``Relu``. Channels that fill no block get
others of zeros beside them first (decision 26).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from service.inference.graphs import Constants, constants, name_inputs_alone, read
from service.inference.idle_channels import prune
from service.inference.processor import instructions
from service.inference.widening import NotWidened, widen

VERSION = 1
"""Of what is done to graphs: times measured with another one do not hold."""

logger = logging.getLogger(__name__)

_BLOCK = 8
_BLOCK_AVX512 = 16
"""Channels in a block of ONNX Runtime's."""


def rewritten(path: Path, able: Collection[str] | None = None) -> bytes | None:
    """The network at ``path`` as this processor computes it faster; ``None`` where that is as it stands.

    Idle channels are taken out on any processor, layers rewritten where it has AVX2. Outputs differ by rounding alone:
    by about one part in a million for ``sface``, 50 layers deep. ``able`` are the vector instructions to write for,
    this processor's by default.
    """
    if able is None:
        able = instructions()
    model = read(path)
    if model is None:
        return None
    pruned = prune(model) is not None
    if "avx2" in able and rewrite(model.graph, _BLOCK_AVX512 if "avx512f" in able else _BLOCK):
        name_inputs_alone(model)
    elif not pruned:
        return None
    made: bytes = model.SerializeToString()
    return made


def rewrite(graph: onnx.GraphProto, block: int) -> bool:
    """Replace the ``PRelu`` of ``graph``, widened where channels fill no blocks; ``False`` where there is none."""
    activations = [slopes for slopes in map(partial(_slopes, constants(graph)), graph.node) if slopes is not None]
    if any(len(slopes) % block for slopes in activations):
        try:
            widen(graph, block)
        except NotWidened as error:
            logger.info("network not widened", extra={"reason": str(error)})
    return spread(graph, block) > 0


def spread(graph: onnx.GraphProto, block: int) -> int:
    """Replace, in ``graph``, each ``PRelu`` with a slope for each of whole blocks of channels; returns how many."""
    known = constants(graph)
    nodes: list[onnx.NodeProto] = []
    count = 0
    for node in graph.node:
        slopes = _slopes(known, node)
        if slopes is None or len(slopes) % block:
            nodes.append(node)
        else:
            nodes.extend(_Layer(graph, node, slopes).nodes())
            count += 1
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input}
    for unused in [item for item in graph.initializer if item.name not in used]:
        graph.initializer.remove(unused)
    return count


class _Layer:
    """One ``PRelu``: x where x > 0, else a·x, with a slope a for each channel.

    That is w·x + s·relu((1 - a)·x), where (w, s) is (a, 1) for slopes up to 1 and (1, -1) for steeper ones.
    """

    def __init__(self, graph: onnx.GraphProto, node: onnx.NodeProto, slopes: NDArray[np.float32]) -> None:
        self._graph = graph
        self._slopes = slopes
        self._input, self._output = node.input[0], node.output[0]

    def nodes(self) -> Iterator[onnx.NodeProto]:
        """What takes its place."""
        steep = self._slopes > 1
        yield self._scaled(self._input, "bent", 1 - self._slopes)
        yield helper.make_node("Relu", [self._name("bent")], [self._name("kept")])
        yield self._scaled(self._input, "straight", np.where(steep, 1, self._slopes))
        second = "kept"
        if steep.any():
            yield self._scaled(self._name("kept"), "signed", np.where(steep, -1, 1))
            second = "signed"
        yield helper.make_node("Add", [self._name("straight"), self._name(second)], [self._output])

    def _scaled(self, source: str, name: str, factors: NDArray[np.generic]) -> onnx.NodeProto:
        """``source`` with each channel times its factor."""
        channels = len(factors)
        weights = factors.astype(np.float32).reshape(channels, 1, 1, 1)
        self._graph.initializer.append(numpy_helper.from_array(weights, self._name(f"{name}/factors")))
        inputs = [source, self._name(f"{name}/factors")]
        return helper.make_node("Conv", inputs, [self._name(name)], group=channels, kernel_shape=[1, 1])

    def _name(self, part: str) -> str:
        return f"{self._output}/{part}"


def _slopes(known: Constants, node: onnx.NodeProto) -> NDArray[np.float32] | None:
    """One for each channel of ``node``'s input; ``None`` where it is no ``PRelu``, or has other slopes."""
    if node.op_type != "PRelu" or node.input[1] not in known:
        return None
    slopes = numpy_helper.to_array(known[node.input[1]])
    if slopes.dtype != np.float32 or slopes.ndim != 3 or slopes.shape[0] != slopes.size:
        return None
    return slopes.reshape(-1)
