"""Hearing of changes that any process made."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import psycopg

from service.background import Background
from service.errors import ServiceUnavailable
from service.storage import apps, models, recording
from service.storage.engine import connect_arguments
from service.storage.lines import Lines
from service.storage.urls import driver_address

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25
"""How soon a stop is noticed."""
SILENCE_SECONDS = 30.0
"""After so long without news the connection is asked for a sign of life."""
FIRST_BACKOFF = 0.1
LAST_BACKOFF = 5.0


class Listener:
    """A thread with a connection of its own that turns notifications into calls.

    ``on_change(app_pk, seq)``: the app's change log reaches ``seq``. ``on_app(app_pk)``: an app was made, changed or
    deleted. ``on_connect()``: listening has begun, or begun anew, and anything may have happened before.
    ``on_lost()``: the database does not answer; called again before every further attempt. ``on_models()``: which
    models the library is in, or moves to, has changed. They run in the listener's thread, one at a time; what they
    raise is logged and forgotten.

    With ``loaded`` the connection also tells that a server lives, which models it has loaded, and whether it takes
    ``only_sealed`` faces, by locks that end with it: ``ModelReader.servers`` and ``plain_refused`` look at them.
    """

    def __init__(
        self,
        url: str,
        *,
        on_change: Callable[[int, int], None],
        on_app: Callable[[int], None],
        on_connect: Callable[[], None],
        on_lost: Callable[[], object] | None = None,
        on_models: Callable[[], object] | None = None,
        loaded: Callable[[], Iterable[str]] | None = None,
        only_sealed: bool = False,
        lines: Lines | None = None,
    ) -> None:
        """``lines``: among which the connection is broken off where the others are."""
        self._address = driver_address(url)
        self._on_change = on_change
        self._on_app = on_app
        self._on_connect = on_connect
        self._on_lost = on_lost
        self._on_models = on_models
        self._loaded = loaded
        self._lines = Lines() if lines is None else lines
        self._always = {models.presence_key(None), *([models.ONLY_SEALED] if only_sealed else [])}
        self._told: set[int] = set()
        self._background = Background("database-listener", self._run)

    def start(self) -> None:
        self._background.start()

    def stop(self) -> None:
        """Stop listening; returns when the thread has ended."""
        self._background.stop()

    def _run(self) -> None:
        backoff = FIRST_BACKOFF
        while not self._background.stopping.is_set():
            try:
                with psycopg.connect(self._address, autocommit=True, **connect_arguments()) as connection:
                    self._lines.add(connection)
                    connection.execute(f"LISTEN {recording.CHANNEL}")
                    connection.execute(f"LISTEN {apps.CHANNEL}")
                    connection.execute(f"LISTEN {models.CHANNEL}")
                    self._told = set()
                    self._tell(connection)  # before what takes long: others go by it
                    backoff = FIRST_BACKOFF
                    self._call(self._on_connect)
                    self._listen(connection)
            except (psycopg.Error, OSError) as error:  # the latter where no descriptor is left to connect with
                logger.warning("not listening to the database: %s", str(error).strip().splitlines()[:1])
                if self._background.stopping.wait(backoff) or self._lines.were_cut:
                    return
                backoff = min(2 * backoff, LAST_BACKOFF)
                if self._on_lost is not None:
                    self._call(self._on_lost)

    def _listen(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        silence = 0.0
        while not self._background.stopping.is_set():
            self._tell(connection)
            heard = False
            for notification in connection.notifies(timeout=POLL_SECONDS):
                heard = True
                self._dispatch(notification)
                if self._background.stopping.is_set():
                    return
            silence = 0.0 if heard else silence + POLL_SECONDS
            if silence >= SILENCE_SECONDS:
                connection.execute("SELECT 1")
                silence = 0.0

    def _tell(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        if self._loaded is None:
            return
        keys = self._always | {models.presence_key(model_id) for model_id in self._loaded()}
        for key in keys - self._told:
            connection.execute("SELECT pg_advisory_lock_shared(%s, %s)", (models.PRESENCE, key))
        for key in self._told - keys:
            connection.execute("SELECT pg_advisory_unlock_shared(%s, %s)", (models.PRESENCE, key))
        self._told = keys

    def _dispatch(self, notification: psycopg.Notify) -> None:
        if notification.channel == models.CHANNEL:
            if self._on_models is not None:
                self._call(self._on_models)
            return
        try:
            numbers = [int(part) for part in notification.payload.split(":")]
        except ValueError:
            numbers = []
        if notification.channel == recording.CHANNEL and len(numbers) == 2:
            self._call(self._on_change, *numbers)
        elif notification.channel == apps.CHANNEL and len(numbers) == 1:
            self._call(self._on_app, *numbers)
        else:
            logger.warning("a notification on %s has an unknown form", notification.channel)

    def _call(self, function: Callable[..., object], *arguments: int) -> None:
        try:
            function(*arguments)
        except (ServiceUnavailable, OSError) as error:  # told of where it was met, and caught up with later
            logger.warning("a change of another process is followed later: %s", error)
        except Exception:
            logger.exception("a reaction to a database notification failed")
