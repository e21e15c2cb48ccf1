"""Several server processes behind one port: one server for its clients, its operator, and who kills parts of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from service.cli.failures import FAILED
from tests.fixtures.lived import patience
from tests.fixtures.pictures import Pictures
from tests.fixtures.places import environment
from tests.fixtures.server import PROGRAM, STOP_SECONDS, WAIT_SECONDS, Home, Server
from tests.fixtures.signals import as_in_a_terminal
from tests.torture.caller import BROKEN, Caller

TOTAL = re.compile(r'^aipface_requests_total\{call="v3/faceset/group/getlist",code="0"\} (\d+)', re.MULTILINE)
CONNECTIONS = 64
"""Opened until each process has one; the kernel gives each to whoever comes first."""


@contextmanager
def serving(home: Home, processes: int, **settings: str) -> Iterator[Server]:
    with home.serving(**{"PROCESSES": str(processes), "CREATE_FIRST_APP": "false", **settings}) as server:
        server.wait_for_all()
        yield server


def members(server: Server) -> list[psutil.Process]:
    """The processes that share the port."""
    return psutil.Process(server.process.pid).children()


def answering(client: httpx.Client, server: Server) -> int:
    """Which process has the client's connection."""
    client.get("/healthz").raise_for_status()
    ours = client.get("/healthz").extensions["network_stream"].get_extra_info("socket").getsockname()
    for member in members(server):
        if ours in [known.raddr for known in member.net_connections("tcp")]:
            return member.pid
    raise AssertionError("nobody has the connection")


@contextmanager
def a_client_of_each(server: Server) -> Iterator[list[httpx.Client]]:
    """Clients with a connection each, which different processes have."""
    found: dict[int, httpx.Client] = {}
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            client = httpx.Client(base_url=server.base_url, timeout=WAIT_SECONDS, trust_env=False)
            stack.enter_context(closing(client))
            found.setdefault(answering(client, server), client)
            if len(found) == len(members(server)):
                break
        assert len(found) == len(members(server)), "one process took all connections"
        yield list(found.values())


def test_a_client_cannot_tell_them_apart(home: Home, pictures: Pictures) -> None:
    keys = home.create_app("several")
    face = {"image": pictures.base64("obama.jpg"), "image_type": "BASE64"}
    with serving(home, 2) as server, a_client_of_each(server) as (one, other):
        # A core would hold faces and keys.
        assert {member.rlimit(psutil.RLIMIT_CORE) for member in members(server)} == {(0, 0)}
        token = Caller(server.base_url, keys).log_in().token

        def call(client: httpx.Client, name: str, content: object) -> dict[str, object]:
            answer = client.post(f"/rest/2.0/face/v3/{name}", params={"access_token": token}, json=content).json()
            assert answer["error_code"] == 0, answer
            assert isinstance(answer["result"], dict)
            return answer["result"]

        added = call(one, "faceset/user/add", {**face, "group_id": "g", "user_id": "obama"})
        probe = {"image": added["face_token"], "image_type": "FACE_TOKEN", "group_id_list": "g"}
        users = call(other, "search", probe)["user_list"]
        assert isinstance(users, list)
        assert [(user["user_id"], user["score"]) for user in users] == [("obama", 100)]
        for client in (one, other, one):
            call(client, "faceset/group/getlist", {})
        for client in (one, other):
            told = TOTAL.findall(client.get("/metrics").text)
            assert told == ["3"], "metrics are those of all processes"
            assert client.get("/readyz").status_code == 200


