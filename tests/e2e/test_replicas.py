"""Several server processes on one database: what one has acknowledged, every other tells with its next answer.

Writers enrol, replace and delete users through any of the processes and ask another one right after; readers search
the same groups all the while, in which some people stay. Pictures are named by tokens whose embedding is known, so that
the time goes into writing and searching. The run lasts 8 seconds, an hour in the long form (``make torture``), or
``--replica-seconds``.
"""

from __future__ import annotations

import base64
import random
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager

import httpx
import psycopg
import pytest

from service.storage.embedded import EmbeddedPostgres
from service.storage.urls import driver_address
from tests.fixtures.pictures import Pictures
from tests.fixtures.server import Credentials, Home, Server
from tests.torture.figures import Figures

PROCESSES = 4
WRITERS = 4
READERS = 2
GROUPS = ("one", "two")
NO_USER, NO_MATCH, NO_GROUP, NO_TOKEN = 223103, 222207, 223100, 222209
TOLD = 12
"""Faces of which one process tells and another is asked."""
BUSY = (2, 18)
"""A machine that stood still for a while tells so; whether a write was done is then unknown."""
ATTEMPTS = 100
CALL_SECONDS = 280.0
"""Longer than a machine stands still; a late answer is not a wrong one."""

SECONDS, LONG_SECONDS = 8.0, 3600.0


@contextmanager
def replicas(home: Home) -> Iterator[list[Server]]:
    servers = [home.start(CREATE_FIRST_APP="false") for _ in range(PROCESSES)]
    try:
        for server in servers:
            server.wait_until_ready()
        yield servers
        for server in servers:
            assert server.stop() == 0, server.output()
        assert home.processes() == []
    finally:
        for server in servers:
            server.kill()
        home.sweep()


class Caller:
    """Calls any of the processes."""

    def __init__(self, servers: list[Server], keys: Credentials) -> None:
        self._clients = [
            httpx.Client(base_url=server.base_url, timeout=CALL_SECONDS, trust_env=False) for server in servers
        ]
        wanted = {"grant_type": "client_credentials", "client_id": keys.api_key, "client_secret": keys.secret_key}
        self._token = self._clients[0].get("/oauth/2.0/token", params=wanted).json()["access_token"]

    def __call__(self, which: int, name: str, content: object) -> tuple[int, object]:
        answer = (
            self._clients[which]
            .post(f"/rest/2.0/face/v3/{name}", params={"access_token": self._token}, json=content)
            .json()
        )
        return answer["error_code"], answer.get("result")

    def close(self) -> None:
        for client in self._clients:
            client.close()


class Worker(ABC):
    """One thread that does one step after the other, until the time is over or another one has failed."""

    def __init__(self, number: int, call: Caller, tokens: list[str]) -> None:
        self._name = f"w{number}"
        self._call = call
        self._tokens = tokens
        self._random = random.Random(number)  # noqa: S311 - to repeat a run, not to keep a secret
        self.done: Counter[str] = Counter()

    def run(self, until: float, stop: threading.Event) -> None:
        try:
            while time.monotonic() < until and not stop.is_set():
                self._step()
        except BaseException:
            stop.set()
            raise

    @abstractmethod
    def _step(self) -> None:
        """Make a call or two, and check what they tell."""

    def _ask(self, which: int, name: str, content: object) -> tuple[int, object]:
        """Again while the process is busy; only for calls that may be repeated."""
        for _ in range(ATTEMPTS):
            code, result = self._call(which, name, content)
            if code not in BUSY:
                return code, result
            self.done["busy"] += 1
        raise AssertionError(f"{name} was told {code} {ATTEMPTS} times")


class Reader(Worker):
    """Whatever is written meanwhile, the people who stay are found, by any process."""

    def _step(self) -> None:
        number, which = self._random.randrange(len(self._tokens)), self._random.randrange(PROCESSES)
        content = {**_picture(self._tokens[number]), "group_id_list": ",".join(GROUPS), "max_user_num": 50}
        code, result = self._ask(which, "search", content)
        assert code == 0, (code, result)
        assert isinstance(result, dict)
        stayed = [found["score"] for found in result["user_list"] if found["user_id"] == f"stays_{number}"]
        assert stayed == [100], result
        self.done["search"] += 1


class Writer(Worker):
    """Users of its own, in groups that all share."""

    def __init__(self, number: int, call: Caller, tokens: list[str]) -> None:
        super().__init__(number, call, tokens)
        self._known: dict[tuple[str, str], str] = {}

    def _step(self) -> None:
        here, there = self._random.sample(range(PROCESSES), 2)
        group, user = self._random.choice(GROUPS), f"{self._name}_{self._random.randrange(5)}"
        token = self._random.choice(self._tokens)
        person = {"group_id": group, "user_id": user}
        if (group, user) not in self._known:
            action, name, content = "enrol", "faceset/user/add", {**person, **_picture(token)}
        elif self._random.random() < 0.5:
            action, name, content = "replace", "faceset/user/update", {**person, **_picture(token)}
        else:
            action, name, content = "delete", "faceset/user/delete", person
        code, result = self._call(here, name, content)
        if code in BUSY:
            action = "busy"
            code, result = self._ask(here, "faceset/user/delete", person)
            assert code in (0, NO_USER), (code, result)
        else:
            assert code == 0, (action, code, result)
        self.done[action] += 1
        if action in ("enrol", "replace"):
            self._known[group, user] = token
        else:
            self._known.pop((group, user), None)
        self._look(there, group, user)

    def _look(self, which: int, group: str, user: str) -> None:
        """By another process than the one that was written to."""
        token = self._known.get((group, user))
        probe = token or self._tokens[0]
        content = {**_picture(probe), "group_id_list": group, "user_id": user, "match_threshold": 0}
        code, result = self._ask(which, "search", content)
        if token is None:
            assert code in (NO_USER, NO_MATCH, NO_GROUP), (code, result)
        else:
            assert code == 0, (code, result)
            assert isinstance(result, dict)
            assert [(found["user_id"], found["score"]) for found in result["user_list"]] == [(user, 100)]
        self.done["search"] += 1


