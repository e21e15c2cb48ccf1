"""Endpoints for people and machines that run the service."""

from __future__ import annotations

import re

import httpx

from service.api.v3.routes import CALLS
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
