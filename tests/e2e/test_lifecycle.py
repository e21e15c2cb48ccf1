"""The server as an operator meets it: first start, second start, Ctrl-C, kill, a port in use."""

from __future__ import annotations

import json
import re
import signal
import socket
from contextlib import closing

import httpx

from tests.fixtures.pictures import Pictures
from tests.fixtures.server import STOP_SECONDS, Credentials, Home, Server
from tests.fixtures.signals import as_in_a_terminal


def call(server: Server, keys: Credentials, name: str, content: object) -> dict[str, object]:
    """One V3 call with a fresh token."""
    with httpx.Client(base_url=server.base_url, timeout=60, trust_env=False) as http:
        wanted = {"grant_type": "client_credentials", "client_id": keys.api_key, "client_secret": keys.secret_key}
        token = http.get("/oauth/2.0/token", params=wanted).json()["access_token"]
        answer = http.post(f"/rest/2.0/face/v3/{name}", params={"access_token": token}, json=content).json()
    assert isinstance(answer, dict)
    return answer


def test_first_and_second_start(home: Home) -> None:
    with home.serving(CREATE_FIRST_APP="true") as server:
        first = server.output()
        shown = dict(re.findall(r"^(app_id|api_key|secret_key) += (\S+)$", first, re.MULTILINE))
        keys = Credentials(**shown)
        assert call(server, keys, "faceset/group/getlist", {})["error_code"] == 0
    with as_in_a_terminal(), home.serving(CREATE_FIRST_APP="true", OFFLINE="true") as server:
        second = server.output()
        assert "secret_key" not in second
        assert "fetch" not in second
        assert call(server, keys, "faceset/group/getlist", {})["error_code"] == 0
        server.process.send_signal(signal.SIGHUP)  # the terminal is closed
        assert server.process.wait(STOP_SECONDS) == 0


def test_logs_hold_no_secrets(home: Home) -> None:
    with home.serving(LOG_LEVEL="debug", CREATE_FIRST_APP="false") as server:
        keys = home.create_app("secrets")
        assert call(server, keys, "faceset/group/getlist", {})["error_code"] == 0
        said = server.output()
    assert "call=getGroupList" in said
    for secret in ("access_token=24", keys.secret_key, keys.api_key):
        assert secret not in said


def test_apps_are_made_while_the_server_runs(home: Home) -> None:
    with home.serving() as server:
        done = home.run("app", "create", "second", "--json")
        assert done.returncode == 0
        content = json.loads(done.stdout)
        assert list(content) == ["app_id", "api_key", "secret_key"]
        assert call(server, Credentials(**content), "faceset/group/getlist", {})["error_code"] == 0

        listed = json.loads(home.run("app", "list", "--json").stdout)
        assert content["app_id"] in [app["app_id"] for app in listed]
        assert home.run("app", "disable", content["app_id"]).returncode == 0


def test_a_port_in_use_is_told_at_once(home: Home) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        done = home.run("serve", "--port", str(port))
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 is in use" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert home.processes() == []


def test_enrolled_faces_survive_a_kill_and_a_start_from_a_snapshot(home: Home, pictures: Pictures) -> None:
    keys = home.create_app("survivor")
    face = {"image": pictures.base64("obama.jpg"), "image_type": "BASE64"}
    server = home.start()
    try:
        server.wait_until_ready()
        added = call(server, keys, "faceset/user/add", {**face, "group_id": "g", "user_id": "obama"})
        assert added["error_code"] == 0
    finally:
        server.kill()
    probe = {"image": pictures.base64("obama2.jpg"), "image_type": "BASE64", "group_id_list": "g"}
    for origin in ("0 of 1 faces from snapshots", "1 of 1 faces from snapshots"):
        with home.serving(SNAPSHOT_LEAST_FACES="1") as restarted:
            found = call(restarted, keys, "search", probe)
            assert found["error_code"] == 0
            assert isinstance(result := found["result"], dict)
            assert [user["user_id"] for user in result["user_list"]] == ["obama"]
            assert origin in httpx.get(f"{restarted.base_url}/readyz", timeout=60, trust_env=False).text


def test_doctor_finds_nothing_wrong_after_a_run(home: Home) -> None:
    with home.serving():
        done = home.run("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert {"weights", "runtime", "secret key", "database", "schema", "index", "snapshots", "disk"} <= set(checks)
    assert [check for check in checks.values() if not check["ok"]] == []
    assert done.returncode == 0


def test_doctor_tells_how_to_mend(home: Home) -> None:
    empty = str(home.folder / "no-weights")
    done = Home(home.folder, {"MODEL_DIR": empty}).run("doctor")
    assert done.returncode == 1
    assert re.search(r"PROBLEM\s+weights: .*missing", done.stdout)
    assert "mend: aipface models fetch --pack core" in done.stdout


def test_missing_weights_offline_are_one_sentence(home: Home) -> None:
    empty = str(home.folder / "no-weights")
    done = Home(home.folder, {"MODEL_DIR": empty, "OFFLINE": "true", "PORT": "0"}).run("serve")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "offline" in done.stderr
