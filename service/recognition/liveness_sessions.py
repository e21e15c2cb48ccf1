"""Codes for one video each: digits to speak, or actions to perform."""

from __future__ import annotations

import enum
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from service.errors import CodeLengthsContradict, SessionUnusable
from service.recognition.actions import Action
from service.storage.engine import Database
from service.storage.liveness_sessions import StoredSession
from service.values import App

_DIGITS = "0123456789"


class SessionKind(str, enum.Enum):
    """What the code asks for; the values are the API's ``type_identify``."""

    VOICE = "voice"
    ACTION = "action"


@dataclass(frozen=True, slots=True)
class Session:
    """``code``: digits; of a session of actions each digit is the value of an ``Action``."""

    session_id: str
    kind: SessionKind
    code: str

    @property
    def actions(self) -> tuple[Action, ...]:
        """What is to be done, in this order; nothing where digits are to be spoken."""
        return tuple(Action(digit) for digit in self.code) if self.kind is SessionKind.ACTION else ()


class LivenessSessions:
    """Opens sessions and hands each out once, to the app that opened it; ``actions`` are those it asks for."""

    def __init__(self, database: Database, lifetime: timedelta, actions: Sequence[Action]) -> None:
        self._database = database
        self._lifetime = lifetime
        self.actions = tuple(actions)

    def open(self, app: App, kind: SessionKind, shortest: int, longest: int) -> Session:
        """A new session with a code of ``shortest`` to ``longest`` digits that nobody can foresee.

        No digit follows itself: two of the same would be heard, and seen, as one.
        """
        if shortest > longest:
            raise CodeLengthsContradict(f"{shortest} > {longest}")
        alphabet = list(_DIGITS) if kind is SessionKind.VOICE else [action.value for action in self.actions]
        code: list[str] = []
        for _ in range(shortest + secrets.randbelow(longest - shortest + 1)):
            code.append(secrets.choice([sign for sign in alphabet if [sign] != code[-1:]] or alphabet))
        session = Session(f"S{secrets.token_hex(16)}", kind, "".join(code))
        with self._database.admin(app.pk) as work:
            work.liveness_sessions.put(
                app.pk, session.session_id, StoredSession(kind.value, session.code), self._lifetime
            )
        return session

    def take(self, app: App, session_id: str) -> Session:
        """The session, which is used up by this. Raises ``SessionUnusable``: unknown to the app, used, too old."""
        with self._database.admin(app.pk) as work:
            stored = work.liveness_sessions.take(app.pk, session_id)
        if stored is None:
            raise SessionUnusable
        return Session(session_id, SessionKind(stored.kind), stored.code)
