"""Logs: both forms, and nothing secret in either."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator
from typing import Literal

import pytest

from service.logs import configure_logging, redact

TOKEN = f"24.{'0a' * 16}.2592000.1800000000.282335-12345678"


@pytest.fixture(autouse=True)
def unchanged_logging() -> Iterator[None]:
    """Put back what ``configure_logging`` replaces for the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize(
    "secret",
    [
        f"POST /rest?access_token={TOKEN}&aipSdk=python",
        f"token {TOKEN} refused",
        "GET /oauth/2.0/token?client_id=hidden&client_secret=hidden",
        "authorization: bce-auth-v1/hidden/2026-01-01T00:00:00Z/1800/host/hidden",
        "cannot connect to postgresql://aipface:hidden@database/aipface",
        "{'secret_key': 'hidden'}",
        '{"client_secret":"hidden"}',
        "password=hidden host=x",
    ],
)
def test_secrets_are_blanked(secret: str) -> None:
    assert "***" in redact(secret)
    assert "hidden" not in redact(secret)
    assert TOKEN not in redact(secret)


def test_plain_text_stays() -> None:
    text = 'version 24.1.0 of "token bucket": 24.5 ms, key=value, http://127.0.0.1:8000/readyz'
    assert redact(text) == text


@pytest.mark.parametrize("style", ["text", "json"])
def test_access_lines_lose_their_query(style: Literal["text", "json"]) -> None:
    stream = io.StringIO()
    configure_logging("info", style, stream)
    arguments = ("1.2.3.4:5", "POST", f"/rest/2.0/face/v3/detect?access_token={TOKEN}", "1.1", 200)
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', *arguments)
    assert "/rest/2.0/face/v3/detect HTTP/1.1" in stream.getvalue()
    assert "access_token" not in stream.getvalue()


def test_json_lines_carry_extras_and_exceptions() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    try:
        raise ValueError(f"access_token={TOKEN}")
    except ValueError:
        logging.getLogger("service.test").exception("人脸", extra={"log_id": 2**62, "token": TOKEN})
    (line,) = stream.getvalue().splitlines()
    content = json.loads(line)
    assert content["message"] == "人脸"
    assert content["log_id"] == 2**62
    assert content["level"] == "error"
    assert "ValueError" in content["exception"]
    assert TOKEN not in line


def test_text_lines_carry_extras() -> None:
    stream = io.StringIO()
    configure_logging("warning", "text", stream)
    logging.getLogger("service.test").info("too quiet")
    logging.getLogger("service.test").warning("slow", extra={"log_id": 7})
    assert stream.getvalue().endswith("WARNING service.test: slow log_id=7\n")
    assert "too quiet" not in stream.getvalue()


def test_lines_of_one_of_several_processes_tell_which() -> None:
    stream = io.StringIO()
    configure_logging("warning", "text", stream, numbered=True)
    logging.getLogger("service.test").warning("slow")
    assert stream.getvalue().endswith(f"WARNING [{os.getpid()}] service.test: slow\n")
    stream = io.StringIO()
    configure_logging("warning", "json", stream, numbered=True)
    logging.getLogger("service.test").warning("slow")
    assert json.loads(stream.getvalue())["process"] == os.getpid()