def _picture(token: str) -> dict[str, str]:
    return {"image": token, "image_type": "FACE_TOKEN"}


def _enrolled(call: Caller, pictures: Pictures) -> list[str]:
    """Tokens of known faces, each of whose people stays in both groups."""
    tokens = []
    for number, name in enumerate(("obama.jpg", "obama2.jpg", "biden.jpg", "astronaut.png")):
        sent = {"image": pictures.base64(name), "image_type": "BASE64"}
        code, result = call(0, "faceset/user/add", {**sent, "group_id": "tokens", "user_id": name.split(".")[0]})
        assert code == 0
        assert isinstance(result, dict)
        tokens.append(result["face_token"])
        stays = {**_picture(tokens[-1]), "group_id": GROUPS[number % len(GROUPS)], "user_id": f"stays_{number}"}
        assert call(0, "faceset/user/add", stays)[0] == 0
    return tokens


def _everybody(call: Caller, token: str) -> list[list[tuple[str, str, float]]]:
    """All people of both groups, as each process tells them."""
    content = {**_picture(token), "group_id_list": ",".join(GROUPS), "match_threshold": 0, "max_user_num": 50}
    told = []
    for which in range(PROCESSES):
        code, result = call(which, "search", content)
        assert code == 0
        assert isinstance(result, dict)
        told.append(sorted((user["group_id"], user["user_id"], user["score"]) for user in result["user_list"]))
    return told


@pytest.fixture
def seconds(request: pytest.FixtureRequest, long: bool) -> float:
    given: float | None = request.config.getoption("--replica-seconds")
    return given or (LONG_SECONDS if long else SECONDS)


def test_what_one_process_acknowledged_all_tell(
    home: Home, pictures: Pictures, seconds: float, figures: Figures
) -> None:
    keys = home.create_app("replicas")
    with replicas(home) as servers, closing(Caller(servers, keys)) as call:
        tokens = _enrolled(call, pictures)
        workers: list[Worker] = [Writer(number, call, tokens) for number in range(WRITERS)]
        workers += [Reader(number, call, tokens) for number in range(READERS)]
        until, stop = time.monotonic() + seconds, threading.Event()
        with ThreadPoolExecutor(len(workers)) as pool:
            for outcome in [pool.submit(worker.run, until, stop) for worker in workers]:
                outcome.result()
        done = sum((worker.done for worker in workers), Counter[str]())
        assert min(done["enrol"], done["replace"], done["delete"], done["search"]) > 0, done
        told = _everybody(call, tokens[0])
        assert told == told[:1] * PROCESSES
        figures.add("four processes on one database", seconds=round(seconds), **done, wrong=0)


def test_a_token_that_one_process_told_works_in_every_other(home: Home, pictures: Pictures) -> None:
    """At once: what one still has to write behind its answer the others wait for."""
    keys = home.create_app("tokens")
    picture = pictures.bytes("obama.jpg")

    def told(which: int, number: int) -> str:
        sent = base64.b64encode(picture + bytes(number)).decode()  # another picture each time
        code, result = call(which, "detect", {"image": sent, "image_type": "BASE64"})
        assert code == 0
        assert isinstance(result, dict)
        return str(result["face_list"][0]["face_token"])

    def asked(which: int, token: str) -> int:
        return call(which, "detect", _picture(token))[0]

    with replicas(home) as servers, closing(Caller(servers, keys)) as call:
        for number in range(TOLD):
            here = number % PROCESSES
            assert asked((here + 1) % PROCESSES, told(here, number)) == 0
        with held_up(home) as go_on, ThreadPoolExecutor(1) as pool:
            token = told(0, TOLD)
            answer = pool.submit(asked, 1, token)
            assert not wait([answer], 0.05).done
            go_on()
            assert answer.result() == 0
        assert {asked(which, "0" * 32) for which in range(PROCESSES)} == {NO_TOKEN}


@contextmanager
def held_up(home: Home) -> Iterator[Callable[[], None]]:
    """Nobody can write the row of a face token until the block calls what it is given."""
    postgres = EmbeddedPostgres(home.folder)
    try:
        with psycopg.connect(driver_address(postgres.start())) as connection:
            connection.execute("LOCK TABLE face_tokens IN EXCLUSIVE MODE")
            yield connection.rollback
    finally:
        postgres.stop()
