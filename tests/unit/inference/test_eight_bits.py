"""Networks in eight bits: what is rounded, how closely they answer, and whose ranges they take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.manifest import EmbedderPart, load_pack
from service.inference.eight_bits import Ranges, RangesMismatch, quantised, rounded_inputs
from service.inference.providers import lower_precisions, openvino_installed
from service.inference.runtimes import MeasuredRuntimes, compared
from service.inference.session import CPU, OPENVINO, OPENVINO_INT8, DeviceUnavailable, Precisions, load_session

Array = NDArray[np.float32]
OPENVINO_TO_BE_INSTALLED = pytest.mark.skipif(not openvino_installed(), reason="the extra openvino is not installed")


def small(path: Path, spread: float = 1.0, opset: int = 9) -> Path:
    """A first layer, a depthwise one with channels up to ``spread`` times wider than others, two that are rounded."""
    random = np.random.default_rng(4)
    widths = np.geomspace(1, spread, 16).astype(np.float32)
    weights = {
        "first": random.normal(size=(16, 3, 3, 3)),
        "deep": random.normal(size=(16, 1, 3, 3)) * widths.reshape(-1, 1, 1, 1),
        "slopes": np.full((16, 1, 1), 0.25),
        "wide": random.normal(size=(32, 16, 1, 1)) / widths.reshape(1, -1, 1, 1),
        "last": random.normal(size=(8, 32 * 8 * 8)),
        "bias": random.normal(size=8),
    }
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], pads=[1] * 4),
        helper.make_node("Conv", ["a", "deep"], ["b"], pads=[1] * 4, group=16),
        helper.make_node("PRelu", ["b", "slopes"], ["c"]),
        helper.make_node("Conv", ["c", "wide"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "last", "bias"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def ranges_of(path: Path, batch: Array) -> Ranges:
    """What the two rounded inputs range over for ``batch``."""
    model = onnx.load(path)
    names = rounded_inputs(model.graph)
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    shown = path.with_suffix(".shown.onnx")
    onnx.save(model, shown)
    _, *values = load_session(shown, [CPU]).run(batch)
    rows = [np.moveaxis(value, 1, 0).reshape(value.shape[1] if value.ndim == 4 else 1, -1) for value in values]
    bounds = {name: np.stack([row.min(1), row.max(1)]) for name, row in zip(names, rows, strict=True)}
    return Ranges(bounds, batch[0])


def in_eight_bits(path: Path, ranges: Ranges) -> Path:
    made = path.with_suffix(".int8.onnx")
    made.write_bytes(quantised(path, ranges))
    return made


def batch_of(count: int = 16) -> Array:
    return np.random.default_rng(5).normal(size=(count, 3, 8, 8)).astype(np.float32)


def cosines(one: Array, two: Array) -> Array:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return np.asarray(np.sum(one * two, axis=1) / lengths, dtype=np.float32)


def test_what_is_rounded(tmp_path: Path) -> None:
    """Neither the layer that sees pixels nor the depthwise one: little time, much accuracy."""
    network = small(tmp_path / "small.onnx")
    assert rounded_inputs(onnx.load(network).graph) == ["c", "e"]
    made = onnx.load_from_string(quantised(network, ranges_of(network, batch_of())))
    stored = {item.name: numpy_helper.to_array(item) for item in made.graph.initializer}
    assert {name for name, value in stored.items() if value.dtype == np.int8 and value.ndim > 1} == {
        "d/rounded_weights",
        "y/rounded_weights",
    }
    assert {"wide", "last"}.isdisjoint(stored)
    assert {"first", "deep", "bias"} <= set(stored)


@pytest.mark.parametrize("opset", [9, 13, 21])
@pytest.mark.parametrize("spread", [1.0, 1000.0])
def test_it_answers_like_the_network_it_was(tmp_path: Path, spread: float, opset: int) -> None:
    """Also where one channel is a thousand times wider than another, which one step for all would round to nothing."""
    network, batch = small(tmp_path / "small.onnx", spread, opset), batch_of()
    made = in_eight_bits(network, ranges_of(network, batch))
    (expected,), (answered,) = load_session(network, [CPU]).run(batch), load_session(made, [CPU]).run(batch)
    assert cosines(expected, answered).min() > 0.9995


def test_what_lies_beyond_the_ranges_is_cut_off(tmp_path: Path) -> None:
    network, batch = small(tmp_path / "small.onnx"), batch_of()
    made = load_session(in_eight_bits(network, ranges_of(network, batch)), [CPU])
    (far,) = made.run(batch * 1000)
    (near,) = made.run(batch)
    assert np.abs(far).max() < 20 * np.abs(near).max()


def test_ranges_are_kept_in_a_file(tmp_path: Path) -> None:
    network, batch = small(tmp_path / "small.onnx"), batch_of()
    ranges = ranges_of(network, batch)
    ranges.save(tmp_path / "ranges.npz")
    loaded = Ranges.load(tmp_path / "ranges.npz")
    assert set(loaded.bounds) == {"c", "e"}
    for name, bounds in ranges.bounds.items():
        np.testing.assert_allclose(loaded.bounds[name], bounds, rtol=1e-3)
    np.testing.assert_allclose(loaded.face, batch[0], rtol=1e-3)


@pytest.mark.parametrize("missing", ["c", "e"])
def test_ranges_of_another_network_are_refused(tmp_path: Path, missing: str) -> None:
    network, batch = small(tmp_path / "small.onnx"), batch_of()
    ranges = ranges_of(network, batch)
    others = {name: bounds for name, bounds in ranges.bounds.items() if name != missing}
    with pytest.raises(RangesMismatch, match="small: the ranges"):
        quantised(network, Ranges(others, batch[0]))
    with pytest.raises(RangesMismatch, match="small: the ranges"):
        quantised(network, Ranges({**ranges.bounds, "c": np.zeros((2, 7), np.float32)}, batch[0]))


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x03\x04 cut off"])
def test_ranges_that_cannot_be_read_are_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ranges.npz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RangesMismatch, match=r"the ranges for 8 bits in .* cannot be read"):
        Ranges.load(file)


def test_ranges_without_a_face_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "ranges.npz", c=np.zeros((2, 16), np.float32))
    with pytest.raises(RangesMismatch, match="cannot be read"):
        Ranges.load(tmp_path / "ranges.npz")


@OPENVINO_TO_BE_INSTALLED
def test_a_file_that_is_no_network_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "small.onnx").write_bytes(b"no network")
    with pytest.raises(DeviceUnavailable, match="OpenVINO does not load small"):
        load_session(tmp_path / "small.onnx", [OPENVINO])


def parts() -> list[EmbedderPart]:
    return [part for part in load_pack("core").embedder.parts if part.ranges is not None]


@pytest.mark.parametrize("part", parts(), ids=lambda part: part.file)
def test_recognition_networks_keep_their_answer(model_dir: Path, tmp_path: Path, part: EmbedderPart) -> None:
    """For the mean face, which no range cuts off; the gate on real ones is ``benchmarks/accuracy_gate.py``."""
    assert part.ranges is not None
    network, ranges = load_pack("core").files[part.file].path(model_dir), Ranges.load(part.ranges)
    made = tmp_path / f"{part.file}.onnx"
    made.write_bytes(quantised(network, ranges))
    batch = np.stack([ranges.face, ranges.face[..., ::-1]])
    (expected,), (answered,) = load_session(network, [CPU]).run(batch), load_session(made, [CPU]).run(batch)
    assert cosines(expected, answered).min() > 0.995


@OPENVINO_TO_BE_INSTALLED
@pytest.mark.parametrize("part", parts(), ids=lambda part: part.file)
def test_openvino_computes_them(model_dir: Path, part: EmbedderPart) -> None:
    assert part.ranges is not None
    network = load_pack("core").files[part.file].path(model_dir)
    session = load_session(network, [(OPENVINO_INT8, {"ranges": part.ranges})])
    assert session.providers == (OPENVINO_INT8,)
    sessions = {CPU: load_session(network, [CPU]), OPENVINO_INT8: session}
    if "int8" in lower_precisions():  # elsewhere sums of products overflow
        assert compared(part.file, sessions, Ranges.load(part.ranges).face[np.newaxis]).refused == ()


@OPENVINO_TO_BE_INSTALLED
def test_without_ranges_there_is_nothing_to_compute(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable, match="small has no ranges"):
        load_session(small(tmp_path / "small.onnx"), [(OPENVINO_INT8, {})])


@OPENVINO_TO_BE_INSTALLED
def test_other_ranges_measure_anew(tmp_path: Path) -> None:
    network, batch = small(tmp_path / "small.onnx"), batch_of()
    file, store = tmp_path / "ranges.npz", tmp_path / "runtimes.json"
    ranges = ranges_of(network, batch)
    ranges.save(file)
    precisions = Precisions(ranges=file)

    def measured() -> str:
        MeasuredRuntimes(store, [CPU], [OPENVINO_INT8]).providers(network, precisions)
        return store.read_text(encoding="utf-8")

    first = measured()
    assert OPENVINO_INT8 in first
    assert measured() == first
    Ranges({name: bounds * 2 for name, bounds in ranges.bounds.items()}, ranges.face).save(file)
    assert measured() != first


@OPENVINO_TO_BE_INSTALLED
def test_what_nobody_asked_for_may_fail(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Ranges of another network stand for whatever keeps a runtime from loading one: the server has to start."""
    network, file, store = small(tmp_path / "small.onnx"), tmp_path / "ranges.npz", tmp_path / "runtimes.json"
    Ranges({}, batch_of()[0]).save(file)
    precisions = Precisions(ranges=file)
    assert MeasuredRuntimes(store, [CPU], [OPENVINO_INT8]).providers(network, precisions) == [CPU]
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == ["runtime left out"]
    demanding = MeasuredRuntimes(store, [CPU], [OPENVINO_INT8], demanded=OPENVINO_INT8)
    with pytest.raises(RangesMismatch):
        demanding.providers(network, precisions)