def test_one_that_is_killed_is_replaced_and_nothing_acknowledged_is_lost(home: Home, pictures: Pictures) -> None:
    keys = home.create_app("killed")
    with serving(home, 3) as server, Caller(server.base_url, keys).log_in().connected() as caller:
        face = {"image": pictures.base64("biden.jpg"), "image_type": "BASE64"}
        code, first = caller.call("faceset/user/add", {**face, "group_id": "g", "user_id": "first"})
        assert code == 0
        known = {"image": first["face_token"], "image_type": "FACE_TOKEN", "group_id": "g"}
        stopping = threading.Event()
        acknowledged: list[str] = []
        codes: set[int] = set()

        def enrol(number: int) -> None:
            with caller.connected():
                count = 0
                while not stopping.is_set():
                    user = f"u{number}_{count}"
                    count += 1
                    code, _ = caller.call("faceset/user/add", {**known, "user_id": user})
                    codes.add(code)
                    if code == 0:
                        acknowledged.append(user)

        with ThreadPoolExecutor(4) as pool:
            works = [pool.submit(enrol, number) for number in range(4)]
            try:
                for times in (2, 3):
                    members(server)[0].send_signal(signal.SIGKILL)
                    server.wait_for_all(times)
            finally:
                stopping.set()
            for work in works:
                work.result()
        assert codes <= {0, BROKEN}
        assert "ended by SIGKILL; another one takes its place" in server.output()
        stored: list[str] = []
        while True:
            code, page = caller.call("faceset/group/getusers", {"group_id": "g", "start": len(stored), "length": 1000})
            assert code == 0
            users = page["user_id_list"]
            assert isinstance(users, list)
            if not users:
                break
            stored += users
        assert set(acknowledged) <= set(stored)


def test_one_that_cannot_start_again_is_tried_again_while_the_others_answer(home: Home, model_dir: Path) -> None:
    weights, empty = home.folder / "weights", home.folder / "empty"
    weights.symlink_to(model_dir)
    empty.mkdir()
    with serving(home, 2, MODEL_DIR=str(weights)) as server:
        weights.unlink()
        weights.symlink_to(empty)
        members(server)[1].send_signal(signal.SIGKILL)
        for _ in patience(WAIT_SECONDS, 0.1):
            if server.output().count("ended with status 1") == 2:
                break
            assert httpx.get(f"{server.base_url}/readyz", timeout=WAIT_SECONDS, trust_env=False).status_code == 200
        else:
            raise AssertionError(server.output())
        weights.unlink()
        weights.symlink_to(model_dir)
        server.wait_for_all(2)
        assert len(members(server)) == 2


def test_they_end_with_the_one_above_them(home: Home) -> None:
    server = home.start(PROCESSES="2", CREATE_FIRST_APP="false")
    try:
        server.wait_until_ready()
        server.wait_for_all()
        server.kill()
        assert home.processes() == []
    finally:
        home.sweep()


def test_no_database_is_left_behind_by_processes_that_were_killed(home: Home) -> None:
    server = home.start(PROCESSES="2", CREATE_FIRST_APP="false")
    try:
        server.wait_until_ready()
        server.wait_for_all()
        for member in members(server):
            member.kill()
        assert server.stop() == 0, server.output()
        assert home.processes() == []
    finally:
        server.kill()
        home.sweep()


def test_one_that_stands_still_is_killed_by_the_third_signal(home: Home) -> None:
    server = home.start(PROCESSES="2", CREATE_FIRST_APP="false")
    try:
        server.wait_until_ready()
        server.wait_for_all()
        still = members(server)[1]
        still.suspend()
        os.kill(server.process.pid, signal.SIGTERM)
        for _ in patience(WAIT_SECONDS, 0.05):
            if members(server) == [still]:
                break
        for _ in range(2):
            assert server.process.poll() is None
            os.kill(server.process.pid, signal.SIGTERM)
            time.sleep(0.2)  # signals that wait are one
        assert server.process.wait(STOP_SECONDS) == 0, server.output()
        assert f"process {still.pid} has not ended yet and is killed" in server.output()
        assert home.processes() == []
    finally:
        server.kill()
        home.sweep()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_one_above_stops_all_of_them_after_what_they_were_asked(
    home: Home, pictures: Pictures, number: signal.Signals
) -> None:
    keys = home.create_app("stopped")
    with as_in_a_terminal():
        server = home.start(PROCESSES="2", CREATE_FIRST_APP="false", SHUTDOWN_GRACE="120")
    try:
        server.wait_until_ready()
        caller = Caller(server.base_url, keys).log_in()
        content = {"image": pictures.base64("obama.jpg"), "image_type": "BASE64"}

        def detect() -> int:
            with caller.connected():
                return caller.call("detect", content)[0]

        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(detect) for _ in range(4)]
            running = re.compile(r"^aipface_requests_running [1-9]", re.MULTILINE)
            for _ in patience(WAIT_SECONDS, 0.01):
                told = httpx.get(f"{server.base_url}/metrics", timeout=WAIT_SECONDS, trust_env=False).text
                if running.search(told) or all(work.done() for work in asked):
                    break
            os.kill(server.process.pid, number)
            # A connection that nobody has accepted yet breaks, as by the end of any server.
            assert {work.result() for work in asked} <= {0, BROKEN}
        assert server.process.wait(STOP_SECONDS) == 0, server.output()
        assert home.processes() == []
        assert server.output().count("stopped") == 1
    finally:
        server.kill()
        home.sweep()


