"""``auto``: what computes each network fastest on this machine, measured once and remembered with the evidence."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from service.inference.providers import openvino_installed, providers_for
from service.inference.session import OPENVINO, Array, Provider, Runtime, Session, load_session

FILE = "runtimes.json"
"""In the home folder; may be deleted at any time."""

_CPU = "CPUExecutionProvider"
_ROUNDS = 9
"""Runs of each; the shortest counts, which is what an undisturbed one takes."""

_LEAST_GAIN = 1.05
"""How many times faster the other runtime must be to be taken: below that noise would decide."""

_LEAST_AGREEMENT = 0.9999
"""Cosine between the outputs of two runtimes; in 32 bits every network of ``core`` reaches it."""

_FREE_SIDE = 320
"""Length of a side that a network leaves open: the detector's first look."""

logger = logging.getLogger(__name__)


class MeasuredRuntimes:
    """Which runtime computes which network. A network that was not measured is measured when it is asked for."""

    def __init__(self, store: Path, candidates: Sequence[str] = (_CPU, OPENVINO), threads: int = 1) -> None:
        self._store = store
        self._candidates = tuple(candidates)
        self._threads = threads
        self._machine = _machine()
        self._known = self._read()

    def providers(self, path: Path) -> Sequence[Provider]:
        """For the network at ``path``: the winner, alone."""
        key = hashlib.sha256(path.read_bytes()).hexdigest()
        if key not in self._known:
            self._known[key] = {"network": path.stem, **_compared(path, self._candidates, self._threads)}
            self._write()
            logger.info("runtime measured", extra=self._known[key])
        return [str(self._known[key]["runtime"])]

    def _read(self) -> dict[str, dict[str, Any]]:
        """What was measured before on this machine, with these versions and candidates; else nothing."""
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            content = json.loads(self._store.read_text(encoding="utf-8"))
            if content["machine"] == self._machine and content["candidates"] == list(self._candidates):
                return {
                    key: entry for key, entry in content["networks"].items() if entry["runtime"] in self._candidates
                }
        return {}

    def _write(self) -> None:
        content = {"machine": self._machine, "candidates": self._candidates, "networks": self._known}
        made = self._store.with_suffix(f".{os.getpid()}.tmp")
        with suppress(OSError):  # a home that cannot be written costs a measurement at every start
            made.write_text(json.dumps(content, indent=2), encoding="utf-8")
            made.replace(self._store)


def runtime_for(device: str, home: Path) -> Runtime:
    """What ``device`` means here. Raises ``DeviceUnavailable``."""
    if device == "auto" and openvino_installed():
        return MeasuredRuntimes(home / FILE)
    return providers_for(device)


def chosen(store: Path) -> dict[str, int]:
    """How many networks each runtime was chosen for, as ``store`` remembers it; nothing where it cannot be read."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        networks = json.loads(store.read_text(encoding="utf-8"))["networks"].values()
        return dict(Counter(str(entry["runtime"]) for entry in networks))
    return {}


def in_use(sessions: Iterable[Session]) -> tuple[str, ...]:
    """What computes any of ``sessions``, each once, the first session's first."""
    return tuple(dict.fromkeys(provider for session in sessions for provider in session.providers))


def _compared(path: Path, candidates: Sequence[str], threads: int) -> dict[str, Any]:
    """The winner, and the milliseconds of each; the first is what the others are judged by."""
    sessions = {name: load_session(path, [name], threads) for name in candidates}
    reference = sessions[candidates[0]]
    probe = _probe(reference)
    expected = reference.run(probe)
    refused = [
        name for name, session in sessions.items() if _agreement(expected, session.run(probe)) < _LEAST_AGREEMENT
    ]
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(_ROUNDS):
        for name, session in sessions.items():  # by turns, so that what disturbs one disturbs the other
            started = time.perf_counter()
            session.run(probe)
            best[name] = min(best[name], 1000 * (time.perf_counter() - started))
    first, *others = candidates
    fastest = min((name for name in others if name not in refused), key=best.__getitem__, default=first)
    winner = fastest if best[fastest] * _LEAST_GAIN <= best[first] else first
    milliseconds = {name: round(value, 2) for name, value in best.items()}
    return {"runtime": winner, "milliseconds": milliseconds, "refused": refused}


def _probe(session: Session) -> Array:
    """A batch of one with numbers like pixels, always the same."""
    shape = [size if isinstance(size, int) and size > 0 else _FREE_SIDE for size in session.input_shape[1:]]
    return np.random.default_rng(1).uniform(0, 255, (1, *shape)).astype(np.float32)


def _agreement(expected: Sequence[Array], answered: Sequence[Array]) -> float:
    """Least cosine between outputs; 0 where their shapes differ."""
    if [output.shape for output in expected] != [output.shape for output in answered]:
        return 0.0
    pairs = [
        (one.ravel().astype(np.float64), two.ravel().astype(np.float64))
        for one, two in zip(expected, answered, strict=True)
    ]
    lengths = [float(np.linalg.norm(one) * np.linalg.norm(two)) for one, two in pairs]
    return min(
        (float(one @ two) / length if length else 1.0) for (one, two), length in zip(pairs, lengths, strict=True)
    )


def _machine() -> dict[str, str]:
    """What a measurement holds for: processor and versions."""
    model = platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    openvino = version("openvino") if openvino_installed() else ""
    return {"processor": model, "onnxruntime": version("onnxruntime"), "openvino": openvino}
