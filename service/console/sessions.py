"""Who is logged in: a signed cookie, so that replicas need not share anything but the master key."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

IDLE_SECONDS = 30 * 60
"""Without a request for so long a session ends."""

LONGEST_SECONDS = 12 * 3600
"""No session lasts longer, however busy."""


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
        over = now - seen > IDLE_SECONDS or now - born > LONGEST_SECONDS or session_id in self._closed
        return None if over else Session(session_id, born, seen)

    def close(self, session: Session) -> None:
        """End a session in this process; other replicas let its cookie, which the browser drops, run out."""
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
    """After ``tries`` wrong passwords from one address, or ``most`` from anywhere, the next must wait."""

    def __init__(
        self, *, tries: int = 5, most: int = 50, window: float = 300.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tries = tries
        self._most = most
        self._window = window
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: list[tuple[float, str]] = []

    def wait(self, address: str) -> int:
        """Seconds that this address has to wait; 0 when it may try now."""
        with self._lock:
            now = self._clock()
            self._failures = [each for each in self._failures if now - each[0] < self._window]
            own = [moment for moment, known in self._failures if known == address]
            everybody = [moment for moment, _ in self._failures]
            until = max(self._until(own, self._tries), self._until(everybody, self._most))
            return max(0, int(until - now) + 1) if until > now else 0

    def failed(self, address: str) -> None:
        """Remember a wrong password."""
        with self._lock:
            self._failures.append((self._clock(), address))

    def succeeded(self, address: str) -> None:
        """Forget the wrong ones of an address."""
        with self._lock:
            self._failures = [each for each in self._failures if each[1] != address]

    def _until(self, moments: Sequence[float], limit: int) -> float:
        return moments[-limit] + self._window if len(moments) >= limit else 0.0
