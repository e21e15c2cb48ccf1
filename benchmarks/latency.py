"""How long one request takes: on an idle server, near saturation, under overload, of a large photograph, by stage.

    python -m benchmarks.latency [--quick] [--json] [--pack core] [--threads N] [--processes 1]

Requests under load come at a fixed rate whether or not earlier ones were answered, and time counts from the moment a
request was due: a server that stalls cannot hide it.
"""

from __future__ import annotations

import base64
import contextlib
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from statistics import median

import cv2
import numpy as np

from benchmarks.harness import (
    SETTLING_SECONDS,
    WARMING,
    Client,
    Report,
    Running,
    bare_engine,
    encoded,
    in_threads,
    let_the_host_rest,
    parser,
    processor_seconds,
    running_server,
    server_settings,
    stolen,
    with_device,
    with_processes,
)
from benchmarks.throughput import CALLERS, GROUP, Bench, camera_pictures, decode, fill_gallery, loops, served
from service.images.decode import Picture
from service.images.inline import decode_base64
from service.inference.engine import Engine
from service.intake.seen import encode_jpeg
from service.search.flat import FlatIndex
from service.values import Image
from tests.fixtures.pictures import fetch_pictures

BUSY = 18
SENDERS = 96
OVERLOAD = 3
FLOODED = ("detect", "search")
QUEUE = 8
"""Requests that may wait at a server under overload: as many as call at its peak, so that waits compare."""

TURNS = 3
PEOPLE_SEARCHED = 10
BODIES: dict[str, Callable[[Bench, int], bytes]] = {
    "detect": lambda bench, number: encoded({"image": bench.text(number), "image_type": "BASE64"}),
    "search": lambda bench, number: encoded(
        {"image": bench.text(number), "image_type": "BASE64", "group_id_list": GROUP, "match_threshold": 0}
    ),
    "match": lambda bench, number: encoded(
        [{"image": bench.text(each), "image_type": "BASE64"} for each in (number, number + 1)]
    ),
}
"""Of the calls made on an idle server."""

LARGE_SIDE, COPY_SIDE = 4000, 1280
"""Longer sides: with 3000 pixels across, a photograph of 12 megapixels, and its copy."""
PIXELS = 2**26
"""More than any picture here has."""
PHOTOGRAPH = "astronaut.png"
MOST_ADDED = 2.0
"""Milliseconds that the server may add to a bare single shot."""

MOST_TAIL = 3.0
MOST_FOR_LARGE = 1.5
LEAST_UNDER_OVERLOAD = 0.9


@dataclass(frozen=True)
class Paced:
    """What came of requests at a fixed rate; milliseconds of those that were accepted."""

    accepted: Sequence[float]
    busy: int
    seconds: float

    def percentile(self, percent: float) -> float:
        """Of the accepted; no number where there are none."""
        return float(np.percentile(np.array(self.accepted), percent)) if self.accepted else math.nan

    def figures(self) -> dict[str, object]:
        """For the report."""
        rate = len(self.accepted) / self.seconds
        return {
            "accepted a second": rate,
            "p50": self.percentile(50),
            "p99": self.percentile(99),
            "refused": self.busy,
        }


def paced(connect: Callable[[], Client], call: str, body: Callable[[int], bytes], rate: float, seconds: float) -> Paced:
    """Calls at ``rate`` a second, for ``seconds``, by as many connections as needed up to ``SENDERS``.

    Raises ``RuntimeError`` for any answer but success and "busy", and what a connection raises.
    """
    lock = threading.Lock()
    accepted: list[float] = []
    refused = 0
    numbers = iter(range(int(rate * seconds)))
    connected = threading.Barrier(SENDERS)
    begun = 0.0

    def send() -> None:
        nonlocal refused, begun
        with contextlib.closing(connect()) as client:
            if connected.wait() == 0:
                begun = time.perf_counter()
            connected.wait()
            while not connected.broken:  # by a sender that failed
                with lock:
                    number = next(numbers, None)
                if number is None:
                    break
                content, due = body(number), begun + number / rate
                time.sleep(max(0.0, due - time.perf_counter()))
                succeeded = is_accepted(client, call, content)
                taken = 1000 * (time.perf_counter() - due)
                with lock:
                    if succeeded:
                        accepted.append(taken)
                    else:
                        refused += 1

    in_threads([send] * SENDERS, on_failure=connected.abort)
    return Paced(accepted, refused, time.perf_counter() - begun)


