"""ONNX graphs with the signatures of real networks and answers that a test chooses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]
Dimension = int | str

OPSET = 17
IR_VERSION = 8


def constant_graph(path: Path, input_shape: list[Dimension], outputs: Mapping[str, Array]) -> Path:
    """A graph that answers ``outputs`` whatever it is given."""
    nodes = [helper.make_node("Identity", [f"{name}_value"], [name]) for name in outputs]
    weights = {f"{name}_value": array for name, array in outputs.items()}
    return _saved(path, nodes, input_shape, {name: list(array.shape) for name, array in outputs.items()}, weights)


def linear_graph(path: Path, batch: Dimension, side: int, matrix: Array) -> Path:
    """Pixels, flattened, times ``matrix``: the simplest thing that looks like a recognition network."""
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "matrix"], ["output"]),
    ]
    return _saved(path, nodes, [batch, 3, side, side], {"output": [batch, matrix.shape[1]]}, {"matrix": matrix})


def _saved(
    path: Path,
    nodes: list[onnx.NodeProto],
    input_shape: list[Dimension],
    outputs: Mapping[str, list[Any]],
    weights: Mapping[str, Array],
) -> Path:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), path)
    return path
