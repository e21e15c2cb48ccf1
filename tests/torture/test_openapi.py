"""Requests that a fuzzer makes of our own OpenAPI document, to every operation in it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import content_type_conformance, not_a_server_error, status_code_conformance
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

from tests.fixtures.lived import Watch
from tests.fixtures.pictures import Pictures
from tests.fixtures.server import Server
from tests.torture.caller import Caller
from tests.torture.described import GROUP, TOKEN, USER, described, words
from tests.torture.figures import Figures

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance]
UNEXPECTED = {1, 2, 216401}
"""Codes of what nobody foresaw, and of what took too long."""
OTHER_WORDS = ("/oauth/", "/identity/", "/healthz", "/readyz", "/metrics", "/envelope/")
"""Paths whose answers have no ``error_code``, or no HTTP 200, in all cases."""
WAIT_SECONDS, LONGEST_SECONDS = 300.0, 30.0
"""For an answer: of the clock, and of time that was lived."""
EXAMPLES = 4
MANY_EXAMPLES = 150


@pytest.fixture(scope="module")
def document(abused: Server) -> dict[str, Any]:
    """What the server says of itself."""
    content: dict[str, Any] = httpx.get(f"{abused.base_url}/openapi.json", timeout=30, trust_env=False).json()
    return content


@pytest.fixture(scope="module")
def face_token(abuser: Caller, pictures: Pictures) -> str:
    """Of a face that can be enrolled without looking at the picture again."""
    with abuser.connected():
        code, found = abuser.call("detect", {"image": pictures.base64("obama.jpg"), "image_type": "BASE64"})
    assert code == 0
    faces: Any = found["face_list"]
    return str(faces[0]["face_token"])


@pytest.fixture(scope="module")
def operations(document: dict[str, Any], pictures: Pictures, face_token: str) -> list[APIOperation[Any, Any, Any, Any]]:
    """Every operation of the document."""
    schema = schemathesis.openapi.from_dict(described(document, words(pictures, face_token)))
    found = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
    assert len(found) == sum(len(methods) for methods in document["paths"].values())
    return found


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """A client that keeps its connection: one that the server drops fails the test."""
    with requests.Session() as client:
        client.trust_env = False
        yield client


def test_the_document_describes_every_parameter_of_its_examples(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for content in methods.get("post", {}).get("requestBody", {}).get("content", {}).values():
            schema, example = content["schema"], content.get("example")
            if isinstance(example, list):
                schema, example = schema["items"], example[0]
            assert set(example or ()) <= set(schema["properties"]), path


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
def test_generated_requests(
    abused: Server,
    abuser: Caller,
    operations: list[APIOperation[Any, Any, Any, Any]],
    session: requests.Session,
    face_token: str,
    mode: GenerationMode,
    long: bool,
    figures: Figures,
) -> None:
    """No failure of ours, no broken connection, the documented status, and JSON in the API's own words."""
    assert len(operations) > 50
    codes: Counter[object] = Counter()

    def ask(operation: APIOperation[Any, Any, Any, Any]) -> None:
        strategy = operation.as_strategy(generation_mode=mode)

        @seed(7)
        @settings(
            max_examples=MANY_EXAMPLES if long else EXAMPLES,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def one(case: schemathesis.Case[Any]) -> None:
            watch = Watch()
            try:
                response = case.call(
                    base_url=abused.base_url,
                    session=session,
                    params={TOKEN: abuser.token},
                    timeout=WAIT_SECONDS,
                    allow_redirects=False,
                )
                case.validate_response(response, checks=CHECKS)
                codes[check(operation.path, response)] += 1
            except Exception:
                if not watch.stood_still():  # else deadlines of the server have passed, and there are other cases
                    raise
            else:
                assert watch.seconds() < LONGEST_SECONDS

        one()

    walker = {"image": face_token, "image_type": "FACE_TOKEN", "group_id": GROUP, "user_id": USER}
    with warnings.catch_warnings(), abuser.connected():
        warnings.simplefilter("ignore")  # of the fuzzer's own making
        for operation in operations:
            if mode == GenerationMode.NEGATIVE and not (operation.query or operation.body):
                continue  # nothing of it can be wrong
            abuser.call("faceset/user/add", walker)  # the operation before may have deleted them
            ask(operation)
    assert abused.process.poll() is None
    assert "Traceback" not in abused.output()
    assert "unexpected failure" not in abused.output()
    assert len(codes) > (10 if mode == GenerationMode.POSITIVE else 4), codes
    figures.add(f"requests made of the OpenAPI document, {mode.value}", requests=sum(codes.values()), codes=len(codes))


def check(path: str, response: schemathesis.Response) -> object:
    """The code of an answer, which must be one of the API's."""
    if path == "/metrics":
        return "metrics"
    answer = response.json()
    assert isinstance(answer, dict)
    if path.startswith(OTHER_WORDS):
        return answer.get("status", answer.get("error", answer.get("error_code")))
    assert response.status_code == 200, (path, response.status_code)
    assert "error_code" in answer or "err_no" in answer or "log_id" in answer, (path, answer)
    code = answer.get("error_code", answer.get("err_no", 0))
    assert isinstance(code, int)
    assert code not in UNEXPECTED, (path, answer)
    return code
