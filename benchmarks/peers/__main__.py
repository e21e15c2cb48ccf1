"""How much faster this project is than what else one would take, on the same pictures, in the same run.

    python -m benchmarks.peers install [--folder FOLDER]
    python -m benchmarks.peers [--quick] [--json] [--folder FOLDER] [--threads N]

Every peer lives in an environment of its own below the folder, made by ``install`` (2.5 GB, most of it TensorFlow) and
runs as a process of its own with its default options. They take turns with our pipeline (decoding, detection,
alignment, embedding by both recognisers, in ``--threads`` threads, by the runtime that measured fastest of those in
this environment: with the extra ``openvino`` that may be another). Told are pictures a second, and the processor time
of a picture, which other jobs on the machine disturb less.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import cv2

from benchmarks.harness import Report, parser, skip, weights
from benchmarks.throughput import Bench, bare, camera_pictures
from models.manifest import PackManifest, load_pack
from service.inference.engine import Engine
from service.inference.providers import DEVICES
from service.inference.runtimes import runtime_for
from service.inference.session import Runtime
from service.processors import available_cpus
from service.search.flat import FlatIndex
from tests.fixtures.pictures import fetch_pictures
from tests.fixtures.places import FETCHED

HERE = Path(__file__).parent
PROCESS_SECONDS = 300
OURS, SFACE_ALONE = "ours", "ours, SFace alone"


@dataclass(frozen=True)
class Peer:
    """Another library: what to install, what to run, and how many times faster we mean to be."""

    name: str
    script: str
    packages: tuple[str, ...]
    target: float
    bare_packages: tuple[str, ...] = ()
    """Installed without what they ask for."""
    beside: str = OURS
    """Which of our pipelines it is compared with: DeepFace runs one recogniser, so ours does too."""


PEERS = (
    Peer("plain loop", "plain_loop.py", ("onnxruntime", "opencv-python-headless", "numpy"), 3.0),
    Peer("DeepFace", "deepface_loop.py", ("deepface", "tf-keras", "flask"), 5.0, beside=SFACE_ALONE),
    Peer(
        "face-recognition",
        "dlib_loop.py",
        # dlib itself comes as source alone, the same library built is dlib-bin; the models ask for pkg_resources.
        ("dlib-bin", "face-recognition-models", "setuptools<81", "pillow", "click", "numpy", "opencv-python-headless"),
        5.0,
        bare_packages=("face-recognition",),
    ),
)


def environment_of(folder: Path, peer: Peer) -> Path:
    """Where a peer's environment lies."""
    return folder / Path(peer.script).stem


