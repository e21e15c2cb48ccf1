"""``auto``: what computes each network fastest on this machine, measured once and remembered with the evidence."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from service.inference import blocked, eight_bits, idle_channels
from service.inference.processor import instructions
from service.inference.providers import (
    LOWER,
    DeviceUnavailable,
    lower_precisions,
    openvino_installed,
    providers_for,
    runs_openvino,
)
from service.inference.session import (
    CPU,
    FULL,
    OPENVINO,
    OPENVINO_BF16,
    OPENVINO_INT8,
    Array,
    Precisions,
    Provider,
    Runtime,
    Session,
    load_session,
)

FILE = "runtimes.json"
"""In the home folder; may be deleted at any time."""

_LEAST_ROUNDS, _MOST_ROUNDS, _SECONDS = 9, 50, 0.5
"""Each runtime makes as many runs as fit into ``_SECONDS``, within these bounds. The shortest run counts, since it is
the least disturbed."""

_LEAST_GAIN = 1.1
"""How many times faster another runtime or a lower precision must be to be chosen. Below that noise would decide.

OpenVINO also costs memory for its copies of a network, some 100 MB for ``sface`` in 32 bits.
"""

_LEAST_AGREEMENT = 0.9999
"""Cosine between the outputs of two runtimes; in 32 bits every network of ``core`` reaches it."""

_LEAST_AGREEMENT_REDUCED = {OPENVINO_BF16: 0.995, OPENVINO_INT8: 0.99}
"""The same in lower precisions, where networks that are worth using reach .998, and .995 for a mean face in 8 bits.

Mean faces are blurred, and further from 32 bits than pictures are (decisions 24 and 29).
"""

_NEEDED = {"bf16": "bfloat16", "int8": "products of 8-bit integers (VNNI)"}

_FREE_SIDE = 320
"""Length of a side that a network leaves open: the detector's first look."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evidence:
    """What was measured of a network: of each runtime the shortest run, and how far its outputs are the first one's."""

    network: str
    runtime: str
    """What computes it."""
    milliseconds: Mapping[str, float]
    agreement: Mapping[str, float]
    """Least cosine between outputs."""

    @property
    def refused(self) -> tuple[str, ...]:
        """Runtimes whose outputs differ too much."""
        return tuple(name for name, cosine in self.agreement.items() if not cosine >= _least_agreement(name))

    @property
    def winner(self) -> str:
        """The fastest of those that agree with the first, as far as it is clearly faster than those named before it."""
        best, *others = self.milliseconds
        for name in others:
            if name not in self.refused and self.milliseconds[name] * _LEAST_GAIN <= self.milliseconds[best]:
                best = name
        return best


