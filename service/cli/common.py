"""What several commands share: the effective settings, and opening the service for administration."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import typer

from service.cli.failures import Failure

if TYPE_CHECKING:
    from service.administration import Admin
    from service.settings import Settings
    from service.values import App, Image

LEAST_DECODED_PIXELS = 64_000_000
"""What OpenCV decodes at least, however few pixels pictures may have: it reads the library's own crops, too."""


def effective_settings(**overrides: object) -> Settings:
    """Load the settings; a variable that nothing reads is told on standard error.

    To be called before OpenCV is loaded, which reads then how many pixels it may decode. Sizes are checked before that;
    this is the wall behind a header that is told one way and decoded another.
    """
    from service.settings import load_settings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        settings = load_settings(**overrides)
    for warning in caught:
        typer.echo(f"aipface: warning: {warning.message}", err=True)
    most = max(settings.max_picture_pixels, LEAST_DECODED_PIXELS)
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(most))
    return settings


@contextmanager
def administration() -> Iterator[Admin]:
    """The use cases of administration: database and keys, no weights. Logs nothing below warnings."""
    from service.administration import open_admin
    from service.logs import configure_logging

    settings = effective_settings()
    configure_logging("warning", settings.log_format)
    with commanded(), open_admin(settings) as admin:
        yield admin


@contextmanager
def commanded() -> Iterator[None]:
    """What happens inside the block stands in the audit log under the command's name and the user's."""
    from service.auditing import Operation, local_actor, operation

    # The first word alone: what follows may be somebody's number.
    with operation(Operation(local_actor(), " ".join(["aipface", *sys.argv[1:2]]))):
        yield


def known_app(admin: Admin, app_id: str) -> App:
    """The app with this id; a failure in one sentence where there is none."""
    app = admin.apps.by_app_id(app_id)
    if app is None:
        raise Failure(f"there is no app {app_id}; aipface app list shows those there are")
    return app


@contextmanager
def database_address(settings: Settings) -> Iterator[str]:
    """The database's address; starts the embedded PostgreSQL where no other is named. Its schema is left as it is."""
    from service.administration import open_database

    with open_database(settings) as (address, _):
        yield address


@contextmanager
def written_privately(out: Path) -> Iterator[IO[bytes]]:
    """A file for its owner alone that gets its name when it is whole; or standard output (``-``), or a device.

    Links stay: what they lead to is written. Raises ``Failure`` where it cannot be.
    """
    try:
        if str(out) == "-":
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
            return
        if out.exists() and not out.is_file():  # not to be replaced
            with out.open("wb") as device:
                yield device
            return
        target = Path(os.path.realpath(out))
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as draft:
            path = Path(draft.name)
            try:
                yield draft
                draft.flush()
                os.fsync(draft.fileno())
                path.replace(target)
            finally:
                path.unlink(missing_ok=True)
    except OSError as error:
        named = "standard output" if str(out) == "-" else out
        raise Failure(f"{named} cannot be written: {error.strerror}") from None


def drawn_privately(out: Path, image: Image) -> None:
    """A picture of faces as a PNG for its owner alone. Raises ``Failure`` where it cannot be written."""
    import cv2

    done, data = cv2.imencode(".png", image)
    if not done:
        raise Failure(f"{out} cannot be written: OpenCV makes no PNG of it")
    with written_privately(out) as file:
        file.write(data.tobytes())


def print_json(content: object) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(content, ensure_ascii=False))


def can_ask() -> bool:
    """Whether somebody can be asked for a secret: at the terminal of the session, whatever standard input is."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return sys.stdin is not None and sys.stdin.isatty()
    return True


def on_terminal() -> bool:
    """Whether somebody watches standard error."""
    return sys.stderr.isatty()
