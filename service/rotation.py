"""Another master key: everything that is sealed in the database is sealed anew under it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from service.access.keys import Keyring
from service.capture.keys import key_context
from service.capture.risk import person_context
from service.identity.register import Register
from service.library.apps import Apps, secret_context
from service.storage.engine import Database

Context = Callable[..., bytes]

CONTEXTS: Mapping[str, Context] = {
    "app secrets": secret_context,
    "envelope keys": key_context,
    "people seen by devices": person_context,
}
"""What binds a sealed value to its place, by the kinds of ``service.storage.sealed.SEALED``."""


def reseal(database: Database, keyring: Keyring) -> dict[str, int]:
    """Seal everything under the first key of the keyring; returns how many values of each kind there were.

    Raises ``KeyringError`` for a value that none of the keys opens. Of the first three kinds nothing is changed then.
    """
    with database.admin() as work:
        done = {kind: work.sealed.replace(kind, _under(keyring, context)) for kind, context in CONTEXTS.items()}
    register = Register(database, keyring)  # one person after the other: each opens under the old key or the new one
    everybodys = [None, *Apps(database, keyring).list()]
    return {**done, "people of the register": sum(register.reseal(app) for app in everybodys)}


def _under(keyring: Keyring, context: Context) -> Callable[[bytes, tuple[str, ...]], bytes]:
    def anew(sealed: bytes, names: tuple[str, ...]) -> bytes:
        bound = context(*names)
        return keyring.seal(keyring.open(sealed, bound), bound)

    return anew
