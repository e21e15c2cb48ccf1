"""TensorFlow.js graph models to ONNX, with numpy and onnx alone.

TensorFlow keeps pictures as NHWC, ONNX as NCHW. The converter keeps every rank-4 tensor as NCHW inside ("planar") and
transposes only at the borders: behind an input, in front of a reshape to another rank, and at an output. The model
keeps its NHWC signature; the batch becomes a free dimension.

Only the operators that our packs' graphs use are known; anything else raises ``ConversionError``.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from models.convert.tfjs_weights import Weights, read_json, read_weights
from models.errors import ConversionError

OPSET = 17
IR_VERSION = 8

Node = Mapping[str, Any]

_TO_NCHW = (0, 3, 1, 2)
_TO_NHWC = (0, 2, 3, 1)
_UNARY = {"Relu": "Relu", "Sigmoid": "Sigmoid", "Identity": "Identity", "Tanh": "Tanh", "Elu": "Elu"}
_BINARY = {"Add": "Add", "AddV2": "Add", "BiasAdd": "Add", "Sub": "Sub", "Mul": "Mul", "RealDiv": "Div"}


def convert(model_json: Path, outputs: Mapping[str, str], shards: Path | None = None) -> onnx.ModelProto:
    """The graph model behind ``model_json`` as ONNX; its weight shards lie in the folder ``shards``, or beside it.

    ``outputs`` maps a name for each ONNX output, in order, to the graph node that yields it. The input is float32
    NHWC with a free batch dimension. Raises ``ConversionError``.
    """
    document = read_json(model_json)
    weights = read_weights(document["weightsManifest"], shards or model_json.parent)
    return _Graph(document["modelTopology"]["node"], weights).model(outputs, model_json.stem)


class _Graph:
    """Emits ONNX nodes while walking TensorFlow's nodes; values keep the name of the node that made them."""

    def __init__(self, nodes: Sequence[Node], weights: Weights) -> None:
        self._source = {node["name"]: node for node in nodes}
        self._constants = {name: weights[name] for name, node in self._source.items() if node["op"] == "Const"}
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._done: set[str] = set()
        self._planar: set[str] = set()
        self._rectified: dict[str, str] = {}
        """Values that are known not to be negative, and the value in front of their ReLU."""

    def model(self, outputs: Mapping[str, str], name: str) -> onnx.ModelProto:
        infos = []
        for alias, source in outputs.items():
            self._visit(source)
            self._emit("Identity", [self._channels_last(source)], alias)
            infos.append(helper.make_tensor_value_info(alias, onnx.TensorProto.FLOAT, None))
        nodes = _without_dead_ends(self._nodes, outputs)
        graph = helper.make_graph(nodes, name, self._inputs, infos, list(self._initializers.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        del model.graph.value_info[:]
        onnx.checker.check_model(model)
        return model

    # --- walking ------------------------------------------------------------------------------------------------

    def _visit(self, name: str) -> None:
        """Convert a node after its inputs; a stack instead of recursion, since graphs are deep."""
        stack = [name]
        while stack:
            current = stack[-1]
            if current not in self._source:
                raise ConversionError(f"no node {current} in the graph")
            waiting = [i for i in self._data_inputs(self._source[current]) if i not in self._done]
            if current in self._done or current in self._constants:
                self._done.add(stack.pop())
            elif waiting:
                stack.extend(waiting)
            else:
                self._convert(self._source[current])
                self._done.add(stack.pop())

    @staticmethod
    def _data_inputs(node: Node) -> list[str]:
        """Names of the nodes that feed this one: no control edges, no ``:0`` (all our operators have one output)."""
        return [name.split(":")[0] for name in node.get("input", []) if not name.startswith("^")]

    def _convert(self, node: Node) -> None:
        operator = node["op"]
        inputs = self._data_inputs(node)
        if operator in _UNARY:
            self._follow(_UNARY[operator], inputs, node["name"])
            if operator == "Relu":
                self._rectified[node["name"]] = inputs[0]
        elif operator in _BINARY:
            self._binary(_BINARY[operator], inputs, node["name"])
        elif operator in _HANDLERS:
            _HANDLERS[operator](self, node, inputs)
        else:
            raise ConversionError(f"operator {operator} of node {node['name']} is not known")

    # --- emitting -----------------------------------------------------------------------------------------------

    def _emit(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def _follow(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Emit an elementwise operator: its output has the layout of its first input."""
        if inputs[0] in self._planar:
            self._planar.add(output)
        return self._emit(operator, inputs, output, **attributes)

    def _tensor(self, name: str, value: NDArray[Any]) -> str:
        self._initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def _channels_last(self, name: str) -> str:
        if name not in self._planar:
            return name
        return self._emit("Transpose", [name], self._fresh(f"{name}/nhwc"), perm=_TO_NHWC)

    def _fresh(self, name: str) -> str:
        used = {output for node in self._nodes for output in node.output}
        while name in used:
            name += "_"
        return name

    def _constant(self, name: str) -> NDArray[Any]:
        if name not in self._constants:
            raise ConversionError(f"{name} has to be a constant")
        return self._constants[name]

    def _operand(self, name: str, planar: bool) -> str:
        """Second operand of a broadcasting operator; a constant that broadcasts over NHWC is turned to NCHW."""
        if name not in self._constants:
            if planar != (name in self._planar):
                raise ConversionError(f"{name}: operands of different rank are not known")
            return name
        value = self._constants[name]
        if planar and value.ndim:
            value = np.moveaxis(value.reshape((1,) * (4 - value.ndim) + value.shape), 3, 1)
            name += "/nchw"
        return self._tensor(name, value)

    def _binary(self, operator: str, inputs: Sequence[str], output: str) -> str:
        if inputs[0] in self._constants:
            if operator not in ("Add", "Mul"):
                raise ConversionError(f"{output}: a constant on the left of {operator} is not known")
            inputs = [inputs[1], inputs[0]]
        return self._follow(operator, [inputs[0], self._operand(inputs[1], inputs[0] in self._planar)], output)

    # --- operators ----------------------------------------------------------------------------------------------

    def _placeholder(self, node: Node, _: Sequence[str]) -> None:
        shape = [int(d["size"]) for d in node["attr"]["shape"]["shape"]["dim"]]
        dims = ["batch" if i == 0 else size for i, size in enumerate(shape)]
        name = node["name"]
        if len(shape) != 4:
            self._inputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims))
            return
        self._inputs.append(helper.make_tensor_value_info(f"{name}/picture", onnx.TensorProto.FLOAT, dims))
        self._planar.add(self._emit("Transpose", [f"{name}/picture"], name, perm=_TO_NCHW))

    def _convolution(self, node: Node, inputs: Sequence[str]) -> None:
        """Conv2D, DepthwiseConv2dNative and their fused forms (bias, then an activation)."""
        kernel = self._constant(inputs[1])
        attributes = {**_window(node), "dilations": _list(node, "dilations", [1, 1, 1, 1])[1:3]}
        if "Depthwise" in node["op"]:
            height, width, channels, multiplier = kernel.shape
            # TensorFlow's output channel is c * multiplier + m, which is the order of ONNX' groups too
            kernel = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
            attributes["group"] = channels
        else:
            kernel = kernel.transpose(3, 2, 0, 1)
        self._require_planar(inputs[0])
        fused = [base64.b64decode(s).decode() for s in node["attr"].get("fused_ops", {}).get("list", {}).get("s", [])]
        operands = [inputs[0], self._tensor(inputs[1], kernel)]
        if fused[:1] == ["BiasAdd"]:
            operands.append(self._tensor(inputs[2], self._constant(inputs[2])))
        self._activated(node, inputs, fused[1:], lambda output: self._emit("Conv", operands, output, **attributes))

    def _matmul(self, node: Node, inputs: Sequence[str]) -> None:
        attributes = node.get("attr", {})
        if attributes.get("transpose_a", {}).get("b") or attributes.get("transpose_b", {}).get("b"):
            raise ConversionError(f"{node['name']}: transposed operands are not known")
        fused = [base64.b64decode(s).decode() for s in attributes.get("fused_ops", {}).get("list", {}).get("s", [])]
        operands = [inputs[0], self._tensor(inputs[1], self._constant(inputs[1]))]
        if fused[:1] == ["BiasAdd"]:
            operands.append(self._tensor(inputs[2], self._constant(inputs[2])))
        self._activated(node, inputs, fused[1:], lambda output: self._emit("Gemm", operands, output))

    def _activated(self, node: Node, inputs: Sequence[str], then: Sequence[str], emit: Callable[[str], str]) -> None:
        """Emit an operator, then the activation that is fused into it, if any."""
        name = node["name"]
        if "Conv" in node["op"]:
            self._planar |= {name, f"{name}/linear"}
        if not then:
            emit(name)
        elif list(then) == ["Prelu"]:
            self._prelu({"name": name}, [emit(f"{name}/linear"), inputs[3]])
        elif list(then) == ["Relu6"]:
            self._relu6({"name": name}, [emit(f"{name}/linear")])
        elif list(then) in (["Relu"], ["Elu"], ["Sigmoid"]):
            self._follow(then[0], [emit(f"{name}/linear")], name)
        else:
            raise ConversionError(f"{name}: fused operators {list(then)} are not known")

    def _prelu(self, node: Node, inputs: Sequence[str]) -> None:
        slope = self._constant(inputs[1])
        if inputs[0] in self._planar:
            # the slopes of one channel agree over all places (shared axes), shape (1, 1, channels)
            slope = slope.reshape(-1, 1, 1)
        self._follow("PRelu", [inputs[0], self._tensor(inputs[1], slope)], node["name"])

    def _relu6(self, node: Node, inputs: Sequence[str]) -> None:
        bounds = [self._tensor(f"bound/{value}", np.array(value, np.float32)) for value in (0, 6)]
        self._follow("Clip", [inputs[0], *bounds], node["name"])

    def _minimum(self, node: Node, inputs: Sequence[str]) -> None:
        """``min(x, bound)``; behind a ReLU one Clip stands for both, which ONNX Runtime fuses into the convolution."""
        bound = self._constant(inputs[1]).reshape(())
        upper = self._tensor(inputs[1], bound)
        if inputs[0] in self._rectified and bound >= 0:
            lower = self._tensor("bound/0", np.zeros((), np.float32))
            self._rectified[node["name"]] = self._rectified[inputs[0]]
            self._follow("Clip", [self._rectified[inputs[0]], lower, upper], node["name"])
        else:
            self._follow("Clip", [inputs[0], "", upper], node["name"])

    def _maximum(self, node: Node, inputs: Sequence[str]) -> None:
        bound = self._constant(inputs[1]).reshape(())
        if inputs[0] in self._rectified and bound <= 0:
            self._follow("Identity", inputs[:1], node["name"])
        else:
            self._follow("Clip", [inputs[0], self._tensor(inputs[1], bound)], node["name"])

    def _pool(self, node: Node, inputs: Sequence[str]) -> None:
        self._require_planar(inputs[0])
        operator = "MaxPool" if node["op"] == "MaxPool" else "AveragePool"
        kernel = _list(node, "ksize", [])[1:3]
        self._follow(operator, inputs[:1], node["name"], kernel_shape=kernel, **_window(node))

    def _pad(self, node: Node, inputs: Sequence[str]) -> None:
        pads = self._constant(inputs[1])
        if inputs[0] in self._planar:
            pads = pads[list(_TO_NCHW)]
        self._follow("Pad", [inputs[0], self._tensor(inputs[1], pads.T.ravel())], node["name"])

    def _reshape(self, node: Node, inputs: Sequence[str]) -> None:
        shape = self._constant(inputs[1])
        if shape.size == 4:
            raise ConversionError(f"{node['name']}: a reshape to rank 4 is not known")
        self._emit("Reshape", [self._channels_last(inputs[0]), self._tensor(inputs[1], shape)], node["name"])

    def _softmax(self, node: Node, inputs: Sequence[str]) -> None:
        self._follow("Softmax", inputs, node["name"], axis=1 if inputs[0] in self._planar else -1)

    def _concat(self, node: Node, inputs: Sequence[str]) -> None:
        axis = int(self._constant(inputs[-1]))
        if inputs[0] in self._planar:
            axis = _TO_NCHW.index(axis % 4)
        self._follow("Concat", inputs[:-1], node["name"], axis=axis)

    def _mean(self, node: Node, inputs: Sequence[str]) -> None:
        axes = [int(axis) for axis in np.atleast_1d(self._constant(inputs[1]))]
        keep = bool(node["attr"].get("keep_dims", {}).get("b"))
        if inputs[0] in self._planar:
            if sorted(axis % 4 for axis in axes) != [1, 2]:
                raise ConversionError(f"{node['name']}: a mean over other axes than height and width is not known")
            axes = [2, 3]
        emit = self._follow if keep else self._emit
        emit("ReduceMean", inputs[:1], node["name"], axes=axes, keepdims=int(keep))

    def _resize(self, node: Node, inputs: Sequence[str]) -> None:
        self._require_planar(inputs[0])
        attributes = node.get("attr", {})
        mode = "asymmetric"
        for option, name in (("align_corners", "align_corners"), ("half_pixel_centers", "half_pixel")):
            if attributes.get(option, {}).get("b"):
                mode = name
        factors = self._resize_scales(node, inputs)
        self._follow(
            "Resize", [inputs[0], "", "", factors], node["name"], mode="linear", coordinate_transformation_mode=mode
        )

    def _resize_scales(self, node: Node, inputs: Sequence[str]) -> str:
        """``(batch, channels)`` of the input joined to the wanted ``(height, width)``: ONNX wants all four sizes."""
        name = node["name"]
        shape = self._emit("Shape", [inputs[0]], f"{name}/batch", start=0, end=2)
        size = self._tensor(inputs[1], self._constant(inputs[1]).astype(np.int64))
        return self._emit("Concat", [shape, size], f"{name}/sizes", axis=0)

    def _require_planar(self, name: str) -> None:
        if name not in self._planar:
            raise ConversionError(f"{name} has to be of rank 4")


_HANDLERS: dict[str, Callable[[_Graph, Node, Sequence[str]], None]] = {
    "Placeholder": _Graph._placeholder,
    "Conv2D": _Graph._convolution,
    "_FusedConv2D": _Graph._convolution,
    "DepthwiseConv2dNative": _Graph._convolution,
    "FusedDepthwiseConv2dNative": _Graph._convolution,
    "MatMul": _Graph._matmul,
    "_FusedMatMul": _Graph._matmul,
    "Prelu": _Graph._prelu,
    "Relu6": _Graph._relu6,
    "Minimum": _Graph._minimum,
    "Maximum": _Graph._maximum,
    "MaxPool": _Graph._pool,
    "AvgPool": _Graph._pool,
    "Pad": _Graph._pad,
    "Reshape": _Graph._reshape,
    "Softmax": _Graph._softmax,
    "ConcatV2": _Graph._concat,
    "Mean": _Graph._mean,
    "ResizeBilinear": _Graph._resize,
}


def _without_dead_ends(nodes: Sequence[onnx.NodeProto], outputs: Mapping[str, str]) -> list[onnx.NodeProto]:
    """The nodes whose output somebody reads."""
    wanted = set(outputs)
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]


def _list(node: Node, name: str, default: list[int]) -> list[int]:
    """An integer list attribute; JSON keeps 64-bit numbers as text."""
    values = node.get("attr", {}).get(name, {}).get("list", {}).get("i")
    return [int(value) for value in values] if values else default


def _window(node: Node) -> dict[str, Any]:
    """Strides and padding of a convolution or a pooling. TensorFlow's SAME puts the odd row or column last."""
    attributes = node["attr"]
    if base64.b64decode(attributes.get("data_format", {}).get("s", "TkhXQw==")) != b"NHWC":
        raise ConversionError(f"{node['name']}: only NHWC graphs are known")
    padding = base64.b64decode(attributes["padding"]["s"])
    if padding not in (b"SAME", b"VALID"):
        raise ConversionError(f"{node['name']}: padding {padding!r} is not known")
    return {
        "strides": _list(node, "strides", [1, 1, 1, 1])[1:3],
        "auto_pad": "SAME_UPPER" if padding == b"SAME" else "VALID",
    }
