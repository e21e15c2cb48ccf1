"""What is measured, and how: Prometheus instruments on a registry of our own, and the minutes behind the charts.

Instruments belong to the process, as what they measure does. Rooms mark their stages with ``measured``; it costs a few
microseconds. The state of the service (queue, faces, index) is not kept here: it is asked for when somebody looks.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, values
from prometheus_client.multiprocess import MultiProcessCollector

P = ParamSpec("P")
R = TypeVar("R")

REGISTRY = CollectorRegistry()
PROCESS = CollectorRegistry()
"""Memory, processor time and files of this process."""
ProcessCollector(registry=PROCESS)
SHARED = values.ValueClass is not values.MutexValue
"""Whether several processes count together, in a folder that the library was told when it was loaded."""

CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
STAGE_SECONDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

LABELS: dict[str, tuple[str, ...]] = {
    "aipface_requests": ("call", "code"),
    "aipface_request_seconds": ("call",),
    "aipface_stage_seconds": ("stage",),
    "aipface_recall_probe_users": ("result",),
    "aipface_admission_refused": ("where",),
    "aipface_index_snapshots": ("outcome",),
}
"""Labels of the instruments that have any. The instruments themselves do not show them before the first count."""

CALLS = Counter(
    "aipface_requests",
    "Answered requests, by call and by the code in the answer (0: success).",
    LABELS["aipface_requests"],
    registry=REGISTRY,
)
CALL_TIME = Histogram(
    "aipface_request_seconds",
    "Time from a request's first byte read to its answer, by call.",
    LABELS["aipface_request_seconds"],
    buckets=CALL_SECONDS,
    registry=REGISTRY,
)
RUNNING = Gauge(
    "aipface_requests_running", "Requests that are being answered now.", registry=REGISTRY, multiprocess_mode="livesum"
)
STAGE_TIME = Histogram(
    "aipface_stage_seconds",
    "Time of one run of a stage: wait (for a permit to compute), download, decode, detect, embed, analyse (attributes, "
    "quality, liveness), search, database (one statement).",
    LABELS["aipface_stage_seconds"],
    buckets=STAGE_SECONDS,
    registry=REGISTRY,
)
BATCH_FACES = Histogram(
    "aipface_batch_faces",
    "Faces that went through a recognition network in one run.",
    buckets=(1, 2, 4, 8, 16, 32, 64),
    registry=REGISTRY,
)
RECALL_PROBES = Counter(
    "aipface_recall_probe_users",
    "Best users of stored faces that were looked for in large groups, by whether the usual search `found` or `missed` "
    "them; an exact search says who they are.",
    LABELS["aipface_recall_probe_users"],
    registry=REGISTRY,
)
PROBED = {result: RECALL_PROBES.labels(result) for result in ("found", "missed")}
ADMISSION_REFUSED = Counter(
    "aipface_admission_refused",
    "Requests told that the server is busy, by where they were: `arrival` (a picture that came to a full queue, or a "
    "body for which there was no room: no app's usage and no audit knows of it), `thread` (as many waited for a thread "
    "as may), `queue` (as many waited for a permit to compute as may), `download` (as many pictures were being "
    "fetched by their address as may: half of the requests that may compute and wait).",
    LABELS["aipface_admission_refused"],
    registry=REGISTRY,
)
REFUSED = {where: ADMISSION_REFUSED.labels(where) for where in ("arrival", "thread", "queue", "download")}
LOST_TOKENS = Counter(
    "aipface_face_tokens_lost",
    "Answers whose face tokens do not work: the database failed when they were written to it, after the answer.",
    registry=REGISTRY,
)
SLOW = Counter("aipface_slow_requests", "Requests that took longer than `slow_request_ms`.", registry=REGISTRY)

INDEX_LOAD_TIME = Gauge(
    "aipface_index_load_seconds",
    "Time that making the index took when the process started.",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
INDEX_RESTORED = Gauge(
    "aipface_index_restored_faces",
    "Faces that came from snapshots on the disk then; the others were read from the database.",
    registry=REGISTRY,
    multiprocess_mode="livemin",
)
SNAPSHOTS = Counter(
    "aipface_index_snapshots",
    "Snapshots of an app's index, by outcome: written, failed, discarded (broken, or of another history).",
    LABELS["aipface_index_snapshots"],
    registry=REGISTRY,
)

STAGES = ("wait", "download", "decode", "detect", "embed", "analyse", "search", "database")

_stages = {stage: STAGE_TIME.labels(stage) for stage in STAGES}
Spent = list[tuple[str, float]]
"""Runs of stages, with seconds, in the order in which they ended. Several threads may append to it."""

_spent: ContextVar[Spent | None] = ContextVar("aipface_spent", default=None)
_listener: Callable[[str, float], None] | None = None


def on_stage(listener: Callable[[str, float], None] | None) -> None:
    """Call ``listener(stage, seconds)`` after every run of a stage, in the thread that ran it; ``None`` removes it."""
    global _listener  # noqa: PLW0603 - of the process, like the instruments
    _listener = listener


def observe_stage(stage: str, seconds: float) -> None:
    """Count one run of a stage, in the histogram and for the current request (see ``spent_in_stages``)."""
    _stages[stage].observe(seconds)
    if _listener is not None:
        _listener(stage, seconds)
    spent = _spent.get()
    if spent is not None:
        spent.append((stage, seconds))


def measured(stage: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: every run of the function, failing ones too, counts as one run of the stage."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                observe_stage(stage, time.perf_counter() - started)

        return timed

    return decorate


@contextmanager
def spent_in_stages(spent: Spent) -> Iterator[None]:
    """Every run of a stage within the block, and in what threads do for it, is appended to ``spent``, with seconds."""
    token = _spent.set(spent)
    try:
        yield
    finally:
        _spent.reset(token)


def registries() -> tuple[CollectorRegistry, ...]:
    """The registries to read: of this process, or of all processes that share its port.

    If somebody has removed the folder in which the processes count, there are none until this one is restarted.
    """
    if not SHARED:
        return PROCESS, REGISTRY
    common = CollectorRegistry()
    with contextlib.suppress(ValueError):  # the folder is gone
        collector = MultiProcessCollector(None)  # type: ignore[no-untyped-call]
        if any(Path(collector._path).glob(f"*_{os.getpid()}.db")):  # noqa: SLF001 (else it is another folder of the name)
            common.register(collector)
    return (common,)


# --- calls --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Minute:
    """What happened within one minute; ``buckets`` count latencies up to each of ``CALL_SECONDS``, and above."""

    number: int
    calls: int = 0
    failures: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(CALL_SECONDS) + 1))


class RecentMinutes:
    """The last hours of this process by the minute, for charts without a Prometheus beside it. Thread-safe."""

    def __init__(self, minutes: int = 180) -> None:
        self._lock = threading.Lock()
        self._minutes: deque[Minute] = deque(maxlen=minutes)

    def observe(self, seconds: float, *, failed: bool, now: float | None = None) -> None:
        """Count one request that took ``seconds``; ``now`` in seconds since the epoch."""
        number = int((time.time() if now is None else now) // 60)
        bucket = next((place for place, bound in enumerate(CALL_SECONDS) if seconds <= bound), len(CALL_SECONDS))
        with self._lock:
            if not self._minutes or self._minutes[-1].number < number:
                self._minutes.append(Minute(number))
            minute = self._minutes[-1]
            minute.calls += 1
            minute.failures += failed
            minute.buckets[bucket] += 1

    def last(self, minutes: int, now: float | None = None) -> list[Minute]:
        """The last ``minutes`` ones, oldest first; those in which nothing happened are empty."""
        newest = int((time.time() if now is None else now) // 60)
        with self._lock:
            known = {
                minute.number: Minute(minute.number, minute.calls, minute.failures, list(minute.buckets))
                for minute in self._minutes
            }
        return [known.get(number) or Minute(number) for number in range(newest - minutes + 1, newest + 1)]


RECENT = RecentMinutes()


@functools.cache
def _counter(call: str, code: str) -> Counter:
    """Kept here because finding it by its labels takes the library longer than counting."""
    return CALLS.labels(call, code)


@functools.cache
def _clock(call: str) -> Histogram:
    return CALL_TIME.labels(call)


def observe_call(call: str, code: int | str, seconds: float, *, failed: bool) -> None:
    """Count an answered request; ``call`` as ``call_label`` makes it."""
    _counter(call, str(code)).inc()
    _clock(call).observe(seconds)
    RECENT.observe(seconds, failed=failed)


def call_label(path: str) -> str:
    """How a call's path stands in the label ``call``: without the part that most have in common."""
    return path.removeprefix("/rest/2.0/face/").removeprefix("/")


