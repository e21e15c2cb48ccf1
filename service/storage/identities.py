"""The operator's register of people. What identifies somebody arrives here sealed or hashed and leaves the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from service.storage.execution import Execution
from service.storage.tables import identities


@dataclass(frozen=True, slots=True)
class SealedPicture:
    """A reference picture: the embedding and the weights that made it, and the portrait where portraits are kept."""

    model_id: str
    embedding: bytes
    portrait: bytes | None


@dataclass(frozen=True, slots=True)
class SealedIdentity:
    """What is written for one person. ``app_pk`` is ``None`` for one that every app may ask about."""

    app_pk: int | None
    lookup: bytes
    person: bytes
    picture: SealedPicture | None
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """A row as it was found."""

    pk: int
    identity: SealedIdentity
    revoked: bool
    created: datetime
    updated: datetime


class IdentityReader:
    """Finding people."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def by_lookup(self, lookups: Sequence[bytes]) -> list[StoredIdentity]:
        """The rows with one of these hashes, in no particular order."""
        return self._rows(sa.select(identities).where(identities.c.lookup.in_(lookups)))

    def any(self) -> bool:
        """Whether anybody is there, in whichever register."""
        return self._execution.run(sa.select(identities.c.pk).limit(1)).scalar_one_or_none() is not None

    def fingerprint(self, lookups: Sequence[bytes]) -> bytes | None:
        """Of the last row with one of these hashes."""
        query = sa.select(identities.c.fingerprint).where(identities.c.lookup.in_(lookups))
        found = self._execution.run(query.order_by(identities.c.pk.desc()).limit(1)).scalar_one_or_none()
        return None if found is None else bytes(found)

    def by_pk(self, pk: int) -> StoredIdentity | None:
        """The row of this number, if it is still there."""
        return next(iter(self._rows(sa.select(identities).where(identities.c.pk == pk))), None)

    def page(self, app_pk: int | None, after: int, limit: int) -> list[StoredIdentity]:
        """The next ``limit`` rows after number ``after`` of one app's register, or with ``None`` of the common one."""
        column = identities.c.app_pk
        ours = column.is_(None) if app_pk is None else column == app_pk  # no index serves IS NOT DISTINCT FROM
        query = sa.select(identities).where(ours, identities.c.pk > after)
        return self._rows(query.order_by(identities.c.pk).limit(limit))

    def _rows(self, query: sa.Select[Any]) -> list[StoredIdentity]:
        return [_stored(row) for row in self._execution.run(query)]


# A person is there twice when a server that knows only the older master key enters one who has been re-sealed already.
_MERGE = sa.text("""
    DELETE FROM identities AS one USING identities AS later
    WHERE one.lookup = ANY(CAST(:lookups AS bytea[])) AND later.lookup = ANY(CAST(:lookups AS bytea[]))
    AND one.pk < later.pk RETURNING one.revoked
""")

# After a change of the master key the same person has another hash.
_RENAME = sa.text("UPDATE identities SET lookup = :lookup WHERE lookup = ANY(CAST(:older AS bytea[]))")


class IdentityWriter(IdentityReader):
    """Changing the register."""

    def put(self, identity: SealedIdentity, older: Sequence[bytes] = ()) -> None:
        """Write a person, in the place of who is there under the hash or one of the ``older`` ones.

        Who was revoked stays so.
        """
        self._merge([identity.lookup, *older])
        self._execution.run(_RENAME, {"lookup": identity.lookup, "older": list(older)})
        picture = identity.picture
        values: dict[str, Any] = {
            "app_pk": identity.app_pk,
            "lookup": identity.lookup,
            "person": identity.person,
            "model_id": None if picture is None else picture.model_id,
            "embedding": None if picture is None else picture.embedding,
            "portrait": None if picture is None else picture.portrait,
            "fingerprint": identity.fingerprint,
        }
        changed = {**values, "updated": sa.func.now()}
        self._execution.run(
            insert(identities).values(values).on_conflict_do_update("identities_lookup_key", set_=changed)
        )

    def replace(self, found: StoredIdentity, identity: SealedIdentity) -> bool:
        """Write the same person sealed anew, unless it is not any more as it was ``found``; whether it was.

        Every sealing differs from all others, so equal bytes mean that nobody has written meanwhile. When somebody was
        entered, revoked or changed last stays as it is.
        """
        known, picture = found.identity, identity.picture
        before = known.picture
        self._merge([identity.lookup, known.lookup])
        untouched = (
            (identities.c.pk == found.pk)
            & (identities.c.lookup == known.lookup)
            & (identities.c.person == known.person)
            & identities.c.embedding.is_not_distinct_from(None if before is None else before.embedding)
            & identities.c.portrait.is_not_distinct_from(None if before is None else before.portrait)
        )
        values: dict[str, Any] = {"lookup": identity.lookup, "person": identity.person}
        if picture is not None:
            values |= {"embedding": picture.embedding, "portrait": picture.portrait}
        return self._execution.run(identities.update().where(untouched).values(**values)).rowcount > 0

    def _merge(self, lookups: Sequence[bytes]) -> None:
        """Of several rows of one person leave the last; it is revoked when one of them was."""
        if any(self._execution.run(_MERGE, {"lookups": list(lookups)}).scalars().all()):
            self.set_revoked(lookups, True)

    def set_picture(self, pk: int, lookup: bytes, known: bytes, picture: SealedPicture) -> None:
        """Replace the embedding and the portrait, if the sealed embedding is still the ``known`` one.

        Every sealing differs from all others: a person who was entered anew meanwhile, by whatever weights, keeps the
        new picture. And if the row still goes by the hash that the new ones are bound to.
        """
        ours = (identities.c.pk == pk) & (identities.c.lookup == lookup) & (identities.c.embedding == known)
        values = {"model_id": picture.model_id, "embedding": picture.embedding, "portrait": picture.portrait}
        self._execution.run(identities.update().where(ours).values(**values))

    def set_revoked(self, lookups: Sequence[bytes], revoked: bool) -> bool:
        """Whether there was somebody whom it changed or who was so already."""
        query = identities.update().where(identities.c.lookup.in_(lookups))
        return self._execution.run(query.values(revoked=revoked, updated=sa.func.now())).rowcount > 0

    def delete(self, lookups: Sequence[bytes]) -> bool:
        """Erase a person with everything that is known; whether there was one."""
        return self._execution.run(identities.delete().where(identities.c.lookup.in_(lookups))).rowcount > 0


def _stored(row: sa.Row[Any]) -> StoredIdentity:
    picture = None
    if row.embedding is not None:
        portrait = None if row.portrait is None else bytes(row.portrait)
        picture = SealedPicture(row.model_id, bytes(row.embedding), portrait)
    identity = SealedIdentity(row.app_pk, bytes(row.lookup), bytes(row.person), picture, bytes(row.fingerprint))
    return StoredIdentity(row.pk, identity, row.revoked, row.created, row.updated)
