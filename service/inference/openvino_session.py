"""A network computed by OpenVINO, from the same ONNX files; needs the extra ``openvino``."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from service.inference.session import OPENVINO, OPENVINO_BF16, Array, DeviceUnavailable, Session


class OpenVinoSession(Session):
    """By OpenVINO on the processor, in 32-bit floating point unless ``bfloat16`` is asked for."""

    def __init__(self, path: Path, threads: int, *, bfloat16: bool = False) -> None:
        """``threads`` of one run; as many runs go on side by side as there are processors.

        Raises ``DeviceUnavailable`` where OpenVINO computes in another precision than it is asked for.
        """
        core = openvino.Core()
        model = core.read_model(path)
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
        self._name = OPENVINO_BF16 if bfloat16 else OPENVINO
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