def install(folder: Path) -> None:
    """Make every environment that is not there; by ``uv`` where it is installed, else by ``pip``."""
    uv = shutil.which("uv")
    for peer in PEERS:
        place = environment_of(folder, peer)
        python = place / "bin" / "python"
        if not python.exists():
            make = [uv, "venv", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
            subprocess.run([*make, str(place)], check=True)
        command = [uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
        subprocess.run([*command, *peer.packages], check=True)
        if peer.bare_packages:
            subprocess.run([*command, "--no-deps", *peer.bare_packages], check=True)


def deepface_home(folder: Path, files: dict[str, Path]) -> Path:
    """A home folder in which DeepFace finds our weights under its own names."""
    home = folder / "deepface-home"
    place = home / ".deepface" / "weights"
    place.mkdir(parents=True, exist_ok=True)
    names = {"yunet": "face_detection_yunet_2023mar.onnx", "sface": "face_recognition_sface_2021dec.onnx"}
    for ours, theirs in names.items():
        shutil.copyfile(files[ours], place / theirs)
    return home


def measured(peer: Peer, folder: Path, pictures: Path, models: Path, seconds: float) -> dict[str, Any]:
    """What a peer's process printed last; raises ``CalledProcessError`` when it fails."""
    python = environment_of(folder, peer) / "bin" / "python"
    settings = {"DEEPFACE_HOME": str(folder / "deepface-home"), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    settings["PYTHONPATH"] = str(HERE.parents[1])
    done = subprocess.run(
        [str(python), str(HERE / peer.script), str(pictures), str(models), str(seconds)],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def with_sface_alone(bench: Bench, pack: PackManifest, files: dict[str, Path], runtime: Runtime) -> Bench:
    """Our pipeline with no other recogniser than DeepFace has here."""
    part = next(part for part in pack.embedder.parts if part.file == "sface")
    embedder = replace(pack.embedder, parts=(part,), projection=None, dimension=part.dimension)
    engine = Engine(replace(pack, embedder=embedder), files, runtime)
    return replace(bench, engine=engine, gallery=FlatIndex(engine.dimension))


def ours(bench: Bench) -> dict[str, Any]:
    """Our pipeline without a server."""
    spent = time.process_time()
    result = bare(bench, "search")
    cpu_ms = 1000 * (time.process_time() - spent) / (result.count + 2 * bench.threads)
    return {"per_second": result.per_second, "cpu_ms": cpu_ms, "count": result.count, "size": bench.engine.dimension}


def compare(
    report: Report, benches: Mapping[str, Bench], peers: Sequence[Peer], folder: Path, models: Path, rounds: int
) -> None:
    """Rounds of us and every peer; the medians of the ratios within a round are judged."""
    pictures = folder / f"pictures-{secrets.token_hex(4)}"
    pictures.mkdir()
    bench = benches[OURS]
    for number, file in enumerate(bench.files):
        (pictures / f"{number}.jpg").write_bytes(file)
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in (*benches, *(peer.name for peer in peers))}
    try:
        for _ in range(rounds):
            for name, each in benches.items():
                turns[name].append(ours(each))
            for peer in peers:
                turns[peer.name].append(measured(peer, folder, pictures, models, bench.seconds))
    finally:
        shutil.rmtree(pictures)
    for name, results in turns.items():
        report.figure(name, {key: round(median(each[key] for each in results), 2) for key in results[0]})
    for peer in peers:
        pairs = list(zip(turns[peer.beside], turns[peer.name], strict=True))
        cheaper = median(other["cpu_ms"] / us["cpu_ms"] for us, other in pairs)
        report.figure(f"{peer.name}: processor time, times ours", round(cheaper, 2))
        faster = median(us["per_second"] / other["per_second"] for us, other in pairs)
        report.at_least(f"throughput, times that of {peer.name}", round(faster, 2), peer.target)


def main() -> int:
    """Install, or compare; the exit status says whether the targets were met."""
    options = parser(__doc__)
    options.add_argument("action", nargs="?", choices=("install", "run"), default="run")
    options.add_argument("--folder", type=Path, default=FETCHED / "peers", help="where the environments lie")
    options.add_argument("--threads", type=int, default=available_cpus(), help="our threads (default: CPUs)")
    options.add_argument("--device", choices=DEVICES, default="auto", help="what computes ours, as AIPFACE_DEVICE")
    chosen = options.parse_args()
    folder = chosen.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if chosen.action == "install":
        install(folder)
        return 0
    report = Report("peers", chosen.json)
    peers = [peer for peer in PEERS if environment_of(folder, peer).is_dir()]
    if not peers:
        return skip(report, "no peer is installed; python -m benchmarks.peers install")
    cv2.setNumThreads(1)
    files = weights(chosen.pack)
    deepface_home(folder, files)
    pack = load_pack(chosen.pack)
    runtime = runtime_for(chosen.device, folder)
    engine = Engine(pack, files, runtime)
    report.figure("our runtimes", ", ".join(engine.providers))
    seconds, rounds = (4.0, 1) if chosen.quick else (15.0, 3)
    pictures = camera_pictures(fetch_pictures())
    bench = Bench(engine, pictures, FlatIndex(engine.dimension), chosen.threads, seconds)
    benches = {OURS: bench, SFACE_ALONE: with_sface_alone(bench, pack, files, runtime)}
    compare(report, benches, peers, folder, files["yunet"].parent, rounds)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
