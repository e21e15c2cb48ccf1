"""A network computed by OpenVINO, from the same ONNX files; needs the extra ``openvino``."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from service.inference.eight_bits import Ranges, quantised
from service.inference.session import OPENVINO, OPENVINO_BF16, OPENVINO_INT8, Array, DeviceUnavailable, Session


class OpenVinoSession(Session):
    """By OpenVINO on the processor."""

    def __init__(self, path: Path, threads: int, name: str = OPENVINO, ranges: Path | None = None) -> None:
        """``threads`` of one run; as many runs go on side by side as there are processors.

        ``name`` is one of ``OPENVINO``, ``OPENVINO_BF16`` and ``OPENVINO_INT8``, which needs the file ``ranges``.

        Raises ``DeviceUnavailable`` where OpenVINO computes in another precision than it is asked for, and
        ``RangesMismatch``.
        """
        core = openvino.Core()
        if name == OPENVINO_INT8:
            if ranges is None:
                raise DeviceUnavailable(f"{path.stem} has no ranges to be computed in 8 bits with")
            model = core.read_model(quantised(path, Ranges.load(ranges)))
        else:
            model = core.read_model(path)
        bfloat16 = name == OPENVINO_BF16
        streams = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": streams * threads,
                "ENABLE_CPU_PINNING": False,  # containers and neighbours move us about
            },
        )
        # A hint that the processor cannot follow is dropped without a word.
        if self._compiled.get_property("INFERENCE_PRECISION_HINT") != (
            openvino.Type.bf16 if bfloat16 else openvino.Type.f32
        ):
            raise DeviceUnavailable(f"OpenVINO does not compute in {'bf16' if bfloat16 else 'fp32'} on this processor")
        self._name = name
        (graph_input,) = model.inputs
        dimensions = graph_input.partial_shape
        self.input_shape = tuple(None if size.is_dynamic else int(size.get_length()) for size in dimensions)
        self.output_names = tuple(output.any_name for output in model.outputs)
        self._requests = threading.local()

    @property
    def providers(self) -> tuple[str, ...]:
        return (self._name,)

    def _run(self, batch: Array) -> list[Array]:
        request: Any = getattr(self._requests, "own", None)
        if request is None:  # a request holds the memory of one run
            request = self._requests.own = self._compiled.create_infer_request()
        request.infer([batch], share_inputs=True)
        count = len(self.output_names)
        return [np.array(request.get_output_tensor(index).data, dtype=np.float32) for index in range(count)]
