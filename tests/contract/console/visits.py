"""Visiting the console as a browser does."""

from __future__ import annotations

import re

import httpx

PAGES = ("/", "/apps", "/try", "/live", "/register", "/usage", "/usage?minutes=180", "/audit")
PASSWORD = "correct horse battery"


def login(client: httpx.Client, password: str, **fields: str) -> httpx.Response:
    return client.post("/login", data={"password": password, **fields})


def form_token(client: httpx.Client) -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', client.get("/apps").text)
    assert found is not None
    return found[1]


def send(client: httpx.Client, path: str, **fields: str) -> httpx.Response:
    """A form as a page of this session sends it."""
    return client.post(path, data={"form_token": form_token(client), **fields})
