"""A loaded network, reduced to "arrays in, arrays out", whichever runtime computes it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.errors import ServiceError
from service.inference import blocked
from service.inference.idle_channels import without_idle_channels

Array = NDArray[np.float32]
Provider = str | tuple[str, Mapping[str, Any]]
"""What computes a network: an ONNX Runtime execution provider, by name or by name and options, or ``OPENVINO``.

Chosen by the caller, opaque to the models.
"""

CPU = "CPUExecutionProvider"
"""ONNX Runtime on the processor; there wherever ONNX Runtime is."""

OPENVINO = "OpenVINO"
"""The runtime of the package ``openvino`` in 32 bits; no execution provider, so it needs no other ONNX Runtime."""

OPENVINO_BF16 = "OpenVINO bf16"
"""The same in bfloat16: half the bits, of which 8 are significant."""

OPENVINO_INT8 = "OpenVINO int8"
"""The same with convolutions in whole numbers of 8 bits; a provider by this name comes with the option ``ranges``."""

_ERRORS_ONLY = 3


class DeviceUnavailable(ServiceError):
    """What is installed cannot run networks on the device that was asked for."""


@dataclass(frozen=True, slots=True)
class Precisions:
    """Precisions below 32 bits in which a network keeps its accuracy.

    ``bfloat16``: whether it does so in bfloat16. ``ranges``: the file with the ranges of its activations, which 8 bits
    need (``service.inference.eight_bits``); ``None`` where the network is not to be computed in 8 bits.
    """

    bfloat16: bool = False
    ranges: Path | None = None


FULL = Precisions()
"""No lower precision: 32 bits only."""


class Chooser(Protocol):
    """Knows what computes each network best; see ``service.inference.runtimes``."""

    def providers(self, path: Path, precisions: Precisions = FULL) -> Sequence[Provider]:
        """For the network at ``path``, which keeps its accuracy in ``precisions``."""

    def instead(self, path: Path, precisions: Precisions = FULL) -> Sequence[Provider]:
        """The same where what ``providers`` named does not load: it may have been chosen at an earlier start."""


Runtime = Sequence[Provider] | Chooser
"""The same providers for every network, or a choice for each."""


class Session(ABC):
    """One network with one input. ``run`` may be called from many threads at once."""

    input_shape: tuple[int | str | None, ...]
    output_names: tuple[str, ...]

    @property
    @abstractmethod
    def providers(self) -> tuple[str, ...]:
        """What computes it, most preferred first."""

    def run(self, batch: Array) -> list[Array]:
        """Every output of the network for ``batch``, in the order of ``output_names``.

        Many published graphs fix the first dimension of their input to 1. Such a graph is run once per row and the
        outputs are stacked, so that callers need not know; the result is the same either way.
        """
        batch = np.ascontiguousarray(batch, dtype=np.float32)
        if self.input_shape[0] != 1 or len(batch) == 1:
            return self._run(batch)
        rows = [self._run(row[np.newaxis]) for row in batch]
        return [np.concatenate(outputs) for outputs in zip(*rows, strict=True)]

    @abstractmethod
    def _run(self, batch: Array) -> list[Array]: ...


class OnnxSession(Session):
    """By ONNX Runtime."""

    def __init__(self, inference: onnxruntime.InferenceSession) -> None:
        self._inference = inference
        (graph_input,) = inference.get_inputs()
        self._input_name: str = graph_input.name
        self.input_shape = tuple(graph_input.shape)
        self.output_names = tuple(output.name for output in inference.get_outputs())

    @property
    def providers(self) -> tuple[str, ...]:
        return tuple(self._inference.get_providers())

    def _run(self, batch: Array) -> list[Array]:
        outputs: list[Array] = self._inference.run(None, {self._input_name: batch})
        return outputs


class BoundSession(OnnxSession):
    """By ONNX Runtime on a device with memory of its own: inputs are laid there first, outputs stay until all are done.

    A binding belongs to one run, so that many threads may run at once.
    """

    def __init__(self, inference: onnxruntime.InferenceSession, device: str) -> None:
        """``device`` is ONNX Runtime's name of it, ``cuda`` or ``cpu``."""
        super().__init__(inference)
        self._device = device

    def _run(self, batch: Array) -> list[Array]:
        binding = self._inference.io_binding()
        binding.bind_ortvalue_input(self._input_name, onnxruntime.OrtValue.ortvalue_from_numpy(batch, self._device, 0))
        for name in self.output_names:
            binding.bind_output(name, self._device, 0)
        self._inference.run_with_iobinding(binding)
        outputs: list[Array] = binding.copy_outputs_to_cpu()
        return outputs


def load_session(path: Path, runtime: Runtime, precisions: Precisions = FULL) -> Session:
    """Load the network at ``path``. Raises ``DeviceUnavailable`` where the provider that is asked for does not start.

    One ``run`` uses the thread that calls it. With many of them at once that is the fastest: the work is then spread
    over requests and not within one. ``precisions`` as in :class:`Chooser`.
    """
    if isinstance(runtime, Sequence):
        return _loaded(path, runtime)
    chosen = runtime.providers(path, precisions)
    try:
        return _loaded(path, chosen)
    except DeviceUnavailable:
        return _loaded(path, runtime.instead(path, precisions))


def _loaded(path: Path, providers: Sequence[Provider]) -> Session:
    wanted, given = (providers[0], {}) if isinstance(providers[0], str) else providers[0]
    if wanted in {OPENVINO, OPENVINO_BF16, OPENVINO_INT8}:
        from service.inference.openvino_session import OpenVinoSession  # noqa: PLC0415 (an extra, and slow to load)

        return OpenVinoSession(path, wanted, given.get("ranges"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Idle threads of one network would otherwise spin and take the cores from the next network in line.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen = [provider if isinstance(provider, str) else (provider[0], dict(provider[1])) for provider in providers]
    graph = blocked.rewritten(path) if chosen == [CPU] else without_idle_channels(path)
    inference = onnxruntime.InferenceSession(graph or str(path), options, providers=chosen)
    # ONNX Runtime goes on with the processor where a provider's libraries are missing, and says so on a stream only.
    inference.disable_fallback()
    if wanted not in inference.get_providers():
        raise DeviceUnavailable(f"{wanted} does not start: its driver or libraries are missing (AIPFACE_DEVICE)")
    return BoundSession(inference, "cuda") if on_gpu(inference.get_providers()) else OnnxSession(inference)


def on_gpu(providers: Sequence[str]) -> bool:
    """Whether networks that ``providers`` compute run on a GPU."""
    return "CUDAExecutionProvider" in providers
