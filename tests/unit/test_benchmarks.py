"""The benchmarks' arithmetic, on numbers small enough to check by hand, and what they do when something fails."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import latency
from benchmarks.accuracy import accuracy_by_fold, all_against_all, best_threshold, read_pairs, tar_at_far
from benchmarks.event_loop import padded, under
from benchmarks.harness import Client, Report, measure
from benchmarks.search import fill, make_task, measure_removal
from service.search.tiered import TieredIndex
from tests.fixtures.formats import decode_picture
from tests.fixtures.server import Credentials

SCORES = np.array([90.0, 80.0, 30.0, 70.0, 20.0, 10.0])
SAME = np.array([True, True, True, False, False, False])


def test_the_best_threshold_makes_the_fewest_errors() -> None:
    assert best_threshold(SCORES, SAME) == pytest.approx(25.0)  # or 75: one error either way, the lower comes first
    assert best_threshold(np.array([1.0, 2.0]), np.array([False, True])) == pytest.approx(1.5)
    assert best_threshold(np.array([1.0, 2.0]), np.array([True, True])) < 1


def test_each_fold_is_judged_by_the_others() -> None:
    scores, same = np.tile(SCORES, 2), np.tile(SAME, 2)
    folds = np.repeat(np.array([0, 1]), 6)
    assert accuracy_by_fold(scores, same, folds) == pytest.approx([100 * 5 / 6] * 2)


def test_true_accepts_at_a_false_accept_rate() -> None:
    assert tar_at_far(SCORES, SAME, 0.0) == pytest.approx(100 * 2 / 3)
    assert tar_at_far(SCORES, SAME, 0.34) == pytest.approx(100.0)


def test_pairs_are_read_in_the_standards_form(tmp_path: Path) -> None:
    file = tmp_path / "pairs.txt"
    file.write_text("10\t300\nAda_L\t1\t4\nAda_L\t2\tBob_M\t11\n")
    same, other = read_pairs(file, tmp_path, per_fold=1)
    assert (same.left, same.right, same.same, same.fold) == (
        tmp_path / "Ada_L" / "Ada_L_0001.jpg",
        tmp_path / "Ada_L" / "Ada_L_0004.jpg",
        True,
        0,
    )
    assert (other.right, other.same, other.fold) == (tmp_path / "Bob_M" / "Bob_M_0011.jpg", False, 1)


def test_all_pictures_against_all_others() -> None:
    embeddings = np.eye(3, dtype=np.float32)
    cosines, same = all_against_all(embeddings, np.array([1, 1, 2]))
    assert cosines.tolist() == [0, 0, 0]
    assert same.tolist() == [True, False, False]


def test_a_measurement_is_bounded_and_counts() -> None:
    done = measure(lambda: contextlib.nullcontext(lambda _: None), threads=2, seconds=0.05)
    assert done.count > 0
    assert done.p50 <= done.p95 <= done.p99


def test_a_failing_worker_ends_the_measurement() -> None:
    def fail(number: int) -> None:
        raise ValueError(number)

    with pytest.raises(ValueError, match=r"\d"):
        measure(lambda: contextlib.nullcontext(fail), threads=2, seconds=5)


@contextlib.contextmanager
def answering(code: int) -> Iterator[Callable[[], Client]]:
    """Connects to a server that gives a token to everybody and has one answer to every call."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            content = json.dumps({"access_token": "token", "error_code": code}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 (the name that the library looks for)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield lambda: Client(f"http://127.0.0.1:{server.server_port}", Credentials("1", "key", "secret"))
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def few_senders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "SENDERS", 4)


@pytest.mark.usefixtures("few_senders")
@pytest.mark.parametrize(("code", "accepted", "refused"), [(0, 20, 0), (latency.BUSY, 0, 20)])
def test_paced_calls_are_accepted_or_refused(code: int, accepted: int, refused: int) -> None:
    with answering(code) as connect:
        done = latency.paced(connect, "detect", lambda _: b"{}", rate=200, seconds=0.1)
        _, _, served = under(connect, [lambda: b"{}"] * 2, seconds=0.05)
    assert (len(done.accepted), done.busy) == (accepted, refused)
    assert (served > 0) == (accepted > 0)


@pytest.mark.usefixtures("few_senders")
def test_an_answer_that_is_wrong_ends_what_is_measured() -> None:
    with answering(222202) as connect:
        with pytest.raises(RuntimeError, match="detect answered 222202"):
            latency.paced(connect, "detect", lambda _: b"{}", rate=200, seconds=0.1)
        with pytest.raises(RuntimeError, match="detect answered 222202"):
            under(connect, [lambda: b"{}"] * 2, seconds=0.05)


@pytest.mark.usefixtures("few_senders")
def test_a_sender_that_cannot_connect_ends_what_is_measured() -> None:
    numbers = itertools.count()

    def connect_some() -> Client:
        if next(numbers) == 2:
            raise ConnectionRefusedError
        return connect()

    with answering(0) as connect, pytest.raises(ConnectionRefusedError):
        latency.paced(connect_some, "detect", lambda _: b"{}", rate=200, seconds=0.1)


def test_a_large_file_shows_the_same_picture() -> None:
    written, data = cv2.imencode(".jpg", np.random.default_rng(1).integers(0, 256, (64, 48, 3), np.uint8))
    assert written
    large = padded(data.tobytes())
    assert len(large) > 7_000_000
    assert np.array_equal(decode_picture(large), decode_picture(data.tobytes()))


def test_so_many_are_removed_that_segments_are_rewritten() -> None:
    task, index, report = make_task(5_000, 192, probes=1), TieredIndex(192, seal_at=500), Report("test", as_json=False)
    fill(index, task)
    before, _ = index.sealed()
    measure_removal(report, index, task)
    rows, _ = index.sealed()
    assert len(index) == 3750
    assert rows < 0.85 * before  # a removed face keeps its row until then
    assert report.figures["ours: faces removed a second"].keys() == {"marked", "rewritten"}


def test_the_report_ends_with_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("test", as_json=True)
    report.figure("rate", 1.5)
    report.at_least("rate", 1.5, 1.0)
    report.at_most("errors", 2, 1)
    assert report.close() == 1
    content = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert content["figures"] == {"rate": 1.5}
    assert [check["ok"] for check in content["checks"]] == [True, False]
    assert set(content["checks"][0]) == {"name", "value", "target", "ok"}
    assert content["machine"]["cores"] >= 1
