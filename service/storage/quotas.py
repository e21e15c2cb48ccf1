"""Quotas as the database keeps them: what all processes have taken together, and counts of what was asked.

A process takes requests in portions. Each grant is one statement on one row, whose lock makes processes queue up; it
is committed before the first of its requests is let through, so that together they never get more than the limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from service.errors import AppUnavailable
from service.storage.execution import Execution
from service.storage.tables import quota_slots, usage_counts

SLOTS_SECONDS = 30
"""A process that has not reported its slots for this long counts as dead, and its slots as free."""

BACK_SECONDS = 15
"""A stored second that is more than this ahead was written before the clock was put back: no statement waits so
long."""

_SHARE = 4
"""One process gets at most this fraction of what is left, so that the others are not left without."""

_FIRST = f"least(:wanted, greatest(1, :qps / {_SHARE}))"
_NEXT = f"greatest(0, least(:qps - known.taken, :wanted, greatest(1, (:qps - known.taken) / {_SHARE})))"

# A statement that waited for the row may carry an older second than the row has: the row then keeps the newer one.
_NEW = f"(excluded.second > known.second OR known.second > excluded.second + {BACK_SECONDS})"
_TAKE_SECOND = sa.text(f"""
    INSERT INTO quota_seconds AS known (app_pk, second, taken, granted)
    SELECT pk, floor(extract(epoch FROM clock_timestamp())), {_FIRST}, {_FIRST} FROM apps WHERE pk = :app_pk
    ON CONFLICT (app_pk) DO UPDATE SET
        second = CASE WHEN {_NEW} THEN excluded.second ELSE known.second END,
        taken = CASE WHEN {_NEW} THEN excluded.taken ELSE known.taken + {_NEXT} END,
        granted = CASE WHEN {_NEW} THEN excluded.granted ELSE {_NEXT} END
    RETURNING granted, second + 1 - extract(epoch FROM clock_timestamp()) AS seconds
""").bindparams(  # noqa: S608 (made of constants)
    sa.bindparam("qps", type_=sa.BigInteger), sa.bindparam("wanted", type_=sa.BigInteger)
)

_TODAY = "(now() AT TIME ZONE :zone)::date"
# At midnight a statement that waited for the row may carry the day before; a day that lies further ahead is of a clock
# that has been put back.
_OTHER_DAY = f"({_TODAY} > budget.day OR budget.day > {_TODAY} + 1)"
_DAY_TAKEN = f"CASE WHEN {_OTHER_DAY} THEN 0 ELSE budget.day_taken END"
_DAY_LEFT = f"(apps.daily - ({_DAY_TAKEN}))"
_TOTAL_LEFT = "(apps.total - budget.total_taken)"
# LEAST passes over limits that are not set.
_LEFT = f"least({_DAY_LEFT}, {_TOTAL_LEFT})"
_GRANTED = f"greatest(0, least({_LEFT}, :wanted, greatest(1, {_LEFT} / {_SHARE})))"

_TAKE_BUDGET = sa.text(f"""
    UPDATE quota_budgets AS budget SET
        day = CASE WHEN {_OTHER_DAY} THEN {_TODAY} ELSE budget.day END,
        day_taken = {_DAY_TAKEN} + {_GRANTED},
        total_taken = budget.total_taken + {_GRANTED},
        granted = {_GRANTED}
    FROM apps WHERE apps.pk = budget.app_pk AND budget.app_pk = :app_pk
    RETURNING budget.granted, budget.day, budget.total_taken >= apps.total AS spent,
        extract(epoch FROM (budget.day + 1)::timestamp AT TIME ZONE :zone - clock_timestamp()) AS seconds
""").bindparams(  # noqa: S608 (made of constants)
    sa.bindparam("wanted", type_=sa.BigInteger), sa.bindparam("zone", type_=sa.Text)
)

_GIVE_BACK = sa.text("""
    UPDATE quota_budgets SET
        day_taken = CASE WHEN day = :day THEN greatest(0, day_taken - :unused) ELSE day_taken END,
        total_taken = greatest(0, total_taken - :unused)
    WHERE app_pk = :app_pk
