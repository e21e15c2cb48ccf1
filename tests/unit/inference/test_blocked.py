"""Graphs rewritten for the processor's kernels: the same answers, by operations that the kernels know."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from models.manifest import load_pack
from service.inference.blocked import rewritten
from service.inference.session import Array
from tests.unit.inference.small_graphs import Layers, same_answers

AVX2, AVX512 = ("avx", "avx2", "fma"), ("avx", "avx2", "avx512f", "fma")


def slopes(channels: int) -> Array:
    """Falling ones, flat, straight and steeper than straight."""
    return np.resize(np.array([-0.5, 0, 0.25, 1, 1.5, 0.7], np.float32), channels)


def plain(path: Path, channels: int) -> Path:
    """Two convolutions, a slope for each channel after the first."""
    layers = Layers()
    bent = layers.bend(layers.convolution("input", 3, channels, side=3), slopes(channels))
    return layers.saved(path, layers.convolution(bent, channels, 5))


def pruned(path: Path) -> Path:
    """Blocks of odd widths, one around which its input goes, one whose channels are weighed by what they show."""
    layers = Layers()
    bent = layers.bend(layers.convolution("input", 3, 13, side=3), slopes(13))
    inner = layers.bend(layers.convolution(bent, 13, 27), slopes(27))
    inner = layers.bend(layers.convolution(inner, 27, 27, side=3, group=27), slopes(27))
    inner = layers.convolution(inner, 27, 13)
    weighing = layers.step("Relu", layers.convolution(layers.step("GlobalAveragePool", inner), 13, 3))
    weighing = layers.step("Sigmoid", layers.convolution(weighing, 3, 13))
    joined = layers.step("Add", layers.step("Mul", inner, weighing), bent)
    last = layers.bend(layers.convolution(joined, 13, 32), slopes(32))
    return layers.saved(path, layers.step("Flatten", last, axis=1))


def kinds(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


@pytest.mark.parametrize("able", [AVX2, AVX512])
@pytest.mark.parametrize("channels", [16, 48])
def test_slopes_become_operations_with_kernels(able: Collection[str], channels: int, tmp_path: Path) -> None:
    path = plain(tmp_path / "plain.onnx", channels)
    model = rewritten(path, able)
    assert model is not None
    assert "PRelu" not in kinds(model)
    graph = onnx.load_from_string(model).graph
    assert {item.name for item in graph.initializer} <= {name for node in graph.node for name in node.input}
    same_answers(path, model)


@pytest.mark.parametrize(("able", "block"), [(AVX2, 8), (AVX512, 16)])
def test_pruned_layers_are_widened_to_whole_blocks(able: Collection[str], block: int, tmp_path: Path) -> None:
    path = pruned(tmp_path / "pruned.onnx")
    model = rewritten(path, able)
    assert model is not None
    assert "PRelu" not in kinds(model)
    graph = onnx.load_from_string(model).graph
    convolutions = {name for node in graph.node if node.op_type == "Conv" for name in node.input[1:2]}
    assert all(item.dims[0] % block == 0 for item in graph.initializer if item.name in convolutions)
    same_answers(path, model)


@pytest.mark.parametrize("channels", [16, 13])
def test_weights_that_are_named_as_inputs(channels: int, tmp_path: Path) -> None:
    path = plain(tmp_path / "old.onnx", channels)
    old = onnx.load(path)
    old.ir_version = 3
    for item in old.graph.initializer:
        old.graph.input.append(helper.make_tensor_value_info(item.name, item.data_type, item.dims))
    onnx.save(old, path)
    model = rewritten(path, AVX512)
    assert model is not None
    assert [item.name for item in onnx.load_from_string(model).graph.input] == ["input"]
    same_answers(path, model)


def test_channels_that_an_operation_would_see_are_not_added(tmp_path: Path) -> None:
    layers = Layers()
    bent = layers.bend(layers.convolution("input", 3, 16), slopes(16))
    bent = layers.bend(layers.convolution(bent, 16, 13), slopes(13))
    path = layers.saved(tmp_path / "seen.onnx", layers.step("Softmax", bent, axis=1))
    model = rewritten(path, AVX2)
    assert model is not None
    assert kinds(model).count("PRelu") == 1
    same_answers(path, model)


@pytest.mark.parametrize("channels", [8, 13])
def test_an_output_keeps_its_channels(channels: int, tmp_path: Path) -> None:
    layers = Layers()
    path = layers.saved(
        tmp_path / "output.onnx", layers.bend(layers.convolution("input", 3, channels), slopes(channels))
    )
    model = rewritten(path, AVX512)
    assert model is None


def test_one_slope_for_all_channels_is_left_alone(tmp_path: Path) -> None:
    layers = Layers()
    source = layers.convolution("input", 3, 16)
    bent = layers.step("PRelu", source, constants=[np.full((1, 1, 1), 0.2, np.float32)])
    assert rewritten(layers.saved(tmp_path / "one.onnx", bent), AVX2) is None


def test_other_processors_have_the_network_as_it_is(tmp_path: Path) -> None:
    assert rewritten(plain(tmp_path / "plain.onnx", 16), ("asimd",)) is None


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_what_is_no_graph_is_left_to_the_runtime(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "none.onnx"
    path.write_bytes(content)
    assert rewritten(path, AVX2) is None


@pytest.mark.parametrize("able", [AVX2, AVX512])
@pytest.mark.parametrize("name", ["sface", "fr_feature", "fr_liveness", "facemesh", "iris"])
def test_real_networks_answer_the_same(able: Collection[str], name: str, model_dir: Path) -> None:
    path = load_pack("core").files[name].path(model_dir)
    model = rewritten(path, able)
    assert model is not None
    assert "PRelu" not in kinds(model)
    same_answers(path, model)
