"""Freeing dimensions that a graph was exported with: batch size, and the size of YuNet's picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from models.errors import ConversionError
from models.specs import Dimension


def free_dimensions(
    model: onnx.ModelProto, input_shape: Sequence[Dimension], output_shapes: Sequence[Sequence[Dimension]]
) -> onnx.ModelProto:
    """A copy of ``model`` whose named dimensions are free.

    ``input_shape`` and ``output_shapes`` are the signature wanted: names become free, numbers must be there already.
    Where the batch (the first dimension) becomes free, every ``Reshape`` to a constant shape that begins with 1 copies
    the batch instead. Raises :class:`ConversionError` when the graph has another signature.
    """
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    graph = freed.graph
    initialised = {item.name for item in graph.initializer}
    inputs = [item for item in graph.input if item.name not in initialised]
    for items, shapes, kind in ((inputs, [input_shape], "inputs"), (list(graph.output), output_shapes, "outputs")):
        if len(items) != len(shapes):
            raise ConversionError(f"the graph has {len(items)} {kind}, the manifest names {len(shapes)}")
        for item, shape in zip(items, shapes, strict=True):
            _rename(item, shape)
    if isinstance(input_shape[0], str):
        _copy_batch_in_reshapes(graph)
    graph.ClearField("value_info")  # inferred for the old sizes
    return freed


def _rename(item: onnx.ValueInfoProto, shape: Sequence[Dimension]) -> None:
    dimensions = item.type.tensor_type.shape.dim
    if len(dimensions) != len(shape):
        raise ConversionError(f"{item.name} has {len(dimensions)} dimensions, the manifest names {len(shape)}")
    for dimension, wanted in zip(dimensions, shape, strict=True):
        if isinstance(wanted, str):
            dimension.dim_param = wanted
        elif dimension.dim_value != wanted:
            raise ConversionError(f"{item.name} has a dimension {dimension.dim_value}, the manifest names {wanted}")


def _copy_batch_in_reshapes(graph: onnx.GraphProto) -> None:
    """Constant shapes ``[1, ...]`` become ``[0, ...]``, ONNX's sign for "as the input has it"."""
    targets = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    others = {name for node in graph.node if node.op_type != "Reshape" for name in node.input}
    tensors = [item for item in graph.initializer if item.name in targets]
    tensors += [node.attribute[0].t for node in graph.node if node.op_type == "Constant" and node.output[0] in targets]
    names = [item.name for item in graph.initializer if item.name in targets]
    names += [node.output[0] for node in graph.node if node.op_type == "Constant" and node.output[0] in targets]
    for name, tensor in zip(names, tensors, strict=True):
        shape = np.array(numpy_helper.to_array(tensor))
        if shape.size < 2 or shape[0] != 1:
            continue
        if name in others:
            raise ConversionError(f"the shape {name} is read by more than Reshape nodes")
        shape[0] = 0
        tensor.CopyFrom(numpy_helper.from_array(shape, tensor.name))
