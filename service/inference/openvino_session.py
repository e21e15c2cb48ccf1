"""A network computed by OpenVINO, from the same ONNX files; needs the extra ``openvino``."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from service.inference.copies import Copies
from service.inference.eight_bits import Ranges, quantised
from service.inference.idle_channels import without_idle_channels
from service.inference.quiet_openvino import openvino
from service.inference.session import OPENVINO, OPENVINO_BF16, OPENVINO_INT8, Array, DeviceUnavailable, Session
from service.inference.stack_place import StackPlace, best_place

_GRAY = 0.5
"""What a network is fed with to see how long it takes."""


@cache
def _core() -> Any:
    """One for all networks: it loads what the processor needs."""
    return openvino.Core()


class OpenVinoSession(Session):
    """By OpenVINO on the processor, in the thread that asks.

    Where a network may run several times at once ("streams"), OpenVINO starts its own threads and hands every run to
    one of them. With two networks in turn, as recognition has them, the processors then stood idle for a fifth of the
    time. A network compiled for one thread and one run is computed by its caller instead. So there are as many such
    copies as there were callers at once. One copy of ``sface`` takes 17 MB in 8 bits, 82 MB in 32, and .2 to .3 s to
    make.

    ``place`` is where on the caller's stack it is computed, found when it is loaded; ``None``: where the caller stands,
    for a network whose input has a free side.
    """

    def __init__(self, path: Path, name: str = OPENVINO, ranges: Path | None = None) -> None:
        """``name`` is one of ``OPENVINO``, ``OPENVINO_BF16`` and ``OPENVINO_INT8``, which needs the file ``ranges``.

        Raises ``DeviceUnavailable`` where OpenVINO computes in another precision than it is asked for or cannot load
        the network, and ``RangesMismatch``.
        """
        self._name = name
        self._options = {
            "INFERENCE_PRECISION_HINT": "bf16" if name == OPENVINO_BF16 else "f32",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": 1,
            "ENABLE_CPU_PINNING": False,  # containers and neighbours move us about
        }
        if name == OPENVINO_INT8 and ranges is None:
            raise DeviceUnavailable(f"{path.stem} has no ranges to be computed in 8 bits with")
        if name == OPENVINO_INT8 and ranges is not None:
            content: Path | bytes = quantised(path, Ranges.load(ranges))
        else:
            content = without_idle_channels(path) or path
        try:
            self._load(content)
        except RuntimeError as error:
            raise DeviceUnavailable(f"{name} does not load {path.stem}: {error}") from None

    def _load(self, content: Path | bytes) -> None:
        self._model = _core().read_model(content)
        (graph_input,) = self._model.inputs
        dimensions = graph_input.partial_shape
        if not any(size.is_dynamic for size in list(dimensions)[1:]):
            # Kernels are chosen for a shape, and batches gain nothing on a processor: one at a time.
            self._model.reshape([1, *(size.get_length() for size in list(dimensions)[1:])])
            dimensions = graph_input.partial_shape
        self.input_shape = tuple(None if size.is_dynamic else int(size.get_length()) for size in dimensions)
        self.output_names = tuple(output.any_name for output in self._model.outputs)
        self._copies = Copies(self._copy)
        self.place: StackPlace | None = None
        sides = [side for side in self.input_shape if isinstance(side, int)]
        if len(sides) == len(self.input_shape):
            with self._copies.one() as request:
                request.set_input_tensor(openvino.Tensor(np.full(sides, _GRAY, np.float32)))
                self.place = best_place(partial(request.infer, share_outputs=True))

    @property
    def providers(self) -> tuple[str, ...]:
        return (self._name,)

    def _run(self, batch: Array) -> list[Array]:
        with self._copies.one() as request:
            # By itself ``infer`` looks at what it is given for 50 microseconds, the computing of a small network.
            request.set_input_tensor(openvino.Tensor(batch, shared_memory=True))
            compute = partial(request.infer, share_outputs=True)
            compute() if self.place is None else self.place(compute)
            count = len(self.output_names)
            return [np.array(request.get_output_tensor(index).data, dtype=np.float32) for index in range(count)]

    def _copy(self) -> Any:
        """What one run at a time can be computed with; copies share the weights as far as kernels take them as is."""
        compiled = _core().compile_model(self._model, "CPU", self._options)
        wanted = self._options["INFERENCE_PRECISION_HINT"]
        # A hint that the processor cannot follow is dropped without a word.
        if compiled.get_property("INFERENCE_PRECISION_HINT") != getattr(openvino.Type, str(wanted)):
            raise DeviceUnavailable(f"OpenVINO does not compute in {wanted} on this processor")
        return compiled.create_infer_request()
