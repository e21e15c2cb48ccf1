"""Several server processes on one database: what one has acknowledged, every other tells with its next answer.

Writers enrol, replace, copy and delete users through any of the processes and ask another one right after. Pictures
are named by tokens whose embedding is known, so that the time goes into writing and searching. The run lasts
``AIPFACE_TEST_REPLICA_SECONDS`` (default 8; hours, for those who have them).
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx

from tests.fixtures.pictures import Pictures
from tests.fixtures.server import Credentials, Home, Server

PROCESSES = 4
WRITERS = 4
GROUPS = ("one", "two")
NO_USER, NO_MATCH, NO_GROUP = 223103, 222207, 223100

SECONDS = float(os.environ.get("AIPFACE_TEST_REPLICA_SECONDS", "8"))


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
        self._clients = [httpx.Client(base_url=server.base_url, timeout=60, trust_env=False) for server in servers]
        wanted = {"grant_type": "client_credentials", "client_id": keys.api_key, "client_secret": keys.secret_key}
        self._token = self._clients[0].get("/oauth/2.0/token", params=wanted).json()["access_token"]

    def __call__(self, which: int, name: str, content: object) -> tuple[int, object]:
        answer = (
            self._clients[which]
            .post(f"/rest/2.0/face/v3/{name}", params={"access_token": self._token}, json=content)
            .json()
        )
        return answer["error_code"], answer["result"]

    def close(self) -> None:
        for client in self._clients:
            client.close()


class Writer:
    """One thread: users of its own, in groups that all share."""

    def __init__(self, number: int, call: Caller, tokens: list[str]) -> None:
        self._name = f"w{number}"
        self._call = call
        self._tokens = tokens
        self._random = random.Random(number)  # noqa: S311 - to repeat a run, not to keep a secret
        self._known: dict[tuple[str, str], str] = {}
        self.done: Counter[str] = Counter()

    def run(self, until: float, stop: threading.Event) -> None:
        try:
            while time.monotonic() < until and not stop.is_set():
                self._step()
        except BaseException:
            stop.set()
            raise

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
        assert code == 0, (action, code, result)
        self.done[action] += 1
        if action == "delete":
            del self._known[group, user]
        else:
            self._known[group, user] = token
        self._ask(there, group, user)

    def _ask(self, which: int, group: str, user: str) -> None:
        """By another process than the one that was written to."""
        token = self._known.get((group, user))
        probe = token or self._tokens[0]
        content = {**_picture(probe), "group_id_list": group, "user_id": user, "match_threshold": 0}
        code, result = self._call(which, "search", content)
        if token is None:
            assert code in (NO_USER, NO_MATCH, NO_GROUP), (code, result)
        else:
            assert code == 0, (code, result)
            assert isinstance(result, dict)
            assert [(found["user_id"], found["score"]) for found in result["user_list"]] == [(user, 100)]


def _picture(token: str) -> dict[str, str]:
    return {"image": token, "image_type": "FACE_TOKEN"}


def test_what_one_process_acknowledged_all_tell(home: Home, pictures: Pictures) -> None:
    keys = home.create_app("replicas")
    with replicas(home) as servers:
        call = Caller(servers, keys)
        tokens = []
        for name in ("obama.jpg", "obama2.jpg", "biden.jpg", "astronaut.png"):
            sent = {"image": pictures.base64(name), "image_type": "BASE64"}
            code, result = call(0, "faceset/user/add", {**sent, "group_id": "tokens", "user_id": name.split(".")[0]})
            assert code == 0
            assert isinstance(result, dict)
            tokens.append(result["face_token"])
        for group in GROUPS:
            assert call(0, "faceset/group/add", {"group_id": group})[0] == 0

        writers = [Writer(number, call, tokens) for number in range(WRITERS)]
        until, stop = time.monotonic() + SECONDS, threading.Event()
        with ThreadPoolExecutor(WRITERS) as pool:
            for outcome in [pool.submit(writer.run, until, stop) for writer in writers]:
                outcome.result()
        done = sum((writer.done for writer in writers), Counter[str]())
        assert min(done["enrol"], done["replace"], done["delete"]) > 0, done

        everybody = {**_picture(tokens[0]), "group_id_list": ",".join(GROUPS), "match_threshold": 0, "max_user_num": 50}
        answers = [call(which, "search", everybody) for which in range(PROCESSES)]
        shown = [
            sorted((user["group_id"], user["user_id"], user["score"]) for user in result["user_list"])
            for code, result in answers
            if code == 0 and isinstance(result, dict)
        ]
        assert len(shown) in (0, PROCESSES)
        assert shown == shown[:1] * len(shown)
        call.close()
