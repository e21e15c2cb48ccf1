"""The OpenAPI document's examples: each request is made, and the answer that stands beside it has today's shape.

``RECORD_ANSWERS=1 python -m pytest tests/contract/test_documented_answers.py`` writes the answers anew.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, cast

import cv2
import httpx
import numpy as np
import pytest

from examples.linkface_liveness_data import encode
from service.api.application import build_api
from service.api.documented import ANSWERS
from service.api.ports import UseCases
from service.app import Service
from service.identity.claims import Claim
from service.inference.analyst import Analyst
from tests.contract.people import VALIDITY, Registered
from tests.contract.wire import Wire
from tests.fixtures import videos
from tests.fixtures.pictures import Pictures

V2, V3, V4 = "/rest/2.0/face/v2", "/rest/2.0/face/v3", "/rest/2.0/face/v4"
USER, GROUP, FACE = f"{V3}/faceset/user", f"{V3}/faceset/group", f"{V3}/faceset/face"
SCENE = "/rest/2.0/face/scene/faceset"
VIDEO = "POST /rest/2.0/face/v1/faceliveness/verify"
SESSION = "POST /rest/2.0/face/v1/faceliveness/sessioncode"
LINKFACE = "POST /identity/liveness_selfie_verification"
TOKEN = "/oauth/2.0/token"
ADDRESS, BASE64 = "https://example.org/picture.jpg", "/9j/4AAQSkZJRgABAQAAAQABAAD"
FACE_TOKEN = "2fa64a88a9d5118916f9a303782a97d3"
"""What the examples have in place of a picture and of a token."""

SECRETS = ("access_token", "refresh_token", "session_key", "session_secret")
REFUSED = {"POST /rest/2.0/face/v1/merge", "POST /rest/2.0/face/v1/editattr"}
UNASKED = {"GET /metrics", VIDEO}
"""One has no JSON; a video takes seconds, and its answer is looked at in ``test_seeds``."""


@dataclass
class Reader:
    """Somebody who tries what the document says, one call after the other, with pictures of their own."""

    wire: Wire
    pictures: Pictures
    document: dict[str, Any]
    answers: dict[str, Any] = field(default_factory=dict)
    face_token: str = ""

    def ask(self, operation: str, **changes: object) -> Any:
        """Make the example's request and keep the answer; with ``changes`` to the body it is a preparation."""
        method, path = operation.split()
        described = self.document["paths"][path][method.lower()]
        query = {item["name"]: item["example"] for item in described.get("parameters", ()) if "example" in item}
        content = next(iter(described.get("requestBody", {}).get("content", {}).items()), None)
        sent: dict[str, Any] = {}
        if path == TOKEN:
            keys = self.wire.credentials
            query |= {"client_id": keys.api_key, "client_secret": keys.secret_key}
        elif content is not None:
            body = self.filled(content[1]["example"])
            sent = {"data" if content[0].endswith("urlencoded") else "json": {**body, **changes} if changes else body}
        answer = self.wire.http.request(method, path, params={"access_token": self.wire.token, **query}, **sent).json()
        if not changes:
            self.answers[operation] = answer
        return answer

    def filled(self, example: Any) -> Any:
        """An example with real pictures in it."""
        photos = cycle(self.pictures.base64(name) for name in ("obama.jpg", "obama2.jpg"))

        def real(value: Any) -> Any:
            if isinstance(value, dict):
                typed = {"image_type": "BASE64"} if value.get("image") == ADDRESS else {}
                return {key: real(item) for key, item in value.items()} | typed
            if isinstance(value, list):
                return [real(item) for item in value]
            if value == FACE_TOKEN:
                return self.face_token
            if value == ADDRESS or (isinstance(value, str) and value.startswith(BASE64)):
                return ",".join(next(photos) for _ in value.split(","))
            return value

        return real(example)

    def selfie(self) -> None:
        keys = self.wire.credentials
        data = {"api_id": keys.api_key, "api_secret": keys.secret_key}
        recorded = encode([self.pictures.bytes("obama.jpg")])
        files = {"selfie_file": self.pictures.bytes("obama2.jpg"), "liveness_data_file": recorded}
        self.answers[LINKFACE] = self.wire.http.post(LINKFACE.split()[1], data=data, files=files).json()


def journey(reader: Reader) -> None:
    """Every documented call, in an order in which each finds what it needs."""
    post: Callable[[str], Any] = lambda path: reader.ask(f"POST {path}")  # noqa: E731
    for operation in (f"GET {TOKEN}", f"POST {TOKEN}", "GET /healthz", "GET /readyz", "GET /envelope/v1/keys"):
        reader.ask(operation)
    post(f"{GROUP}/add")
    for group in ("group2", "group3"):
        reader.ask(f"POST {GROUP}/add", group_id=group)
    post(f"{USER}/add")
    for call in ("detect", "match", "faceverify", "search", "multi-search", "person/verify", "person/idmatch"):
        post(f"{V3}/{call}")
    for path in (f"{USER}/update", f"{USER}/get", f"{USER}/copy", f"{GROUP}/getlist", f"{GROUP}/getusers"):
        post(path)
    reader.face_token = post(f"{FACE}/getlist")["result"]["face_list"][0]["face_token"]
    post(f"{FACE}/delete")
    reader.ask(f"POST {USER}/add", action_type="REPLACE")
    for path in (f"{USER}/delete", f"{GROUP}/delete"):
        post(path)
    for call in ("faceverify", "mingjing/match", "mingjing/verify", "idmatch_date", "verify_date"):
        post(f"{V4}/{call}")
    reader.ask(f"POST {GROUP}/delete", group_id="group2")
    of_v2(reader)
    of_scenes_and_others(reader)
    reader.selfie()


