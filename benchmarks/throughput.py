"""How much of the bare models' speed the server keeps.

In one run, on the same pictures, runtime and number of threads: ``detect``, ``match`` and ``search`` through HTTP,
each against the bare pipeline, a loop that decodes, detects, aligns, embeds and searches in this process without any
server (for ``match``: embeds two pictures and compares them). ``detect`` needs no embedding, so it is also told beside
a loop that only decodes and detects; that loop cuts no portrait, keeps no face token and answers nobody.

    python -m benchmarks.throughput [--quick] [--json] [--pack core] [--threads N] [--device auto] [--processes 1]

With several processes the server's are meant that share its port; each then has its share of the threads.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median

import cv2
import numpy as np

from benchmarks.harness import (
    WARMING,
    Client,
    Measured,
    Report,
    Running,
    Work,
    bare_engine,
    encoded,
    measure,
    parser,
    picture_parameters,
    processor_seconds,
    running_server,
    server_settings,
    with_device,
    with_processes,
)
from service.inference.engine import Engine
from service.search.flat import FlatIndex
from service.values import Embedding, Image
from tests.fixtures.pictures import Pictures, fetch_pictures

PEOPLE = ("obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg", "astronaut.png")
SIDE = 640
"""Longer side of the pictures, a usual camera frame."""

GALLERY = 200
"""Users in the searched group; the cost of large groups is the business of the search benchmark."""

CALLERS = 4
"""Callers for each computing thread of the server: while one computes, others arrive, leave and are written down."""

GROUP = "gallery"
TURNS = 3
LEAST_RATIO = {"detect": 0.9, "match": 0.9, "search": 0.9}
CALLS = tuple(LEAST_RATIO)
LOOPS = {"detect": ("search", "detect"), "match": ("match",), "search": ("search",)}
"""The loops beside a call, by the call of which they do the work; the first is the bare pipeline that is judged by."""


def camera_pictures(pictures: Pictures) -> list[bytes]:
    """JPEG files of ``SIDE`` pixels with one main face each."""
    made = []
    for name in PEOPLE:
        image = decode(pictures.bytes(name))
        scale = SIDE / max(image.shape[:2])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        made.append(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    return made


@dataclass
class Bench:
    """What both sides work with."""

    engine: Engine
    files: Sequence[bytes]
    gallery: FlatIndex
    threads: int
    seconds: float

    def picture(self, number: int) -> bytes:
        """A picture unlike any before: bytes behind a JPEG's end change its hash and not its content."""
        return self.files[number % len(self.files)] + secrets.token_bytes(8)

    def text(self, number: int) -> str:
        """Such a picture in base64. Only the end is encoded anew: what the client costs, the server cannot have."""
        known, rest = self.encoded_files[number % len(self.files)]
        return known + base64.b64encode(rest + secrets.token_bytes(8)).decode("ascii")

    @cached_property
    def encoded_files(self) -> list[tuple[str, bytes]]:
        """Every file up to a multiple of three bytes in base64, and the bytes left over."""
        whole = [len(file) // 3 * 3 for file in self.files]
        return [(base64.b64encode(f[:n]).decode("ascii"), f[n:]) for f, n in zip(self.files, whole, strict=True)]


def loops(bench: Bench) -> dict[str, Work]:
    """What each call does with picture number n, without a server."""
    engine = bench.engine

    def embedding(number: int) -> Embedding:
        image = decode(bench.picture(number))
        face = engine.detect(image, 1)[0]
        found: Embedding = engine.embed([engine.align(image, face.points)])[0]
        return found

    def detect(number: int) -> None:
        engine.detect(decode(bench.picture(number)), 1)

    def match(number: int) -> None:
        float(embedding(number) @ embedding(number + 1))

    def search(number: int) -> None:
        bench.gallery.search(embedding(number), 1, 0.0)

    return {"detect": detect, "match": match, "search": search}


def bare(bench: Bench, call: str) -> Measured:
    """The same work without a server."""
    return measure(lambda: contextlib.nullcontext(loops(bench)[call]), bench.threads, bench.seconds)


def decode(picture: bytes) -> Image:
    """Pixels of a file, by the fastest plain way."""
    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("the picture cannot be decoded")
    return image.astype(np.uint8, copy=False)


def served(bench: Bench, running: Running, call: str) -> Measured:
    """The same work through HTTP, with more callers than computing threads, so that none of these idles."""

    def body(number: int) -> bytes:
        if call == "match":
            return encoded([{"image": bench.text(n), "image_type": "BASE64"} for n in (number, number + 1)])
        options = {"group_id_list": GROUP, "match_threshold": 0} if call == "search" else {}
        return encoded({"image": bench.text(number), "image_type": "BASE64", **options})

    @contextlib.contextmanager
    def worker() -> Iterator[Work]:
        client = running.client()

        def work(number: int) -> None:
            answer = client.call(call, body(number))
            if answer["error_code"] != 0:
                raise RuntimeError(f"{call} answered {answer['error_code']} {answer['error_msg']}")

        yield work
        client.close()

    return measure(worker, CALLERS * bench.threads, bench.seconds)


def fill_gallery(bench: Bench, client: Client, users: int) -> None:
    """Enrol users on both sides: real faces in the server, as many random vectors in the bare index."""
    for number in range(users):
        person = {"group_id": GROUP, "user_id": f"user{number}"}
        answer = client.call("faceset/user/add", encoded(picture_parameters(bench.picture(number), **person)))
        if answer["error_code"] != 0:
            raise RuntimeError(f"enrolment answered {answer['error_code']} {answer['error_msg']}")
    vectors = np.random.default_rng(1).standard_normal((users, bench.engine.dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    numbers = np.arange(1, users + 1, dtype=np.int64)
    bench.gallery.add_many(numbers, numbers, vectors)


@dataclass(frozen=True)
class Turn:
    """All sides right after each other, and what a call took of the processors: other jobs disturb that least."""

    loops: dict[str, Measured]
    over_http: Measured
    costs: dict[str, float]
    """Milliseconds: of each loop ``bare <call>``, ``server``, ``database``, ``client``."""

    def ratio(self, loop: str) -> float:
        """Of the throughputs."""
        return self.over_http.per_second / self.loops[loop].per_second

    def processor_ratio(self, loop: str) -> float:
        """Of the processor times: what a server with processors of its own would keep."""
        return self.costs[f"bare {loop}"] / (self.costs["server"] + self.costs["database"])


def _turn(bench: Bench, running: Running, call: str) -> Turn:
    loops, costs = {}, {}
    for loop in LOOPS[call]:
        begun = time.process_time()
        loops[loop] = bare(bench, loop)
        spent = time.process_time() - begun
        costs[f"bare {loop}"] = 1000 * spent / (loops[loop].count + WARMING * bench.threads)
    marks = [(*processor_seconds(running), time.process_time())]
    over_http = served(bench, running, call)
    marks.append((*processor_seconds(running), time.process_time()))
    count = over_http.count + WARMING * CALLERS * bench.threads
    for name, before, after in zip(("server", "database", "client"), *marks, strict=True):
        costs[name] = 1000 * (after - before) / count
    return Turn(loops, over_http, costs)


def _side_by_side(report: Report, bench: Bench, running: Running, call: str) -> None:
    """All sides by turns; the medians are told."""
    turns = [_turn(replace(bench, seconds=bench.seconds / TURNS), running, call) for _ in range(TURNS)]
    costs = {name: round(median(turn.costs[name] for turn in turns), 2) for name in turns[0].costs}
    report.figure(f"{call} processor ms a call", costs)
    for loop in LOOPS[call]:
        middle = sorted(turns, key=lambda turn: turn.ratio(loop))[TURNS // 2]
        report.figure(f"{call}, bare {loop}", middle.loops[loop].figures())
        report.figure(f"{call}, server beside it", middle.over_http.figures())
        ratios = {
            "throughput": round(middle.ratio(loop), 3),
            "processor": round(median(turn.processor_ratio(loop) for turn in turns), 3),
        }
        report.figure(f"{call}: server/bare {loop}", ratios)
    judged = LOOPS[call][0]
    ratio = median(turn.ratio(judged) for turn in turns)
    report.at_least(f"{call}: server/bare pipeline, throughput", round(ratio, 3), LEAST_RATIO[call])


def main() -> int:
    """Run, report, and say by the exit status whether the targets were met."""
    options = with_processes(with_device(parser(__doc__)))
    chosen = options.parse_args()
    report = Report("throughput", chosen.json)
    engine = bare_engine(chosen.pack, chosen.device)
    engine.warm_up()
    bench = Bench(
        engine,
        camera_pictures(fetch_pictures()),
        FlatIndex(engine.dimension),
        chosen.threads,
        seconds=3.0 if chosen.quick else 45.0,
    )
    report.figure("threads", chosen.threads)
    report.figure("runtimes", ", ".join(engine.providers))
    with running_server(**server_settings(chosen)) as running:
        client = running.client()
        fill_gallery(bench, client, GALLERY // 5 if chosen.quick else GALLERY)
        client.close()
        for call in CALLS:
            _side_by_side(report, bench, running, call)
        report.figure("server peak memory MiB", round(running.peak_memory_mib()))
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
