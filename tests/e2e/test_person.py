"""Person verification from end to end: the operator's command line, the official clients, the server's log."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from aip import AipFace

from tests.fixtures.node import NodeSdk
from tests.fixtures.people import number
from tests.fixtures.pictures import Pictures
from tests.fixtures.python_sdk import official_client
from tests.fixtures.server import Home, LiveServer

SCRIPT = Path(__file__).with_name("node_client.js")
NAME = "韦小宝"
START, END = "20160304", "20360304"
HEADING = ("id_card_number", "name", "valid_from", "valid_to", "picture")


def identity(home: Home, *arguments: str) -> str:
    """Run ``aipface identity``; what it printed on standard output."""
    done = home.run("identity", *arguments, timeout=120)
    assert done.returncode == 0, done.stderr
    assert NAME not in done.stdout + done.stderr
    return done.stdout


def write_list(path: Path, *rows: tuple[str, ...]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADING, *rows])
    return path


@pytest.fixture(scope="module")
def people(server: LiveServer, pictures: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that knows two people: number 701 looks like obama.jpg, nobody knows how 702 looks."""
    folder = tmp_path_factory.mktemp("people")
    rows = ((number(701), NAME, START, END, "obama.jpg"), (number(702), NAME, START, END, ""))
    identity(server.home, "import", str(write_list(folder / "people.csv", *rows)), "--pictures", str(pictures.folder))
    yield server
    for each in (701, 702):
        identity(server.home, "delete", number(each))


@pytest.fixture(params=["token", "signature"])
def client(request: pytest.FixtureRequest, people: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[AipFace]:
    """A client that authenticates in one of its two ways and believes our server to be the cloud."""
    with official_client(people, monkeypatch, signed=request.param == "signature") as made:
        yield made


def test_every_call_of_the_python_client(client: AipFace, pictures: Pictures) -> None:
    obama, biden = pictures.base64("obama2.jpg"), pictures.base64("biden.jpg")
    card = (number(701), NAME)
    assert client.personVerify(obama, "BASE64", *card)["result"]["score"] > 80
    options = {"quality_control": "LOW", "liveness_control": "NONE"}
    assert client.personVerify(biden, "BASE64", *card, options)["result"]["score"] < 60
    assert client.facePersonIdmatchV3(*card)["error_msg"] == "SUCCESS"
    answer = client.faceMingJingVerify(*card, obama, {"spoofing_control": "NONE", "quality_control": "LOW"})
    assert (answer["error_msg"], answer["result"]["verify_status"]) == ("SUCCESS", 0)
    assert answer["result"]["score"] > 80
    assert client.faceIdmatchDateV4(NAME, number(701), START, END)["result"] == {"verify_status": 0}
    answer = client.faceVerifyDateV4(NAME, number(701), START, END, obama, "BASE64")
    assert answer["result"]["verify_status"] == 0
    assert answer["result"]["score"] > 80


def test_what_the_python_client_is_refused(client: AipFace, pictures: Pictures) -> None:
    obama = pictures.base64("obama2.jpg")
    for who, code in (
        ((number(702), NAME), 222355),
        ((number(701), "张三"), 222351),
        ((number(703), NAME), 222354),
        (("110233112299822211", "张三"), 222353),
    ):
        assert client.personVerify(obama, "BASE64", *who)["error_code"] == code
    assert client.facePersonIdmatchV3(number(702), NAME)["error_code"] == 0
    assert client.faceMingJingVerify(number(702), NAME, obama)["result"] == {"score": 0, "verify_status": 2}
    assert client.faceIdmatchDateV4(NAME, number(701), START, "00000000")["result"] == {"verify_status": 1}


def test_every_call_of_the_node_client(people: LiveServer, node_sdk: NodeSdk, pictures: Pictures) -> None:
    obama, card, keys = pictures.base64("obama2.jpg"), [number(701), NAME], people.credentials
    dated = [NAME, number(701), START, END]
    request = {
        "base_url": people.base_url,
        "app_id": keys.app_id,
        "api_key": keys.api_key,
        "secret_key": keys.secret_key,
        "calls": [
            ["personVerify", obama, "BASE64", *card],
            ["facePersonIdmatchV3", *card],
            ["faceMingJingVerify", *card, obama, {"image_type": "BASE64"}],
            ["faceIdmatchDateV4", *dated],
            ["faceVerifyDateV4", *dated, obama, "BASE64"],
        ],
    }
    answers = cast(list[dict[str, Any]], node_sdk.run(SCRIPT, request))
    assert [answer["error_msg"] for answer in answers] == ["SUCCESS"] * 5
    assert [answer["result"]["score"] > 80 for answer in (answers[0], answers[2], answers[4])] == [True] * 3
    assert answers[1]["result"] is None


def test_nobody_is_named_in_the_server_s_log(client: AipFace, people: LiveServer) -> None:
    for who in (number(701), number(704), f"{number(705)}9"):
        client.facePersonIdmatchV3(who, NAME)
    said = "".join(log.read_text(encoding="utf-8") for log in people.home.folder.glob("server-*.log"))
    assert "call=facePersonIdmatchV3" in said
    assert [secret for secret in (number(701), number(704), number(705), NAME) if secret in said] == []


def test_the_operator_s_commands(people: LiveServer, pictures: Pictures) -> None:
    home, who = people.home, number(710)
    picture = ["--picture", str(pictures.path("biden.jpg"))]
    others = len(identity(home, "list").splitlines())
    identity(home, "add", who, "--name", NAME, "--valid-from", START, "--valid-to", "00000000", *picture)
    try:
        shown = json.loads(identity(home, "show", who, "--json"))
        assert {key: shown[key] for key in ("name", "valid_from", "valid_to", "picture", "revoked")} == {
            "name": "韦**",
            "valid_from": "2016-03-04",
            "valid_to": "permanent",
            "picture": True,
            "revoked": False,
        }
        identity(home, "revoke", who)
        listed = identity(home, "list")
        assert [number(n) for n in (701, 702, 710) if number(n) in listed] == []
        assert sorted(line.split()[-1] for line in listed.splitlines()) == ["revoked", *["valid"] * others]
    finally:
        identity(home, "delete", who)
    done = home.run("identity", "restore", who)
    assert (done.returncode, done.stderr) == (1, "aipface: there is no such person\n")


def test_an_import_is_resumed_and_tells_what_it_refused(people: LiveServer, pictures: Pictures, tmp_path: Path) -> None:
    rows = [(number(720), NAME, START, END, "biden.jpg"), (number(721), "张3", "", "", ""), ("1234", NAME, "", "", "")]
    arguments = (
        "identity",
        "import",
        str(write_list(tmp_path / "list.csv", *rows)),
        "--pictures",
        str(pictures.folder),
    )
    first = people.home.run(*arguments, "--app", people.credentials.app_id, timeout=120)
    try:
        assert first.returncode == 1
        assert "3 rows: 1 entered, 0 unchanged, 2 refused" in first.stderr
        told = (tmp_path / "list.refused.csv").read_text(encoding="utf-8")
        assert [line.partition(",")[0] for line in told.splitlines()] == ["line", "3", "4"]
        again = people.home.run(*arguments, "--app", people.credentials.app_id, timeout=120)
        assert "0 entered, 1 unchanged, 2 refused" in again.stderr
        everything = first.stdout + first.stderr + again.stderr + told
        assert [secret for secret in (number(720), number(721), "1234", NAME) if secret in everything] == []
    finally:
        identity(people.home, "delete", number(720), "--app", people.credentials.app_id)
