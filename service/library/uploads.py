"""Files of earlier calls that an app may name by an id instead of sending them again."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from datetime import timedelta

from service.access.keys import Keyring, KeyringError
from service.storage.engine import Database
from service.storage.uploads import SealedUpload
from service.values import App

ID_BYTES = 16

_ID = re.compile(rf"[0-9a-f]{{{2 * ID_BYTES}}}")

logger = logging.getLogger(__name__)


class Uploads:
    """Keeps files sealed under the master key for ``lifetime``, of each app the last ``most_bytes`` bytes.

    An id depends on app, kind and content: sending a file again gives the same id and makes it last longer. Without
    the master key nobody can tell from an id which file it stands for.
    """

    def __init__(self, database: Database, keyring: Keyring, *, lifetime: timedelta, most_bytes: int) -> None:
        self._database = database
        self._keyring = keyring
        self._lifetime = lifetime
        self._most_bytes = most_bytes

    def store(self, app: App, kind: str, content: bytes) -> str | None:
        """The id of a file that is kept from now on; ``None`` when it is not: keeping is off, or it is too large."""
        if self._lifetime <= timedelta(0):
            return None
        upload_id = self._id(app, kind, content)
        sealed = self._keyring.seal(content, _context(app, kind, upload_id))
        if len(sealed) > self._most_bytes:
            return None
        with self._database.admin(app.pk) as work:
            work.uploads.put(app.pk, SealedUpload(upload_id, kind, sealed), self._lifetime, self._most_bytes)
        return upload_id

    def content(self, app: App, kind: str, upload_id: str) -> bytes | None:
        """A file that the app sent before; ``None`` when there is none of this kind under this id, or not any more."""
        if not _ID.fullmatch(upload_id):
            return None
        with self._database.read(app.pk) as reader:
            sealed = reader.uploads.content(app.pk, kind, upload_id)
        if sealed is None:
            return None
        try:
            return self._keyring.open(sealed, _context(app, kind, upload_id))
        except KeyringError:
            logger.warning("an upload was sealed under a master key that is gone", extra={"app_id": app.app_id})
            return None

    def _id(self, app: App, kind: str, content: bytes) -> str:
        message = b"\0".join([app.app_id.encode(), kind.encode(), hashlib.sha256(content).digest()])
        return hmac.new(self._keyring.derive("uploads")[0], message, hashlib.sha256).digest()[:ID_BYTES].hex()


def _context(app: App, kind: str, upload_id: str) -> bytes:
    """Binds a sealed file to its row: it cannot be moved to another app or id."""
    return f"upload:{app.app_id}:{kind}:{upload_id}".encode()
