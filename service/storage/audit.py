"""The audit log: chains of entries that nobody changes unnoticed.

There is one chain for each app, numbered like it, and chain 0 for the installation. An entry's hash is SHA-256 over
the hash before it and the entry itself, so that an entry that is altered, removed or inserted breaks the chain. The
last hash of a chain, and each hash where the retention cut it off, carry a seal: an HMAC under a key that the
database does not have. Appending locks the chain's head, as the last lock of a transaction.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa

from service import auditing
from service.auditing import OK
from service.storage.execution import Execution
from service.storage.tables import audit, audit_heads

INSTALLATION = 0
"""The chain of what concerns no app, or apps as such."""

logger = logging.getLogger(__name__)

RESEALED = "audit.reseal"
"""The call of an entry that carries a chain over to another master key."""

FOREIGN = "audit.foreign_end"
"""The call of an entry that records a foreign end: the end before it was sealed by none of the writer's keys."""

BEGINNING = bytes(hashlib.sha256().digest_size)
"""What the first hash of a chain follows."""


@dataclass(frozen=True, slots=True)
class AuditDraft:
    """What happened, before it has a place in a chain. ``detail`` holds counts and names, nothing biometric."""

    actor: str
    call: str
    outcome: str = OK
    groups: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    log_id: int | None = None
    detail: Mapping[str, Any] | None = None
    time: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    @classmethod
    def of(cls, operation: auditing.Operation, outcome: str = OK) -> AuditDraft:
        """Of what is going on, as it ended."""
        return cls(operation.actor, operation.call, outcome, operation.groups, operation.users, operation.log_id)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry at its place."""

    chain: int
    seq: int
    draft: AuditDraft
    hash: bytes

    def linked(self, previous: bytes) -> bytes:
        """The hash that belongs here, if ``previous`` is the one before."""
        return linked(previous, self.chain, self.seq, self.draft)

    def vouches_for(self, end: ChainEnd) -> bool:
        """Whether this entry, which the chain's end protects, records that an older key of ours sealed ``end``."""
        if self.draft.call != RESEALED or not isinstance(self.draft.detail, Mapping):
            return False
        ends = self.draft.detail.get("ends")
        return _naming(end) in [self.draft.detail.get("anchor"), *(ends if isinstance(ends, list) else [])]

    @property
    def foreign_end(self) -> ChainEnd | None:
        """The foreign end that this entry records, if it does; with an empty seal where that cannot be read."""
        if self.draft.call != FOREIGN:
            return None
        try:
            found: Any = self.draft.detail
            return ChainEnd(
                self.chain, "", int(found["end"]), bytes.fromhex(found["hash"]), bytes.fromhex(found["seal"])
            )
        except (KeyError, TypeError, ValueError):  # whoever writes past the guard writes what he likes
            return ChainEnd(self.chain, "", self.seq - 1, b"", b"")


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """The head or an anchor of a chain: the last number, its hash, and their seal."""

    chain: int
    app_id: str
    seq: int
    hash: bytes
    seal: bytes
    is_anchor: bool = False

    def sealed_by(self, keys: Sequence[bytes]) -> bool:
        """Whether one of the keys made the seal."""
        return self.cut_by(keys) or any(
            hmac.compare_digest(self.seal, seal(key, self.chain, self.seq, self.hash)) for key in keys
        )

    def cut_by(self, keys: Sequence[bytes]) -> bool:
        """Whether it is an anchor that one of the keys sealed as an anchor.

        Earlier versions sealed anchors as they did heads, so that anybody who can write to the database could turn a
        head into an anchor. Such anchors are accepted where nothing is left before them, but nothing is deleted because
        of them.
        """
        return self.is_anchor and any(
            hmac.compare_digest(self.seal, anchor_seal(key, self.chain, self.seq, self.hash)) for key in keys
        )


@dataclass(frozen=True, slots=True)
class ChainState:
    """A chain as of one moment. ``last`` is the highest number of its rows, 0 without any."""

    head: ChainEnd
    anchor: ChainEnd | None
    last: int


