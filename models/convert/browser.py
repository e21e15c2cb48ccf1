"""Steps of a manifest that turn a browser library's model into ONNX, by name.

A model of TensorFlow.js is a JSON file (graph and weight manifest, or the manifest alone) with weight shards beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import onnx

from models.convert import faceapi, tfjs

FACEMESH_OUTPUTS = {"mesh": "Identity_2", "presence": "Identity_1"}
IRIS_OUTPUTS = {"points": "Identity"}
FACERES_OUTPUTS = {"gender": "gender_pred/Sigmoid", "age": "age_pred/Softmax", "embedding": "global_pooling/Mean"}


def _graph(model_json: Path, shards: Path, outputs: Mapping[str, str]) -> onnx.ModelProto:
    return tfjs.convert(model_json, outputs, shards)


BROWSER_STEPS: Mapping[str, Callable[[Path, Path], onnx.ModelProto]] = {
    "tfjs_facemesh": partial(_graph, outputs=FACEMESH_OUTPUTS),
    "tfjs_iris": partial(_graph, outputs=IRIS_OUTPUTS),
    "tfjs_faceres": partial(_graph, outputs=FACERES_OUTPUTS),
    "faceapi_age_gender": faceapi.convert_age_gender,
    "faceapi_expression": faceapi.convert_expression,
}
"""Step name → function of the JSON file and the folder of its shards; gives the model or raises ``ConversionError``."""
