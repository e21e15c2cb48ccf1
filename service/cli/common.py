"""What several commands share: the effective settings, and opening the service for administration."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from service.administration import Admin
    from service.settings import Settings


def effective_settings(**overrides: object) -> Settings:
    """Load the settings; a variable that nothing reads is told on standard error."""
    from service.settings import load_settings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        settings = load_settings(**overrides)
    for warning in caught:
        typer.echo(f"aipface: warning: {warning.message}", err=True)
    return settings


@contextmanager
def administration() -> Iterator[Admin]:
    """The use cases of administration: database and keys, no weights. Logs nothing below warnings."""
    from service.administration import open_admin
    from service.logs import configure_logging

    settings = effective_settings()
    configure_logging("warning", settings.log_format)
    with open_admin(settings) as admin:
        yield admin


@contextmanager
def database_address(settings: Settings) -> Iterator[str]:
    """The database's address; starts the embedded PostgreSQL where no other is named. Its schema is left as it is."""
    from service.administration import open_database

    with open_database(settings) as (address, _):
        yield address


def print_json(content: object) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(content, ensure_ascii=False))


def on_terminal() -> bool:
    """Whether somebody watches standard error."""
    return sys.stderr.isatty()
