"""Cutting off what of the audit log is too old: first an anchor, then, some at a time, the entries up to it.

Every change of an app locks the end of its chain. The retention locks it only while it writes the anchor, which takes
two statements however long the chain is. From then on verification takes the entries that the anchor covers for
deleted; lists still show them until they are. Rows that an interruption leaves are deleted the next time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from service.storage.audit import AuditWriter, ChainEnd, anchor_seal
from service.storage.execution import Execution
from service.storage.tables import audit, audit_anchors

DROPPED_AT_ONCE = 10_000

LOCK = 0x61697061
"""First key of the advisory locks of those who drop entries of a chain: the letters "aipa"."""

_OLD = sa.text("""
    SELECT max(seq) FROM audit WHERE chain = :chain AND seq > :after AND time < :before AND seq < coalesce(
        (SELECT min(seq) FROM audit WHERE chain = :chain AND seq > :after AND time >= :before), 9223372036854775807
    )
""")

_ALONE = sa.text("SELECT pg_try_advisory_xact_lock(:lock, hashint8(:chain))")

# In order: the entry that an anchor names goes last, and tells whether others are left (``AuditReader.overdue``).
_DROP = sa.text("""
    WITH gone AS (
        DELETE FROM audit WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM audit WHERE chain = :chain AND seq > :after AND seq <= :upto ORDER BY seq LIMIT :limit
        )) RETURNING seq
    )
    SELECT count(*) AS entries, max(seq) AS last FROM gone
""")


class AuditRetention:
    """Deletes the entries of a chain that are too old. Without a key it deletes nothing."""

    def __init__(self, execution: Execution, writer: AuditWriter, keys: Sequence[bytes]) -> None:
        self._execution = execution
        self._writer = writer
        self._keys = keys

    def cut(self, chain: int, before: datetime) -> bool:
        """Leave a sealed anchor behind the entries that are older; returns whether there were any.

        Nothing of a chain whose end is not ours goes before an entry says so, as behind any such end: a chain in which
        nothing happens any more gets none otherwise.
        """
        if not self._keys:
            return False
        # Before the end is locked: looking through a long chain takes longer than writers should wait.
        self._execution.run(sa.text("SET LOCAL statement_timeout = 0"))
        upto = self._execution.run(_OLD, {"chain": chain, "after": self._cut_at(chain), "before": before}).scalar()
        if upto is None:
            return False
        at = (audit.c.chain == chain, audit.c.seq == upto)
        digest = self._execution.run(sa.select(audit.c.hash).where(*at)).scalar_one_or_none()
        self._writer.hold(chain)
        if digest is None or self._cut_at(chain) >= upto:
            return False  # another process came first
        made = anchor_seal(self._keys[0], chain, upto, bytes(digest))
        anchor = {"chain": chain, "seq": upto, "hash": digest, "seal": made}
        # Where one stands that is not ours it stays, for verification to tell of; the next day's entries go behind it.
        self._execution.run(insert(audit_anchors).values(**anchor).on_conflict_do_nothing())
        return True

    def drop(self, chain: int, after: int = 0) -> tuple[int, int]:
        """Delete some entries behind number ``after`` that an anchor covers, in order; returns how many, and the last.

        0 where none is left, or another process is at it. No writer waits for it. An anchor that is not ours lets
        nothing go: the database would allow it, but what somebody tries to hide that way is evidence.
        """
        if not self._keys or not self._execution.run(_ALONE, {"lock": LOCK, "chain": chain}).scalar_one():
            return 0, after
        span = {"chain": chain, "after": after, "upto": self._cut_at(chain), "limit": DROPPED_AT_ONCE}
        row = self._execution.run(_DROP, span).one()
        return row.entries, after if row.last is None else row.last

    def _cut_at(self, chain: int) -> int:
        """The number of the newest anchor that is ours, 0 without any."""
        query = sa.select(audit_anchors).where(audit_anchors.c.chain == chain).order_by(audit_anchors.c.seq.desc())
        for row in self._execution.run(query).all():
            if ChainEnd(chain, "", row.seq, bytes(row.hash), bytes(row.seal), is_anchor=True).cut_by(self._keys):
                return int(row.seq)
        return 0
