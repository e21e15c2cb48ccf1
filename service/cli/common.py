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
    from service.app import Admin
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
    from service.app import open_admin
    from service.logs import configure_logging

    settings = effective_settings()
    configure_logging("warning", settings.log_format)
    with open_admin(settings) as admin:
        yield admin


@contextmanager
def database_address(settings: Settings) -> Iterator[str]:
    """The database's address; starts the embedded PostgreSQL where no other is named. Its schema is left as it is."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    from service.storage.embedded import EmbeddedPostgres

    embedded = EmbeddedPostgres(settings.home)
    try:
        yield embedded.start()
    finally:
        embedded.stop()


def print_json(content: object) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(content, ensure_ascii=False))


def on_terminal() -> bool:
    """Whether somebody watches standard error."""
    return sys.stderr.isatty()
