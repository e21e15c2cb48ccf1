"""A loaded network: what ONNX Runtime gives, reduced to "arrays in, arrays out"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Array = NDArray[np.float32]
Provider = str | tuple[str, Mapping[str, Any]]
"""An ONNX Runtime execution provider: its name, or its name with options. Chosen by the caller, opaque here."""

_ERRORS_ONLY = 3


class Session:
    """One network with one input. ``run`` may be called from many threads at once."""

    def __init__(self, inference: onnxruntime.InferenceSession) -> None:
        self._inference = inference
        (graph_input,) = inference.get_inputs()
        self._input_name: str = graph_input.name
        self.input_shape: tuple[int | str | None, ...] = tuple(graph_input.shape)
        self.output_names: tuple[str, ...] = tuple(output.name for output in inference.get_outputs())

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers in use, most preferred first."""
        return tuple(self._inference.get_providers())

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

    def _run(self, batch: Array) -> list[Array]:
        outputs: list[Array] = self._inference.run(None, {self._input_name: batch})
        return outputs


def load_session(path: Path, providers: Sequence[Provider], threads: int) -> Session:
    """Load the network at ``path``.

    ``threads`` bounds the threads that one ``run`` uses. With many worker threads calling at once 1 is the fastest:
    the work is then spread over requests and not within one.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Idle threads of one network would otherwise spin and take the cores from the next network in line.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen = [provider if isinstance(provider, str) else (provider[0], dict(provider[1])) for provider in providers]
    return Session(onnxruntime.InferenceSession(str(path), options, providers=chosen))