class MeasuredRuntimes:
    """Which runtime computes which network. A network that was not measured is measured when it is asked for."""

    def __init__(
        self,
        store: Path,
        candidates: Sequence[str] = (CPU, OPENVINO),
        reduced: Sequence[str] = (),
        *,
        demanded: str | None = None,
    ) -> None:
        """``candidates`` compute in 32 bits; ``reduced`` in lower precisions, where a network keeps its accuracy.

        With ``demanded``, one of ``reduced``, such networks are computed by it, whatever is faster.
        """
        self._store = store
        self._candidates = tuple(candidates)
        self._reduced = tuple(reduced)
        self._demanded = demanded
        self._machine = _machine()
        self._known = self._read()

    def candidates(self, precisions: Precisions = FULL) -> tuple[str, ...]:
        """The runtimes that a network is measured with; the outputs of the others are compared with the first one's.

        Where lower precisions can be tried, only the first of the 32-bit runtimes is measured: the second one was never
        faster than those, and a measurement holds all runtimes in memory.
        """
        keeps = {OPENVINO_BF16: precisions.bfloat16, OPENVINO_INT8: precisions.ranges is not None}
        lower = tuple(name for name in self._reduced if keeps[name])
        return (self._candidates[0], *lower) if lower else self._candidates

    def providers(self, path: Path, precisions: Precisions = FULL) -> Sequence[Provider]:
        """For the network at ``path``: the winner, alone.

        Raises ``DeviceUnavailable`` when a precision is demanded that does not agree with 32 bits here.
        """
        precisions = self._readable(path, precisions)
        names, key = self.candidates(precisions), self._key(path, precisions)
        known = self._known.get(key)
        measured = known if known is not None and self._holds(known, path, names, precisions) else None
        if measured is None:
            face = None if precisions.ranges is None else eight_bits.Ranges.load(precisions.ranges).face[np.newaxis]
            measured = compared(path.stem, self._sessions(path, names, precisions), face)
        taken = replace(measured, runtime=self._demanded if self._demanded in names else measured.winner)
        if taken.runtime in taken.refused:
            raise DeviceUnavailable(
                f"{taken.runtime} computes {path.stem} too differently here "
                f"(cosine {taken.agreement[taken.runtime]:.5f}): set AIPFACE_PRECISION=auto"
            )
        if taken != known:
            self._known[key] = taken
            self._write()
            logger.info("runtime chosen", extra=_entry(taken))
        return [_provider(taken.runtime, precisions)]

    def instead(self, path: Path, precisions: Precisions = FULL) -> Sequence[Provider]:
        """Measured anew, and what does not load left out. Raises as ``providers``, and where that has to load."""
        precisions = self._readable(path, precisions)
        known = self._known.pop(self._key(path, precisions), None)
        if known is not None:
            logger.warning("runtime fails, measured anew", extra={"network": path.stem, "runtime": known.runtime})
        return self.providers(path, precisions)

    def _readable(self, path: Path, precisions: Precisions) -> Precisions:
        """``precisions`` without ranges that are not used or cannot be read. Raises where 8 bits are demanded."""
        if precisions.ranges is None or OPENVINO_INT8 not in self.candidates(precisions):
            return replace(precisions, ranges=None)
        try:
            eight_bits.Ranges.load(precisions.ranges)
        except eight_bits.RangesMismatch as error:
            self._leave_out(path, OPENVINO_INT8, error)
            return replace(precisions, ranges=None)
        return precisions

    def _key(self, path: Path, precisions: Precisions) -> str:
        files = [path] if precisions.ranges is None else [path, precisions.ranges]
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

    def _holds(self, known: Evidence, path: Path, names: Sequence[str], precisions: Precisions) -> bool:
        """Whether what was measured before is all that could be measured now: what it lacks still does not load."""
        if tuple(known.milliseconds) != tuple(name for name in names if name in known.milliseconds):
            return False
        missing = [name for name in names if name not in known.milliseconds]
        return all(self._session(path, name, precisions) is None for name in missing)

    def _sessions(self, path: Path, names: Sequence[str], precisions: Precisions) -> dict[str, Session]:
        """The network at ``path`` by each of ``names`` that can load it. Raises where one cannot that has to."""
        sessions = {name: self._session(path, name, precisions) for name in names}
        return {name: session for name, session in sessions.items() if session is not None}

    def _session(self, path: Path, name: str, precisions: Precisions) -> Session | None:
        try:
            return load_session(path, [_provider(name, precisions)])
        except DeviceUnavailable as error:
            self._leave_out(path, name, error)
            return None

    def _leave_out(self, path: Path, name: str, error: DeviceUnavailable) -> None:
        """Raise ``error`` where ``name`` is what the others are judged by, or demanded.

        What nobody asked for must not keep a server from starting.
        """
        if name in (self._candidates[0], self._demanded):
            raise error
        logger.warning("runtime left out", extra={"network": path.stem, "runtime": name, "error": str(error)})

    def _read(self) -> dict[str, Evidence]:
        """What was measured before on this machine with these versions; else nothing."""
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            content = json.loads(self._store.read_text(encoding="utf-8"))
            if content["machine"] == self._machine:
                return {key: _evidence(entry) for key, entry in content["networks"].items()}
        return {}

    def _write(self) -> None:
        networks = {key: _entry(evidence) for key, evidence in self._known.items()}
        made = self._store.with_suffix(f".{os.getpid()}.tmp")
        with suppress(OSError):  # a home that cannot be written costs a measurement at every start
            made.write_text(json.dumps({"machine": self._machine, "networks": networks}, indent=2), encoding="utf-8")
            made.replace(self._store)


