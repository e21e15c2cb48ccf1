"""Entry point of the console script ``aipface``."""

from __future__ import annotations

import os
import sys

import typer

import service
from service.cli.apps import apps
from service.cli.audit import audit
from service.cli.backup import backup, restore
from service.cli.bulk_copy import copy
from service.cli.bulk_export import export
from service.cli.bulk_import import import_pictures
from service.cli.calibrate import calibrate
from service.cli.console import console
from service.cli.database import database
from service.cli.doctor import doctor
from service.cli.erase import erase
from service.cli.failures import one_sentence
from service.cli.feedback import feedback
from service.cli.identity import identity
from service.cli.inspect_picture import inspect_picture
from service.cli.keys import keys
from service.cli.packs import packs
from service.cli.reembed import reembed
from service.cli.serve import ended_by_signals, serve
from service.cli.show_settings import show_settings
from service.cli.tls import tls
from service.cli.users import users

_STANDARD_ERROR = 2

application = typer.Typer(
    name="aipface",
    help="Self-hosted face recognition that answers the Baidu AI face API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
application.command()(serve)
application.add_typer(apps, name="app")
application.add_typer(identity, name="identity")
application.add_typer(packs, name="models")
application.add_typer(feedback, name="feedback")
application.add_typer(database, name="db")
application.add_typer(tls, name="tls")
application.add_typer(keys, name="key")
application.add_typer(console, name="console")
application.add_typer(audit, name="audit")
application.add_typer(erase, name="erase")
application.add_typer(users, name="user")
application.command()(doctor)
application.command()(backup)
application.command()(restore)
application.command()(calibrate)
application.command(name="inspect")(inspect_picture)
application.command(name="import")(import_pictures)
application.command()(export)
application.command()(copy)
application.command()(reembed)
application.command(name="settings")(show_settings)


@application.command()
def version() -> None:
    """Print the version."""
    typer.echo(service.__version__)


def complete_standard_files() -> None:
    """Put the null device where standard input, output or error was closed, and let errors be told to it.

    Else the next file or connection would take the number, and get what a library writes to standard error.
    ``sys.stdout`` stays ``None``: who shows keys has to know that nobody reads them.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = os.fdopen(_STANDARD_ERROR, "w", encoding="utf-8", closefd=False)


def main() -> None:
    """Run the command line. What an operator can mend ends as one sentence on standard error, without a traceback."""
    complete_standard_files()
    with ended_by_signals(), one_sentence():
        application()
