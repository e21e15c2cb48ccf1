"""The audit log of an installation: noting calls in the background, reading, verifying, and forgetting in time."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from service.auditing import OK, Operation, local_actor
from service.background import Background
from service.errors import ServiceUnavailable
from service.storage.audit import BEGINNING, INSTALLATION, AuditDraft, AuditEntry, ChainEnd, ChainState
from service.storage.engine import Database

FLUSH_SECONDS = 1.0
"""A crash loses the notes of this time at most. Only calls that change nothing are noted; changes are written to the
log in their own transaction."""

MOST_PENDING = 100_000
"""Most notes that wait while the database is away. Further ones, and those that the database refuses, are only counted,
and the number is written to the log."""

BATCH = 1000
PAGE = 2000

PURGE_SLACK = timedelta(days=1)
"""Entries are dropped a day late, so that a chain gets at most one anchor a day."""

MOST_LOOKS = 5
"""Most attempts to verify a chain. An attempt is repeated when the retention has cut the chain meanwhile, which happens
about once a day: more often it must be an attack."""

HEADLESS = "the chain has no head"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What verifying a chain found; ``problems`` is empty for a sound one."""

    chain: int
    app_id: str
    entries: int
    first: int
    last: int
    hash: str
    problems: tuple[str, ...]


class AuditTrail:
    """Writes calls that change nothing to the audit log, in batches. ``storage`` itself logs what changes something."""

    def __init__(
        self, database: Database, keys: Sequence[bytes], *, reads: bool = True, retention: timedelta | None = None
    ) -> None:
        """``keys`` seal the chains, the current one first; without ``reads`` only failures are noted."""
        self._database = database
        self._keys = keys
        self._reads = reads
        self._retention = retention
        self._pending: deque[tuple[int, AuditDraft]] = deque()
        self._lost = 0
        self._counting = threading.Lock()
        self._writing = threading.Lock()
        self._background = Background("audit", self._run)

    # --- noting ---

    def note(self, operation: Operation, outcome: str) -> None:
        """Remember a call that has ended, unless its caller is unknown. Never waits and never fails."""
        if operation.app_pk is None or (outcome == OK and (operation.written or not self._reads)):
            return
        if len(self._pending) >= MOST_PENDING:
            self._count_lost(1)
            return
        self._pending.append((operation.app_pk, AuditDraft.of(operation, outcome)))

    def record(self, call: str) -> None:
        """Write an entry that concerns no app at once, with the current actor. Raises what the database raises."""
        with self._database.admin() as work:
            work.audit.record(call)

    def start(self) -> None:
        """Begin to write what is noted."""
        self._background.start()

    def stop(self) -> None:
        """Write what is left and stop."""
        self._background.stop()
        self._attempt()

    def flush(self) -> None:
        """Write everything that is noted; when this returns, it is. What was not written stays noted.

        Raises what the database raises.
        """
        with self._writing:  # so that this also waits for notes that the background thread is writing
            self._write()

    def _write(self) -> None:
        while self._pending:
            batch = [self._pending.popleft() for _ in range(min(BATCH, len(self._pending)))]
            chains: dict[int, list[AuditDraft]] = {}
            for chain, draft in batch:
                chains.setdefault(chain, []).append(draft)
            while chains:
                chain = next(iter(chains))
                try:
                    self._append_what_can_be(chain, chains[chain])
                except BaseException:
                    self._pending.extendleft((each, draft) for each in chains for draft in reversed(chains[each]))
                    raise
                del chains[chain]
        if lost := self._lost:
            self._append(INSTALLATION, [AuditDraft(local_actor(), "audit.lost", detail={"entries": lost})])
            self._count_lost(-lost)

    def _append_what_can_be(self, chain: int, drafts: list[AuditDraft]) -> None:
        """Write notes, all at once or, when the database refuses them, one by one: what it refuses alone is lost.

        Takes what is done with out of ``drafts``. Raises ``ServiceUnavailable``.
        """
        try:
            self._append(chain, drafts)
        except ServiceUnavailable:
            raise
        except Exception:
            logger.exception("audit: notes are refused, and are written one by one")
        else:
            return
        while drafts:
            try:
                self._append(chain, drafts[:1])
            except ServiceUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 (a traceback has been logged for all of them)
                self._count_lost(1)
                logger.warning("audit: a note of %r is lost: %s", drafts[0].call, type(error).__name__)
            del drafts[0]

    def _count_lost(self, notes: int) -> None:
        with self._counting:
            self._lost += notes

    def _append(self, chain: int, drafts: Sequence[AuditDraft]) -> None:
        with self._database.admin() as work:
            work.audit.append(chain, drafts)

    def _run(self) -> None:
        for _ in self._background.rounds(FLUSH_SECONDS):
            self._attempt()

    def _attempt(self) -> None:
        try:
            self.flush()
        except ServiceUnavailable as error:
            logger.warning("audit: %d notes wait: %s", len(self._pending), error)
        except Exception:
            logger.exception("audit: notes cannot be written")

    # --- keeping house ---

    def purge(self, stopped: Callable[[], bool] = lambda: False) -> int:
        """Drop what is older than the retention, with a sealed anchor in its place; returns how many entries.

        Some at a time, while the writers go on and until ``stopped``; what is left then goes the next time.
        """
        if self._retention is None:
            return 0
        end = datetime.now(timezone.utc) - self._retention
        with self._database.read() as reader:
            due = reader.audit.overdue(end - PURGE_SLACK)
        dropped = 0
        for chain in due:
            if stopped():
                break
            with _apart(chain):
                with self._database.admin() as work:
                    work.audit_retention.cut(chain, end)
                for entries in self._dropped(chain, stopped):
                    dropped += entries
        return dropped

    def _dropped(self, chain: int, stopped: Callable[[], bool]) -> Iterator[int]:
        entries, last = 1, 0
        while entries and not stopped():
            with self._database.admin() as work:
                entries, last = work.audit_retention.drop(chain, last)
            yield entries

    def reseal(self) -> int:
        """Carry every chain that an older key sealed over to the current one; returns how many those were.

        After it the older keys are not needed to verify what is there now.
        """
        with self._database.read() as reader:
            states = reader.audit.chains()
        done = 0
        for state in states:
            # An anchor is known by its key alone, and what is left before it could not go any more.
            for _ in self._dropped(state.head.chain, lambda: False):
                pass
            with self._database.admin() as work:
                done += work.audit.reseal(state.head.chain)
        return done

    # --- reading ---

    def latest(self, limit: int, *, chain: int | None = None, user: str | None = None) -> list[AuditEntry]:
        """The newest entries, newest first: of one chain, or naming one user, or of all."""
        with self._database.read() as reader:
            return reader.audit.latest(limit, chain=chain, user=user)

    def states(self) -> list[ChainState]:
        """Every chain."""
        with self._database.read() as reader:
            return reader.audit.chains()

    def entries(self, chain: int, after: int = 0) -> Iterator[AuditEntry]:
        """Every entry of a chain in order."""
        while True:
            with self._database.read() as reader:
                page = reader.audit.page(chain, after, PAGE)
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].seq

    def verify(self, expected: Mapping[int, tuple[int, str]] | None = None) -> list[ChainReport]:
        """Check every chain against its seals; ``expected`` are ends that were written down elsewhere: (seq, hash).

        Only such an end tells a chain that was put back to an earlier state as a whole, seal and all.
        """
        expected = expected or {}
        with self._database.read() as reader:
            states, headless = reader.audit.chains(), reader.audit.without_head()
        chains = [state.head.chain for state in states]
        reports = [self._verified(chain, expected.get(chain)) for chain in chains]
        reports += [ChainReport(chain, "", 0, 0, 0, "", (HEADLESS,)) for chain in headless]
        gone = expected.keys() - {report.chain for report in reports}
        return [*reports, *(ChainReport(chain, "", 0, 0, 0, "", ("the chain is gone",)) for chain in sorted(gone))]

    def _verified(self, chain: int, expected: tuple[int, str] | None) -> ChainReport:
        """Check a chain as it is now, and anew where the retention has cut off meanwhile what was to be read.

        What was seen to be altered is told all the same, for the retention alters nothing.
        """
        altered: dict[int, str] = {}
        for _ in range(MOST_LOOKS):
            state = self._state(chain)
            if state is None:
                return ChainReport(chain, "", 0, 0, 0, "", (HEADLESS,))
            report = self._looked_through(state, expected, altered)
            if not report.problems:
                break
            now = self._state(chain)
            if now is None or now.anchor == state.anchor:
                break
        return report

    def _state(self, chain: int) -> ChainState | None:
        with self._database.read() as reader:
            return reader.audit.chain(chain)

    def _looked_through(
        self, state: ChainState, expected: tuple[int, str] | None, altered: dict[int, str]
    ) -> ChainReport:
        """What is wrong with a chain, and was found ``altered`` already; what else was altered is put there, too."""
        head, anchor = state.head, state.anchor
        unknown = [end for end in _ends(state) if not end.sealed_by(self._keys)]
        problems: list[str] = []
        foreign: dict[int, ChainEnd] = {}  # by the entry that says so
        seq, digest = (0, BEGINNING) if anchor is None else (anchor.seq, anchor.hash)
        first, met = seq + 1, expected is None or expected == (seq, digest.hex())
        # What the retention is about to delete is passed over for the sake of an anchor that nobody else can make.
        after = seq if anchor is not None and anchor.cut_by(self._keys) else 0
        read = True
        try:
            for entry in self.entries(head.chain, after):
                if entry.seq > max(head.seq, state.last):
                    break  # written since
                if entry.seq != seq + 1:
                    problems.append(f"entry {entry.seq} does not follow entry {seq}")
                elif entry.linked(digest) != entry.hash:
                    altered[entry.seq] = f"entry {entry.seq} was altered, or the one before it"
                foreign = {at: end for at, end in foreign.items() if not entry.vouches_for(end)}
                if (end := entry.foreign_end) is not None and not end.sealed_by(self._keys):
                    foreign[entry.seq] = end
                unknown = [end for end in unknown if end is head or not entry.vouches_for(end)]
                seq, digest = entry.seq, entry.hash
                met = met or expected == (seq, digest.hex())
        except ServiceUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 (whoever writes past the guard writes what he likes)
            problems.append(f"the entries cannot be read at or after entry {seq + 1}: {type(error).__name__}")
            read = False
        if read and (seq, digest) != (head.seq, head.hash):
            problems.append(f"the chain ends with entry {seq}, its head says {head.seq}")
        if read and not met:
            problems.append("the expected entry is not in the chain")
        was = "the seal of entry {} was not ours when entry {} was written"
        problems += [was.format(end.seq, at) for at, end in foreign.items()]
        seals = [f"the seal of entry {end.seq} is not ours" for end in unknown]
        problems = [*seals, *altered.values(), *problems]
        return ChainReport(head.chain, head.app_id, seq - first + 1, first, head.seq, head.hash.hex(), tuple(problems))


@contextlib.contextmanager
def _apart(chain: int) -> Iterator[None]:
    """Log an error that one chain's forged entries cause, so that the retention goes on with the other chains."""
    try:
        yield
    except ServiceUnavailable:
        raise
    except Exception:
        logger.exception("audit: old entries of chain %d cannot be dropped", chain)


def _ends(state: ChainState) -> list[ChainEnd]:
    return [state.head] if state.anchor is None else [state.anchor, state.head]
