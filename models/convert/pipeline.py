"""The steps that a manifest names, in order, and the check that the result has the signature it promises."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from models.convert.browser import BROWSER_STEPS
from models.convert.dequantize import dequantize
from models.convert.dynamic import free_dimensions
from models.errors import ConversionError
from models.specs import Dimension, ModelFile

CONVERTER_VERSION = "1"
"""Raised when a step's result changes: files converted by another version are converted again."""


def convert(source: Path, target: Path, file: ModelFile, companions: Path | None = None) -> None:
    """Write ``file`` to ``target`` from its published form at ``source``; may be the same path.

    ``companions`` is the folder that holds the file's companions under their own names.

    Raises :class:`ConversionError` when a step fails, ONNX's checker objects, or the signature is not the manifest's.
    """
    first, *rest = file.convert or ("",)
    if first in BROWSER_STEPS:
        model = BROWSER_STEPS[first](source, companions or source.parent)
        steps = rest
    else:
        model, steps = _load(source, file), list(file.convert)
    for step in steps:
        if step == "dequantize":
            model = dequantize(model)
        elif step == "dynamic":
            model = free_dimensions(model, file.input_shape, file.output_shapes)
        else:
            raise ConversionError(f"{file.name}: there is no conversion called {step!r}")
    _check_signature(model, file)
    if file.convert:
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ConversionError(f"{file.name}: the converted graph is not valid: {error}") from None
        onnx.save_model(model, str(target))
    elif source != target:
        target.write_bytes(source.read_bytes())


def _load(source: Path, file: ModelFile) -> onnx.ModelProto:
    try:
        return onnx.load_model(str(source))
    except Exception as error:  # noqa: BLE001 (protobuf raises classes of its own, none of them public)
        raise ConversionError(f"{file.member} is no ONNX file: {error}") from None


def _check_signature(model: onnx.ModelProto, file: ModelFile) -> None:
    initialised = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in initialised]
    _check_shapes(file.name, "input", inputs, [file.input_shape])
    _check_shapes(file.name, "output", model.graph.output, file.output_shapes)


def _check_shapes(
    name: str, kind: str, items: Sequence[onnx.ValueInfoProto], shapes: Sequence[Sequence[Dimension]]
) -> None:
    """Ranks and fixed sizes must agree; a size that either side leaves free agrees with everything."""
    found = [tuple(size.dim_value or size.dim_param for size in item.type.tensor_type.shape.dim) for item in items]
    agree = len(found) == len(shapes) and all(
        len(have) == len(want) and all(_fits(*pair) for pair in zip(have, want, strict=True))
        for have, want in zip(found, shapes, strict=True)
    )
    if not agree:
        raise ConversionError(f"{name}: {kind} shapes {found}, the manifest names {[tuple(item) for item in shapes]}")


def _fits(have: Dimension, want: Dimension) -> bool:
    return isinstance(have, str) or isinstance(want, str) or have == want
