"""A network computed by OpenVINO, from the same ONNX files; needs the extra ``openvino``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino

from service.inference.eight_bits import Ranges, quantised
from service.inference.session import OPENVINO, OPENVINO_BF16, OPENVINO_INT8, Array, DeviceUnavailable, Session


class OpenVinoSession(Session):
    """By OpenVINO on the processor, in the thread that asks.

    OpenVINO has threads of its own as soon as a network may run several times at once ("streams"), and hands every run
    to one of them: with two networks in turn, as recognition has them, the processors stood idle for a fifth of the
    time. A network compiled for one thread and one run is computed by its caller. So there are as many such copies as
    there have been callers at once, each made when it was missing; one of ``sface`` in 8 bits takes a few megabytes.
    """

    def __init__(self, path: Path, threads: int, name: str = OPENVINO, ranges: Path | None = None) -> None:
        """``threads`` of one run.

        ``name`` is one of ``OPENVINO``, ``OPENVINO_BF16`` and ``OPENVINO_INT8``, which needs the file ``ranges``.

        Raises ``DeviceUnavailable`` where OpenVINO computes in another precision than it is asked for, and
        ``RangesMismatch``.
        """
        self._path = path
        self._threads = threads
        self._name = name
        self._ranges = ranges
        compiled = self._compiled()
        (graph_input,) = compiled.inputs
        dimensions = graph_input.partial_shape
        self.input_shape = tuple(None if size.is_dynamic else int(size.get_length()) for size in dimensions)
        self.output_names = tuple(output.any_name for output in compiled.outputs)
        self._free: list[Any] = [compiled.create_infer_request()]

    @property
    def providers(self) -> tuple[str, ...]:
        return (self._name,)

    def _run(self, batch: Array) -> list[Array]:
        try:
            request = self._free.pop()  # the last one given back: what it needs may still be in the caches
        except IndexError:
            request = self._compiled().create_infer_request()
        try:
            request.infer([batch], share_inputs=True)
            count = len(self.output_names)
            return [np.array(request.get_output_tensor(index).data, dtype=np.float32) for index in range(count)]
        finally:
            self._free.append(request)

    def _compiled(self) -> Any:
        core = openvino.Core()
        if self._name == OPENVINO_INT8:
            if self._ranges is None:
                raise DeviceUnavailable(f"{self._path.stem} has no ranges to be computed in 8 bits with")
            model = core.read_model(quantised(self._path, Ranges.load(self._ranges)))
        else:
            model = core.read_model(self._path)
        bfloat16 = self._name == OPENVINO_BF16
        compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
                "NUM_STREAMS": 1,
                "INFERENCE_NUM_THREADS": self._threads,
                "ENABLE_CPU_PINNING": False,  # containers and neighbours move us about
            },
        )
        # A hint that the processor cannot follow is dropped without a word.
        if compiled.get_property("INFERENCE_PRECISION_HINT") != (openvino.Type.bf16 if bfloat16 else openvino.Type.f32):
            raise DeviceUnavailable(f"OpenVINO does not compute in {'bf16' if bfloat16 else 'fp32'} on this processor")
        return compiled
