"""The keys that capture envelopes are sealed with: one pair for each algorithm and app, made when first asked for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any

from service.access.keys import Keyring, KeyringError
from service.capture import jose
from service.capture.jose import KeyPair, PrivateKey
from service.errors import EnvelopeNotOpened
from service.storage.engine import Database
from service.storage.envelopes import StoredKey
from service.values import App

KEYS_AT_HAND = 256
"""Private keys kept unsealed: reading one takes longer than opening an envelope with it."""

_MEND = "aipface app envelope-key rotate --at-once"

logger = logging.getLogger(__name__)


class EnvelopeKeys:
    """Publishing keys, changing them, and finding the private half. Private keys are sealed in the database."""

    def __init__(self, database: Database, keyring: Keyring, *, grace: timedelta) -> None:
        """``grace`` is how long keys are accepted after ``rotate``."""
        self._database = database
        self._keyring = keyring
        self._grace = grace
        self._loaded = lru_cache(KEYS_AT_HAND)(self._load)

    def published(self, app: App) -> list[Mapping[str, Any]]:
        """The public keys to seal envelopes for this app with, as JWKs; any of them will do."""
        with self._database.read(app.pk) as reader:
            known = reader.envelopes.current_keys(app.pk)
        if len(known) < len(jose.ALGORITHMS):
            made = self._made(app, set(jose.ALGORITHMS) - {key.algorithm for key in known})
            with self._database.admin(app.pk) as work:
                work.envelopes.add_keys(app.pk, made)
            with self._database.read(app.pk) as reader:  # another process may have been quicker
                known = reader.envelopes.current_keys(app.pk)
        return [key.public for key in known]

    def rotate(self, app: App, *, at_once: bool = False) -> list[Mapping[str, Any]]:
        """Replace the app's keys; the old ones open envelopes for the time of grace, or with ``at_once`` no more."""
        made = self._made(app, set(jose.ALGORITHMS))
        with self._database.admin(app.pk) as work:
            work.envelopes.retire_keys(app.pk, timedelta(0) if at_once else self._grace)
            work.envelopes.add_keys(app.pk, made)
        return self.published(app)

    def private(self, app: App, kid: str, algorithm: str) -> PrivateKey:
        """The private key that ``kid`` names. Raises ``EnvelopeNotOpened`` for none of this app and algorithm."""
        with self._database.read(app.pk) as reader:
            key = reader.envelopes.accepted_key(app.pk, kid)
        if key is None or key.algorithm != algorithm:
            raise EnvelopeNotOpened("no key of this app has that id")
        try:
            return self._loaded(algorithm, key.private, key_context(app.app_id, kid))
        except KeyringError:  # the master key was replaced and the old one not kept
            logger.error(  # noqa: TRY400 (a trace would say nothing more)
                "the envelope keys of app %s cannot be read; give it new ones: %s", app.app_id, _MEND
            )
            raise EnvelopeNotOpened("the key cannot be read") from None

    def _load(self, algorithm: str, sealed: bytes, context: bytes) -> PrivateKey:
        return jose.load(algorithm, self._keyring.open(sealed, context))

    def _made(self, app: App, algorithms: set[str]) -> list[StoredKey]:
        return [self._sealed(app, jose.generate(algorithm)) for algorithm in sorted(algorithms)]

    def _sealed(self, app: App, pair: KeyPair) -> StoredKey:
        private = self._keyring.seal(pair.private, key_context(app.app_id, pair.kid))
        return StoredKey(pair.kid, pair.algorithm, pair.public, private)


def key_context(app_id: str, kid: str) -> bytes:
    """Binds a sealed key to its app and its name."""
    return f"envelope-key:{app_id}:{kid}".encode()