def runtime_for(
    device: str,
    home: Path,
    precision: str = "auto",
    *,
    able: Callable[[], Collection[str]] | None = None,
) -> Runtime:
    """What the settings ``device`` and ``precision`` mean here. Raises ``DeviceUnavailable``.

    ``able`` tells which of ``LOWER`` can be computed here; by default what OpenVINO and the processor say, emulation
    included for who asks for it.
    """
    providers = providers_for(device)
    measures = device in ("auto", "openvino")
    wanted = [name for name in LOWER if precision in ("auto", name)] if measures else []
    usable = (able or partial(lower_precisions, emulated=precision != "auto"))() if wanted else ()
    reduced = [LOWER[name] for name in wanted if name in usable]
    if precision in LOWER and not reduced:
        raise DeviceUnavailable(
            f"precision {precision} needs AIPFACE_DEVICE=auto or openvino, pip install 'aipface-server[openvino]', and "
            f"a processor that computes {_NEEDED[precision]}: set AIPFACE_PRECISION=auto"
        )
    candidates = [OPENVINO] if device == "openvino" else [CPU, *([OPENVINO] if runs_openvino() else [])]
    if measures and (reduced or len(candidates) > 1):
        return MeasuredRuntimes(home / FILE, candidates, reduced, demanded=LOWER.get(precision))
    return providers


def chosen(store: Path) -> dict[str, int]:
    """How many networks each runtime was chosen for, as ``store`` remembers it; nothing where it cannot be read."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        networks = json.loads(store.read_text(encoding="utf-8"))["networks"].values()
        return dict(Counter(str(entry["runtime"]) for entry in networks))
    return {}


def in_use(sessions: Iterable[Session]) -> tuple[str, ...]:
    """What computes any of ``sessions``, each once, the first session's first."""
    return tuple(dict.fromkeys(provider for session in sessions for provider in session.providers))


def compared(network: str, sessions: Mapping[str, Session], face: Array | None = None) -> Evidence:
    """Time ``sessions`` of one network by turns, and compare their outputs with the first one's, which is taken.

    They are fed with ``face``, a batch of one, or with noise.
    """
    first, reference = next(iter(sessions.items()))
    probe = _probe(reference) if face is None else face
    expected = reference.run(probe)
    agreement = {name: round(_agreement(expected, session.run(probe)), 6) for name, session in sessions.items()}
    best = dict.fromkeys(sessions, float("inf"))
    begun = time.perf_counter()
    for number in range(_MOST_ROUNDS):
        if number >= _LEAST_ROUNDS and time.perf_counter() - begun > _SECONDS:
            break
        for name, session in sessions.items():  # by turns, so that what disturbs one disturbs the other
            started = time.perf_counter()
            session.run(probe)
            best[name] = min(best[name], 1000 * (time.perf_counter() - started))
    return Evidence(network, first, {name: round(value, 2) for name, value in best.items()}, agreement)


def _evidence(entry: Mapping[str, Any]) -> Evidence:
    """Out of the store. Raises ``KeyError``, ``TypeError``, ``ValueError`` or ``AttributeError`` when it is damaged."""
    milliseconds, agreement = (
        {str(name): float(value) for name, value in entry[key].items()} for key in ("milliseconds", "agreement")
    )
    if not milliseconds or milliseconds.keys() != agreement.keys():
        raise ValueError("incomplete")
    return Evidence(str(entry["network"]), str(entry["runtime"]), milliseconds, agreement)


def _entry(evidence: Evidence) -> dict[str, Any]:
    return {**asdict(evidence), "refused": evidence.refused}


def _least_agreement(name: str) -> float:
    return _LEAST_AGREEMENT_REDUCED.get(name, _LEAST_AGREEMENT)


def _provider(name: str, precisions: Precisions) -> Provider:
    return (name, {"ranges": precisions.ranges}) if name == OPENVINO_INT8 else name


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
    """What a measurement holds for: processor and versions. One model name may stand for several generations."""
    model = platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return {
        "processor": model,
        "instructions": " ".join(instructions()),
        "onnxruntime": version("onnxruntime"),
        "graphs": f"{blocked.VERSION}.{eight_bits.VERSION}.{idle_channels.VERSION}",
        "openvino": version("openvino") if openvino_installed() else "",
    }
