"""Failed log-ins as the database keeps them: what all processes have counted together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from service.storage.execution import Execution
from service.storage.tables import login_failures

BACK_SECONDS = 60
"""A window that ends more than this later than one that began now was made before the clock was put back, and counts as
over. The margin is for statements that waited for the row and carry a slightly older time."""

_OVER = (
    f"(known.ends <= now() OR known.ends > now() + CAST(:window AS interval) + make_interval(secs => {BACK_SECONDS}))"
)

# In the order of the key, so that two processes do not wait for each other in a circle.
_COUNT = sa.text(f"""
    INSERT INTO login_failures AS known (name, failures, ends)
    SELECT name, 1, now() + CAST(:window AS interval) FROM unnest(:names) AS row (name) ORDER BY name
    ON CONFLICT (name) DO UPDATE SET
        failures = CASE WHEN {_OVER} THEN 1 ELSE known.failures + 1 END,
        ends = CASE WHEN {_OVER} THEN excluded.ends ELSE known.ends END
    RETURNING name, failures, extract(epoch FROM ends - now()) AS seconds
""").bindparams(  # noqa: S608 (made of constants)
    sa.bindparam("names", type_=sa.ARRAY(BYTEA)), sa.bindparam("window", type_=sa.Interval)
)

_REMEMBER = sa.text("""
    INSERT INTO login_failures (name, failures, ends) VALUES (:name, 0, now() + CAST(:lasts AS interval))
    ON CONFLICT (name) DO UPDATE SET ends = excluded.ends
""").bindparams(sa.bindparam("name", type_=BYTEA), sa.bindparam("lasts", type_=sa.Interval))

# Those that end last were begun last.
_PURGE = sa.text("""
    DELETE FROM login_failures
    WHERE ends <= now() OR name IN (SELECT name FROM login_failures ORDER BY ends DESC, name OFFSET :capacity)
""").bindparams(sa.bindparam("capacity", type_=sa.BigInteger))


class AttemptWriter:
    """Counting failures, each within a window that its first one began, by the database's clock."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def count(self, names: Sequence[bytes], window: timedelta) -> Mapping[bytes, tuple[int, float]]:
        """One failure more of each name: how many there are now, and the seconds until they are forgotten."""
        rows = self._execution.run(_COUNT, {"names": list(names), "window": window})
        return {bytes(row.name): (row.failures, float(row.seconds)) for row in rows}

    def forget(self, name: bytes) -> None:
        """Forget the failures of a name."""
        self._execution.run(login_failures.delete().where(login_failures.c.name == name))

    def remember(self, name: bytes, lasts: timedelta) -> None:
        """Keep a name of which no failures are counted."""
        self._execution.run(_REMEMBER, {"name": name, "lasts": lasts})

    def remembers(self, name: bytes) -> bool:
        """Whether a name is kept."""
        kept = sa.select(login_failures.c.name).where(
            login_failures.c.name == name, login_failures.c.ends > sa.func.now()
        )
        return self._execution.run(kept).first() is not None

    def purge(self, capacity: int) -> int:
        """Delete what is over, and the oldest of what is more than ``capacity`` names; returns how many."""
        return self._execution.run(_PURGE, {"capacity": capacity}).rowcount
