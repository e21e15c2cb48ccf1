"""Changing the master key: everything that is sealed in the database is re-sealed under the new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service.access.keys import Keyring
from service.capture.keys import key_context
from service.capture.risk import person_context
from service.face_keys import face_sealing, reseal_faces
from service.identity.register import Register
from service.library.apps import Apps, secret_context
from service.library.audit import AuditTrail
from service.storage.engine import Database
from service.storage.face_keys import Wish
from service.storage.sealing import Mode

Context = Callable[..., bytes]

CONTEXTS: Mapping[str, Context] = {
    "app secrets": secret_context,
    "envelope keys": key_context,
    "people seen by devices": person_context,
}
"""What binds a sealed value to its place, by the kinds of ``service.storage.sealed.SEALED``."""

TOGETHER = ("app secrets", "envelope keys")
"""Kinds with few rows, re-sealed in one transaction. Every installation has some of them, so a keyring that lacks the
current key fails here, before anything was changed."""
PEOPLE = "people seen by devices"
"""A kind with perhaps millions of rows, which calls write to: re-sealed a thousand rows at a time."""


@dataclass(frozen=True, slots=True)
class Resealed:
    """How many values of each kind were re-sealed (``done``), and how many faces are under another key (``left``).

    The latter were locked by other transactions, or written by a server that does not know the first key.
    """

    done: Mapping[str, int]
    left: int
    older_keys: bool
    """Whether faces may still be sealed under an older key, which therefore must not be dropped."""


def reseal(database: Database, keyring: Keyring) -> Resealed:
    """Re-seal everything under the first key of the keyring.

    Faces and chains of the audit log are re-sealed only where another key sealed them. Raises ``KeyringError`` for a
    value that none of the keys opens; nothing of the kinds in ``TOGETHER`` is changed then. Single faces that cannot be
    opened are damaged and stay as they are, as do ends of chains whose seal is not ours.

    If it is interrupted, values are sealed under several keys. All of them can be opened as long as the key file has
    all the keys, and ``aipface key`` drops none before this has come to its end.
    """
    with database.admin() as work:
        done = {kind: work.sealed.replace(kind, _under(keyring, CONTEXTS[kind])) for kind in TOGETHER}
    done[PEOPLE] = _reseal_people(database, keyring)
    register = Register(database, keyring)  # one person after the other: each opens under the old key or the new one
    everybodys = [None, *Apps(database, keyring).list()]
    done["people of the register"] = sum(register.reseal(app) for app in everybodys)
    faces = reseal_faces(database, keyring, Wish.RENEWED)
    done.update((kind, outcome.done) for kind, outcome in faces.items())
    done["chains of the audit log"] = AuditTrail(database, keyring.derive("audit")).reseal()
    with database.read() as reader:
        older = set(reader.face_keys.registered()) - {face_sealing(keyring, Mode.OFF).enrolled.key_ids[0]}
    return Resealed(done, sum(outcome.left for outcome in faces.values()), bool(older))


def _reseal_people(database: Database, keyring: Keyring) -> int:
    """In transactions of a thousand rows: one for all would block captures of these people until they time out."""
    anew, count, last = _under(keyring, CONTEXTS[PEOPLE]), 0, 0
    while True:
        with database.admin() as work:
            rows = work.sealed.replace_some(PEOPLE, anew, last)
        if not rows:
            return count
        count, last = count + len(rows), rows[-1]


def _under(keyring: Keyring, context: Context) -> Callable[[bytes, tuple[str, ...]], bytes]:
    def anew(sealed: bytes, names: tuple[str, ...]) -> bytes:
        bound = context(*names)
        return keyring.seal(keyring.open(sealed, bound), bound)

    return anew
