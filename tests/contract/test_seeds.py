"""Walks the transcribed documents: every parameter of every call is sent, good and bad; every field comes back.

Nothing is passed over but what ``tests/seeds/missing.toml`` lists.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

import cv2
import httpx
import numpy as np
import pytest

from service.api.capture_keys import PATH as ENVELOPE_KEYS
from service.api.linkface.codes import STATUSES
from service.api.v2.codes import CODES as V2_CODES
from service.api.v3.codes import CODES as V3_CODES
from service.app import Service
from service.inference.analyst import Analyst
from tests.contract.conftest import caller
from tests.contract.people import VALIDITY
from tests.contract.wire import Wire
from tests.fixtures import videos
from tests.fixtures.envelopes import content, seal
from tests.fixtures.files import FileServer
from tests.fixtures.people import claim, number
from tests.fixtures.pictures import Pictures
from tests.seeds import data, walk
from tests.seeds.data import Parameter, SeedCall
from tests.seeds.walk import Stage

MISSING = data.missing()
EVERY_CALL = {call.name: call for call in data.calls()}
CALLS = [call for call in EVERY_CALL.values() if call.name not in MISSING.calls]
ANSWERED = [call for call in CALLS if call.refused is None]
PARAMETERS = [
    (call, parameter)
    for call in ANSWERED
    for parameter in call.parameters
    if (call.name, parameter.name) not in MISSING.parameters
]
REQUIRED = [(call, parameter) for call, parameter in PARAMETERS if parameter.required]
REFUSED = [(call, parameter) for call, parameter in PARAMETERS if not parameter.ignored]
UNSUPPORTED = 3


def name_of(value: object) -> str | None:
    return value.name if isinstance(value, SeedCall | Parameter) else None


def further_words(service: Service, wire: Wire, pictures: Pictures) -> dict[str, Callable[[], object]]:
    """A person in the register, a sealed picture of one, a session and a video for it."""
    app = service.apps.by_app_id(wire.credentials.app_id)
    service.enrolment.enter(claim(1), VALIDITY, pictures.bytes("obama2.jpg"), app)
    key = wire.http.get(ENVELOPE_KEYS, params={"access_token": wire.token}).json()["keys"][0]
    analyst, image = service.video._watch._analyst, cv2.imread(str(pictures.path("obama.jpg")))
    assert isinstance(analyst, Analyst)
    puppet = videos.puppet(service.engine, analyst, np.asarray(image, np.uint8), 280)
    assert puppet is not None
    film = videos.encode(puppet.play(videos.still, 1.0), sound=videos.tone(1.0, loud=[]))

    def session() -> object:
        path = f"{EVERY_CALL['videoSessioncode'].path}?access_token={wire.token}"
        return wire.http.post(path, json={"type": 1}).json()["result"]["session_id"]

    return {
        "$id_number": lambda: number(1),
        "$person": lambda: claim(1).name,
        "$sealed": lambda: seal(key, content(pictures.base64("obama.jpg"))),
        "$session": session,
        "$video": lambda: base64.b64encode(film).decode(),
    }


@pytest.fixture(scope="module")
def stage(service: Service, http: httpx.Client, pictures: Pictures, files: FileServer) -> Stage:
    wire = caller(service, http)
    return Stage(wire, pictures, files.put, further_words(service, wire, pictures))


def unaccepted(call: SeedCall) -> list[str]:
    """Parameters that cannot be sent yet."""
    return [name for of, name in MISSING.parameters if of == call.name]


def succeeded(call: SeedCall, answer: walk.Answer) -> bool:
    return walk.code(call, answer) == ("OK" if call.dialect == "linkface" else 0)


@pytest.mark.parametrize("call", ANSWERED, ids=name_of)
def test_every_parameter_is_taken_and_every_field_answered(stage: Stage, call: SeedCall) -> None:
    short = walk.send(stage, call, walk.base(call), call.methods[-1])
    assert succeeded(call, short), short
    every = walk.full(call, unaccepted(call))
    answers = [walk.send(stage, call, every)]
    for other in call.parameters:
        if other.instead and other.name not in unaccepted(call):
            rest = {name: value for name, value in every.items() if name != other.instead}
            answers.append(walk.send(stage, call, {**rest, other.name: other.valid}))
    for answer in answers:
        assert succeeded(call, answer), answer
    absent = {path for path in call.answers if not walk.has(answers, path)}
    assert absent == {path for of, path in MISSING.answers if of == call.name}
    assert not [path for path in call.never if walk.has(answers, path)]


@pytest.mark.parametrize(("call", "parameter"), REFUSED, ids=name_of)
def test_a_malformed_parameter_is_refused(stage: Stage, call: SeedCall, parameter: Parameter) -> None:
    answer = walk.send(stage, call, walk.replaced(call, parameter, parameter.invalid))
    assert walk.code(call, answer) in parameter.codes, answer


@pytest.mark.parametrize(("call", "parameter"), REQUIRED, ids=name_of)
def test_a_required_parameter_must_be_there(stage: Stage, call: SeedCall, parameter: Parameter) -> None:
    answer = walk.send(stage, call, walk.base(call, without=parameter.name))
    assert walk.code(call, answer) == (parameter.missing or walk.MISSING_CODES[call.dialect]), answer


@pytest.mark.parametrize(
    ("call", "parameter", "value"),
    [(call, parameter, value) for call, parameter in PARAMETERS for value in parameter.also],
    ids=lambda value: name_of(value) or str(value),
)
def test_other_values_are_taken(stage: Stage, call: SeedCall, parameter: Parameter, value: object) -> None:
    values = walk.replaced(call, parameter, value)
    if call.dialect != "v3" or "image" not in values:
        assert succeeded(call, answer := walk.send(stage, call, values)), answer
        return
    cheap, expected = walk.cheapened(values)
    assert walk.code(call, walk.send(stage, call, cheap)) == expected


@pytest.mark.parametrize("call", [call for call in CALLS if call.refused is not None], ids=name_of)
def test_calls_that_are_refused(stage: Stage, call: SeedCall) -> None:
    assert walk.code(call, walk.send(stage, call, {})) == call.refused


def test_what_is_listed_as_missing_is_missing(stage: Stage) -> None:
    for name in sorted(MISSING.calls):
        call = EVERY_CALL[name]
        assert walk.code(call, walk.send(stage, call, {})) == UNSUPPORTED


def test_the_list_of_what_is_missing_names_what_there_is() -> None:
    assert set(EVERY_CALL) >= MISSING.calls
    for name, parameter in MISSING.parameters:
        assert EVERY_CALL[name].parameter(parameter).name == parameter
    for name, path in MISSING.answers:
        assert path in EVERY_CALL[name].answers


def test_codes_have_the_texts_of_the_documents() -> None:
    texts = data.codes()
    for table, listed in ((V3_CODES, texts["v3"]), (V2_CODES, texts["v2"])):
        ours = {(code.number, code.text) for code in table}
        assert {(int(number), text) for number, text in listed.items()} <= ours
    assert {status.text: status.http for status in STATUSES} == texts["linkface"]