def timed(work: Callable[[], object]) -> float:
    """Milliseconds of a piece of work."""
    begun = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begun)


def spent(work: Callable[[], object], rounds: int) -> float:
    """Least milliseconds of this thread's processor time: what a quiet machine would take."""
    times = []
    for _ in range(rounds):
        begun = time.thread_time()
        work()
        times.append(1000 * (time.thread_time() - begun))
    return min(times)


def idle(report: Report, bench: Bench, running: Running, rounds: int) -> None:
    """One request at a time, and the same work without a server, by turns."""
    client, bare = running.client(), loops(bench)
    for call, body in BODIES.items():
        alone, over_http = [], []
        for number in range(WARMING + rounds):
            content = body(bench, number)
            alone.append(timed(lambda: bare[call](number)))  # noqa: B023 (called at once)
            over_http.append(timed(lambda: answered(client, call, content)))  # noqa: B023 (called at once)
        p50 = {"bare": median(alone[WARMING:]), "server": median(over_http[WARMING:])}
        report.figure(f"{call}, idle, p50 ms", p50)
        report.at_most(f"{call}: added to a bare single shot, ms", round(p50["server"] - p50["bare"], 2), MOST_ADDED)
    client.close()


def is_accepted(client: Client, call: str, content: bytes) -> bool:
    """Whether a call was served, or refused as one too many; raises ``RuntimeError`` for any other answer."""
    code = client.call(call, content)["error_code"]
    if code not in (0, BUSY):
        raise RuntimeError(f"{call} answered {code}")
    return bool(code == 0)


def answered(client: Client, call: str, content: bytes) -> None:
    """Make a call that must succeed."""
    code = client.call(call, content)["error_code"]
    if code != 0:
        raise RuntimeError(f"{call} answered {code}")


def loaded(report: Report, bench: Bench, running: Running, turns: int, longest: float) -> None:
    """At 80 % of what the server can do, each turn once the host gives its processors, or after ``longest`` seconds.

    With one picture: where one of five takes five times as long as the others, so does one answer of five.
    """
    ratios = []
    for turn in range(1, turns + 1):
        peak = served(bench, running, "detect")
        report.figure(f"detect, saturated, turn {turn}", peak.figures())
        waited, taken = let_the_host_rest(longest), stolen()
        steady = paced(running.client, "detect", partial(BODIES["detect"], bench), 0.8 * peak.per_second, bench.seconds)
        host = {"waited for the host, s": round(waited, 1), "taken away by it, s": round(stolen() - taken, 2)}
        report.figure(f"detect at 80 %, turn {turn}", {**steady.figures(), **host})
        ratios.append(steady.percentile(99) / steady.percentile(50))
    report.at_most("p99 / p50 at 80 %", round(median(ratios), 2), MOST_TAIL)


def overloaded(report: Report, bench: Bench, running: Running, turns: int) -> None:
    """With three times as many requests as the server can answer, of each call by turns."""
    for call in FLOODED:
        rounds = [_overloaded(bench, running, call) for _ in range(turns)]
        for number, turn in enumerate(rounds, 1):
            report.figure(f"{call}, peak and 300 %, turn {number}", asdict(turn))
        kept = median(turn.accepted_a_second / turn.peak_a_second for turn in rounds)
        report.at_least(f"{call}: throughput under overload / peak", round(kept, 3), LEAST_UNDER_OVERLOAD)
        dearer = median(turn.peak_processor_ms / turn.accepted_processor_ms for turn in rounds)
        report.at_least(f"{call}: processor time a call, peak / overload", round(dearer, 3), LEAST_UNDER_OVERLOAD)


@dataclass(frozen=True)
class Overloaded:
    """Peak and overload right after each other.

    Processor time is that of server and database, what refusing took included, by calls that were answered.
    """

    peak_a_second: float
    accepted_a_second: float
    refused: int
    peak_processor_ms: float
    accepted_processor_ms: float
    peak_p99_ms: float
    accepted_p99_ms: float