def test_one_that_is_stopped_while_it_starts_ends_quietly(home: Home) -> None:
    for wanted in ("networks loaded", "index of 0 faces loaded"):
        server = home.start(PROCESSES="2", CREATE_FIRST_APP="false")
        try:
            for _ in patience(WAIT_SECONDS, 0.01):
                if wanted in server.output():
                    break
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(STOP_SECONDS) == 0, server.output()
            assert home.processes() == []
            assert "Traceback" not in server.output()
        finally:
            server.kill()
            home.sweep()


def test_a_delay_is_kept_and_a_second_signal_skips_it(home: Home) -> None:
    server = home.start(PROCESSES="2", CREATE_FIRST_APP="false", SHUTDOWN_DELAY="3600")
    try:
        server.wait_until_ready()
        server.wait_for_all()
        started = members(server)
        with a_client_of_each(server) as clients:
            for each in (started[0], server.process, started[1]):
                each.send_signal(signal.SIGTERM)  # as systemd tells every process of a unit, before us or behind us
            saying_no = Counter[int]()
            for _ in patience(4, 0.1):
                saying_no.update(client.get("/readyz").status_code for client in clients)
            assert saying_no[httpx.codes.SERVICE_UNAVAILABLE] > saying_no[httpx.codes.OK]
            assert members(server) == started
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(STOP_SECONDS) == 0, server.output()
        assert home.processes() == []
    finally:
        server.kill()
        home.sweep()


def test_the_first_app_is_shown_once_and_a_terminal_that_was_closed_ends_nothing(home: Home) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as output:
        try:
            process = subprocess.Popen(
                [PROGRAM, "serve", "--processes", "2"],
                env=environment(home.folder, PORT="0"),
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(writing)
        told = b""
        while b"all 2 processes answer" not in told:
            told += (line := output.readline())
            assert line, told
    assert told.count(b"secret_key") == 1
    server = Server(home, process, home.folder / "server-none.log")
    server.log.touch()
    try:
        announced = re.search(rb"^ready on (\S+)", told, re.MULTILINE)
        assert announced is not None
        server.base_url = announced[1].decode()
        lost = members(server)[0]
        lost.send_signal(signal.SIGKILL)
        for _ in patience(WAIT_SECONDS):
            if lost.pid not in (now := {member.pid for member in members(server)}) and len(now) == 2:
                break
        for _ in patience(WAIT_SECONDS, 0.5):
            with suppress(AssertionError), a_client_of_each(server):  # which the new one has, when it answers
                break
        else:
            raise AssertionError("the one that was killed was not replaced")
        assert process.poll() is None
        assert server.stop() == 0
    finally:
        server.kill()
        home.sweep()


def test_keys_that_could_be_shown_nowhere_are_not_made(home: Home) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" serve --processes 2 --port 0 >&-', PROGRAM],
        env=environment(home.folder),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert done.returncode == FAILED
    assert "the keys could be shown nowhere" in done.stderr
    assert home.run("app", "list", "--json").stdout.strip() == "[]"


def test_what_keeps_the_first_from_starting_is_told_once(home: Home) -> None:
    away = {"AIPFACE_DATABASE_URL": "postgresql://nobody:secret@127.0.0.1:1/nothing", "AIPFACE_PORT": "0"}
    done = home.run("serve", "--processes", "2", variables=away)
    assert done.returncode == FAILED
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Connection refused" in done.stderr
    assert home.processes() == []


def test_one_that_is_killed_before_it_is_ready_ends_all(home: Home) -> None:
    server = home.start(PROCESSES="2", CREATE_FIRST_APP="false")
    try:
        for _ in patience(WAIT_SECONDS, 0.01):
            if started := members(server):
                break
        started[0].send_signal(signal.SIGKILL)
        assert server.process.wait(STOP_SECONDS) == FAILED
        assert "the server was ended by SIGKILL before it was ready" in server.output()
    finally:
        server.kill()
        home.sweep()
