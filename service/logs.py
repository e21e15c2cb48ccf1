"""Logging: one stream, text for people or JSON for machines, and nothing secret in it.

Nobody in this product logs bodies, pictures or keys. What may slip through all the same (an address with an
``access_token`` in an exception's text, a header in a library's debug line) is blanked here, after formatting, so
that no logger can forget to.
"""

from __future__ import annotations

import json
import logging
import logging.config
import re
import sys
from datetime import datetime, timezone
from typing import Any, Literal, TextIO

_SECRETS = (
    re.compile(
        r"(?P<keep>\b(?:access_token|refresh_token|client_secret|client_id|secret_key|api_secret|api_key|session_secret"
        r"|password|signature)[\"']?\s*[=:]\s*[\"']?)[^&\s\"',;)}]+",
        re.IGNORECASE,
    ),
    re.compile(r"(?P<keep>bce-auth-v1/)\S+"),
    re.compile(r"(?P<keep>://[^/\s:@]+:)[^@\s/]+(?=@)"),  # password in a database's address
    re.compile(r"(?P<keep>\b24\.)[0-9a-f]{32}\.\d+\.\d+\.[\w-]+"),  # an access token standing alone
)
QUIET_LIBRARIES = ("alembic", "asyncio", "faiss", "httpcore", "httpx", "psycopg.pool", "sqlalchemy")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}
"""Attributes that every record has; the others came with ``extra=`` and are printed."""


def redact(text: str) -> str:
    """``text`` with tokens, keys, signatures and passwords blanked."""
    for pattern in _SECRETS:
        text = pattern.sub(r"\g<keep>***", text)
    return text


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller passed as ``extra=``."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class TextFormatter(logging.Formatter):
    """``2026-01-31 12:00:00.123 INFO service.api: message key=value``, local time.

    Where it is ``numbered``, ``INFO [4711] service.api`` with the process' number.
    """

    def __init__(self, *, numbered: bool = False) -> None:
        super().__init__()
        self._numbered = numbered

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone()
        extras = "".join(f" {name}={value}" for name, value in _extras(record).items())
        number = f" [{record.process}]" if self._numbered else ""
        line = f"{moment:%Y-%m-%d %H:%M:%S}.{int(record.msecs):03d} {record.levelname}{number} {record.name}: "
        return redact("\n".join([line + record.getMessage() + extras, *self._details(record)]))

    def _details(self, record: logging.LogRecord) -> list[str]:
        details = [self.formatException(record.exc_info)] if record.exc_info else []
        return [*details, self.formatStack(record.stack_info)] if record.stack_info else details


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time`` (UTC, ISO 8601), ``level``, ``logger``, ``message``, extras, ``exception``.

    Where it is ``numbered``, ``process`` too.
    """

    def __init__(self, *, numbered: bool = False) -> None:
        super().__init__()
        self._numbered = numbered

    def format(self, record: logging.LogRecord) -> str:
        content: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if self._numbered:
            content["process"] = record.process
        for name, value in _extras(record).items():
            plain = value is None or isinstance(value, bool | int | float)
            content[name] = value if plain else redact(str(value))
        if record.exc_info:
            content["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(content, ensure_ascii=False)


class WithoutQuery(logging.Filter):
    """Cuts the query string, where access tokens travel, off the path in uvicorn's access lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        match record.args:
            case (client, method, str(path), version, status):
                record.args = (client, method, path.partition("?")[0], version, status)
        return True


def configure_logging(
    level: str = "info",
    style: Literal["text", "json"] = "text",
    stream: TextIO | None = None,
    *,
    numbered: bool = False,
) -> None:
    """Send every logger of the process, uvicorn's too, to ``stream`` (standard error).

    ``numbered`` lines tell which of several processes wrote them.
    """
    logging.config.dictConfig(_configuration(level, style, stream or sys.stderr, numbered=numbered))
    logging.captureWarnings(capture=True)


def _configuration(level: str, style: str, stream: TextIO, *, numbered: bool) -> dict[str, Any]:
    # Libraries that talk at INFO about each step of theirs are heard from WARNING up.
    quiet = {name: {"level": "WARNING"} for name in QUIET_LIBRARIES}
    quiet["psycopg"] = {"level": "ERROR"}  # warns of what follows from an error that it raises, with parts of rows
    # uvicorn's loggers come with handlers of their own; ours at the root is enough.
    server: dict[str, Any] = {"uvicorn": {"handlers": [], "propagate": True}}
    server["uvicorn.error"] = {"level": "WARNING", "propagate": True}  # the command line tells start and stop itself
    access = {"uvicorn.access": {"handlers": [], "propagate": True, "filters": ["without_query"]}}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"without_query": {"()": WithoutQuery}},
        "formatters": {"chosen": {"()": JsonFormatter if style == "json" else TextFormatter, "numbered": numbered}},
        "handlers": {"stream": {"class": "logging.StreamHandler", "stream": stream, "formatter": "chosen"}},
        "root": {"level": level.upper(), "handlers": ["stream"]},
        "loggers": {**quiet, **server, **access},
    }
