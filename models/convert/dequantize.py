"""Folding quantised weights back into float32 initializers.

The OpenCV Zoo's ``*_int8bq`` graphs hold each weight as int8 blocks (opset 21 ``DequantizeLinear`` with ``block_size``,
flattened, followed by ``Reshape``) and list the weights as inputs of the graph. ONNX Runtime then wants the weights
handed in with every picture, and some versions refuse the blocks. Folding is exact: it computes what the nodes would.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from models.errors import ConversionError

Array = NDArray[Any]


def dequantize(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of ``model`` whose constant ``DequantizeLinear`` nodes, and ``Reshape`` nodes on them, are initializers.

    Initializers and listed inputs that nothing reads any more are dropped, also the weights that the graph lists as
    inputs. Raises :class:`ConversionError` for a node that cannot be folded.
    """
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    graph = folded.graph
    constants = {item.name: item for item in graph.initializer}
    results: dict[str, Array] = {}
    kept = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            results[node.output[0]] = _dequantized(node, constants)
        elif node.op_type == "Reshape" and node.input[0] in results:
            results[node.output[0]] = _reshaped(node, results[node.input[0]], constants)
        else:
            kept.append(node)
    read = {name for node in kept for name in node.input} | {item.name for item in graph.output}
    initializers = [item for name, item in constants.items() if name in read]
    initializers += [numpy_helper.from_array(value, name) for name, value in results.items() if name in read]
    inputs = [item for item in graph.input if item.name in read and item.name not in constants]
    for field, items in (("node", kept), ("initializer", initializers), ("input", inputs), ("value_info", [])):
        copies = [_copy(item) for item in items]
        graph.ClearField(field)
        getattr(graph, field).extend(copies)
    return folded


def _copy(item: Any) -> Any:
    """An independent copy: a protobuf entry dies with the list that it is cleared from."""
    copy = type(item)()
    copy.CopyFrom(item)
    return copy


def _constant(node: onnx.NodeProto, index: int, constants: dict[str, onnx.TensorProto]) -> Array:
    name = node.input[index]
    if name not in constants:
        raise ConversionError(f"{node.op_type} {node.name}: its input {name} is no constant")
    value: Array = numpy_helper.to_array(constants[name])
    return value


def _dequantized(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> Array:
    """``(q - zero_point) * scale`` after ONNX's DequantizeLinear-21: per tensor, per axis or per block of an axis."""
    quantised, scale = _constant(node, 0, constants), _constant(node, 1, constants)
    attributes = {item.name: item.i for item in node.attribute}
    axis, block = attributes.get("axis", 1), attributes.get("block_size", 0)
    has_zero = len(node.input) > 2 and bool(node.input[2])
    zero = _constant(node, 2, constants) if has_zero else np.zeros_like(scale, dtype=np.int32)
    if block:
        scale, zero = (_spread(node, item, block, axis, quantised.shape) for item in (scale, zero))
    elif scale.ndim == 1 and scale.size > 1:
        along = [1] * quantised.ndim
        along[axis] = scale.size
        scale, zero = scale.reshape(along), zero.reshape(along)
    difference = quantised.astype(np.int32) - zero.astype(np.int32)
    return (difference.astype(np.float32) * scale.astype(np.float32)).astype(np.float32)


def _spread(node: onnx.NodeProto, value: Array, block: int, axis: int, shape: tuple[int, ...]) -> Array:
    """One entry per block becomes one per element; the last block may be short."""
    blocks = -(-shape[axis] // block)
    expected = (*shape[:axis], blocks, *shape[axis % len(shape) + 1 :])
    if value.shape != expected:
        raise ConversionError(f"{node.name}: scales of shape {value.shape}, expected {expected}")
    return np.repeat(value, block, axis=axis).take(range(shape[axis]), axis=axis)


def _reshaped(node: onnx.NodeProto, value: Array, constants: dict[str, onnx.TensorProto]) -> Array:
    shape = [int(size) for size in _constant(node, 1, constants)]
    kept = [value.shape[index] if size == 0 else size for index, size in enumerate(shape)]  # 0 copies a dimension
    return value.reshape(kept)
