"""What its place on the thread's stack does to a network, runtime by runtime, and whether the one chosen is good.

    python -m benchmarks.stack_places [--quick] [--json] [--pack core]

Each network is computed with the end of the stack at distances all over a page. What is judged is the time at the place
that the server takes, beside the median of all places.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.harness import Report, parser, skip, weights
from models.manifest import load_pack
from service.inference.openvino_session import OpenVinoSession
from service.inference.providers import openvino_installed
from service.inference.session import (
    CPU,
    OPENVINO,
    OPENVINO_BF16,
    OPENVINO_INT8,
    DeviceUnavailable,
    Session,
    load_session,
)
from service.inference.stack_place import PAGE, StackPlace, stack_pointer

STEP = 32
SLOW = 1.15
"""Times the median from which on a place is called slow."""
MOST = 1.1
OWN = "its own"


def sessions(pack: str) -> Iterator[tuple[str, Session]]:
    """The recognisers by every runtime that is here."""
    files = weights(pack)
    for part in load_pack(pack).embedder.parts:
        path: Path = files[part.file]
        yield f"{path.stem}, ONNX Runtime", load_session(path, [CPU])
        for name in (OPENVINO, OPENVINO_BF16, OPENVINO_INT8):
            with contextlib.suppress(DeviceUnavailable):
                yield f"{path.stem}, {name}", OpenVinoSession(path, name, part.ranges)


def least_times(session: Session, rounds: int) -> dict[str, float]:
    """Milliseconds of a run by the distance of its place from a page's start, and where the session has it itself.

    Places take turns.
    """
    sides = [side for side in session.input_shape[1:] if isinstance(side, int)]
    probe = np.random.default_rng(1).uniform(0, 255, (1, *sides)).astype(np.float32)
    work = partial(session._run, probe)  # noqa: SLF001 (what ``run`` does besides takes none of a network's time)
    places = {str(distance): StackPlace(distance) for distance in range(0, PAGE, STEP)}
    if isinstance(session, OpenVinoSession) and session.place is not None:
        places[OWN] = session.place
    best = dict.fromkeys(places, float("inf"))
    for _ in range(rounds):
        for name, place in places.items():
            if isinstance(session, OpenVinoSession):
                session.place = place  # which is the last to be taken
            begun = time.thread_time()
            place(work)
            best[name] = min(best[name], 1000 * (time.thread_time() - begun))
    return best


def main() -> int:
    """Run and report; the exit status says whether the places chosen were good."""
    chosen = parser(__doc__).parse_args()
    report = Report("stack places", chosen.json)
    if not openvino_installed() or stack_pointer() is None:
        return skip(report, "needs OpenVINO, on x86-64 and glibc")
    for name, session in sessions(chosen.pack):
        found = least_times(session, 6 if chosen.quick else 40)
        own = found.pop(OWN, None)
        middle = median(found.values())
        told = {"best": min(found.values()), "median": middle, "worst": max(found.values())}
        report.figure(f"{name}, ms", {kind: round(value, 2) for kind, value in told.items()})
        report.figure(f"{name}, slow at", [place for place, each in found.items() if each > SLOW * middle])
        if own is not None:
            report.at_most(f"{name}: where it is computed / median", round(own / middle, 2), MOST)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
