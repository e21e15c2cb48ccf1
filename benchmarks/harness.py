"""What the benchmarks share: options, a real server, a client, bounded load, and the report.

Every benchmark takes ``--quick`` (at most 50 s) and ``--json`` (the last line printed is one JSON object: machine,
figures, checks). All traffic goes to a server of its own on the loopback address.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import platform
import shutil
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil

from models.fetch import ensure
from models.manifest import load_pack
from service.inference.engine import Engine
from service.inference.providers import DEVICES, openvino_installed
from service.inference.runtimes import FILE as RUNTIMES
from service.inference.runtimes import runtime_for
from service.processors import available_cpus
from tests.fixtures.places import FETCHED, MODELS
from tests.fixtures.server import Credentials, Server, temporary_home

REQUEST_SECONDS = 300.0
UNDISTURBED_SECONDS = 4.0
"""Longer than from one to the next time that a host takes processors away, as seen on one that does."""
SETTLING_SECONDS = 60.0
WARMING = 2
"""Pieces that every worker does before it is measured."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="a smaller run of at most 50 seconds")
    made.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    made.add_argument("--pack", default="core", help="pack of weights (default: core)")
    return made


def with_device(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """One more option, for those that measure a server beside bare networks."""
    made.add_argument("--device", choices=DEVICES, default="auto", help="what computes both, as AIPFACE_DEVICE")
    return made


def with_processes(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """And how many threads compute, in how many processes of the server."""
    made.add_argument("--threads", type=int, default=available_cpus(), help="computing threads (default: CPUs)")
    made.add_argument("--processes", type=int, default=1, help="processes that share the server's port")
    return made


def server_settings(chosen: argparse.Namespace) -> dict[str, str]:
    """A server as the options wish; of several processes each has its share of the threads."""
    settings = {"PACK": chosen.pack, "DEVICE": chosen.device, "PROCESSES": str(chosen.processes)}
    return settings if chosen.processes > 1 else {**settings, "INFERENCE_THREADS": str(chosen.threads)}


def bare_engine(pack: str, device: str) -> Engine:
    """What a server of that pack and device computes with; for ``auto`` measured once and kept for the next time."""
    return Engine(load_pack(pack), weights(pack), runtime_for(device, FETCHED))


def in_one_thread() -> None:
    """Begin anew unless NumPy and FAISS were told how many threads to compute in: they ask when they are loaded.

    The server tells them the same.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "OMP_NUM_THREADS": "1"})  # noqa: S606 (ourselves)


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    model = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return {
        "cpu": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "onnxruntime": version("onnxruntime"),
        "openvino": version("openvino") if openvino_installed() else "",
    }


def stolen() -> float:
    """Seconds that the host of a virtual machine has kept its processors from it so far while they had work."""
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


def let_the_host_rest(longest: float = SETTLING_SECONDS) -> float:
    """Compute in one thread until the host has taken nothing away for a while, ``longest`` seconds at most.

    Hosts that grant a share of their processors take them away, for half a second at a time, after all of them have
    computed for long: what is timed right then is up to a third of a second longer. Returns the seconds waited.
    """
    begun = last = time.perf_counter()
    before = stolen()
    while (now := time.perf_counter()) - last < UNDISTURBED_SECONDS and now - begun < longest:
        sum(range(10_000))
        if stolen() > before:
            before, last = stolen(), now
    return now - begun


@dataclass
class Report:
    """Figures as they come in, and the checks made of them."""

    name: str
    as_json: bool
    figures: dict[str, Any] = field(default_factory=dict)
    checks: list[dict[str, object]] = field(default_factory=list)

    def figure(self, name: str, value: object) -> None:
        """Keep and show one figure."""
        self.figures[name] = value
        print(f"{name:34} {_shown(value)}", flush=True)

    def at_least(self, name: str, value: float, target: float) -> None:
        """A figure that must not be smaller."""
        self._check(name, value, f">= {target:g}", ok=value >= target)

    def at_most(self, name: str, value: float, target: float) -> None:
        """A figure that must not be larger."""
        self._check(name, value, f"<= {target:g}", ok=value <= target)

    def _check(self, name: str, value: float, target: str, *, ok: bool) -> None:
        self.checks.append({"name": name, "value": value, "target": target, "ok": bool(ok)})

    def close(self) -> int:
        """Show the checks, and the JSON object when it was asked for; returns the exit status."""
        for check in self.checks:
            value = _shown(check["value"])
            print(f"{'ok  ' if check['ok'] else 'MISS'}  {check['name']}: {value} (target {check['target']})")
        if self.as_json:
            content = {"benchmark": self.name, "machine": machine(), "figures": self.figures, "checks": self.checks}
            print(json.dumps(content, ensure_ascii=False), flush=True)
        return 0 if all(check["ok"] for check in self.checks) else 1


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key} {_shown(part)}" for key, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def skip(report: Report, reason: str) -> int:
    """End without figures, saying why; not a failure."""
    print(f"skipped: {reason}")
    report.figures["skipped"] = reason
    return report.close()


def weights(pack: str) -> dict[str, Path]:
    """The pack's files, fetched when they are not here."""
    return ensure(load_pack(pack), MODELS)


@dataclass(frozen=True)
class Running:
    """A server and the keys of an app on it."""

    server: Server
    keys: Credentials

    def client(self) -> Client:
        """A client with a connection of its own; one per thread."""
        return Client(self.server.base_url, self.keys)

    def processes(self) -> list[psutil.Process]:
        """The server's own: one, or those that share its port and the one above them."""
        above = psutil.Process(self.server.process.pid)
        return [above, *above.children()]

    def peak_memory_mib(self) -> float:
        """Largest resident memory of the server's own processes so far, one added to the other."""
        return sum(map(_peak_memory_mib, self.processes()))


def _peak_memory_mib(process: psutil.Process) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return float(process.memory_info().rss / 2**20)


def keep_measured(home: Path) -> None:
    """Let what starts in ``home`` know what was measured for ``bare_engine``; it might measure otherwise."""
    if (FETCHED / RUNTIMES).is_file():
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(FETCHED / RUNTIMES, home)


@contextlib.contextmanager
def running_server(**settings: str) -> Iterator[Running]:
    """A server process with an empty home, stopped and removed at the end."""
    with temporary_home(LOG_LEVEL="warning", CREATE_FIRST_APP="false", **settings) as home:
        keep_measured(home.folder)
        keys = home.create_app("benchmark")
        with home.serving() as server:
            if settings.get("PROCESSES", "1") != "1":
                server.wait_for_all()
            yield Running(server, keys)


class Client:
    """A plain keep-alive client that costs the measured machine as little as possible.

    It knows as much HTTP as our server speaks: answers have a length, and connections stay open unless they say not.
    """

    def __init__(self, base_url: str, keys: Credentials) -> None:
        self._host = base_url.removeprefix("http://")
        self._socket: socket.socket | None = None
        query = urllib.parse.urlencode(
            {"grant_type": "client_credentials", "client_id": keys.api_key, "client_secret": keys.secret_key}
        )
        self._token = self._send("GET", f"/oauth/2.0/token?{query}", b"")["access_token"]

    def call(self, name: str, body: bytes) -> dict[str, Any]:
        """One V3 call; the whole answer, errors included."""
        return self._send("POST", f"/rest/2.0/face/v3/{name}?access_token={self._token}", body)

    def _send(self, method: str, target: str, body: bytes) -> dict[str, Any]:
        if self._socket is None:
            host, _, port = self._host.partition(":")
            self._socket = socket.create_connection((host, int(port)), REQUEST_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"{method} {target} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n"
        self._socket.sendall(head.encode("ascii") + b"Content-Type: application/json\r\n\r\n" + body)
        head, content = self._received(self._socket)
        if "\r\nconnection: close" in head:
            self.close()
        answer: dict[str, Any] = orjson.loads(content)
        return answer

    @staticmethod
    def _received(connection: socket.socket) -> tuple[str, bytes]:
        """Head, in small letters, and body of an answer. Raises ``ConnectionError`` when it breaks off."""
        received, head, size = b"", "", -1
        while size < 0 or len(received) < size:
            piece = connection.recv(65536)
            if not piece:
                raise ConnectionError("the server hung up amid an answer")
            received += piece
            if size < 0 and b"\r\n\r\n" in received:
                top, _, received = received.partition(b"\r\n\r\n")
                head = top.decode("latin-1").lower()
                size = int(head.partition("\r\ncontent-length:")[2].partition("\r\n")[0])
        return head, received

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def picture_parameters(picture: bytes, **options: object) -> dict[str, object]:
    """The parameters of a call for one picture."""
    return {"image": base64.b64encode(picture).decode("ascii"), "image_type": "BASE64", **options}


def encoded(content: object) -> bytes:
    """A JSON body."""
    return orjson.dumps(content)


def processor_seconds(running: Running) -> tuple[float, float]:
    """What the server's own processes and its database's have taken of the processors so far."""
    own = sum(sum(process.cpu_times()[:2]) for process in running.processes())
    database = 0.0
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if process.info["name"] == "postgres" and Path(process.cwd()).is_relative_to(running.server.home.folder):
                database += sum(process.cpu_times()[:2])
    return own, database


def in_threads(works: Sequence[Callable[[], object]], on_failure: Callable[[], object] = lambda: None) -> None:
    """Do each in a thread of its own; raises what the first that fails raises, once all have ended.

    ``on_failure`` lets those end that wait for one which has failed.
    """
    failures: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 (reported by the thread that waits)
            failures.append(error)
            on_failure()

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


Work = Callable[[int], None]
"""Does piece number n of the work; raises when it fails."""


@dataclass(frozen=True)
class Measured:
    """Throughput and latency of one bounded run; times in milliseconds."""

    per_second: float
    p50: float
    p95: float
    p99: float
    count: int

    def figures(self) -> dict[str, object]:
        """For the report."""
        return {name: round(value, 2) for name, value in asdict(self).items()}


def measure(
    make_worker: Callable[[], contextlib.AbstractContextManager[Work]], threads: int, seconds: float
) -> Measured:
    """Let ``threads`` workers work side by side for ``seconds``; every worker is warmed by ``WARMING`` pieces first.

    The rate counts the pieces that all workers finished between the common start and the last one's end.
    """
    barrier = threading.Barrier(threads + 1)
    numbers = iter(range(sys.maxsize))
    lock = threading.Lock()
    times: list[float] = []
    failures: list[BaseException] = []

    def number() -> int:
        with lock:
            return next(numbers)

    def run() -> None:
        own: list[float] = []
        try:
            with make_worker() as work:
                for _ in range(WARMING):
                    work(number())
                barrier.wait()
                end = time.perf_counter() + seconds
                while (begin := time.perf_counter()) < end:
                    work(number())
                    own.append(time.perf_counter() - begin)
        except BaseException as error:  # noqa: BLE001 (reported by the thread that waits)
            failures.append(error)
            barrier.abort()
        with lock:
            times.extend(own)

    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    with contextlib.suppress(threading.BrokenBarrierError):
        barrier.wait()
    begun = time.perf_counter()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    return _summary(times, time.perf_counter() - begun)


def _summary(times: Sequence[float], elapsed: float) -> Measured:
    p50, p95, p99 = (float(value) * 1000 for value in np.percentile(np.array(times), [50, 95, 99]))
    return Measured(len(times) / elapsed, p50, p95, p99, len(times))