def quantile(buckets: list[int], part: float) -> float | None:
    """The latency that ``part`` (0..1) of the requests stayed below, in seconds; ``None`` without requests.

    Interpolated within the bucket, as Prometheus' ``histogram_quantile`` does; the last bucket counts as its bound.
    """
    total = sum(buckets)
    if not total:
        return None
    wanted, below = part * total, 0
    for place, count in enumerate(buckets):
        if count and below + count >= wanted:
            if place == len(CALL_SECONDS):
                break
            lower = CALL_SECONDS[place - 1] if place else 0.0
            return lower + (CALL_SECONDS[place] - lower) * (wanted - below) / count
        below += count
    return CALL_SECONDS[-1]


@dataclass(frozen=True, slots=True)
class CallFigures:
    """One call since the process started; times in seconds."""

    call: str
    calls: int
    failures: int
    mean: float
    median: float
    p95: float


def call_figures() -> list[CallFigures]:
    """Every call that was made, most frequent first."""
    failures: dict[str, int] = {}
    for sample in (sample for family in CALLS.collect() for sample in family.samples):
        if sample.name.endswith("_total") and sample.labels["code"] not in SUCCESSES:
            name = sample.labels["call"]
            failures[name] = failures.get(name, 0) + int(sample.value)
    sums: dict[str, float] = {}
    cumulative: dict[str, list[int]] = {}
    for sample in (sample for family in CALL_TIME.collect() for sample in family.samples):
        if sample.name.endswith("_bucket"):
            cumulative.setdefault(sample.labels["call"], []).append(int(sample.value))
        elif sample.name.endswith("_sum"):
            sums[sample.labels["call"]] = sample.value
    figures = []
    for call, counts in cumulative.items():
        buckets = [count - before for before, count in zip([0, *counts], counts, strict=False)]
        mean = sums[call] / max(1, counts[-1])
        median, p95 = quantile(buckets, 0.5) or 0.0, quantile(buckets, 0.95) or 0.0
        figures.append(CallFigures(call, counts[-1], failures.get(call, 0), mean, median, p95))
    return sorted(figures, key=lambda each: (-each.calls, each.call))


SUCCESSES = frozenset({"0", "OK", "200"})
"""Codes of successful answers, in the words of every generation of the API."""


# --- the state of the service -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Storage:
    """What the database says of the service; ``face_tokens`` is its own estimate of the rows."""

    lag: int
    """Changes, over all apps, that this process has not yet brought into its index."""
    face_tokens: int
    face_token_bytes: int


@dataclass(frozen=True, slots=True)
class State:
    """The values of all gauges at one moment."""

    version: str
    pack: str
    model_id: str
    providers: tuple[str, ...]
    backend: str
    working: int
    waiting: int
    permits: int
    queue_limit: int
    connections: int
    groups: int | None
    faces: int | None
    index_bytes: int | None
    """``None`` as the numbers beside it: where the index does not tell."""
    certificate_days: float | None
    """Until the end of the certificate that this process answers with; ``None`` for plain HTTP."""
    storage: Storage | None
    """``None`` while the database does not answer."""
