"""Failures that an operator can mend, as one sentence on standard error and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

FAILED = 1
MISUSED = 2
"""Exit statuses: something is wrong, or was asked for wrongly (the usual meaning of 2)."""


class Failure(Exception):
    """A command cannot go on; the text is one sentence for the operator."""

    def __init__(self, sentence: str, status: int = FAILED) -> None:
        super().__init__(sentence)
        self.status = status


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn expected failures into ``aipface: <sentence>``; unexpected ones pass with their traceback."""
    try:
        yield
    except Exception as error:
        status = exit_status(error)
        if status is None:
            raise
        _flush_output()
        print(f"aipface: {sentence(error)}", file=sys.stderr)  # noqa: T201 (this is what a CLI is for)
        raise SystemExit(status) from None


def _flush_output() -> None:
    """Write what was printed before a failure is told; what a full disk does not take is given up.

    Left in the buffer it would fail again when the interpreter ends.
    """
    if sys.stdout is None:  # closed before we began
        return
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def exit_status(error: Exception) -> int | None:
    """Exit status of an expected failure, ``None`` for a bug.

    The rooms are imported here, when something has failed already, so that quick commands stay quick.
    """
    from models.errors import ModelsError
    from service.access.certificates import CertificateError
    from service.access.keys import KeyringError
    from service.bulk.pictures import SourceError
    from service.calibration.errors import CalibrationError
    from service.errors import ServiceError
    from service.images.proxies import ProxyError
    from service.settings import SettingsError
    from service.storage.backup import BackupError
    from service.storage.library import LibraryDamaged

    if isinstance(error, Failure):
        return error.status
    if isinstance(error, SettingsError | ProxyError):
        return MISUSED
    expected = (
        ModelsError,
        ServiceError,
        KeyringError,
        CalibrationError,
        SourceError,
        CertificateError,
        BackupError,
        LibraryDamaged,
    )
    return FAILED if isinstance(error, expected) else None


def sentence(error: Exception) -> str:
    """The error's text on one line, or its name in words when it carries none."""
    text = " ".join(str(error).split())
    if text:
        return text
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in type(error).__name__).strip()
