"""Where the server's time goes under load: samples of py-spy, summed by part of the code, and drawn.

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

from benchmarks.harness import Report, bare_engine, parser, running_server, skip, with_device
from benchmarks.throughput import CALLS, GALLERY, Bench, camera_pictures, fill_gallery, served
from service.processors import available_cpus
from service.search.flat import FlatIndex
from tests.fixtures.pictures import fetch_pictures

SAMPLES_A_SECOND = 200

PARTS = (
    ("networks", ("_run (service/inference/session.py", "_run (service/inference/openvino_session.py")),
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


WAITING = ("Condition.wait ", "Connection.wait ", "Runner.run ", "Maintenance._run ", "Listener._listen ", "sleep ")
"""Where threads wait, which py-spy does not always tell from work: locks, queues, polls."""


def summary(stacks: str) -> dict[str, float]:
    """Percent of the samples in each part, of lines ``frame;frame;... count``."""
    counts: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        if stack.rpartition(";")[2].startswith(WAITING):
            continue
        part = next((name for name, marks in PARTS if any(mark in stack for mark in marks)), "other")
        counts[part] += int(count)
    total = max(1, sum(counts.values()))
    return {name: round(100 * count / total, 1) for name, count in counts.most_common()}


def sampled(spy: str, process: int, seconds: int, file: Path) -> subprocess.Popen[bytes]:
    """A py-spy at work; it leaves out threads that wait."""
    options = ["--rate", str(SAMPLES_A_SECOND), "--duration", str(seconds), "--format", "raw", "--output", str(file)]
    return subprocess.Popen(
        [spy, "record", "--pid", str(process), "--function", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def draw(parts: dict[str, float], call: str, path: Path) -> None:
    """The parts as bars, longest on top."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (only to draw)

    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh(list(parts), list(parts.values()))
    axes.bar_label(bars, fmt="%.0f %%", padding=3)
    axes.invert_yaxis()
    axes.set(title=f"Where a saturated server's time goes: {call}", xlim=(0, 1.15 * max(parts.values())), xticks=[])
    figure.savefig(path)


def main() -> int:
    """Run and report; there is nothing to miss."""
    options = with_device(parser(__doc__))
    options.add_argument("--threads", type=int, default=available_cpus(), help="computing threads (default: CPUs)")
    options.add_argument("--seconds", type=int, default=10, help="how long to sample")
    options.add_argument("--call", choices=CALLS, default="detect")
    options.add_argument("--picture", type=Path, help="draw the parts into this file")
    options.add_argument("--py-spy", default=shutil.which("py-spy"), help="the program (default: the one on the path)")
    chosen = options.parse_args()
    report = Report("profile", chosen.json)
    if chosen.py_spy is None:
        return skip(report, "py-spy is not installed: pip install py-spy")
    seconds = min(chosen.seconds, 8) if chosen.quick else chosen.seconds
    engine = bare_engine(chosen.pack, chosen.device)
    bench = Bench(engine, camera_pictures(fetch_pictures()), FlatIndex(engine.dimension), chosen.threads, seconds + 1.0)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(INFERENCE_THREADS=str(chosen.threads), PACK=chosen.pack, DEVICE=chosen.device) as running,
    ):
        client = running.client()
        fill_gallery(bench, client, GALLERY // 10)
        client.close()
        file = Path(folder) / "stacks.txt"
        spy = sampled(chosen.py_spy, running.server.process.pid, seconds, file)
        served(bench, running, chosen.call)
        spy.wait()
        parts = summary(file.read_text(encoding="utf-8"))
    report.figure(f"{chosen.call}, percent of the samples", parts)
    if chosen.picture:
        draw(parts, chosen.call, chosen.picture)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
