"""The composed service with real weights and a real PostgreSQL, behind a real HTTP server in this process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
import uvicorn
from starlette.types import ASGIApp

from service.app import Service, create_app, open_service
from service.inference.analyst import Analyst
from service.settings import load_settings
from tests.contract.filmed import SIDE
from tests.contract.wire import Wire
from tests.fixtures import videos
from tests.fixtures.pictures import Pictures
from tests.fixtures.postgres import TEMPLATE, _database
from tests.fixtures.videos import Puppet


@contextmanager
def listening(application: ASGIApp, protocol: type[asyncio.Protocol] | None = None) -> Iterator[httpx.Client]:
    """Serve an application on a free port of this machine, by another protocol if named; yields a client of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(application, log_config=None, ws="none", http=protocol or "auto"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            port = listener.getsockname()[1]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def contract_database_url(postgres_url: str) -> Iterator[str]:
    """A migrated database that the tests here share; each test has an app of its own in it."""
    yield from _database(postgres_url, TEMPLATE)


@pytest.fixture(scope="session")
def service(model_dir: Path, contract_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Every use case, ready."""
    settings = load_settings(
        home=tmp_path_factory.mktemp("contract"),
        model_dir=model_dir,
        offline=True,
        database_url=contract_database_url,
        inference_threads=2,
        risk_people=3,
        risk_failures=3,
        url_allow_hosts=["localhost"],  # by this name only: what comes as 127.0.0.1 must be refused
        login_failures=1000,  # all tests come from one address, and many of them fail on purpose
    )
    with open_service(settings) as running:
        yield running


@pytest.fixture(scope="session")
def http(service: Service) -> Iterator[httpx.Client]:
    """The composed application behind HTTP."""
    with listening(create_app(service)) as client:
        yield client


@pytest.fixture(scope="session")
def cast(service: Service, pictures: Pictures) -> dict[str, Puppet]:
    """Two people who can be made to move."""
    analyst = service.video._watch._analyst
    assert isinstance(analyst, Analyst)
    found = {}
    for name in ("obama", "biden"):
        image = cv2.imread(str(pictures.path(f"{name}.jpg")))
        assert image is not None
        found[name] = videos.puppet(service.engine, analyst, np.asarray(image, np.uint8), SIDE)
    return {name: puppet for name, puppet in found.items() if puppet is not None}


@pytest.fixture
def wire(service: Service, http: httpx.Client) -> Wire:
    """A caller with a fresh app, so with an empty library, of its own."""
    return caller(service, http)


@pytest.fixture
def other_wire(service: Service, http: httpx.Client) -> Wire:
    """A second caller, of another app."""
    return caller(service, http)


def caller(service: Service, http: httpx.Client, permissions: Collection[str] | None = None) -> Wire:
    """A caller for a new app."""
    credentials = service.apps.create("contract", permissions)
    app = service.apps.by_app_id(credentials.app_id)
    assert app is not None
    return Wire(http, credentials, service.tokens.issue(app).access_token)
