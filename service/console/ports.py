"""What the console needs of the rest: the use cases, as ``service.app`` composes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from service.access.failures import Failures
from service.access.tokens import Tokens
from service.auditing import Operation
from service.console.password import FILE, PasswordFile
from service.console.sessions import LoginThrottle, Sessions
from service.identity.enrolment import Enrolment
from service.library.apps import Apps
from service.library.faces import Faces
from service.library.groups import Groups
from service.library.quotas import Quotas
from service.library.users import Users
from service.metrics import State


class Check(Protocol):
    """One thing that must be in order."""

    @property
    def name(self) -> str: ...

    @property
    def ok(self) -> bool: ...

    @property
    def detail(self) -> str: ...


class Readiness(Protocol):
    """Whether the service can answer."""

    @property
    def ready(self) -> bool: ...

    @property
    def checks(self) -> Sequence[Check]: ...


class Operator:
    """The one account of the console: its password, its sessions, and how often somebody may guess."""

    def __init__(self, home: Path, keys: Sequence[bytes], wrong: Failures) -> None:
        """``keys`` of 32 bytes sign the sessions; ``wrong`` counts wrong passwords."""
        self.password = PasswordFile(home / FILE)
        self.sessions = Sessions(keys)
        self.throttle = LoginThrottle(wrong)


class AuditDraft(Protocol):
    """What was done; groups and users by the names that the caller gave."""

    @property
    def time(self) -> datetime: ...

    @property
    def actor(self) -> str: ...

    @property
    def call(self) -> str: ...

    @property
    def outcome(self) -> str: ...

    @property
    def groups(self) -> Sequence[str]: ...

    @property
    def users(self) -> Sequence[str]: ...


class AuditEntry(Protocol):
    """One entry of the audit log."""

    @property
    def draft(self) -> AuditDraft: ...


class AuditLog(Protocol):
    """The part of the audit log that the console uses."""

    def latest(self, limit: int) -> Sequence[AuditEntry]:
        """The newest entries."""
        ...

    def note(self, operation: Operation, outcome: str) -> None:
        """Log an operation on an app, unless a transaction has logged it already."""
        ...

    def record(self, call: str) -> None:
        """Log something that concerns no app, with the current actor."""
        ...


class UseCases(Protocol):
    """The use cases behind the pages. All are synchronous and thread-safe."""

    @property
    def operator(self) -> Operator: ...

    @property
    def apps(self) -> Apps: ...

    @property
    def tokens(self) -> Tokens: ...

    @property
    def quotas(self) -> Quotas: ...

    @property
    def groups(self) -> Groups: ...

    @property
    def users(self) -> Users: ...

    @property
    def faces(self) -> Faces: ...

    @property
    def enrolment(self) -> Enrolment: ...

    def readiness(self) -> Readiness:
        """The state of everything the service depends on."""
        ...

    def state(self) -> State:
        """What goes up and down, in numbers."""
        ...
