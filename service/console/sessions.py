"""Who is logged in: a signed cookie, so that replicas need not share anything but the master key."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from service.access.attempts import network
from service.access.failures import Failures

IDLE_SECONDS = 30 * 60
"""Without a request for so long a session ends."""

LONGEST_SECONDS = 12 * 3600
"""No session lasts longer, however busy."""

THROTTLE_SECONDS = 300.0
"""How long wrong passwords count."""

KNOWN_SECONDS = 30 * 86400.0
"""How long an address is known from which somebody has logged in."""


@dataclass(frozen=True, slots=True)
class Session:
    """A log-in; times in seconds since the epoch."""

    session_id: str
    born: int
    seen: int


class Sessions:
    """Makes and reads cookies. A new password ends every session: its hash takes part in the signature."""

    def __init__(self, keys: Sequence[bytes], clock: Callable[[], float] = time.time) -> None:
        """``keys`` of 32 bytes: the first signs, any verifies."""
        self._keys = tuple(keys)
        self._clock = clock
        self._lock = threading.Lock()
        self._closed: dict[str, int] = {}

    def open(self) -> Session:
        """A new session."""
        now = int(self._clock())
        return Session(secrets.token_hex(16), now, now)

    def write(self, session: Session, password_hash: str) -> str:
        """The cookie of a session that was used just now."""
        session = replace(session, seen=int(self._clock()))
        content = json.dumps([session.session_id, session.born, session.seen]).encode()
        payload = base64.urlsafe_b64encode(content).decode("ascii")
        return f"{payload}.{self._signature(self._keys[0], payload, password_hash)}"

    def read(self, cookie: str, password_hash: str) -> Session | None:
        """The session of a cookie that we wrote, unless it has ended."""
        payload, _, signature = cookie.partition(".")
        genuine = [self._signature(key, payload, password_hash) for key in self._keys]
        if not any(hmac.compare_digest(each.encode(), signature.encode(errors="replace")) for each in genuine):
            return None
        try:
            session_id, born, seen = json.loads(base64.urlsafe_b64decode(payload))
        except (ValueError, binascii.Error):
            return None
        now = self._clock()
        session = Session(session_id, born, seen)
        over = now - seen > IDLE_SECONDS or now - born > LONGEST_SECONDS or self.is_closed(session)
        return None if over else session

    def is_closed(self, session: Session) -> bool:
        """Whether it was ended in this process."""
        return session.session_id in self._closed

    def close(self, session: Session) -> None:
        """End a session in this process, until it stops; elsewhere its cookie, which the browser drops, runs out."""
        now = int(self._clock())
        with self._lock:
            self._closed = {each: ends for each, ends in self._closed.items() if ends > now}
            self._closed[session.session_id] = session.born + LONGEST_SECONDS

    def token(self, session: Session) -> str:
        """What forms of this session carry, so that no other site can send them."""
        return self._signature(self._keys[0], f"form {session.session_id}", "")

    def accepts(self, session: Session, token: str) -> bool:
        """Whether a form came from a page of this session."""
        genuine = [self._signature(key, f"form {session.session_id}", "") for key in self._keys]
        return any(hmac.compare_digest(each.encode(), token.encode(errors="replace")) for each in genuine)

    @staticmethod
    def _signature(key: bytes, text: str, password_hash: str) -> str:
        message = f"{text}\0{password_hash}".encode(errors="replace")
        return hmac.new(key, message, hashlib.sha256).hexdigest()


class LoginThrottle:
    """Makes log-ins wait after ``tries`` wrong passwords from one address, or ``most`` from all addresses together.

    The limit ``most`` does not apply to addresses from which somebody has logged in before, so that strangers cannot
    lock the operator out.
    """

    def __init__(self, wrong: Failures, *, tries: int = 5, most: int = 50) -> None:
        self._wrong = wrong
        self._tries = tries
        self._most = most

    def wait(self, address: str) -> int:
        """Seconds that this address has to wait; 0 when it may try now."""
        own = self._name(address)
        wait, of_all = self._left(own, self._tries), self._left(self._everybody, self._most)
        if of_all > wait and not self._wrong.has_worked_anywhere(own):
            wait = of_all
        return math.ceil(wait)

    def failed(self, address: str) -> None:
        """Remember a wrong password."""
        self._wrong.add(self._name(address), self._everybody)

    def succeeded(self, address: str) -> None:
        """Forget the wrong ones of an address, and know it, in all processes."""
        own = self._name(address)
        self._wrong.succeeded(own)
        self._wrong.remember(own, KNOWN_SECONDS)

    def _left(self, name: bytes, limit: int) -> float:
        failures, seconds = self._wrong.state(name)
        return seconds if failures >= limit else 0.0

    def _name(self, address: str) -> bytes:
        return self._wrong.name("console", network(address))

    @property
    def _everybody(self) -> bytes:
        return self._wrong.name("console")
