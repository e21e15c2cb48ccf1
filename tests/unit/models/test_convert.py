"""Conversions: they change how a graph is written, never what it answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from models.convert.dequantize import dequantize
from models.convert.dynamic import free_dimensions
from models.convert.fingerprint import (
    compare,
    load_fingerprints,
    measure,
    probe,
    probe_shape,
    run,
    save_fingerprints,
)
from models.convert.pipeline import convert
from models.errors import ConversionError
from tests.unit.models.graphs import arcface, block_quantised, fixed_detector, reference, save
from tests.unit.models.small_packs import SmallPack


def test_folding_block_quantised_weights_is_exact(tmp_path: Path) -> None:
    published = block_quantised()
    picture = probe((1, 3, 8, 8))
    expected = reference(published, picture=picture, kernel_of_old=np.zeros((4, 3, 3, 3), np.float32))

    folded = dequantize(published)
    onnx.checker.check_model(folded, full_check=True)
    (answer,) = run(save(folded, tmp_path / "folded.onnx"), picture)

    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)
    assert {node.op_type for node in folded.graph.node} == {"Conv", "Relu", "Reshape", "Gemm"}
    assert [item.name for item in folded.graph.input] == ["picture"]
    assert {item.name for item in folded.graph.initializer} == {"kernel", "matrix_f", "bias_f", "flat"}
    assert len(published.graph.input) > 1, "the published graph is left as it was"


@pytest.mark.parametrize(("scale", "zero"), [((), ()), ((2,), (2,))])
def test_folding_per_tensor_and_per_axis(tmp_path: Path, scale: tuple[int, ...], zero: tuple[int, ...]) -> None:
    scales = np.full(scale, 0.5, np.float32) * (1 + np.arange(2, dtype=np.float32) if scale else np.float32(1))
    weights: dict[str, NDArray[Any]] = {
        "q": np.array([[1, -2, 3], [4, 5, -6]], np.int8),
        "s": np.asarray(scales, np.float32),
    }
    weights["z"] = np.full(zero, 3, np.int8)
    nodes = [
        onnx.helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0),
        onnx.helper.make_node("Gemm", ["x", "w"], ["y"], transB=1),
    ]
    values = [onnx.helper.make_tensor_value_info(name, 1, [1, size]) for name, size in (("x", 3), ("y", 2))]
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = onnx.helper.make_graph(nodes, "small", values[:1], values[1:], initializers)
    published = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    x = probe((1, 3))
    (answer,) = run(save(dequantize(published), tmp_path / "folded.onnx"), x)
    np.testing.assert_allclose(answer, reference(published, x=x), rtol=1e-6)


def test_scales_that_do_not_fit_are_refused() -> None:
    published = block_quantised()
    next(item for item in published.graph.node[0].attribute if item.name == "block_size").i = 5
    with pytest.raises(ConversionError, match="scales of shape"):
        dequantize(published)


def test_freed_dimensions_take_any_batch_and_size(tmp_path: Path) -> None:
    published = fixed_detector()
    freed = free_dimensions(published, ["batch", 3, "height", "width"], [["batch", "anchors_8", 4]])
    onnx.checker.check_model(freed, full_check=True)
    path = save(freed, tmp_path / "freed.onnx")

    square = probe((1, 3, 64, 64))
    np.testing.assert_array_equal(run(path, square)[0], run(save(published, tmp_path / "fixed.onnx"), square)[0])

    wide = probe((3, 3, 32, 160))
    (together,) = run(path, wide)
    assert together.shape == (3, 4 * 20, 4)
    np.testing.assert_allclose(together, np.concatenate([run(path, one[None])[0] for one in wide]), rtol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "outputs", "complaint"),
    [
        (["batch", 3, 64], [["batch", 64, 4]], "4 dimensions, the manifest names 3"),
        (["batch", 1, 64, 64], [["batch", 64, 4]], "a dimension 3, the manifest names 1"),
        (["batch", 3, 64, 64], [["batch", 64, 4]] * 2, "1 outputs, the manifest names 2"),
    ],
)
def test_another_signature_is_refused(inputs: list[int | str], outputs: list[list[int | str]], complaint: str) -> None:
    with pytest.raises(ConversionError, match=complaint):
        free_dimensions(fixed_detector(), inputs, outputs)


def test_the_probe_is_the_same_everywhere() -> None:
    assert probe((2, 3)).dtype == np.float32
    levels = [int((index * 2654435761 % 2**32) >> 24) for index in range(1, 7)]
    np.testing.assert_array_equal(probe((2, 3)).ravel() * 255, np.array(levels, np.float32))
    assert probe_shape(["batch", 3, "height", "width"]) == (2, 3, 96, 160)


def test_a_fingerprint_survives_its_file_and_tells_wrong_weights(tmp_path: Path) -> None:
    path = save(arcface(), tmp_path / "embedder.onnx")
    save_fingerprints(tmp_path / "prints.json", {"embedder": measure(path, (2, 3, 112, 112), -1.0, 1.0)})
    recorded = load_fingerprints(tmp_path / "prints.json")["embedder"]
    assert compare(path, recorded) < 1e-5

    other = arcface()
    weights = onnx.numpy_helper.to_array(other.graph.initializer[0]) * np.float32(1.01)
    other.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "matrix"))
    with pytest.raises(ConversionError, match="off its fingerprint"):
        compare(save(other, tmp_path / "other.onnx"), recorded)
    with pytest.raises(ConversionError, match="in other shapes"):
        compare(path, replace(recorded, outputs=(replace(recorded.outputs[0], shape=(2, 128)),)))


def test_a_file_that_is_no_graph_or_has_another_signature_is_refused(small_pack: SmallPack, tmp_path: Path) -> None:
    finder, embedder = (small_pack.manifest.files[name] for name in ("finder", "embedder"))
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"no graph at all")
    with pytest.raises(ConversionError, match="is no ONNX file"):
        convert(junk, tmp_path / "out.onnx", finder)
    with pytest.raises(ConversionError, match="finder: output shapes"):
        convert(small_pack.folder / embedder.member, tmp_path / "out.onnx", finder)
    colourless = replace(finder, input_shape=("batch", 1, "height", "width"))
    with pytest.raises(ConversionError, match="finder: input shapes"):
        convert(small_pack.folder / finder.member, tmp_path / "out.onnx", colourless)
    fewer = replace(finder, output_shapes=finder.output_shapes[:3])
    with pytest.raises(ConversionError, match="finder: output shapes"):
        convert(small_pack.folder / finder.member, tmp_path / "out.onnx", fewer)
