"""Entering people into the register from the console."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

from service.app import Service
from tests.contract.console.visits import form_token
from tests.fixtures.people import number
from tests.fixtures.pictures import Pictures

DEEP = "[" * 100_000


def enter(client: httpx.Client, content: object) -> httpx.Response:
    """One person as the page sends it."""
    headers = {"X-Form-Token": form_token(client), "Accept": "application/json", "Content-Type": "application/json"}
    return client.post(
        "/register", content=content if isinstance(content, str) else json.dumps(content), headers=headers
    )


def test_people_are_entered_into_the_register(service: Service, operator: httpx.Client, pictures: Pictures) -> None:
    person = {"line": 2, "id_card_number": number(501), "name": "韦小宝", "picture": pictures.base64("obama.jpg")}
    try:
        answers = [enter(operator, person).json() for _ in range(2)]
        assert [answer["outcome"] for answer in answers] == ["entered", "unchanged"]
        assert number(501) not in str(answers)
        known = service.register.find(number(501))
        assert known is not None
        assert known.person.picture is not None
    finally:
        service.register.erase(number(501))
    for change, words in (
        ({"id_card_number": "1"}, "id number malformed"),
        ({"name": "7"}, "name malformed"),
        ({"valid_from": "20200101", "valid_to": "soon"}, "valid_to"),
        ({"picture": base64.b64encode(b"no picture").decode()}, "picture"),
    ):
        answer = enter(operator, {**person, **change}).json()
        assert answer["outcome"] == "refused"
        assert words in answer["reason"]
    assert service.register.find(number(501)) is None


@pytest.mark.parametrize(
    "content", [[], {}, {"line": "2"}, {"line": 2, "name": 5}, {"line": 2, "picture": "%%%"}, DEEP]
)
def test_what_is_no_person(operator: httpx.Client, content: object) -> None:
    assert enter(operator, content).status_code == 400