""")

_LOCK = sa.text("SELECT 1 FROM quota_budgets WHERE app_pk = :app_pk FOR NO KEY UPDATE")

_TAKE_SLOTS = sa.text(f"""
    INSERT INTO quota_slots AS mine (app_pk, process, slots, seen)
    SELECT :app_pk, :process, :held + greatest(0, least(unheld, :wanted, greatest(1, unheld / {_SHARE}))), now()
    FROM (
        SELECT :most - :held - coalesce(sum(slots), 0) AS unheld FROM quota_slots
        WHERE app_pk = :app_pk AND process <> :process
            AND seen > clock_timestamp() - make_interval(secs => {SLOTS_SECONDS})
            AND seen < clock_timestamp() + make_interval(secs => {SLOTS_SECONDS})
    ) AS others
    ON CONFLICT (app_pk, process) DO UPDATE SET slots = excluded.slots, seen = excluded.seen
    RETURNING slots
""").bindparams(  # noqa: S608 (made of constants)
    sa.bindparam("app_pk", type_=sa.BigInteger),
    sa.bindparam("process", type_=sa.Uuid),
    *(sa.bindparam(name, type_=sa.Integer) for name in ("held", "most", "wanted")),
)

_TELL_SLOTS = sa.text("""
    INSERT INTO quota_slots AS mine (app_pk, process, slots, seen)
    SELECT pk, :process, :held, now() FROM apps WHERE pk = :app_pk
    ON CONFLICT (app_pk, process) DO UPDATE SET slots = excluded.slots, seen = excluded.seen
""").bindparams(sa.bindparam("process", type_=sa.Uuid), sa.bindparam("held", type_=sa.Integer))

# In the order of the key, so that two processes do not wait for each other in a circle.
_COUNT = sa.text("""
    INSERT INTO usage_counts AS known (app_pk, day, call, requests, errors, refused)
    SELECT apps.pk, (clock_timestamp() AT TIME ZONE :zone)::date, call, requests, errors, refused
    FROM unnest(CAST(:app_pks AS bigint[]), CAST(:calls AS text[]), CAST(:requests AS bigint[]),
                CAST(:errors AS bigint[]), CAST(:refused AS bigint[])) AS row (app_pk, call, requests, errors, refused)
    JOIN apps ON apps.pk = row.app_pk
    ORDER BY apps.pk, call
    ON CONFLICT (app_pk, day, call) DO UPDATE SET
        requests = known.requests + excluded.requests,
        errors = known.errors + excluded.errors,
        refused = known.refused + excluded.refused
""").bindparams(sa.bindparam("zone", type_=sa.Text))

_START_BUDGET = sa.text("""
    UPDATE quota_budgets AS budget SET
        day = (now() AT TIME ZONE :zone)::date,
        day_taken = coalesce((SELECT sum(requests) FROM usage_counts AS counts
            WHERE counts.app_pk = budget.app_pk AND counts.day = (now() AT TIME ZONE :zone)::date), 0),
        total_taken = coalesce((SELECT sum(requests) FROM usage_counts AS counts
            WHERE counts.app_pk = budget.app_pk), 0)
    WHERE app_pk = :app_pk
""").bindparams(sa.bindparam("zone", type_=sa.Text))

_STANDING = sa.text("""
    SELECT CASE WHEN day = (now() AT TIME ZONE :zone)::date THEN day_taken ELSE 0 END AS day_taken, total_taken
    FROM quota_budgets WHERE app_pk = :app_pk
""").bindparams(sa.bindparam("zone", type_=sa.Text))


@dataclass(frozen=True, slots=True)
class Second:
    """Requests granted for the current second, which lasts ``seconds`` more; 0 when it has no more to give."""

    granted: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Budget:
    """Requests granted of the day ``day``, which lasts ``seconds`` more.

    0 when the day's quota is used up, or (``spent``) the whole one.
    """

    granted: int
    day: date
    seconds: float
    spent: bool


@dataclass(frozen=True, slots=True)
class Count:
    """What one call of one app came to: requests let through, errors among their answers, requests refused."""

    app_pk: int
    call: str
    requests: int
    errors: int
    refused: int


@dataclass(frozen=True, slots=True)
class Usage:
    """The counts of one call on one day."""

    day: date
    call: str
    requests: int
    errors: int
    refused: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Requests that processes have taken for the day and altogether, while a quota of either kind is set."""

    day_taken: int
    total_taken: int


