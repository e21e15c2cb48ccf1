"""Every column that holds something sealed, for sealing it anew under another master key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.storage.execution import Execution
from service.storage.tables import apps, capture_devices, capture_people, envelope_keys, identities, uploads

Reseal = Callable[[bytes, tuple[str, ...]], bytes]
"""Seals a sealed value anew; the texts are what its context is made of."""

ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column, and a query of ``pk``, the sealed value, and the texts that its context is made of."""

    column: sa.Column[Any]
    query: sa.Select[Any]


_PEOPLE = capture_people.join(capture_devices, capture_devices.c.pk == capture_people.c.capture_device_pk)

SEALED: dict[str, SealedColumn] = {
    "app secrets": SealedColumn(apps.c.secret, sa.select(apps.c.pk, apps.c.secret, apps.c.app_id)),
    "envelope keys": SealedColumn(
        envelope_keys.c.private,
        sa.select(envelope_keys.c.pk, envelope_keys.c.private, apps.c.app_id, envelope_keys.c.kid).join(apps),
    ),
    "people seen by devices": SealedColumn(
        capture_people.c.embedding,
        sa.select(capture_people.c.pk, capture_people.c.embedding, apps.c.app_id).select_from(
            _PEOPLE.join(apps, apps.c.pk == capture_devices.c.app_pk)
        ),
    ),
}
"""The columns by kind of content."""

ELSEWHERE: frozenset[sa.Column[Any]] = frozenset(
    {identities.c.person, identities.c.embedding, identities.c.portrait, uploads.c.content}
)
"""Columns that are not re-sealed here. The room ``identity`` re-seals the register of people, whose rows are also found
by a hash under the key. Uploads live for a day and simply expire."""


class SealedWriter:
    """Replacing what is sealed, within one transaction. What ``reseal`` raises undoes what the transaction did."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def replace(self, kind: str, reseal: Reseal) -> int:
        """Seal every value of a kind anew; returns how many there were. Their rows stay locked to the end."""
        self._execution.run(sa.text("SET LOCAL statement_timeout = 0"))
        count, last = 0, 0
        while rows := self.replace_some(kind, reseal, last):
            count, last = count + len(rows), rows[-1]
        return count

    def replace_some(self, kind: str, reseal: Reseal, after: int) -> list[int]:
        """Seal the values of the next rows after number ``after`` anew; their numbers, none when all were done."""
        sealed = SEALED[kind]
        table = sealed.column.table
        query = sealed.query.where(table.c.pk > after).order_by(table.c.pk).limit(ROWS_AT_ONCE)
        # Numbers of rows stay: a lock against changing those too would hold up all that is written for an app.
        locked = query.with_for_update(of=table, key_share=True)
        rows = [list(row) for row in self._execution.run(locked)]
        if rows:
            new = [{"row": pk, "new": reseal(bytes(value), tuple(names))} for pk, value, *names in rows]
            changed = sa.update(table).where(table.c.pk == sa.bindparam("row"))
            self._execution.run(changed.values({sealed.column: sa.bindparam("new")}), new)
        return [row[0] for row in rows]