def _overloaded(bench: Bench, running: Running, call: str) -> Overloaded:
    marks = [sum(processor_seconds(running))]
    peak = served(bench, running, call)
    marks.append(sum(processor_seconds(running)))
    flood = paced(running.client, call, partial(BODIES[call], bench), OVERLOAD * peak.per_second, bench.seconds)
    marks.append(sum(processor_seconds(running)))
    at_peak, at_flood = (1000 * (after - before) for before, after in pairwise(marks))
    return Overloaded(
        round(peak.per_second, 1),
        round(len(flood.accepted) / flood.seconds, 1),
        flood.busy,
        round(at_peak / (peak.count + WARMING * CALLERS * bench.threads), 2),
        round(at_flood / max(1, len(flood.accepted)), 2),
        round(peak.p99, 1),
        round(flood.percentile(99), 1),
    )


def resized(image: Image, side: int) -> bytes:
    """A JPEG whose longer side is ``side`` pixels."""
    zoom = side / max(image.shape[:2])
    made = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA)
    return cv2.imencode(".jpg", made, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def stages(report: Report, engine: Engine, photograph: Image, rounds: int) -> None:
    """Processor time of each stage, of a 640-pixel picture and of a phone's photograph."""

    def recognised(data: bytes) -> None:
        picture = Picture(data, PIXELS)
        image = picture.full if picture.sketch is None else picture.sketch.image
        faces, _ = engine.prominent(image, 1)
        engine.embed([engine.align(image, faces[0].points)])

    camera = resized(photograph, 640)
    image = Picture(camera, PIXELS).full
    (face,) = engine.detect(image, 1)
    crop, text = engine.align(image, face.points), base64.b64encode(camera).decode("ascii")
    pieces: dict[str, Callable[[], object]] = {
        "base64": lambda: decode_base64(text, len(text)),
        "decode": lambda: Picture(camera, PIXELS).full,
        "detect": lambda: engine.detect(image, 1),
        "align": lambda: engine.align(image, face.points),
        "embed": lambda: engine.embed([crop]),
        "portrait": lambda: encode_jpeg(engine.portrait(image, face)[0]),
    }
    report.figure("stages, processor ms", {name: round(spent(work, rounds), 2) for name, work in pieces.items()})
    height, width = photograph.shape[:2]
    frame = photograph[: min(height, width * 3 // 4)]  # of phones' proportions: the face is in the upper half
    large, copy = resized(frame, LARGE_SIDE), resized(frame, COPY_SIDE)
    turns = [(spent(lambda: recognised(large), 1), spent(lambda: recognised(copy), 1)) for _ in range(3 * rounds)]
    costs = dict(zip(("12 megapixels", "1280"), map(median, zip(*turns, strict=True)), strict=True))
    report.figure("photograph, processor ms", {name: round(cost, 1) for name, cost in costs.items()})
    report.at_most("12 megapixels / 1280 pixels", round(costs["12 megapixels"] / costs["1280"], 2), MOST_FOR_LARGE)


def main() -> int:
    """Run, report, and say by the exit status whether the targets were met."""
    options = with_processes(with_device(parser(__doc__)))
    chosen = options.parse_args()
    report = Report("latency", chosen.json)
    engine = bare_engine(chosen.pack, chosen.device)
    report.figure("runtimes", ", ".join(engine.providers))
    engine.warm_up()
    pictures = fetch_pictures()
    seconds, rounds = (2.0, 12) if chosen.quick else (20.0, 200)
    bench = Bench(engine, camera_pictures(pictures), FlatIndex(engine.dimension), chosen.threads, seconds)
    stages(report, engine, decode(pictures.bytes(PHOTOGRAPH)), max(5, rounds // 6))
    usual = server_settings(chosen)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as pool:
        both = (usual, {**usual, "QUEUE_LIMIT": str(max(1, QUEUE // chosen.processes))})
        running, narrow = pool.map(lambda settings: stack.enter_context(running_server(**settings)), both)
        for server in (running, narrow):
            client = server.client()
            fill_gallery(bench, client, PEOPLE_SEARCHED)
            client.close()
        one = replace(bench, files=bench.files[:1])
        idle(report, one, running, rounds)
        # Hosts let the processors be used in full for some seconds: turns at 80 % are shorter than that.
        turns, each, longest = (1, 2.0, 4.5) if chosen.quick else (TURNS, 5.0, SETTLING_SECONDS)
        loaded(report, replace(one, seconds=each), running, turns, longest)
        turns, each = (2, 1.5) if chosen.quick else (TURNS, seconds)
        overloaded(report, replace(bench, seconds=each), narrow, turns)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
