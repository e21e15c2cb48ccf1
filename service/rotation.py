"""Another master key: everything that is sealed in the database is sealed anew under it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from service.access.keys import Keyring
from service.capture.keys import key_context
from service.capture.risk import person_context
from service.face_keys import Advance, reseal_faces
from service.identity.register import Register
from service.library.apps import Apps, secret_context
from service.storage.engine import Database
from service.storage.face_keys import Wish

Context = Callable[..., bytes]

CONTEXTS: Mapping[str, Context] = {
    "app secrets": secret_context,
    "envelope keys": key_context,
    "people seen by devices": person_context,
}
"""What binds a sealed value to its place, by the kinds of ``service.storage.sealed.SEALED``."""


def reseal(database: Database, keyring: Keyring, advance: Advance | None = None) -> dict[str, int]:
    """Seal everything under the first key of the keyring; returns how many values of each kind there were.

    Of faces, what is sealed under another key, at whose number ``advance`` is told. Raises ``KeyringError`` for a
    value that none of the keys opens: of the first three kinds nothing is changed then. Single faces that do not open
    are damaged, and stay as they are.
    """
    with database.admin() as work:
        done = {kind: work.sealed.replace(kind, _under(keyring, context)) for kind, context in CONTEXTS.items()}
    register = Register(database, keyring)  # one person after the other: each opens under the old key or the new one
    everybodys = [None, *Apps(database, keyring).list()]
    done["people of the register"] = sum(register.reseal(app) for app in everybodys)
    faces = reseal_faces(database, keyring, Wish.RENEWED, advance)
    return {**done, **{kind: outcome.done for kind, outcome in faces.items()}}


def _under(keyring: Keyring, context: Context) -> Callable[[bytes, tuple[str, ...]], bytes]:
    def anew(sealed: bytes, names: tuple[str, ...]) -> bytes:
        bound = context(*names)
        return keyring.seal(keyring.open(sealed, bound), bound)

    return anew
