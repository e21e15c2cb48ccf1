"""Channels that nothing moves are taken out, and what a network answers stays the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.manifest import load_pack
from service.inference.blocked import rewritten
from service.inference.eight_bits import Ranges, quantised
from service.inference.idle_channels import prune, without_idle_channels
from service.inference.session import CPU, Array, load_session
from tests.unit.inference.small_graphs import SIDE, Layers, normal, same_answers

CHANNELS = 64
DEAD = 1e-20
SUBNORMAL = 1e-40


class Bottleneck(Layers):
    """A bottleneck of ``CHANNELS`` inner channels, of which those that ``idle`` names do not change."""

    def __init__(self, idle: Iterable[int], *, side_out: int = 1) -> None:
        super().__init__()
        self.into = self.convolution("input", 3, CHANNELS, side=3)
        self.first = self.bend(self.into, normal(CHANNELS))
        self.within = self.convolution(self.first, CHANNELS, CHANNELS, side=3, group=CHANNELS)
        self.second = self.bend(self.within, normal(CHANNELS))
        self.out = self.convolution(self.second, CHANNELS, 8, side=side_out)
        self.weights[f"{self.within}/0"][list(idle)] = DEAD

    def last(self) -> str:
        return self.step("Relu", self.out)


def channels(model: bytes | onnx.ModelProto | Path) -> list[int]:
    """How many leave each convolution."""
    if not isinstance(model, onnx.ModelProto):
        model = onnx.load(model) if isinstance(model, Path) else onnx.load_from_string(model)
    sizes = {item.name: item.dims[0] for item in model.graph.initializer if item.dims}
    return [sizes.get(node.input[1]) or sizes[node.input[2]] for node in model.graph.node if node.op_type == "Conv"]


@pytest.mark.parametrize(("idle", "left"), [(50, 16), (44, 32), (33, 32), (17, 48), (64, 16)])
def test_whole_blocks_are_left(idle: int, left: int, tmp_path: Path) -> None:
    layers = Bottleneck(np.random.default_rng(2).permutation(CHANNELS)[:idle])
    path = layers.saved(tmp_path / "net.onnx", layers.last())
    model = without_idle_channels(path)
    assert model is not None
    assert channels(model) == [left, left, 8]
    same_answers(path, model)


def test_fewer_than_a_block_are_zeroed_and_stay(tmp_path: Path) -> None:
    layers = Bottleneck(range(9))
    path = layers.saved(tmp_path / "net.onnx", layers.last())
    model = without_idle_channels(path)
    assert model is not None
    assert channels(model) == [CHANNELS, CHANNELS, 8]
    constants = {item.name: item for item in onnx.load_from_string(model).graph.initializer}
    assert not numpy_helper.to_array(constants[f"{layers.within}/0"])[:9].any()
    same_answers(path, model)


def test_channels_of_which_nothing_is_made_go(tmp_path: Path) -> None:
    layers = Bottleneck([])
    layers.weights[f"{layers.out}/0"][:, 10:] = SUBNORMAL
    path = layers.saved(tmp_path / "net.onnx", layers.last())
    model = without_idle_channels(path)
    assert model is not None
    assert channels(model) == [16, 16, 8]
    same_answers(path, model)


def test_bottlenecks_in_a_row(tmp_path: Path) -> None:
    layers = Bottleneck(range(48))
    wide = layers.bend(layers.convolution(layers.out, 8, CHANNELS), normal(CHANNELS))
    within = layers.convolution(wide, CHANNELS, CHANNELS, side=3, group=CHANNELS)
    layers.weights[f"{within}/0"][30:] = DEAD
    out = layers.convolution(layers.bend(within, normal(CHANNELS)), CHANNELS, 8)
    path = layers.saved(tmp_path / "net.onnx", layers.step("Add", layers.out, out))
    model = without_idle_channels(path)
    assert model is not None
    assert channels(model) == [16, 16, 8, 32, 32, 8]
    same_answers(path, model)


def used_twice() -> tuple[Bottleneck, str]:
    layers = Bottleneck(range(60))
    return layers, layers.step("Add", layers.last(), layers.convolution(layers.second, CHANNELS, 8))


def shown() -> tuple[Bottleneck, str]:
    layers = Bottleneck(range(60))
    layers.last()
    return layers, layers.second


def weights_of_two() -> tuple[Bottleneck, str]:
    layers = Bottleneck(range(60))
    other = layers.step("Mul", layers.convolution("input", 3, CHANNELS), f"{layers.second}/0")
    return layers, layers.step("Add", layers.last(), layers.convolution(other, CHANNELS, 8))


def padded_behind() -> tuple[Bottleneck, str]:
    """At a border zeros are weighed in place of what is constant elsewhere."""
    layers = Bottleneck(range(60), side_out=3)
    return layers, layers.last()


def one_slope_for_all() -> tuple[Bottleneck, str]:
    layers = Bottleneck(range(60))
    layers.weights[f"{layers.first}/0"] = np.full((1, 1, 1), 0.25, np.float32)
    return layers, layers.last()


@pytest.mark.parametrize("make", [used_twice, shown, weights_of_two, padded_behind, one_slope_for_all])
def test_channels_that_cannot_be_told_apart_stay(make: Callable[[], tuple[Bottleneck, str]], tmp_path: Path) -> None:
    layers, output = make()
    path = layers.saved(tmp_path / "net.onnx", output)
    model = without_idle_channels(path)
    assert model is not None  # weights were zeroed
    assert channels(model) == channels(path)
    same_answers(path, model)


def test_half_precision_stays(tmp_path: Path) -> None:
    layers = Bottleneck(range(60))
    model = onnx.load(layers.saved(tmp_path / "net.onnx", layers.last()))
    for item in model.graph.initializer:
        item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item).astype(np.float16), item.name))
    before = model.SerializeToString()
    assert prune(model) is None
    assert model.SerializeToString() == before


def test_small_numbers_that_weigh_nothing_stay(tmp_path: Path) -> None:
    """What keeps a division from zero is no weight."""
    layers = Layers()
    floor = layers.step("Add", "input", constants=[np.full((1, 1, 1, 1), SUBNORMAL, np.float32)])
    path = layers.saved(tmp_path / "net.onnx", layers.convolution(floor, 3, 16))
    assert without_idle_channels(path) is None


def test_weights_that_are_named_as_inputs(tmp_path: Path) -> None:
    layers = Bottleneck(range(48))
    path = layers.saved(tmp_path / "old.onnx", layers.last())
    old = onnx.load(path)
    old.ir_version = 3
    for item in old.graph.initializer:
        old.graph.input.append(helper.make_tensor_value_info(item.name, item.data_type, item.dims))
    onnx.save(old, path)
    model = without_idle_channels(path)
    assert model is not None
    assert [item.name for item in onnx.load_from_string(model).graph.input] == ["input"]
    same_answers(path, model)


@pytest.mark.parametrize("able", [("asimd",), ("avx", "avx2"), ("avx", "avx2", "avx512f")])
def test_every_processor_is_spared_them(able: tuple[str, ...], tmp_path: Path) -> None:
    layers = Bottleneck(range(48))
    path = layers.saved(tmp_path / "net.onnx", layers.last())
    model = rewritten(path, able)
    assert model is not None
    assert max(channels(model)) == 16
    same_answers(path, model)


def test_in_eight_bits(tmp_path: Path) -> None:
    layers = Bottleneck(range(48))
    path = layers.saved(tmp_path / "net.onnx", layers.last())
    batch = np.random.default_rng(3).normal(size=(4, 3, SIDE, SIDE)).astype(np.float32)
    shown = onnx.load(path)
    shown.graph.output.append(helper.make_tensor_value_info(layers.second, TensorProto.FLOAT, None))
    onnx.save(shown, tmp_path / "shown.onnx")
    expected, inner = load_session(tmp_path / "shown.onnx", [CPU]).run(batch)
    bounds = np.stack([inner.min(axis=(0, 2, 3)), inner.max(axis=(0, 2, 3))])
    rounded = tmp_path / "rounded.onnx"
    rounded.write_bytes(quantised(path, Ranges({layers.second: bounds}, batch[0])))
    assert channels(rounded)[:2] == [16, 16]
    (answered,) = load_session(rounded, [CPU]).run(batch)
    assert np.abs(answered - expected).max() < 0.03 * np.abs(expected).max()


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_what_is_no_graph_is_left_to_the_runtime(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "none.onnx"
    path.write_bytes(content)
    assert without_idle_channels(path) is None


def subnormal(array: Array) -> bool:
    return bool(((array != 0) & (np.abs(array) < np.finfo(np.float32).tiny)).any())


@pytest.mark.parametrize("name", ["fr_feature", "fr_landmark", "sface", "yunet", "facemesh", "faceres", "fr_liveness"])
def test_real_networks_answer_the_same(name: str, model_dir: Path) -> None:
    path = load_pack("core").files[name].path(model_dir)
    model = onnx.load(path)
    prune(model)
    assert not any(subnormal(numpy_helper.to_array(item)) for item in model.graph.initializer)
    same_answers(path, model.SerializeToString())


def test_the_recogniser_that_has_them(model_dir: Path) -> None:
    path = load_pack("core").files["fr_feature"].path(model_dir)
    before, after = onnx.load(path), onnx.load(path)
    prune(after)
    assert sum(channels(before)) - sum(channels(after)) > 2000
