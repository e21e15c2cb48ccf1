"""ONNX graphs with the signatures of real networks and answers that a test chooses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service.inference.session import OnnxSession

Array = NDArray[np.float32]
Dimension = int | str

OPSET = 17
IR_VERSION = 8
SIDE = 12
RANDOM = np.random.default_rng(5)


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


class Layers:
    """A network in the making: each step takes what the last one made, or what it is told to."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}

    def step(self, kind: str, *inputs: str, constants: list[Array] | None = None, **attributes: Any) -> str:
        name = f"{kind}{len(self.nodes)}"
        for number, array in enumerate(constants or []):
            self.weights[f"{name}/{number}"] = array
        names = [*inputs, *(f"{name}/{number}" for number in range(len(constants or [])))]
        self.nodes.append(helper.make_node(kind, names, [name], **attributes))
        return name

    def convolution(self, source: str, inputs: int, outputs: int, side: int = 1, group: int = 1) -> str:
        weights = normal(outputs, inputs // group, side, side) / np.sqrt(inputs / group * side * side)
        pads = [side // 2] * 4
        constants = [weights.astype(np.float32), normal(outputs)]
        return self.step("Conv", source, constants=constants, kernel_shape=[side, side], pads=pads, group=group)

    def bend(self, source: str, slopes: Array) -> str:
        return self.step("PRelu", source, constants=[slopes.reshape(-1, 1, 1)])

    def saved(self, path: Path, output: str) -> Path:
        graph = helper.make_graph(
            self.nodes,
            "small",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), path)
        return path


def normal(*shape: int) -> Array:
    return RANDOM.standard_normal(shape).astype(np.float32)


def answers(model: str | bytes) -> list[Array]:
    session = OnnxSession(onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]))
    shape = [size if isinstance(size, int) else 2 for size in session.input_shape]
    return session.run(np.random.default_rng(1).uniform(0, 255, shape).astype(np.float32))


def same_answers(path: Path, model: bytes) -> None:
    """``model`` answers as the network at ``path`` does, but for rounding."""
    for expected, answered in zip(answers(str(path)), answers(model), strict=True):
        np.testing.assert_allclose(answered, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
