"""What rewriting graphs for the processor's kernels gains, network by network (``service.inference.blocked``).

    python -m benchmarks.graphs [--quick] [--json] [--pack core]

On ONNX Runtime's CPU provider, a run in each of two threads at once, as published and rewritten by turns.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime

from benchmarks.batching import probe
from benchmarks.harness import Report, parser, weights
from service.inference.blocked import rewritten
from service.inference.session import Array, OnnxSession, Session

THREADS = 2
RUNS = 10
"""Of each thread in a turn."""

NO_SLOWER = 1.05
"""A network in which only zeros took the place of small weights is as fast as before, and measured so within this."""

SAME = 1e-5
"""Largest difference between outputs, in parts of the largest number."""


def session(model: str | bytes) -> Session:
    """Of one thread for each run, as the server loads it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return OnnxSession(onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]))


def turn(network: Session, batch: Array) -> list[float]:
    """Processor milliseconds of runs in several threads at once."""
    times: list[float] = []

    def work() -> None:
        for _ in range(RUNS):
            begun = time.thread_time()
            network.run(batch)
            times.append(1000 * (time.thread_time() - begun))

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def difference(one: Session, other: Session, batch: Array) -> float:
    """The largest of all outputs, in parts of each output's largest number."""
    pairs = zip(one.run(batch), other.run(batch), strict=True)
    return max(float(np.abs(first - second).max() / np.abs(first).max()) for first, second in pairs)


def compare(report: Report, name: str, path: Path, model: bytes, turns: int) -> None:
    """Both forms of one network."""
    plain, ours = session(str(path)), session(model)
    batch = probe(plain, 1)
    apart = difference(plain, ours, batch)
    times = [(median(turn(plain, batch)), median(turn(ours, batch))) for _ in range(turns)]
    ratio = round(median(rewritten_ms / plain_ms for plain_ms, rewritten_ms in times), 3)
    figures = {
        "as published": round(median(one for one, _ in times), 2),
        "rewritten": round(median(one for _, one in times), 2),
        "ratio": ratio,
        "largest difference": float(f"{apart:.1e}"),
    }
    report.figure(f"{name}, processor ms", figures)
    report.at_most(f"{name}: rewritten / as published", ratio, NO_SLOWER)
    report.at_most(f"{name}: largest difference", apart, SAME)


def main() -> int:
    """Run, report, and say by the exit status whether every network gains and answers the same."""
    chosen = parser(__doc__).parse_args()
    report = Report("graphs", chosen.json)
    for name, path in sorted(weights(chosen.pack).items()):
        model = rewritten(path) if path.suffix == ".onnx" else None
        if model is not None:
            compare(report, name, path, model, 9 if chosen.quick else 25)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
