"""Endpoints for people and machines that run the service."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace

import httpx
import psycopg
import pytest

from models.errors import ModelsError
from service.api.v3.routes import CALLS
from service.app import Service
from service.generations import Generation, Generations
from service.storage import migrations
from service.storage.models import LibraryModel, LibraryModels
from service.storage.urls import driver_address
from tests.contract.wire import Wire


def test_alive(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.head("/healthz").status_code == 200


def test_ready(http: httpx.Client, wire: Wire) -> None:
    """Also while there is an app that has never written anything."""
    assert wire.credentials.app_id
    response = http.get("/readyz")
    assert response.status_code == 200, response.text
    readiness = response.json()
    assert readiness["ready"] is True
    assert readiness["checks"]
    assert all(set(check) == {"name", "ok", "detail"} and check["ok"] for check in readiness["checks"])
    assert http.head("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("schema", "ready", "detail"),
    [
        ("9999", True, f"schema 9999 of a newer release; this one knows {migrations.head()}"),
        ("0001", False, f"schema 0001, needed {migrations.head()}: aipface db upgrade"),
    ],
)
def test_ready_while_a_newer_release_takes_over(
    http: httpx.Client, contract_database_url: str, schema: str, ready: bool, detail: str
) -> None:
    """Its first server brings the schema up before it can answer anybody."""
    renumber = "UPDATE alembic_version SET version_num = %s"
    with psycopg.connect(driver_address(contract_database_url), autocommit=True) as connection:
        connection.execute(renumber, (schema,))
        try:
            answer = http.get("/readyz")
        finally:
            connection.execute(renumber, (migrations.head(),))
    (check,) = [check for check in answer.json()["checks"] if check["name"] == "database"]
    assert (check["ok"], check["detail"]) == (ready, detail)
    assert answer.status_code == (200 if ready else 503)


def test_each_model_that_cannot_be_loaded_is_told_of_with_its_own_reason(service: Service) -> None:
    active, target = LibraryModel("sealed", "model-1"), LibraryModel("damaged", "model-2")
    loadable: set[LibraryModel] = set()

    def make(model: LibraryModel) -> Generation:
        if model not in loadable:
            raise ModelsError(f"{model.pack} weights")
        return service.generations.current

    generations = Generations(service.database, make)
    generations.begin(service.generations.current)
    for model in (active, target):
        generations._load(model)
    own = service.generations.current.engine.model_id
    generations._in_use = LibraryModels(active, target)
    assert generations.check().detail == f"works with {own}, the library is in model-1: sealed weights"
    loadable.add(target)
    generations._load(target)
    assert generations.check().detail == f"works with {own}, the library is in model-1: sealed weights"
    generations._in_use = LibraryModels(LibraryModel("core", own), active)
    assert generations.check().detail == f"{own}, moving to model-1: sealed weights"
    loadable.add(active)
    generations._load(active)
    assert generations.check().detail == f"{own}, moving to model-1: loaded"


def test_documentation(http: httpx.Client) -> None:
    page = http.get("/docs").text
    assert "swagger" in page.lower()
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    for asset in loaded:  # of this server, not of a public network
        assert asset.startswith("/")
        assert http.get(asset).status_code == 200
    described = http.get("/openapi.json").json()["paths"]
    for call in CALLS:
        operation = described[call.path]["post"]
        assert operation["summary"] == call.summary
        assert "example" in operation["requestBody"]["content"]["application/json"]
    assert set(described["/oauth/2.0/token"]) == {"get", "post"}


def test_at_the_end_the_model_that_is_searched_is_closed_last(service: Service) -> None:
    """Whose snapshots are used at the next start."""

    def unused(_: LibraryModel) -> Generation:
        pytest.fail("nothing is loaded")

    closed: list[str] = []
    generations = Generations(service.database, unused)
    for name in ("target", "searched", "left"):
        resources = contextlib.ExitStack()
        resources.callback(closed.append, name)
        generations._by_model[name] = replace(service.generations.current, resources=resources)
    generations._current = generations._by_model["searched"]
    generations.stop()
    assert closed[-1] == "searched"
    assert len(closed) == 3
