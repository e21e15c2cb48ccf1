"""The attribute nets of face-api.js to ONNX. Their files hold named weights and no graph: we build it from the names.

Two architectures, as the package's (MIT) sources and weight names describe them:

* ``age_gender``: a small Xception. A strided convolution, three reduction blocks (two separable convolutions and a
  max-pool beside a strided 1x1 convolution), residual main blocks of three separable convolutions in the middle, one
  more separable convolution, a mean over 7x7 and two linear heads;
* ``expression``: four blocks of four (separable) convolutions, each fed the sum of all earlier outputs of its block,
  the first one strided; a mean over 7x7 and a linear head with softmax.

Input of both: ``(batch, 112, 112, 3)`` float32, RGB 0..255. Every convolution pads like TensorFlow's SAME, so the odd
row or column is added at the bottom and right.
"""

from __future__ import annotations

from collections.abc import Sequence
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
SIDE = 112

_MEAN_RGB = (122.782, 117.001, 104.298)
"""Subtracted before the division by 255 (constant in the package's sources)."""


def convert_age_gender(manifest: Path, shards: Path | None = None) -> onnx.ModelProto:
    """Outputs ``age`` ``(batch, 1)`` in years and ``gender`` ``(batch, 2)``, softmax over male, female."""
    net = _Net(read_weights(read_json(manifest), shards or manifest.parent))
    x = net.relu(net.convolution(net.picture(), "entry_flow/conv_in", stride=2))
    x = net.reduction(x, "entry_flow/reduction_block_0", activate=False)
    x = net.reduction(x, "entry_flow/reduction_block_1")
    for index in range(net.count("middle_flow/main_block_")):
        x = net.main_block(x, f"middle_flow/main_block_{index}")
    x = net.reduction(x, "exit_flow/reduction_block")
    x = net.relu(net.separable(x, "exit_flow/separable_conv"))
    features = net.pooled(x)
    net.output("age", net.linear(features, "fc/age"))
    net.output("gender", net.emit("Softmax", [net.linear(features, "fc/gender")], axis=-1))
    return net.model("age_gender")


def convert_expression(manifest: Path, shards: Path | None = None) -> onnx.ModelProto:
    """Output ``expression`` ``(batch, 7)``: neutral, happy, sad, angry, fearful, disgusted, surprised (softmax)."""
    net = _Net(read_weights(read_json(manifest), shards or manifest.parent))
    x = net.dense_block(net.picture(), "dense0", separable_first=False)
    for index in range(1, net.count("dense")):
        x = net.dense_block(x, f"dense{index}")
    net.output("expression", net.emit("Softmax", [net.linear(net.pooled(x), "fc")], axis=-1))
    return net.model("expression")


class _Net:
    """Writes ONNX nodes in NCHW and names the values after their running number."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._unused = set(weights)
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._outputs: list[onnx.ValueInfoProto] = []

    def emit(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        output = output or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def output(self, name: str, value: str) -> None:
        self.emit("Identity", [value], name)
        self._outputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))

    def model(self, name: str) -> onnx.ModelProto:
        """The finished model; raises ``ConversionError`` when weights were left over."""
        if self._unused:
            raise ConversionError(f"{name}: weights without a place in the net: {sorted(self._unused)[:3]}")
        picture = helper.make_tensor_value_info("picture", onnx.TensorProto.FLOAT, ["batch", SIDE, SIDE, 3])
        graph = helper.make_graph(self._nodes, name, [picture], self._outputs, list(self._initializers.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        del model.graph.value_info[:]
        onnx.checker.check_model(model)
        return model

    def count(self, prefix: str) -> int:
        """How many numbered parts (``prefix0/``, ``prefix1/`` ...) the weight names show."""
        return len({name[len(prefix) :].split("/")[0] for name in self._weights if name.startswith(prefix)})

    # --- layers -------------------------------------------------------------------------------------------------

    def picture(self) -> str:
        """The input as NCHW, mean subtracted, divided by 255."""
        planar = self.emit("Transpose", ["picture"], perm=(0, 3, 1, 2))
        mean = np.array(_MEAN_RGB, np.float32).reshape(3, 1, 1)
        centred = self.emit("Sub", [planar, self._tensor("mean_rgb", mean)])
        return self.emit("Div", [centred, self._tensor("full_scale", np.float32(255))])

    def relu(self, x: str) -> str:
        return self.emit("Relu", [x])

    def add(self, x: str, y: str) -> str:
        return self.emit("Add", [x, y])

    def convolution(self, x: str, prefix: str, stride: int = 1) -> str:
        kernel = self._take(f"{prefix}/filters").transpose(3, 2, 0, 1)
        return self._conv(x, f"{prefix}/filters", kernel, stride, bias=f"{prefix}/bias")

    def separable(self, x: str, prefix: str, stride: int = 1) -> str:
        """A depthwise convolution, then a 1x1 one with a bias."""
        depthwise = self._take(f"{prefix}/depthwise_filter").transpose(2, 3, 0, 1)
        x = self._conv(x, f"{prefix}/depthwise_filter", depthwise, stride, group=depthwise.shape[0])
        pointwise = self._take(f"{prefix}/pointwise_filter").transpose(3, 2, 0, 1)
        return self._conv(x, f"{prefix}/pointwise_filter", pointwise, 1, bias=f"{prefix}/bias")

    def reduction(self, x: str, prefix: str, activate: bool = True) -> str:
        inner = self.separable(self.relu(x) if activate else x, f"{prefix}/separable_conv0")
        inner = self.separable(self.relu(inner), f"{prefix}/separable_conv1")
        pooled = self.emit("MaxPool", [inner], kernel_shape=(3, 3), strides=(2, 2), auto_pad="SAME_UPPER")
        return self.add(pooled, self.convolution(x, f"{prefix}/expansion_conv", stride=2))

    def main_block(self, x: str, prefix: str) -> str:
        inner = x
        for index in range(3):
            inner = self.separable(self.relu(inner), f"{prefix}/separable_conv{index}")
        return self.add(inner, x)

    def dense_block(self, x: str, prefix: str, separable_first: bool = True) -> str:
        first = self.separable if separable_first else self.convolution
        total = current = self.relu(first(x, f"{prefix}/conv0", stride=2))
        for index in range(1, 4):
            total = self.add(total, self.separable(current, f"{prefix}/conv{index}"))
            current = self.relu(total)
        return current

    def pooled(self, x: str) -> str:
        """Mean over the last 7x7 map; 112 halved four times leaves exactly one window."""
        return self.emit("ReduceMean", [x], axes=[2, 3], keepdims=0)

    def linear(self, x: str, prefix: str) -> str:
        kernel = self._tensor(f"{prefix}/weights", self._take(f"{prefix}/weights"))
        return self.emit("Gemm", [x, kernel, self._tensor(f"{prefix}/bias", self._take(f"{prefix}/bias"))])

    def _conv(self, x: str, name: str, kernel: NDArray[Any], stride: int, group: int = 1, bias: str = "") -> str:
        inputs = [x, self._tensor(name, kernel)]
        if bias:
            inputs.append(self._tensor(bias, self._take(bias)))
        return self.emit("Conv", inputs, group=group, strides=(stride, stride), auto_pad="SAME_UPPER")

    def _take(self, name: str) -> NDArray[Any]:
        if name not in self._weights:
            raise ConversionError(f"the weight {name} is missing")
        self._unused.discard(name)
        return self._weights[name]

    def _tensor(self, name: str, value: NDArray[Any]) -> str:
        self._initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name
