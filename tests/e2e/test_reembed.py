"""The library moves to another pack and back, under a server that is searched and written to all the while."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.manifest import load_pack
from tests.fixtures.pictures import Pictures
from tests.fixtures.places import environment
from tests.fixtures.server import PROGRAM, Credentials, Home

pytestmark = pytest.mark.timeout(1200)
"""A move loads networks five times over, which takes minutes on a machine that is busy with other things."""

CORE, LIGHT = load_pack("core").model_id, load_pack("light").model_id
WAIT_SECONDS = 600.0
GROUP = "people"


class Client:
    """Calls a server; a picture is the name of a file, or a token of 32 digits."""

    def __init__(self, base_url: str, keys: Credentials, pictures: Pictures) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=WAIT_SECONDS, trust_env=False)
        self._pictures = pictures
        wanted = {"grant_type": "client_credentials", "client_id": keys.api_key, "client_secret": keys.secret_key}
        self._token = self._http.get("/oauth/2.0/token", params=wanted).json()["access_token"]

    def call(self, name: str, picture: str, **parameters: object) -> Any:
        sent = (
            {"image": self._pictures.base64(picture), "image_type": "BASE64"}
            if "." in picture
            else {"image": picture, "image_type": "FACE_TOKEN"}
        )
        path = f"/rest/2.0/face/v3/{name}"
        answer = self._http.post(path, params={"access_token": self._token}, json={**sent, **parameters}).json()
        assert answer["error_code"] == 0, (name, picture, answer)
        return answer["result"]

    def enrol(self, user: str, picture: str) -> str:
        token: str = self.call("faceset/user/add", picture, group_id=GROUP, user_id=user)["face_token"]
        return token

    def find(self, picture: str, **parameters: object) -> tuple[str, float]:
        """Who it is, with the score."""
        found = self.call("search", picture, group_id_list=GROUP, **parameters)["user_list"][0]
        return found["user_id"], found["score"]

    def model(self) -> tuple[bool, str]:
        """What ``/readyz`` says of the model: whether it is in order, and in words."""
        checks = {check["name"]: check for check in self._http.get("/readyz").json()["checks"]}
        return checks["model"]["ok"], checks["model"]["detail"]

    def close(self) -> None:
        self._http.close()


@contextmanager
def traffic(client: Client) -> Iterator[Callable[[], int]]:
    """Searches and enrolments, one after the other, until the block ends; every one of them must succeed.

    Gives the number of rounds that were gone through; -1 once one has failed.
    """
    rounds: list[int] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            number = len(rounds)
            user = f"passer_{number % 10}"
            client.call("faceset/user/add", "sample1.jpg", group_id=GROUP, user_id=user, action_type="REPLACE")
            assert client.find("sample1.jpg", user_id=user) == (user, 100)
            assert client.find("obama2.jpg")[0] == "obama"
            assert client.find("biden.jpg") == ("biden", 100)
            rounds.append(number)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            yield lambda: -1 if running.done() else len(rounds)
        finally:
            stop.set()
        running.result()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def reembed(home: Home, *arguments: str) -> dict[str, Any]:
    done = home.run("reembed", *arguments, "--json", timeout=WAIT_SECONDS)
    assert done.returncode == 0, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def begin_and_kill(home: Home, client: Client) -> None:
    """What a crash in the middle leaves behind."""
    process = subprocess.Popen(
        [PROGRAM, "reembed", "--pack", "light"],
        env=environment(home.folder, **home.settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: process.poll() is not None or "moving" in client.model()[1])
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(WAIT_SECONDS)


def import_without_crop(home: Home, app_id: str, pictures: Pictures) -> None:
    folder = home.folder / "more" / GROUP
    folder.mkdir(parents=True)
    shutil.copy(pictures.path("astronaut.png"), folder / "eileen.png")
    out = str(home.folder / "imported")
    arguments = ("import", str(folder.parent), "--app", app_id, "--output", out, "--no-doubles")
    done = home.run(*arguments, timeout=WAIT_SECONDS, variables={"AIPFACE_KEEP_CROPS": "false"})
    assert done.returncode == 0, done.stderr


def assert_refused(home: Home, keys: Credentials, listed: Path) -> None:
    """Nobody is left behind unasked, and the list says who would be."""
    refused = home.run("reembed", "--rollback", "--output", str(listed), timeout=WAIT_SECONDS)
    assert refused.returncode == 1
    assert "1 faces of 1 users" in refused.stderr
    with listed.open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["app_id"], row["group_id"], row["user_id"]) == (keys.app_id, GROUP, "eileen")


def test_the_library_moves_while_it_is_used_and_goes_back(home: Home, pictures: Pictures) -> None:
    keys = home.create_app("moving")
    listed = home.folder / "need-pictures.csv"
    with home.serving(CREATE_FIRST_APP="false") as server, ExitStack() as stack:
        client = stack.enter_context(closing(Client(server.base_url, keys, pictures)))
        client.enrol("obama", "obama.jpg")
        client.enrol("biden", "biden.jpg")
        before = client.find("obama2.jpg")
        early = client.call("detect", "astronaut.png")["face_list"][0]["face_token"]
        assert client.model() == (True, CORE)
        plan = reembed(home, "--pack", "light", "--dry-run")
        assert (plan["missing"], plan["embedded"], plan["without_crop"], plan["moved"]) == (2, 0, 0, False)

        begin_and_kill(home, client)
        with traffic(client) as rounds:
            wait_until(lambda: rounds() != 0)
            assert reembed(home, "--pack", "light")["moved"]
            gone = rounds()
            wait_until(lambda: rounds() != gone)
            wait_until(lambda: client.model() == (True, LIGHT))
        after = client.find("obama2.jpg")
        assert after[0] == "obama"
        assert after != before
        # A token of before the move stands for its face still; the new model embeds it from the crop.
        client.enrol("visitor", early)
        assert client.find("astronaut.png") == ("visitor", 100)
        doctor = home.run("doctor", timeout=WAIT_SECONDS)
        assert LIGHT in doctor.stdout

        import_without_crop(home, keys.app_id, pictures)
        assert_refused(home, keys, listed)
        with traffic(client):
            assert reembed(home, "--rollback", "--leave-behind", "--output", str(listed))["moved"]
        wait_until(lambda: client.model() == (True, CORE))
        assert client.find("obama2.jpg") == before

        assert reembed(home, "--finish")["finished"]
        assert client.find("obama2.jpg") == before
        nothing = home.run("reembed", "--rollback", timeout=WAIT_SECONDS)
        assert nothing.returncode == 1
        assert "nothing to go back to" in nothing.stderr


def test_a_server_that_cannot_load_the_pack_keeps_the_move_waiting(home: Home, pictures: Pictures) -> None:
    """It goes on with what it has, and says why; nothing is switched."""
    keys = home.create_app("waiting")
    weights = home.folder / "models"
    shutil.copytree(environment(home.folder)["AIPFACE_MODEL_DIR"], weights)
    with home.serving(CREATE_FIRST_APP="false", MODEL_DIR=str(weights)) as server, ExitStack() as stack:
        client = stack.enter_context(closing(Client(server.base_url, keys, pictures)))
        client.enrol("obama", "obama.jpg")
        (weights / "core" / "fr_pose.onnx").write_bytes(b"damaged")
        done = home.run("reembed", "--pack", "light", "--wait", "0", timeout=WAIT_SECONDS)
        assert done.returncode == 1
        assert "1 of 1 servers have not loaded the pack light" in done.stderr
        wait_until(lambda: "offline" in client.model()[1])
        assert client.model()[0]
        assert client.find("obama.jpg") == ("obama", 100)
