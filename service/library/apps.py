"""Apps: the tenants, their keys, and the lookup that every request makes."""

from __future__ import annotations

import secrets
import string
import threading
import time
from collections.abc import Collection

from service.access.keys import Keyring, KeyringError
from service.errors import AppUnavailable
from service.storage.engine import Database
from service.values import NO_LIMITS, App, AppCredentials, Limits

CACHE_SECONDS = 30.0
"""Upper bound on how long a change of an app goes unnoticed when no notification arrives."""

MISS_SECONDS = 1.0
"""An unknown key makes the cache reload if it is older than this; bounds what guessing keys costs the database."""

API_KEY_LENGTH = 24
SECRET_KEY_LENGTH = 32
"""Lengths of the cloud's keys, which some clients check."""

_ALPHABET = string.ascii_letters + string.digits


class Apps:
    """Creation and rotation of apps, and a cached, thread-safe lookup by API key and by app id."""

    def __init__(self, database: Database, keyring: Keyring, *, limits: Limits = NO_LIMITS) -> None:
        """``limits`` are those of new apps."""
        self._database = database
        self._keyring = keyring
        self._limits = limits
        self._lock = threading.Lock()
        self._by_api_key: dict[str, App] = {}
        self._by_app_id: dict[str, App] = {}
        self._secrets: dict[tuple[int, int], str] = {}
        self._loaded_at = float("-inf")
        self._generation = 0

    def create(self, name: str, permissions: Collection[str] | None = None) -> AppCredentials:
        """Create an app. The secret key is returned here and by ``rotate`` only."""
        secret_key = _random_text(SECRET_KEY_LENGTH)
        api_key = _random_text(API_KEY_LENGTH)
        with self._database.admin() as work:
            app_id = work.apps.next_app_id()
            sealed = self._keyring.seal(secret_key.encode(), secret_context(app_id))
            work.apps.insert(app_id, name, api_key, sealed, permissions, self._limits)
            work.audit.record("app.create", {"app_id": app_id})
        self.forget()
        return AppCredentials(app_id, api_key, secret_key)

    def list(self) -> list[App]:
        """All apps in order of creation, read afresh."""
        with self._database.read() as reader:
            return reader.apps.all()

    def rotate(self, app_id: str) -> AppCredentials:
        """Give the app a new secret key and revoke every token issued so far. Raises ``AppUnavailable``."""
        secret_key = _random_text(SECRET_KEY_LENGTH)
        with self._database.admin() as work:
            app = work.apps.by_app_id(app_id)
            if app is None:
                raise AppUnavailable(app_id)
            work.apps.rotate(app.pk, self._keyring.seal(secret_key.encode(), secret_context(app_id)))
            work.audit.record("app.rotate", {"app_id": app_id})
        self.forget()
        return AppCredentials(app_id, app.api_key, secret_key)

    def set_enabled(self, app_id: str, *, enabled: bool) -> None:
        """Let an app in or keep it out. Raises ``AppUnavailable`` for an unknown one."""
        with self._database.admin() as work:
            app = work.apps.by_app_id(app_id)
            if app is None:
                raise AppUnavailable(app_id)
            work.apps.set_enabled(app.pk, enabled)
            work.audit.record("app.enable" if enabled else "app.disable", {"app_id": app_id})
        self.forget()

    def by_api_key(self, api_key: str) -> App | None:
        """The app with this API key."""
        self._refresh(CACHE_SECONDS)
        if api_key not in self._by_api_key:
            self._refresh(MISS_SECONDS)
        return self._by_api_key.get(api_key)

    def by_app_id(self, app_id: str) -> App | None:
        """The app with this public id."""
        self._refresh(CACHE_SECONDS)
        if app_id not in self._by_app_id:
            self._refresh(MISS_SECONDS)
        return self._by_app_id.get(app_id)

    def secret(self, app: App) -> str:
        """The app's secret key, needed to verify AK/SK signatures."""
        key = (app.pk, app.epoch)
        secret = self._secrets.get(key)
        if secret is None:
            with self._database.read() as reader:
                sealed = reader.apps.sealed_secret(app.pk)
            secret = self._keyring.open(sealed, secret_context(app.app_id)).decode()
            with self._lock:
                self._secrets[key] = secret
        return secret

    def check_master_key(self) -> None:
        """Raise ``KeyringError`` when there are apps and the secret of none can be opened."""
        failure: KeyringError | None = None
        for app in self.list():
            try:
                self.secret(app)
            except KeyringError as error:
                failure = error
            else:
                return
        if failure is not None:
            raise failure

    def forget(self) -> None:
        """Drop what is cached; called when another process says that an app changed."""
        with self._lock:
            self._generation += 1
            self._loaded_at = float("-inf")
            self._secrets.clear()

    def _refresh(self, oldest_seconds: float) -> None:
        """Reload all apps when the cache is older than that: they are few, a query per request would cost more."""
        while time.monotonic() - self._loaded_at >= oldest_seconds:
            generation, started = self._generation, time.monotonic()
            apps = self.list()
            with self._lock:
                if generation != self._generation:
                    continue  # an app changed while we read: we may have read the old state
                if started >= self._loaded_at:  # else a thread that began later has stored a newer state already
                    self._by_api_key = {app.api_key: app for app in apps}
                    self._by_app_id = {app.app_id: app for app in apps}
                    self._loaded_at = started
                return


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def secret_context(app_id: str) -> bytes:
    """Binds a sealed secret to its app: it cannot be moved to another row."""
    return f"app-secret:{app_id}".encode()