class QuotaReader:
    """Reading counts."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def usage(self, app_pk: int) -> list[Usage]:
        """An app's counts, latest day first, calls by name."""
        columns = usage_counts.c
        query = sa.select(columns.day, columns.call, columns.requests, columns.errors, columns.refused)
        query = query.where(columns.app_pk == app_pk).order_by(columns.day.desc(), columns.call)
        rows = self._execution.run(query)
        return [Usage(row.day, row.call, row.requests, row.errors, row.refused) for row in rows]

    def standing(self, app_pk: int, zone: str) -> Standing:
        """What is taken. Raises :class:`AppUnavailable`."""
        row = self._execution.run(_STANDING, {"app_pk": app_pk, "zone": zone}).one_or_none()
        if row is None:
            raise AppUnavailable(f"app {app_pk} does not exist")
        return Standing(row.day_taken, row.total_taken)


class QuotaWriter(QuotaReader):
    """Taking requests and counting them. Days begin at midnight in ``zone`` by the database's clock."""

    def take_second(self, app_pk: int, qps: int, wanted: int) -> Second:
        """Up to ``wanted`` of the requests of this second. Raises :class:`AppUnavailable`."""
        parameters = {"app_pk": app_pk, "qps": qps, "wanted": wanted}
        row = _one(self._execution.run(_TAKE_SECOND, parameters), app_pk)
        return Second(row.granted, float(row.seconds))

    def take_budget(self, app_pk: int, wanted: int, zone: str) -> Budget:
        """Up to ``wanted`` requests of the day and of the whole quota. Raises :class:`AppUnavailable`."""
        parameters = {"app_pk": app_pk, "wanted": wanted, "zone": zone}
        row = _one(self._execution.run(_TAKE_BUDGET, parameters), app_pk)
        return Budget(row.granted, row.day, float(row.seconds), bool(row.spent))

    def give_back(self, app_pk: int, day: date, unused: int) -> None:
        """Return requests that were taken on ``day`` and not made."""
        self._execution.run(_GIVE_BACK, {"app_pk": app_pk, "day": day, "unused": unused})

    def start_budget(self, app_pk: int, zone: str) -> None:
        """Count what was asked before there was a quota, as far as it has been counted."""
        self._execution.run(_START_BUDGET, {"app_pk": app_pk, "zone": zone})

    def take_slots(self, app_pk: int, process: UUID, *, held: int, most: int, wanted: int) -> int:
        """Slots that ``process`` has now: ``held`` and up to ``wanted`` more; all processes have ``most``.

        Needs a transaction. Raises :class:`AppUnavailable`.
        """
        _one(self._execution.run(_LOCK, {"app_pk": app_pk}), app_pk)
        parameters = {"app_pk": app_pk, "process": process, "held": held, "most": most, "wanted": wanted}
        return int(self._execution.run(_TAKE_SLOTS, parameters).scalar_one())

    def tell_slots(self, app_pk: int, process: UUID, held: int) -> None:
        """Say that ``process`` lives and has so many slots left; 0 says that it needs none any more."""
        if held:
            self._execution.run(_TELL_SLOTS, {"app_pk": app_pk, "process": process, "held": held})
        else:
            mine = (quota_slots.c.app_pk == app_pk) & (quota_slots.c.process == process)
            self._execution.run(quota_slots.delete().where(mine))

    def count(self, counts: Sequence[Count], zone: str) -> None:
        """Add to the counts of today; an app deleted meanwhile is passed over."""
        columns: Mapping[str, list[Any]] = {
            "app_pks": [count.app_pk for count in counts],
            "calls": [count.call for count in counts],
            "requests": [count.requests for count in counts],
            "errors": [count.errors for count in counts],
            "refused": [count.refused for count in counts],
        }
        self._execution.run(_COUNT, {**columns, "zone": zone})


def _one(result: sa.CursorResult[Any], app_pk: int) -> sa.Row[Any]:
    row = result.one_or_none()
    if row is None:
        raise AppUnavailable(f"app {app_pk} does not exist")
    return row