def of_v2(reader: Reader) -> None:
    for call in ("detect", "match", "faceset/user/add", "identify", "verify", "multi-identify", "faceset/user/update"):
        reader.ask(f"POST {V2}/{call}")
    reader.ask("POST /rest/2.0/face/v1/detect")
    reader.ask(f"POST {V2}/faceverify")
    for call in ("user/get", "group/getlist", "group/getusers"):
        reader.ask(f"POST {V2}/faceset/{call}")
    reader.ask(f"GET {V2}/faceset/group/getusers")
    reader.ask(f"POST {V2}/faceset/group/adduser", group_id="group3", src_group_id="group1")
    reader.ask(f"POST {V2}/faceset/group/deleteuser", group_id="group1")
    for call in ("group/adduser", "group/deleteuser", "user/delete"):
        reader.ask(f"POST {V2}/faceset/{call}")


def of_scenes_and_others(reader: Reader) -> None:
    reader.ask(f"POST {GROUP}/delete", group_id="group1", again=True)
    for path in (f"{SCENE}/group/add", f"{SCENE}/user/add", f"{SCENE}/user/update", "/rest/2.0/face/capture/search"):
        reader.ask(f"POST {path}")
    for method in ("GET", "POST"):
        reader.ask(f"{method} /rest/2.0/face/v1/faceliveness/sessioncode")
    for path in ("v1/landmark", "v1/merge", "v1/editattr"):
        reader.ask(f"POST /rest/2.0/face/{path}")
    reader.ask("POST /rpc/2.0/feedback/v1/report")


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> set[str]:
    """Every call of the document, ``POST /rest/...``."""
    return {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The OpenAPI document; no request is made for it, so nothing stands behind the routes."""
    return build_api(cast(UseCases, None)).openapi()


def shape(value: Any) -> Any:
    """What a program relies on: names and kinds. Of a list the first item stands for all."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return "number" if isinstance(value, int | float) else type(value).__name__


def without_secrets(answer: dict[str, Any]) -> dict[str, Any]:
    """A token's answer with zeros for what is random; it would be no secret of anybody's, and looks like one."""
    random = {name: re.sub(r"[\w-]{32,}", lambda found: "0" * len(found[0]), str(answer[name])) for name in SECRETS}
    return answer | random


def filmed(service: Service, reader: Reader) -> Any:
    """The answer to a second of film."""
    analyst, image = service.video._watch._analyst, cv2.imread(str(reader.pictures.path("obama.jpg")))
    assert isinstance(analyst, Analyst)
    assert image is not None
    puppet = videos.puppet(service.engine, analyst, np.asarray(image, np.uint8), 280)
    assert puppet is not None
    film = videos.encode(puppet.play(videos.blinks(0.2), 1.0), sound=videos.tone(1.0, loud=[]))
    session = reader.answers[SESSION]["result"]["session_id"]
    body = {"video_base64": base64.b64encode(film).decode(), "session_id": session, "type_identify": "action"}
    path = f"{VIDEO.split()[1]}?access_token={reader.wire.token}"
    return reader.wire.http.post(path, json={**body, "face_field": "quality,spoofing"}).json()


def record(answers: dict[str, Any]) -> None:
    before = json.loads(ANSWERS.read_text(encoding="utf-8")) if ANSWERS.exists() else {}
    after = {key: without_secrets(value) if TOKEN in key else value for key, value in ({**before, **answers}).items()}
    texts = {key: re.sub(r"/9j/[\w+/=]+", BASE64, json.dumps(after[key], ensure_ascii=False)) for key in sorted(after)}
    lines = (f"{json.dumps(key)}: {text}" for key, text in texts.items())
    ANSWERS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def test_every_example_works_and_is_answered_as_documented(
    service: Service, wire: Wire, pictures: Pictures, document: dict[str, Any], operations: set[str]
) -> None:
    app = service.apps.by_app_id(wire.credentials.app_id)
    assert app is not None
    someone = Claim.of("11010519491231002X", "韦小宝")
    Registered(service, wire, app).enter(someone, pictures.bytes("obama.jpg"), VALIDITY)
    reader = Reader(wire, pictures, document)
    journey(reader)
    assert set(reader.answers) == operations - UNASKED
    failed = {name: answer for name, answer in reader.answers.items() if answer.get("error_code", 0) != 0}
    assert set(failed) == REFUSED, failed
    if os.environ.get("RECORD_ANSWERS"):
        record({**reader.answers, VIDEO: filmed(service, reader)})
    recorded = json.loads(ANSWERS.read_text(encoding="utf-8"))
    assert set(recorded) == operations - {"GET /metrics"}
    assert {name: shape(recorded[name]) for name in reader.answers} == {
        name: shape(answer) for name, answer in reader.answers.items()
    }


def examples_of(document: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            answer = described["responses"]["200"].get("content", {}).get("application/json", {})
            yield f"{method.upper()} {path}", "example" in answer


def test_the_document_shows_an_answer_of_every_call(document: dict[str, Any]) -> None:
    assert {name for name, shown in examples_of(document) if not shown} == {"GET /metrics"}


def test_the_page_of_the_document_is_complete_without_the_web(http: httpx.Client) -> None:
    page = http.get("/docs")
    assert page.status_code == 200
    loaded = re.findall(r"(?:src|href)=\"([^\"]+)\"", page.text)
    assert loaded
    for address in [*loaded, "/openapi.json"]:
        assert address.startswith("/"), address
        assert http.get(address).status_code == 200
