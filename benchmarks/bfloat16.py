"""Networks as a processor with bfloat16 computes them, on any processor: every number is rounded as it would be stored.

Emulated are weights and activations of 8 significant bits and sums of 32, which is what such processors do. Here the
result of every node is rounded. Runtimes fuse convolution, batch norm, activation and residual sum and round once
behind them, so that what is measured with these graphs is rather too bad than too good.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_KEPT_WHOLE = ("Shape", "Constant")
"""Nodes whose results are no activations."""

_SPLITTER = "bfloat16_splitter"


def rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """``values`` rounded to the nearest bfloat16, ties to even, as float32; finite numbers only."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    nearest = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    kept: NDArray[np.float32] = (nearest & np.uint32(0xFFFF0000)).view(np.float32)
    return kept


def emulated(network: Path, made: Path) -> Path:
    """Write the network at ``network``, of 32 bits, to ``made`` with everything rounded; returns ``made``.

    Outputs stay as they are computed from what was rounded: OpenVINO gives them in 32 bits.
    """
    model = onnx.load(network)
    graph = model.graph
    for weight in graph.initializer:
        if weight.data_type == TensorProto.FLOAT:
            weight.CopyFrom(numpy_helper.from_array(rounded(numpy_helper.to_array(weight)), weight.name))
    floats = {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    graph.initializer.append(numpy_helper.from_array(np.array(2**16 + 1, np.float32), _SPLITTER))
    new_names = {name: f"{name}_rounded" for name in floats if name not in {w.name for w in graph.initializer}}
    nodes = [node for name, new in new_names.items() for node in _rounding(name, new)]
    kept = {output.name for output in graph.output}
    typed = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    for node in graph.node:
        node.input[:] = [new_names.get(name, name) for name in node.input]
        nodes.append(node)
        for name in node.output:
            if name and name not in kept and node.op_type not in _KEPT_WHOLE and typed.get(name) == TensorProto.FLOAT:
                new_names[name] = f"{name}_rounded"
                nodes += _rounding(name, new_names[name])
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, made)
    return made


def _rounding(name: str, new: str) -> list[onnx.NodeProto]:
    """``new`` = the tensor ``name`` rounded, by arithmetic alone: old graphs know no cast to bfloat16.

    With c = (2^16 + 1) x, c - (c - x) has the upper 8 of the 24 significant bits of x (Veltkamp's splitting).
    """
    return [
        helper.make_node("Mul", [name, _SPLITTER], [f"{new}_c"]),
        helper.make_node("Sub", [f"{new}_c", name], [f"{new}_d"]),
        helper.make_node("Sub", [f"{new}_c", f"{new}_d"], [new]),
    ]
