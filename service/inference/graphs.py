"""What rewriting any ONNX graph needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

Constants = Mapping[str, onnx.TensorProto]

_WEIGHTS_ARE_NO_INPUTS = 4
"""First version of ONNX's format in which they need not be."""


def read(path: Path) -> onnx.ModelProto | None:
    """The network at ``path``; ``None`` where that is no ONNX model: whoever loads it next says what is wrong."""
    try:
        return onnx.load(path)
    except DecodeError:
        return None


def constants(graph: onnx.GraphProto) -> Constants:
    """Those of ``graph``, by name."""
    return {item.name: item for item in graph.initializer}


def name_inputs_alone(model: onnx.ModelProto) -> None:
    """Take weights from among the inputs of ``model``, where old graphs name them, by their old shapes."""
    weights = constants(model.graph)
    used = {name for node in model.graph.node for name in node.input}
    for item in [item for item in model.graph.input if item.name in weights or item.name not in used]:
        model.graph.input.remove(item)
    model.ir_version = max(model.ir_version, _WEIGHTS_ARE_NO_INPUTS)
