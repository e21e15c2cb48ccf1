"""Small ONNX graphs with the signatures, and the oddities, of real ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

OPSET = 21
IR_VERSION = 10

Array = NDArray[Any]


def pattern(*shape: int) -> NDArray[np.float32]:
    """Weights that look random and are not: a sine over the index."""
    return np.asarray(np.sin(np.arange(np.prod(shape)) * 12.9898).reshape(shape), dtype=np.float32)


def value(name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: dict[str, Array],
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "small", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def quantise(weights: NDArray[np.float32], block: int) -> tuple[Array, Array, Array]:
    """int8 values, scales and zero points per block of the last axis, as ``int8bq`` files hold them."""
    blocks = -(-weights.shape[-1] // block)
    scales = np.empty((*weights.shape[:-1], blocks), np.float32)
    zeros = np.empty(scales.shape, np.int8)
    quantised = np.empty(weights.shape, np.int8)
    for index in range(blocks):
        part = weights[..., index * block : (index + 1) * block]
        scales[..., index] = np.abs(part).max(axis=-1) / 100
        zeros[..., index] = index - 1
        levels = np.round(part / scales[..., index, None]) + zeros[..., index, None]
        quantised[..., index * block : (index + 1) * block] = levels.astype(np.int8)
    return quantised, scales, zeros


def block_quantised() -> onnx.ModelProto:
    """Conv and Gemm over block-quantised weights, with everything that the OpenCV Zoo's files have.

    Flattened weights, a reshape behind the first, a bias whose last block is short, weights listed as inputs.
    """
    kernel, matrix, bias = pattern(4, 27), pattern(10, 64), pattern(10)
    weights: dict[str, Array] = {"kernel_shape": np.array([4, 3, 3, 3]), "flat": np.array([1, 64])}
    for name, array, block in (("kernel", kernel, 9), ("matrix", matrix, 16), ("bias", bias, 4)):
        weights |= zip((f"{name}_q", f"{name}_s", f"{name}_z"), quantise(array, block), strict=True)
    nodes = [
        _dequantise("kernel", block=9, axis=1),
        helper.make_node("Reshape", ["kernel_f", "kernel_shape"], ["kernel"]),
        _dequantise("matrix", block=16, axis=1),
        _dequantise("bias", block=4, axis=0),
        helper.make_node("Conv", ["picture", "kernel"], ["maps"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("Reshape", ["positive", "flat"], ["row"]),
        helper.make_node("Gemm", ["row", "matrix_f", "bias_f"], ["answer"], transB=1),
    ]
    listed = [value(name, array.shape, helper.np_dtype_to_tensor_dtype(array.dtype)) for name, array in weights.items()]
    stale = value("kernel_of_old", [4, 3, 3, 3])  # listed, read by nothing: so are the real file's float weights
    return model(nodes, [value("picture", [1, 3, 8, 8]), stale, *listed], [value("answer", [1, 10])], weights)


def _dequantise(name: str, block: int, axis: int) -> onnx.NodeProto:
    inputs = [f"{name}_q", f"{name}_s", f"{name}_z"]
    return helper.make_node("DequantizeLinear", inputs, [f"{name}_f"], block_size=block, axis=axis)


def fixed_detector() -> onnx.ModelProto:
    """One head of YuNet: fixed 64x64 input, a stride of 8, outputs flattened by a reshape to ``[1, -1, 4]``."""
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["maps"], strides=[8, 8]),
        helper.make_node("Transpose", ["maps"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["last", "shape"], ["bbox_8"]),
    ]
    weights = {"kernel": pattern(4, 3, 8, 8), "shape": np.array([1, -1, 4])}
    graph = model(nodes, [value("input", [1, 3, 64, 64])], [value("bbox_8", [1, 64, 4])], weights)
    graph.graph.value_info.append(value("maps", [1, 4, 8, 8]))
    return graph


def scrfd() -> onnx.ModelProto:
    """SCRFD's signature: any picture, then scores, boxes and points of strides 8, 16, 32 with two anchors a cell."""
    nodes, outputs, weights = [], [], {}
    for numbers in (1, 4, 10):
        weights[f"shape_{numbers}"] = np.array([-1, numbers])
        for stride in (8, 16, 32):
            name = f"{numbers}_{stride}"
            weights[f"kernel_{name}"] = pattern(2 * numbers, 3, stride, stride) / stride**2
            nodes += [
                helper.make_node("Conv", ["input.1", f"kernel_{name}"], [f"maps_{name}"], strides=[stride, stride]),
                helper.make_node("Transpose", [f"maps_{name}"], [f"last_{name}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"last_{name}", f"shape_{numbers}"], [f"out_{name}"]),
            ]
            outputs.append(value(f"out_{name}", [f"cells_{stride}", numbers]))
    return model(nodes, [value("input.1", [1, 3, "height", "width"])], outputs, weights)


def arcface() -> onnx.ModelProto:
    """ArcFace's signature: any number of 112x112 crops, 512 numbers each."""
    nodes = [
        helper.make_node("AveragePool", ["input.1"], ["small"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Flatten", ["small"], ["row"]),
        helper.make_node("MatMul", ["row", "matrix"], ["683"]),
    ]
    shape: list[int | str] = ["None", 3, 112, 112]
    return model(nodes, [value("input.1", shape)], [value("683", ["None", 512])], {"matrix": pattern(147, 512)})


def reference(graph: onnx.ModelProto, **feeds: Array) -> Array:
    """The first output by ONNX's own slow evaluator, which shares nothing with the runtime."""
    (answer,) = ReferenceEvaluator(graph).run(None, feeds)
    return np.asarray(answer)


def save(graph: onnx.ModelProto, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(graph, str(path))
    return path
