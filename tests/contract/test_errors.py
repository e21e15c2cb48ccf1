"""Every error on the wire, raised where a use case would raise it; crashes; too much load."""

from __future__ import annotations

import inspect
import itertools
import json
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

import httpx
import pytest
from fastapi import FastAPI

from service import errors
from service.api.calls import Call, Dispatcher, router
from service.api.ports import UseCases
from service.api.v3.codes import CODES
from service.api.v3.responses import Envelope
from service.app import Service
from service.errors import ServiceError
from service.values import App
from tests.contract.conftest import listening
from tests.contract.wire import Wire, checked

PATH = "/made-for-this-test"
SECRET = "a-secret-of-the-caller"

Run = Callable[[UseCases, App, object], object]


class Stage:
    """A call of the test's own, whose use case each test sets."""

    def __init__(self) -> None:
        self.run: Run = lambda _service, _app, _arguments: None

    def _perform(self, service: UseCases, app: App, arguments: object) -> object:
        return self.run(service, app, arguments)

    def call(self) -> Call[object, object]:
        return Call(
            path=PATH,
            name="stage",
            summary="For tests.",
            permission="detect",
            parse=lambda parameters: parameters,
            run=self._perform,
            present=lambda _, outcome: outcome,
            example={},
        )


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage()


@pytest.fixture(scope="module")
def staged(service: Service, stage: Stage) -> Iterator[httpx.Client]:
    """The stage behind HTTP, with two threads and a backlog of two."""
    application = FastAPI()
    dispatcher = Dispatcher(service, threads=2, backlog=2, max_body_bytes=1000)
    application.include_router(router([stage.call()], Envelope(), dispatcher, tag="stage"))
    with listening(application) as client:
        yield client


def perform(wire: Wire, staged: httpx.Client, content: bytes = b"{}") -> httpx.Response:
    return staged.post(PATH, params={"access_token": wire.token}, content=content)


def every_error() -> list[type[ServiceError]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ServiceError)]


def raising(error: Exception) -> Run:
    def run(_service: UseCases, _app: App, _arguments: object) -> object:
        raise error

    return run


@pytest.mark.parametrize("kind", every_error())
def test_every_error_has_its_code_and_text(
    wire: Wire, staged: httpx.Client, stage: Stage, kind: type[ServiceError]
) -> None:
    error = kind(SECRET)
    stage.run = raising(error)
    answer = checked(perform(wire, staged))
    assert (answer["error_code"], answer["error_msg"]) == (CODES.of(error).number, CODES.of(error).text)
    assert SECRET not in json.dumps(answer)


@pytest.mark.parametrize(("name", "number"), [(name, code.number) for code in CODES for name in code.parameters])
def test_every_malformed_parameter_has_its_code(
    wire: Wire, staged: httpx.Client, stage: Stage, name: str, number: int
) -> None:
    stage.run = raising(errors.ParameterMalformed(name))
    assert checked(perform(wire, staged))["error_code"] == number


def test_a_crash_is_an_unknown_error_and_is_logged_under_its_log_id(
    wire: Wire, staged: httpx.Client, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.run = raising(ZeroDivisionError("boom"))
    with caplog.at_level(logging.ERROR):
        response = perform(wire, staged)
    assert checked(response) == {"error_code": 1, "error_msg": "Unknown error"}
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert vars(record)["log_id"] == int(response.headers["x-log-id"])
    assert record.exc_info is not None
    assert wire.token not in caplog.text


def test_what_cannot_be_written_as_json_is_an_unknown_error(wire: Wire, staged: httpx.Client, stage: Stage) -> None:
    stage.run = lambda _service, _app, _arguments: object()
    assert checked(perform(wire, staged))["error_code"] == 1


def test_a_body_over_the_limit_is_refused_after_it_was_read(wire: Wire, staged: httpx.Client, stage: Stage) -> None:
    stage.run = lambda _service, _app, _arguments: "done"
    at_the_limit = b'{"a":"' + b"x" * 992 + b'"}'
    assert len(at_the_limit) == 1000
    assert checked(perform(wire, staged, at_the_limit))["result"] == "done"
    for size in (1001, 5000):
        answer = checked(perform(wire, staged, b"x" * size))
        assert (answer["error_code"], answer["error_msg"]) == (222013, "param[image] format error")


def test_more_than_may_wait_are_told_that_we_are_busy(wire: Wire, staged: httpx.Client, stage: Stage) -> None:
    gate = threading.Event()
    entered = threading.Semaphore(0)

    def run(_service: UseCases, _app: App, _arguments: object) -> object:
        entered.release()
        gate.wait(30)
        return "done"

    stage.run = run
    try:
        with ThreadPoolExecutor(6) as pool:
            working = [pool.submit(perform, wire, staged) for _ in range(2)]
            for _ in working:
                assert entered.acquire(timeout=30)
            others = [pool.submit(perform, wire, staged) for _ in range(4)]
            first = list(itertools.islice(as_completed(others, timeout=30), 2))
            refused = [checked(future.result()) for future in first]
            gate.set()
            answered = [checked(future.result()) for future in [*working, *others]]
    finally:
        gate.set()
    busy = {"error_code": 18, "error_msg": "Open api qps request limit reached"}
    assert refused == [busy, busy]
    assert [answer.get("result") for answer in answered].count("done") == 4
