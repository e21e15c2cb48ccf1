"""The operator's own register of people, against which claims of identity can be verified.

Numbers and names are never stored in plain. A person's row is found by a keyed hash of the number, and its content is
encrypted; both keys are derived from the master key for this purpose alone. Whoever reads the database without the
master key learns how many people are in the register, and nothing about any of them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime

import numpy as np

from service.access.keys import Keyring
from service.identity.claims import Claim, Validity
from service.storage.engine import Database
from service.storage.identities import SealedIdentity, SealedPicture, StoredIdentity
from service.storage.rows import FLOAT, embedding_bytes
from service.values import App, Embedding

PAGE = 500

_COMMON = b""
"""Stands for the register that every app may ask, where an app's own has the app's id."""


@dataclass(frozen=True, slots=True, eq=False)
class ReferencePicture:
    """What is kept of a person's picture; ``portrait`` is a JPEG, ``None`` where portraits are not kept."""

    model_id: str
    embedding: Embedding
    portrait: bytes | None


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """Somebody in the register. ``validity`` and ``picture`` are ``None`` where the operator gave none."""

    claim: Claim
    validity: Validity | None
    picture: ReferencePicture | None = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A person as found, with what the register adds; ``sealed`` is the embedding of the picture as it is kept."""

    pk: int
    lookup: bytes
    person: Person
    sealed: bytes | None = field(repr=False)
    common: bool
    revoked: bool
    created: datetime
    updated: datetime


class Register:
    """Writing and finding people. ``app`` is the owner of a register of its own; ``None`` means the common one."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._sealer = keyring.sealer("identity")
        self._lookup_keys = keyring.derive("identity-lookup")
        self._fingerprint_key = keyring.derive("identity-fingerprint")[0]

    def find(self, number: str, app: App | None = None) -> Entry | None:
        """Somebody by number: in the app's own register, else in the common one.

        Of several entries, under different master keys, the last counts; one that is revoked revokes them all.
        """
        own = [] if app is None else self._lookups(number, app)
        with self._database.read() as reader:
            rows = reader.identities.by_lookup([*own, *self._lookups(number, None)])
        rows = [row for row in rows if row.identity.app_pk is not None] or rows
        if not rows:
            return None
        last = max(rows, key=lambda row: row.pk)
        return self._entry(replace(last, revoked=any(row.revoked for row in rows)))

    def entries(self, app: App | None = None) -> Iterator[Entry]:
        """Everybody in one register, in the order of entry."""
        return map(self._entry, self._rows(app))

    def _rows(self, app: App | None) -> Iterator[StoredIdentity]:
        after = 0
        while True:
            with self._database.read() as reader:
                rows = reader.identities.page(None if app is None else app.pk, after, PAGE)
            yield from rows
            if len(rows) < PAGE:
                return
            after = rows[-1].pk

    def put(self, person: Person, fingerprint: bytes, app: App | None = None) -> None:
        """Enter somebody, or replace what is known; who was revoked stays so."""
        lookup, *older = self._lookups(person.claim.number, app)
        identity = SealedIdentity(
            app_pk=None if app is None else app.pk,
            lookup=lookup,
            person=self._sealer.seal(_written(person), _context(lookup, "person")),
            picture=None if person.picture is None else self._sealed(person.picture, lookup),
            fingerprint=fingerprint,
        )
        with self._database.admin() as work:
            work.identities.put(identity, older)
            work.audit.record("identity.put", _whose(app))

    def reseal(self, app: App | None = None) -> int:
        """Seal everybody in one register anew under the first master key; returns how many there were.

        Others may write meanwhile: who was entered anew stays as entered, and who was erased stays erased.
        """
        return sum(self._resealed(row, app) for row in self._rows(app))

    def _resealed(self, row: StoredIdentity, app: App | None) -> bool:
        """Whether the person is still there."""
        found: StoredIdentity | None = row
        while found is not None:
            anew = self._anew(found, app)
            with self._database.admin() as work:
                if work.identities.replace(found, anew):
                    return True
                found = work.identities.by_pk(row.pk)
        return False

    def _anew(self, row: StoredIdentity, app: App | None) -> SealedIdentity:
        entry = self._entry(row)
        lookup = self._lookups(entry.person.claim.number, app)[0]
        picture = entry.person.picture
        return SealedIdentity(
            app_pk=row.identity.app_pk,
            lookup=lookup,
            person=self._sealer.seal(_written(entry.person), _context(lookup, "person")),
            picture=None if picture is None else self._sealed(picture, lookup),
            fingerprint=row.identity.fingerprint,
        )

    def replace_picture(self, entry: Entry, picture: ReferencePicture) -> None:
        """Keep what other weights made of a person's picture, unless it was replaced meanwhile."""
        if entry.sealed is None:
            return
        anew = self._sealed(picture, entry.lookup)
        with self._database.admin() as work:
            work.identities.set_picture(entry.pk, entry.lookup, entry.sealed, anew)

    def revoke(self, number: str, app: App | None = None, *, revoked: bool = True) -> bool:
        """Stop vouching for somebody, or begin again; whether there is such a person in this very register."""
        with self._database.admin() as work:
            found = work.identities.set_revoked(self._lookups(number, app), revoked)
            work.audit.record("identity.revoke" if revoked else "identity.restore", {"found": found, **_whose(app)})
        return found

    def erase(self, number: str, app: App | None = None) -> bool:
        """Delete all that is known of somebody; whether there was such a person in this very register."""
        with self._database.admin() as work:
            found = work.identities.delete(self._lookups(number, app))
            work.audit.record("identity.delete", {"found": found, **_whose(app)})
        return found

    def fingerprint(self, *parts: bytes) -> bytes:
        """A keyed hash of what the operator hands in about one person, by which it is known again."""
        return _digest(self._fingerprint_key, *parts)

    def fingerprint_of(self, number: str, app: App | None = None) -> bytes | None:
        """Of what was handed in last about somebody."""
        with self._database.read() as reader:
            return reader.identities.fingerprint(self._lookups(number, app))

    def _lookups(self, number: str, app: App | None) -> list[bytes]:
        """Hashes of a number under every master key, the current one first. A number looks different to each app."""
        whose = _COMMON if app is None else app.app_id.encode()
        return [_digest(key, whose, number.encode()) for key in self._lookup_keys]

    def _sealed(self, picture: ReferencePicture, lookup: bytes) -> SealedPicture:
        embedding = self._sealer.seal(embedding_bytes(picture.embedding), _context(lookup, "embedding"))
        if picture.portrait is None:
            return SealedPicture(picture.model_id, embedding, None)
        portrait = self._sealer.seal(picture.portrait, _context(lookup, "portrait"))
        return SealedPicture(picture.model_id, embedding, portrait)

    def _entry(self, row: StoredIdentity) -> Entry:
        identity = row.identity
        claim, validity = _read(self._sealer.open(identity.person, _context(identity.lookup, "person")))
        person = Person(claim, validity, self._opened(identity))
        sealed = None if identity.picture is None else identity.picture.embedding
        common = identity.app_pk is None
        return Entry(row.pk, identity.lookup, person, sealed, common, row.revoked, row.created, row.updated)

    def _opened(self, identity: SealedIdentity) -> ReferencePicture | None:
        sealed = identity.picture
        if sealed is None:
            return None
        content = self._sealer.open(sealed.embedding, _context(identity.lookup, "embedding"))
        embedding = np.frombuffer(content, dtype=FLOAT).astype(np.float32, copy=False)
        portrait = sealed.portrait
        if portrait is not None:
            portrait = self._sealer.open(portrait, _context(identity.lookup, "portrait"))
        return ReferencePicture(sealed.model_id, embedding, portrait)


def _whose(app: App | None) -> dict[str, str]:
    """Which register an entry of the audit log is about; of whom, it does not say."""
    return {} if app is None else {"app_id": app.app_id}


def _digest(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 of parts that cannot be mistaken for others: each goes with its length."""
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.new(key, message, hashlib.sha256).digest()


def _context(lookup: bytes, column: str) -> bytes:
    return b"identity\0" + column.encode() + b"\0" + lookup


def _written(person: Person) -> bytes:
    validity = person.validity
    content: dict[str, object] = {"number": person.claim.number, "name": person.claim.name}
    if validity is not None:
        content["start"] = validity.start.isoformat()
        content["end"] = None if validity.end is None else validity.end.isoformat()
    return json.dumps(content, ensure_ascii=False).encode()


def _read(content: bytes) -> tuple[Claim, Validity | None]:
    values = json.loads(content)
    validity = None
    if "start" in values:
        end = values["end"]
        validity = Validity(date.fromisoformat(values["start"]), None if end is None else date.fromisoformat(end))
    return Claim(values["number"], values["name"]), validity
