"""Where the server's time goes under saturated ``detect``: a flame graph by py-spy, and a summary by part of the code.

    python -m benchmarks.profile [--seconds 10] [--call detect] [--picture FILE.svg] [--json] [--quick]

py-spy (``pip install py-spy``) samples the server's threads while they run, including inside native code; it needs the
right to look into another process, which root has.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.harness import Report, parser, running_server, skip, weights
from benchmarks.throughput import CALLS, GALLERY, Bench, camera_pictures, fill_gallery, served
from models.manifest import load_pack
from service.inference.engine import Engine
from service.search.flat import FlatIndex
from service.settings import available_cpus
from tests.fixtures.pictures import fetch_pictures

SAMPLES_A_SECOND = 200

PARTS = (
    ("networks", ("_run (service/inference/session.py",)),
    ("portrait and its JPEG", ("stored (service/intake/seen.py",)),
    ("rest of detection and embedding", ("detect (service/inference/engine.py", "embed (service/inference/engine.py")),
    ("decoding the picture", ("_decode (service/images/decode.py",)),
    (
        "database",
        ("remembering (", "put (service/storage/tokens.py", "direct (service/storage/", "run (service/storage/"),
    ),
    ("JSON and base64", ("decode (service/api/body.py", "decode_base64 (service/images/inline.py")),
    ("rest of the worker threads", ("_bootstrap (threading.py",)),
    ("event loop: HTTP, routing, answers", ("run_asgi (", "data_received (", "_answer (service/cli/serve.py")),
)
"""Parts of the code by the functions that a stack goes through; the first that fits counts."""


def summary(stacks: str) -> dict[str, float]:
    """Percent of the samples in each part, of lines ``frame;frame;... count``."""
    counts: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        part = next((name for name, marks in PARTS if any(mark in stack for mark in marks)), "other")
        counts[part] += int(count)
    total = max(1, sum(counts.values()))
    return {name: round(100 * count / total, 1) for name, count in counts.most_common()}


def sampled(spy: str, process: int, seconds: int, kind: str, file: Path) -> subprocess.Popen[bytes]:
    """A py-spy at work; it leaves out threads that wait."""
    options = ["--rate", str(SAMPLES_A_SECOND), "--duration", str(seconds), "--format", kind, "--output", str(file)]
    return subprocess.Popen(
        [spy, "record", "--pid", str(process), "--function", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def main() -> int:
    """Run and report; there is nothing to miss."""
    options = parser(__doc__)
    options.add_argument("--threads", type=int, default=available_cpus(), help="computing threads (default: CPUs)")
    options.add_argument("--seconds", type=int, default=10, help="how long to sample")
    options.add_argument("--call", choices=CALLS, default="detect")
    options.add_argument("--picture", type=Path, help="write the flame graph into this SVG file")
    options.add_argument("--py-spy", default=shutil.which("py-spy"), help="the program (default: the one on the path)")
    chosen = options.parse_args()
    report = Report("profile", chosen.json)
    if chosen.py_spy is None:
        return skip(report, "py-spy is not installed: pip install py-spy")
    seconds = min(chosen.seconds, 8) if chosen.quick else chosen.seconds
    engine = Engine(load_pack(chosen.pack), weights(chosen.pack), ["CPUExecutionProvider"])
    bench = Bench(engine, camera_pictures(fetch_pictures()), FlatIndex(engine.dimension), chosen.threads, seconds + 1.0)
    kinds = {"raw": Path(tempfile.mkstemp(suffix=".txt")[1])}
    if chosen.picture:
        kinds["flamegraph"] = chosen.picture.absolute()
    with running_server(INFERENCE_THREADS=str(chosen.threads), PACK=chosen.pack) as running:
        client = running.client()
        fill_gallery(bench, client, GALLERY // 10)
        client.close()
        for kind, file in kinds.items():
            spy = sampled(chosen.py_spy, running.server.process.pid, seconds, kind, file)
            served(bench, running, chosen.call)
            spy.wait()
    report.figure(f"{chosen.call}, percent of the samples", summary(kinds["raw"].read_text(encoding="utf-8")))
    kinds["raw"].unlink()
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
