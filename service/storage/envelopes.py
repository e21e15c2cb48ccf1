"""Keys of capture envelopes, and the nonces that were used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from service.storage.execution import Execution
from service.storage.tables import envelope_keys


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key pair; ``public`` is its JWK, ``private`` sealed."""

    kid: str
    algorithm: str
    public: Mapping[str, Any]
    private: bytes


_COLUMNS = (envelope_keys.c.kid, envelope_keys.c.algorithm, envelope_keys.c.public, envelope_keys.c.private)

_ACCEPTED = sa.or_(envelope_keys.c.retires.is_(None), envelope_keys.c.retires > sa.func.now())


class EnvelopeReader:
    """Finding keys."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def current_keys(self, app_pk: int) -> list[StoredKey]:
        """The keys to seal with, one for each algorithm at most, in the order of the algorithms' names."""
        mine = (envelope_keys.c.app_pk == app_pk) & envelope_keys.c.retires.is_(None)
        query = sa.select(*_COLUMNS).where(mine).order_by(envelope_keys.c.algorithm)
        return [_key(row) for row in self._execution.run(query)]

    def accepted_key(self, app_pk: int, kid: str) -> StoredKey | None:
        """The app's key of this id, unless its time is over."""
        mine = (envelope_keys.c.app_pk == app_pk) & (envelope_keys.c.kid == kid)
        row = self._execution.run(sa.select(*_COLUMNS).where(mine & _ACCEPTED)).one_or_none()
        return None if row is None else _key(row)


_CLAIM = sa.text("""
    INSERT INTO envelope_nonces (app_pk, digest, expires)
    VALUES (:app_pk, :digest, now() + CAST(:lifetime AS interval))
    ON CONFLICT DO NOTHING
""")

_PURGE = sa.text("""
    DELETE FROM envelope_nonces WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM envelope_nonces WHERE expires <= now() ORDER BY expires LIMIT :limit FOR UPDATE SKIP LOCKED
    ))
""")


class EnvelopeWriter(EnvelopeReader):
    """Making and retiring keys; using up nonces."""

    def add_keys(self, app_pk: int, keys: Sequence[StoredKey]) -> None:
        """Store keys as the current ones of their algorithms, where there are none."""
        rows = [
            {
                "app_pk": app_pk,
                "kid": key.kid,
                "algorithm": key.algorithm,
                "public": dict(key.public),
                "private": key.private,
            }
            for key in keys
        ]
        self._execution.run(insert(envelope_keys).on_conflict_do_nothing(), rows)

    def retire_keys(self, app_pk: int, grace: timedelta) -> None:
        """Accept the app's keys for that much longer at most, and publish them no more."""
        end = sa.func.least(envelope_keys.c.retires, sa.func.now() + grace)
        self._execution.run(envelope_keys.update().where(envelope_keys.c.app_pk == app_pk).values(retires=end))

    def purge_keys(self) -> int:
        """Delete keys whose time is over; returns how many."""
        return self._execution.run(envelope_keys.delete().where(envelope_keys.c.retires <= sa.func.now())).rowcount

    def claim_nonce(self, app_pk: int, digest: bytes, lifetime: timedelta) -> bool:
        """Use a nonce up and remember that for ``lifetime``. Of several who try, in any process, one gets ``True``."""
        parameters = {"app_pk": app_pk, "digest": digest, "lifetime": lifetime}
        return self._execution.run(_CLAIM, parameters).rowcount == 1

    def purge_nonces(self, limit: int) -> int:
        """Forget nonces whose time is over, oldest first, at most ``limit`` of them; returns how many."""
        return self._execution.run(_PURGE, {"limit": limit}).rowcount


def _key(row: sa.Row[Any]) -> StoredKey:
    return StoredKey(row.kid, row.algorithm, row.public, bytes(row.private))
