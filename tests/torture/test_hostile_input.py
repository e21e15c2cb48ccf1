"""Mutated pictures and bodies through a real server: answered in the API's words, soon, in little memory."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil
import pytest

from tests.fixtures.lived import Watch
from tests.fixtures.pictures import Pictures
from tests.fixtures.server import Server
from tests.torture.caller import Caller
from tests.torture.figures import Figures
from tests.torture.inputs import Hostile, Inputs

CLIENTS = 4
UNEXPECTED = 1
"""Code of what nobody foresaw."""
BUSY = 2
"""Code of a request that took longer than the server allows, and of a database that does not answer."""
LONGEST_SECONDS = 30.0
"""For an answer, of time that was lived."""
WAIT_SECONDS = 300.0
"""For what the server does after 2 or 3 seconds, on a machine that may stand still meanwhile."""
ATTEMPTS = 5
MOST_GROWTH = 300 * 2**20
"""Bytes that the server may grow by while it reads what it must refuse: buffers of several threads."""


@dataclass
class Tally:
    """What came back."""

    asked: Counter[str] = field(default_factory=Counter)
    codes: Counter[object] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    longest: float = 0.0
    peak: int = 0


def send(token: str, connection: http.client.HTTPConnection, hostile: Hostile, tally: Tally) -> str | None:
    """What is wrong with the answer, ``None`` for nothing."""
    body = iter([hostile.body[:7], hostile.body[7:]]) if hostile.chunked else hostile.body
    path = f"{hostile.path}?access_token={token}"
    connection.request("POST", path, body, dict(hostile.headers), encode_chunked=hostile.chunked)
    response = connection.getresponse()
    content = response.read()
    if response.status >= 500:
        return f"{response.status}"
    try:
        answer = json.loads(content)
    except ValueError:
        return f"no JSON: {content[:80]!r}"
    tally.codes[answer.get("error_code", answer.get("status"))] += 1
    if answer.get("error_code") in (UNEXPECTED, BUSY) or answer.get("status") == "INTERNAL_ERROR":
        return f"unexpected: {answer}"
    return None


def bombard(server: Server, token: str, requests: Iterator[Hostile], tally: Tally) -> None:
    """Send what ``requests`` yields, one after the other."""
    process = psutil.Process(server.process.pid)
    connection = http.client.HTTPConnection(server.base_url.removeprefix("http://"), timeout=WAIT_SECONDS)
    for hostile in requests:
        fault, seconds = ask(token, connection, hostile, tally)
        with tally.lock:
            tally.asked[hostile.kind] += 1
            tally.longest = max(tally.longest, seconds)
            tally.peak = max(tally.peak, process.memory_info().rss)
            if fault is not None:
                tally.faults.append(f"{hostile.kind} to {hostile.path}: {fault}; {hostile.body[:120]!r}")
    connection.close()


def ask(token: str, connection: http.client.HTTPConnection, hostile: Hostile, tally: Tally) -> tuple[str | None, float]:
    """What is wrong with the answer, and how long it took; again where the machine stood still meanwhile."""
    fault, seconds = None, 0.0
    for _ in range(ATTEMPTS):
        watch = Watch()
        try:
            fault = send(token, connection, hostile, tally)
        except (OSError, http.client.HTTPException) as error:
            fault = f"{type(error).__name__}: {error}"
            connection.close()
        seconds = watch.seconds()
        if fault is None or not watch.stood_still():
            break
    return fault, seconds


def test_a_corpus(abused: Server, abuser: Caller, pictures: Pictures, long: bool, figures: Figures) -> None:
    number, tally = 20_000 if long else 2_000, Tally()
    share = number // CLIENTS
    warm_up(abused, abuser, pictures)
    before = psutil.Process(abused.process.pid).memory_info().rss
    threads = [
        threading.Thread(
            target=bombard,
            args=(abused, abuser.token, itertools.islice(Inputs(pictures, seed), share), tally),
        )
        for seed in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.faults == []
    assert tally.longest < LONGEST_SECONDS
    assert abused.process.poll() is None
    with abuser.connected():
        assert abuser.ready()
    assert len(tally.codes) > 20, "most inputs got no further than the same few checks"
    assert "Traceback" not in abused.output()
    assert "unexpected failure" not in abused.output()
    assert tally.peak - before < MOST_GROWTH, f"grew by {(tally.peak - before) >> 20} MiB"
    figures.add(
        "hostile inputs",
        inputs=sum(tally.asked.values()),
        codes=len(tally.codes),
        faults=0,
        longest=f"{tally.longest:.1f} s",
        growth_at_peak=f"{(tally.peak - before) >> 20} MiB",
        kinds=dict(tally.asked),
    )


def warm_up(abused: Server, abuser: Caller, pictures: Pictures) -> None:
    """Every network has run once: their buffers are no growth."""
    with abuser.connected():
        content = {
            "image": pictures.base64("obama.jpg"),
            "image_type": "BASE64",
            "face_field": "age,quality,landmark150",
        }
        assert abuser.call("detect", content)[0] == 0
    assert abused.process.poll() is None


CALL = b"POST /rest/2.0/face/v3/detect HTTP/1.1\r\n"
HIDDEN = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
"""A second request, which must not be answered where the lengths of the first one are in doubt."""
HEADS = {
    "no request": b"\r\n\r\n\r\n",
    "other protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9": b"GET /healthz HTTP/9.9\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "negative length": CALL + b"Host: x\r\nContent-Length: -5\r\n\r\n",
    "two lengths": CALL + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "length and chunks": CALL + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk too large": CALL + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    "chunk of nonsense": CALL + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "chunks and length": CALL + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two codings": CALL + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "coding with a tab": CALL + b"Transfer-Encoding:\tchunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + HIDDEN,
    "coding misspelt": CALL + b"Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN,
    "coding after a blank": CALL + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "length with a sign": CALL + b"Content-Length: +5\r\n\r\nhello" + HIDDEN,
    "length in hexadecimal": CALL + b"Content-Length: 0x5\r\n\r\nhello" + HIDDEN,
    "length twice in one": CALL + b"Content-Length: 5, 5\r\n\r\nhello" + HIDDEN,
    "length without end": CALL + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "body of a GET": b"GET /healthz HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello" + HIDDEN,
    "chunk extensions": CALL + b"Transfer-Encoding: chunked\r\n\r\n" + b"1;" + b"x" * 10_000 + b"\r\n{\r\n0\r\n\r\n",
    "trailers": CALL + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"Content-Length: 9\r\n" * 100 + b"\r\n",
    "line ends of another system": b"GET /healthz HTTP/1.1\nHost: x\n\n",
    "carriage returns alone": b"GET /healthz HTTP/1.1\rHost: x\r\r",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "unknown coding": CALL + b"Transfer-Encoding: gzip\r\n\r\n",
    "header without colon": b"GET /healthz HTTP/1.1\r\nnonsense\r\n\r\n",
    "blank before colon": b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n",
    "folded header": b"GET /healthz HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
    "NUL in a header": b"GET /healthz HTTP/1.1\r\nX: a\0b\r\n\r\n",
    "bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
    "long path": b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\n\r\n",
    "too long path": b"GET /" + b"a" * 400_000 + b" HTTP/1.1\r\n\r\n",
    "too many headers": b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
    "header without end": b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 400_000,
    "up and out": b"GET /../../../etc/passwd HTTP/1.1\r\n\r\n",
    "up, encoded": b"GET /docs/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n\r\n",
    "NUL in the path": b"POST /rest/2.0/face/v3/detect%00 HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "encoded slash": b"POST /rest%2f2.0/face/v3/detect HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "encoded line end": b"POST /rest/2.0/face/v3/detect%0d%0aX:%20y HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "doubled slashes": b"POST //rest//2.0/face/v3/detect HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "half an escape": b"POST /rest/2.0/face/v3/detect%f HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "too long UTF-8": b"GET /%c0%ae%c0%ae/%c0%af HTTP/1.1\r\n\r\n",
    "semicolons": b"POST /rest/2.0/face/v3/detect;a=b HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "whole address with a name": b"POST http://a:b@127.0.0.1:1/healthz HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "whole address": b"GET http://example.org/healthz HTTP/1.1\r\n\r\n",
    "authority": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\n\r\n",
    "star": b"OPTIONS * HTTP/1.1\r\n\r\n",
    "strange method": b"BREW /rest/2.0/face/v3/detect HTTP/1.1\r\n\r\n",
    "methods of other protocols": b"PROPFIND /healthz HTTP/1.1\r\nDepth: infinity\r\n\r\n",
    "method of 60,000 letters": b"A" * 60_000 + b" /healthz HTTP/1.1\r\n\r\n",
    "method in small letters": b"get /healthz HTTP/1.1\r\n\r\n",
    "trace": b"TRACE /rest/2.0/face/v3/detect HTTP/1.1\r\n\r\n",
    "upgrade": b"GET /healthz HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
    "900 headers": b"GET /healthz HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(900)) + b"\r\n",
    "header of 60,000 letters": b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 60_000 + b"\r\n\r\n",
    "expecting": CALL + b"Expect: 200-ok\r\nContent-Length: 0\r\n\r\n",
    "many tokens": b"POST /rest/2.0/face/v3/detect?"
    + b"access_token=x&" * 4000
    + b" HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "signature of nonsense": CALL + b"Authorization: bce-auth-v1/" + b"/" * 500 + b"\r\nContent-Length: 0\r\n\r\n",
    "pipeline": b"GET /healthz HTTP/1.1\r\n\r\n" * 500,
}


IN_DOUBT = [name for name, head in HEADS.items() if HIDDEN in head and name != "body of a GET"]


@pytest.mark.parametrize("abuse", HEADS)
def test_heads(abused: Server, abuse: str) -> None:
    """Answered with less than 500 or hung up on, and the next caller is served."""
    host, port = abused.base_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) as connection:
        try:
            connection.sendall(HEADS[abuse])
            connection.shutdown(socket.SHUT_WR)
            answer = read(connection)
        except TimeoutError:
            raise
        except OSError:
            answer = b""  # hung up on while sending
    assert not answer or answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4")), answer[:100]
    assert b"root:" not in answer
    if abuse in IN_DOUBT:
        assert b"/rest/2.0/face/v3/detect" not in answer, "the hidden request was answered"


def test_clients_do_not_pay_for_a_server_that_stood_still(abused: Server) -> None:
    """Longer than it grants for a head: as when a virtual machine moves. Again where the rest was late by itself."""
    answers: list[bytes] = []
    while len(answers) < ATTEMPTS and not any(answer.startswith(b"HTTP/1.1 200") for answer in answers):
        answers.append(answer_across_a_standstill(abused))
    assert answers[-1].startswith(b"HTTP/1.1 200"), answers


def answer_across_a_standstill(server: Server) -> bytes:
    host, port = server.base_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        time.sleep(0.2)  # it is read by then, and the head's time has begun
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            time.sleep(4)
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        time.sleep(0.2)  # timers have run by then
        try:
            connection.sendall(b"Connection: close\r\n\r\n")
            return read(connection)
        except ConnectionError:
            return b""


def read(connection: socket.socket) -> bytes:
    """Everything until the other side hangs up."""
    answer = b""
    while piece := connection.recv(65536):
        answer += piece
    return answer


SLOW = {
    "nothing at all": b"",
    "half a head": CALL + b"Host: x\r\n",
    "half a body": CALL + b"Host: x\r\nContent-Length: 1000\r\n\r\n{",
    "half a chunk": CALL + b"Transfer-Encoding: chunked\r\n\r\n100\r\n{",
    "blank lines after an answer": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n\r\n",
}


@pytest.mark.parametrize("slowness", SLOW)
def test_slow_clients_are_hung_up_on(abused: Server, slowness: str) -> None:
    """Also those that send a byte now and then; this server grants 2 and 3 seconds."""
    host, port = abused.base_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) as connection:
        connection.sendall(SLOW[slowness])
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.5):
                try:
                    connection.sendall(b"\n" if slowness.startswith("blank") else b"x")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        if slowness != "nothing at all":
            dripping.start()
        try:
            answer = read(connection)
        except ConnectionError:
            answer = b"HTTP/1.1 408"  # the answer was lost to a byte that came after it
        stop.set()
        if dripping.ident is not None:
            dripping.join()
    assert b"HTTP/1.1 4" in answer
