"""Person verification with an authority of the operator's own; what is told of people, and to whom."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import httpx
import pytest

from service.access.permissions import PERMISSIONS
from service.api.application import build_api
from service.app import Service, create_app, open_service
from service.settings import load_settings
from tests.contract.conftest import caller, listening
from tests.contract.people import CARD, NAME, V3_CALLS, V4_CALLS, Registered, asking, obama, registered
from tests.contract.test_recognition import Photos, photos
from tests.contract.wire import Wire
from tests.fixtures.authority import Authority, Reply, running_authority
from tests.fixtures.people import number
from tests.fixtures.pictures import Pictures

__all__ = ["obama", "photos", "registered"]


# --- an authority of the operator's own -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    with running_authority() as running:
        yield running


@pytest.fixture(scope="module")
def elsewhere(service: Service, authority: Authority) -> Iterator[tuple[Service, httpx.Client]]:
    """A second server on the same database, which asks the authority."""
    settings = load_settings(
        home=service.settings.home,
        model_dir=service.settings.model_dir,
        offline=True,
        database_url=service.database.url,
        inference_threads=2,
        identity_url=authority.url,
        identity_token="t",
        identity_attempts=1,
        identity_breaker_failures=1000,
    )
    with open_service(settings) as running, listening(create_app(running)) as client:
        yield running, client


@pytest.fixture
def asker(elsewhere: tuple[Service, httpx.Client], authority: Authority) -> Wire:
    authority.reset()
    return caller(*elsewhere)


def test_the_authority_confirms(asker: Wire, authority: Authority, photos: Photos, pictures: Pictures) -> None:
    known = {"result": "match", "photo": pictures.base64("obama.jpg"), "valid_from": "2016-03-04"}
    authority.reset(Reply({**known, "valid_to": "2036-03-04"}))
    assert asker.result("personVerify", asking("personVerify", photos["obama2"]))["score"] > 80
    assert asker.result("facePersonIdmatchV3", CARD) is None
    result = asker.result("faceVerifyDateV4", asking("faceVerifyDateV4", photos["obama2"]))
    assert result["score"] > 80
    assert result["verify_status"] == 0
    assert [question["photo"] for question in authority.questions] == [True, False, True]


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        ({"result": "mismatch"}, 222351, 1),
        ({"result": "unknown"}, 222354, 1),
        ({"result": "invalid"}, 222360, 1),
        ({"result": "match"}, 222355, 2),
        ({"result": "match", "photo": "bm8gcGljdHVyZQ=="}, 222350, 2),
    ],
)
def test_the_authority_does_not(
    asker: Wire, authority: Authority, photos: Photos, body: dict[str, object], code: int, status: int
) -> None:
    authority.reset(Reply(body))
    assert asker.code("personVerify", asking("personVerify", photos["obama2"])) == code
    sent = asking("faceMingJingVerify", photos["obama2"])
    assert asker.result("faceMingJingVerify", sent) == {"score": 0, "verify_status": status}


def test_the_authority_does_not_answer(asker: Wire, authority: Authority, photos: Photos) -> None:
    authority.reset(Reply(status=503))
    for name in (*V3_CALLS, *V4_CALLS):
        answer = asker.call(name, asking(name, photos["obama2"]))
        assert (answer["error_code"], answer["error_msg"]) == (222361, "system busy")


# --- secrecy and permissions ------------------------------------------------------------------------------------------


def test_logs_tell_of_nobody(obama: Registered, photos: Photos, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for name in (*V3_CALLS, *V4_CALLS):
            obama.wire.call(name, asking(name, photos["obama2"]))
            obama.wire.call(name, asking(name, photos["obama2"], name="张三丰"))
            obama.wire.call(name, asking(name, photos["obama2"], id_card_number=number(1)[:-1] + "?"))
    assert "person" in caplog.text
    for secret in (number(1)[:-1], NAME, "张三丰"):
        assert secret not in caplog.text
        assert json.dumps(secret).strip('"') not in caplog.text


def test_answers_do_not_repeat_the_question(obama: Registered, photos: Photos) -> None:
    for name in (*V3_CALLS, *V4_CALLS):
        for changes in ({}, {"name": "张三"}, {"id_card_number": number(1)[:-1] + "?"}):
            text = json.dumps(obama.wire.call(name, asking(name, photos["obama2"], **changes)), ensure_ascii=False)
            assert number(1)[:-1] not in text
            assert NAME not in text


def test_permissions(service: Service, http: httpx.Client) -> None:
    needed = {
        "personVerify": "person/verify",
        "facePersonIdmatchV3": "person/idmatch",
        "faceMingJingVerify": "v4/mingjing/verify",
        "faceIdmatchDateV4": "v4/idmatch_date",
        "faceVerifyDateV4": "v4/verify_date",
    }
    everything_else = set(PERMISSIONS) - set(needed.values())
    without = caller(service, http, everything_else)
    only = caller(service, http, set(needed.values()))
    for name in needed:
        assert without.code(name) == 6
        assert only.code(name) == 222001


def test_the_private_alias_has_no_person_verification(service: Service) -> None:
    paths = build_api(service, private_alias=True).openapi()["paths"]
    assert "/face-api/v3/detect" in paths
    assert not [path for path in paths if path.startswith("/face-api/") and "person" in path]
