"""What every peer's process does: warm up, then embed one picture after the other for a while; the result as JSON.

Runs in a peer's environment, so it needs nothing but the standard library.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sized
from pathlib import Path


def run(embed: Callable[[bytes], Sized], pictures: list[bytes], seconds: float) -> None:
    """Print pictures a second, processor milliseconds a picture, and the size of an embedding."""
    for picture in pictures:
        size = len(embed(picture))
    count, begun, spent = 0, time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - begun) < seconds or count % len(pictures):
        embed(pictures[count % len(pictures)])
        count += 1
    passed, spent = time.perf_counter() - begun, time.process_time() - spent
    print(json.dumps({"per_second": count / passed, "cpu_ms": 1000 * spent / count, "count": count, "size": size}))


def arguments() -> tuple[list[bytes], Path, float]:
    """The pictures' bytes, the folder of weights and the seconds, from the command line."""
    pictures, weights, seconds = sys.argv[1:]
    return [path.read_bytes() for path in sorted(Path(pictures).iterdir())], Path(weights), float(seconds)
