"""Who does what at the moment, so that storage can write it into the audit log in the transaction of the change.

The API sets its caller and call, the command line its user. Where nobody is set, the program itself is acting.
"""

from __future__ import annotations

import contextlib
import getpass
import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

OK = "0"
"""How the audit log writes success: the API's code for it."""


@dataclass(slots=True)
class Operation:
    """One call or command. It holds no picture, no embedding, and nothing of the identity register."""

    actor: str
    """``app:<app_id>`` or ``cli:<user of the operating system>``."""
    call: str
    app_pk: int | None = None
    groups: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    log_id: int | None = None
    written: bool = False
    """Whether a transaction has written it already."""


_current: ContextVar[Operation | None] = ContextVar("aipface_operation", default=None)


def current() -> Operation:
    """What is going on; the program's own work where nobody said."""
    return _current.get() or Operation(local_actor(), "library")


@contextlib.contextmanager
def operation(begun: Operation) -> Iterator[Operation]:
    """What happens inside the block belongs to this operation."""
    token = _current.set(begun)
    try:
        yield begun
    finally:
        _current.reset(token)


def local_actor() -> str:
    """The user of the operating system, by number where the system has no name for it."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"cli:{os.getuid()}"
