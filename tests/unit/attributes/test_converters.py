"""The converters from browser libraries' formats, against what TensorFlow.js itself answered."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from models.convert import faceapi, tfjs
from models.convert.tfjs_weights import read_weights
from models.errors import ConversionError

RECORDED = Path(__file__).with_name("data") / "tfjs_operators.json"
"""A graph with every operator that the converter knows, random weights in all storage forms, and the answers of
TensorFlow.js (version in the file) on its plain JavaScript backend."""


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return content


def write_model(recorded: dict[str, Any], folder: Path) -> Path:
    """The recorded graph as the two files of a TensorFlow.js model."""
    manifest = [{"paths": ["weights.bin"], "weights": recorded["weights"]}]
    content = {"modelTopology": {"node": recorded["nodes"]}, "weightsManifest": manifest}
    (folder / "model.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "weights.bin").write_bytes(base64.b64decode(recorded["blob"]))
    return folder / "model.json"


def run(model: onnx.ModelProto, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answers: list[NDArray[np.float32]] = session.run(None, {session.get_inputs()[0].name: batch})
    return answers


def test_every_operator_answers_as_tensorflow_does(recorded: dict[str, Any], tmp_path: Path) -> None:
    outputs = {f"{name}_out": name for name in recorded["outputs"]}
    model = tfjs.convert(write_model(recorded, tmp_path), outputs)
    batch = np.array(recorded["input"]["values"], np.float32).reshape(recorded["input"]["shape"])
    for answer, expected in zip(run(model, batch), recorded["expected"], strict=True):
        assert list(answer.shape) == expected["shape"]
        assert np.allclose(answer.ravel(), expected["values"], atol=2e-5)


def test_the_graph_keeps_its_names_and_a_free_batch(recorded: dict[str, Any], tmp_path: Path) -> None:
    model = tfjs.convert(write_model(recorded, tmp_path), {"likely": "sm"})
    assert [output.name for output in model.graph.output] == ["likely"]
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert shape[0].dim_param == "batch"
    assert [size.dim_value for size in shape][1:] == [9, 8, 3]


def test_unknown_operators_are_refused(recorded: dict[str, Any], tmp_path: Path) -> None:
    strange = [{**node, "op": "Cosh"} if node["name"] == "sm" else node for node in recorded["nodes"]]
    path = write_model({**recorded, "nodes": strange}, tmp_path)
    with pytest.raises(ConversionError, match="Cosh"):
        tfjs.convert(path, {"likely": "sm"})
    with pytest.raises(ConversionError, match="nowhere"):
        tfjs.convert(path, {"likely": "nowhere"})


@pytest.mark.parametrize("change", ["short", "long", "missing"])
def test_shards_that_do_not_fit_are_refused(recorded: dict[str, Any], tmp_path: Path, change: str) -> None:
    path = write_model(recorded, tmp_path)
    shard = tmp_path / "weights.bin"
    if change == "short":
        shard.write_bytes(shard.read_bytes()[:-4])
    elif change == "long":
        shard.write_bytes(shard.read_bytes() + b"1234")
    else:
        shard.unlink()
    with pytest.raises(ConversionError):
        tfjs.convert(path, {"likely": "sm"})


def test_quantised_weights_are_unfolded(tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(bytes([0, 100, 255]) + np.array([1.5, -2], np.float16).tobytes())
    manifest = [
        {
            "paths": ["shard"],
            "weights": [
                {
                    "name": "a",
                    "shape": [3],
                    "dtype": "float32",
                    "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1},
                },
                {"name": "b", "shape": [2], "dtype": "float32", "quantization": {"dtype": "float16"}},
            ],
        }
    ]
    weights = read_weights(manifest, tmp_path)
    assert weights["a"].tolist() == [-1, 49, 126.5]
    assert weights["b"].tolist() == [1.5, -2]


def test_a_face_api_net_without_its_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"\0" * 4)
    entry = {"name": "fc/bias", "shape": [1], "dtype": "float32"}
    (tmp_path / "manifest.json").write_text(json.dumps([{"paths": ["weights"], "weights": [entry]}]), encoding="utf-8")
    for build in (faceapi.convert_age_gender, faceapi.convert_expression):
        with pytest.raises(ConversionError, match="missing"):
            build(tmp_path / "manifest.json")