def linked(previous: bytes, chain: int, seq: int, draft: AuditDraft) -> bytes:
    """SHA-256 over the hash before and the entry as canonical JSON: sorted keys, no blanks, UTC to the microsecond."""
    content = {
        "chain": chain,
        "seq": seq,
        "time": draft.time.astimezone(timezone.utc).isoformat(timespec="microseconds"),
        "actor": draft.actor,
        "call": draft.call,
        "outcome": draft.outcome,
        "groups": list(draft.groups),
        "users": list(draft.users),
        "log_id": draft.log_id,
        "detail": _told(draft),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(previous + text.encode()).digest()


def seal(key: bytes, chain: int, seq: int, digest: bytes) -> bytes:
    """HMAC-SHA256 of a chain's head."""
    return hmac.new(key, f"audit {chain} {seq} {digest.hex()}".encode(), hashlib.sha256).digest()


def anchor_seal(key: bytes, chain: int, seq: int, digest: bytes) -> bytes:
    """The same of an anchor, and no head's: one must not pass for the other."""
    return hmac.new(key, f"audit-anchor {chain} {seq} {digest.hex()}".encode(), hashlib.sha256).digest()


class AuditReader:
    """Reading chains."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def chains(self) -> list[ChainState]:
        """Every chain that has a head, each as of one moment."""
        return [_state(row) for row in self._execution.run(_STATES)]

    def chain(self, chain: int) -> ChainState | None:
        """One chain as of one moment, ``None`` where it has no head."""
        row = self._execution.run(_STATE_OF_ONE, {"chain": chain}).one_or_none()
        return None if row is None else _state(row)

    def without_head(self) -> list[int]:
        """Chains that have rows and no head; the code leaves none."""
        query = sa.select(audit.c.chain).where(audit.c.chain.not_in(sa.select(audit_heads.c.chain))).distinct()
        return list(self._execution.run(query).scalars())

    def overdue(self, before: datetime) -> list[int]:
        """Chains whose first entry is older, or of which an anchor covers entries that are still there.

        By its time alone: the rest of an entry need not be what one can be.
        """
        return list(self._execution.run(_OVERDUE, {"before": before}).scalars())

    def page(self, chain: int, after: int, limit: int) -> list[AuditEntry]:
        """Entries of a chain after a number, in order."""
        query = sa.select(audit).where(audit.c.chain == chain, audit.c.seq > after)
        return [_entry(row) for row in self._execution.run(query.order_by(audit.c.seq).limit(limit))]

    def latest(self, limit: int | None, *, chain: int | None = None, user: str | None = None) -> list[AuditEntry]:
        """The newest entries, newest first: of one chain, or naming one user, or of all."""
        query = sa.select(audit)
        if chain is not None:
            query = query.where(audit.c.chain == chain)
        if user is not None:
            query = query.where(audit.c.users.contains([user]))
        order = (audit.c.time.desc(), audit.c.chain, audit.c.seq.desc())
        return [_entry(row) for row in self._execution.run(query.order_by(*order).limit(limit))]


_STATE = """
    SELECT heads.chain, heads.app_id, heads.seq, heads.hash, heads.seal,
        coalesce((SELECT max(seq) FROM audit WHERE audit.chain = heads.chain), 0) AS last,
        anchors.seq AS anchor_seq, anchors.hash AS anchor_hash, anchors.seal AS anchor_seal
    FROM audit_heads AS heads LEFT JOIN LATERAL (
        SELECT seq, hash, seal FROM audit_anchors WHERE chain = heads.chain ORDER BY seq DESC LIMIT 1
    ) AS anchors ON true
"""
_STATES = sa.text(f"{_STATE} ORDER BY heads.chain")
_STATE_OF_ONE = sa.text(f"{_STATE} WHERE heads.chain = :chain")

# Begins behind the anchor, for before it may lie a long row of what was deleted lately; and what an anchor covers goes
# in order, so that the entry which it names is there as long as any of them. One beyond the end was forged.
_OVERDUE = sa.text("""
    SELECT heads.chain FROM audit_heads AS heads LEFT JOIN LATERAL (
        SELECT max(seq) AS seq FROM audit_anchors WHERE chain = heads.chain AND audit_anchors.seq <= heads.seq
    ) AS anchor ON true
    WHERE (
        SELECT time FROM audit WHERE audit.chain = heads.chain AND audit.seq > coalesce(anchor.seq, 0)
        ORDER BY audit.seq LIMIT 1
    ) < :before OR EXISTS (SELECT FROM audit WHERE audit.chain = heads.chain AND audit.seq = anchor.seq)
    ORDER BY heads.chain
""")

_LOCK = sa.text("SELECT app_id, seq, hash, seal FROM audit_heads WHERE chain = :chain FOR NO KEY UPDATE")

_BEGIN = sa.text("""
    INSERT INTO audit_heads (chain, app_id, seq, hash, seal)
    VALUES (:chain, coalesce((SELECT app_id FROM apps WHERE pk = :chain), ''), 0, :hash, :seal)
    ON CONFLICT DO NOTHING
""")

# One round trip for the entry and the head, as text: it is part of every enrolment.
_APPEND = sa.text("""
    WITH written AS (
        INSERT INTO audit (chain, seq, time, actor, call, outcome, groups, users, log_id, detail, hash)
        VALUES (:chain, :seq, :time, :actor, :call, :outcome, :groups, :users, :log_id, :detail, :hash)
    )
    UPDATE audit_heads SET seq = :seq, hash = :hash, seal = :seal WHERE chain = :chain
""").bindparams(
    *(sa.bindparam(name, type_=audit.c[name].type) for name in ("groups", "users", "detail", "hash", "time", "log_id"))
)


class AuditWriter(AuditReader):
    """Appending to chains. Without a key nothing is written."""

    def __init__(self, execution: Execution, keys: Sequence[bytes]) -> None:
        """The first of ``keys`` seals; what the others sealed is ours, too."""
        super().__init__(execution)
        self._keys = keys

    def record(
        self, call: str | None = None, detail: Mapping[str, Any] | None = None, *, chain: int = INSTALLATION
    ) -> AuditEntry | None:
        """Write what is going on, as a success and under another name where one is given, with counts or names."""
        operation = auditing.current()
        draft = AuditDraft(
            operation.actor,
            operation.call if call is None else call,
            groups=operation.groups,
            users=operation.users,
            log_id=operation.log_id,
            detail=detail or None,
        )
        written = self.append(chain, [draft])
        operation.written = True
        return written[0] if written else None

    def append(self, chain: int, drafts: Sequence[AuditDraft]) -> list[AuditEntry]:
        """Append entries to a chain, which stays locked until the transaction ends.

        If the chain's end was not sealed by one of our keys, an entry that records this comes first. Otherwise our new
        seal would hide that somebody changed the chain. The end may also have been sealed by a newer key than this
        process knows; verification finds out which.
        """
        if not self._keys or not drafts:
            return []
        return self._appended(self._locked(chain), drafts)

    def hold(self, chain: int) -> None:
        """Lock a chain's end until the transaction ends; behind one that is not ours comes an entry that says so."""
        end = self._locked(chain)
        if not end.sealed_by(self._keys):
            self._appended(end, [])

    def reseal(self, chain: int) -> bool:
        """Carry a chain over to the current key where an older one sealed its end, anchor or a recorded foreign end.

        This appends an entry, with which the end is sealed by the current key. The anchor, which nothing may change,
        and ends that a process without their key recorded as foreign are vouched for in the entry. What none of the
        keys sealed stays as it is, for verification to report.
        """
        current, older = self._keys[:1], self._keys[1:]
        if not current:
            return False
        # Before the end is locked: looking through a long chain takes longer than writers should wait.
        state, ends, told = self.chain(chain), self._found_foreign(chain), self._called(chain, RESEALED)
        anchor = None if state is None else state.anchor
        known = [each for each in ([] if anchor is None else [anchor]) + ends if not each.sealed_by(current)]
        ours = [each for each in known if each.sealed_by(older) and not any(entry.vouches_for(each) for entry in told)]
        end = self._locked(chain)
        if not end.sealed_by(self._keys) or (end.sealed_by(current) and not ours):
            return False
        detail: dict[str, Any] = {}
        if anchor in ours:
            detail["anchor"] = _naming(anchor)
        if named := [_naming(each) for each in ours if each is not anchor]:
            detail["ends"] = named
        self.record(RESEALED, detail, chain=chain)
        return True

    def _appended(self, end: ChainEnd, drafts: Sequence[AuditDraft]) -> list[AuditEntry]:
        """What :meth:`append` returns, behind an end that is locked; where that is not ours, drafts may be missing."""
        chain, seq, digest, entries = end.chain, end.seq, end.hash, []
        foreign = [] if end.sealed_by(self._keys) else [AuditDraft("", FOREIGN, detail=_as_found(end))]
        if foreign:
            logger.warning("the audit log has an end that no key here sealed", extra={"chain": chain, "entry": seq})
        for draft in (*foreign, *drafts):
            seq += 1
            digest = linked(digest, chain, seq, draft)
            entries.append(AuditEntry(chain, seq, draft, digest))
        if len(entries) > 1:
            self._execution.run(audit.insert(), [_row(entry) for entry in entries[:-1]])
        self._execution.run(_APPEND, {**_row(entries[-1]), "seal": seal(self._keys[0], chain, seq, digest)})
        return entries[len(foreign) :]

    def _found_foreign(self, chain: int) -> list[ChainEnd]:
        """Ends of a chain that their successors' writers did not know; may read the whole chain."""
        return [end for entry in self._called(chain, FOREIGN) if (end := entry.foreign_end) is not None]

    def _called(self, chain: int, call: str) -> list[AuditEntry]:
        self._execution.run(sa.text("SET LOCAL statement_timeout = 0"))
        query = sa.select(audit).where(audit.c.chain == chain, audit.c.call == call)
        return [_entry(row) for row in self._execution.run(query.order_by(audit.c.seq))]

    def _locked(self, chain: int) -> ChainEnd:
        """The chain's end, which nobody else can move before our transaction ends."""
        row = self._execution.run(_LOCK, {"chain": chain}).one_or_none()
        if row is None:
            begun = {"chain": chain, "hash": BEGINNING, "seal": seal(self._keys[0], chain, 0, BEGINNING)}
            self._execution.run(_BEGIN, begun)
            row = self._execution.run(_LOCK, {"chain": chain}).one()
        return ChainEnd(chain, row.app_id, row.seq, bytes(row.hash), bytes(row.seal))


def _told(draft: AuditDraft) -> object:
    """An entry's detail as JSON has it, also where somebody wrote another kind of value around the guard."""
    return dict(draft.detail) if isinstance(draft.detail, Mapping) else draft.detail


def _naming(end: ChainEnd) -> dict[str, Any]:
    return {"seq": end.seq, "hash": end.hash.hex()}


def _as_found(end: ChainEnd) -> dict[str, Any]:
    return {"end": end.seq, "hash": end.hash.hex(), "seal": end.seal.hex()}


def _row(entry: AuditEntry) -> dict[str, Any]:
    draft = entry.draft
    return {
        "chain": entry.chain,
        "seq": entry.seq,
        "time": draft.time,
        "actor": draft.actor,
        "call": draft.call,
        "outcome": draft.outcome,
        "groups": list(draft.groups),
        "users": list(draft.users),
        "log_id": draft.log_id,
        "detail": _told(draft),
        "hash": entry.hash,
    }


def _entry(row: sa.Row[Any]) -> AuditEntry:
    draft = AuditDraft(
        row.actor, row.call, row.outcome, tuple(row.groups), tuple(row.users), row.log_id, row.detail, row.time
    )
    return AuditEntry(row.chain, row.seq, draft, bytes(row.hash))


def _state(row: sa.Row[Any]) -> ChainState:
    head = ChainEnd(row.chain, row.app_id, row.seq, bytes(row.hash), bytes(row.seal))
    if row.anchor_seq is None:
        return ChainState(head, None, row.last)
    anchor = ChainEnd(row.chain, row.app_id, row.anchor_seq, bytes(row.anchor_hash), bytes(row.anchor_seal), True)
    return ChainState(head, anchor, row.last)
