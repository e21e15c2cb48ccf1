"""Whether a batch is worth waiting for: processor time of a picture in batches of 1, 2, 4 and 8, network by network.

    python -m benchmarks.batching [--quick] [--json] [--pack core]

On ONNX Runtime's CPU provider, one thread.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import Report, parser, weights
from service.inference.session import Array, Session, load_session

SIZES = (1, 2, 4, 8)
FREE_SIDE = 320
"""Of a side that the network leaves open."""


def probe(session: Session, count: int) -> Array:
    """Numbers like pixels."""
    shape = [side if isinstance(side, int) and side > 0 else FREE_SIDE for side in session.input_shape[1:]]
    return np.random.default_rng(1).uniform(0, 255, (count, *shape)).astype(np.float32)


def cost(path: Path, rounds: int) -> dict[str, float]:
    """Least milliseconds a picture by size of the batch; sizes take turns, so that what disturbs one disturbs all."""
    session = load_session(path, ["CPUExecutionProvider"])
    batches = {size: probe(session, size) for size in SIZES}
    best = dict.fromkeys(SIZES, float("inf"))
    for _ in range(rounds):
        for size, batch in batches.items():
            begun = time.thread_time()
            session.run(batch)
            best[size] = min(best[size], 1000 * (time.thread_time() - begun) / size)
    return {f"batch {size}": round(value, 2) for size, value in best.items()}


def main() -> int:
    """Run and report; there is nothing to miss."""
    chosen = parser(__doc__).parse_args()
    report = Report("batching", chosen.json)
    for name, path in sorted(weights(chosen.pack).items()):
        if path.suffix == ".onnx":
            report.figure(name, cost(path, 8 if chosen.quick else 40))
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
