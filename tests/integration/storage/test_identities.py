"""A page of one register reads the rows of that register, however many people are in the others."""

from __future__ import annotations

import sqlalchemy as sa

from service.storage.engine import Database
from service.values import App
from tests.fixtures.library import new_app
from tests.fixtures.sealing import execute

PEOPLE, OWN = 5_000, 20

_FILL = """
    INSERT INTO identities (app_pk, lookup, person, fingerprint)
    SELECT CAST(%s AS bigint), sha256(CAST(CAST(%s AS text) || n AS bytea)), '', '' FROM generate_series(1, %s) AS n
"""
_READ = sa.text("""
    SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = 'identities'
""")


def test_an_app_s_register_is_not_looked_for_among_everybody(database: Database, app: App, database_url: str) -> None:
    """``aipface key reseal`` asks for it once for each app."""
    empty = new_app(database)
    execute(database_url, _FILL, None, "common", PEOPLE)
    execute(database_url, _FILL, app.pk, "own", OWN)
    execute(database_url, "ANALYZE identities")
    for owner, count in ((app.pk, OWN), (empty.pk, 0), (None, 100)):
        with database.admin() as work:
            before = work.identities._execution.run(_READ).scalar_one()
            assert len(work.identities.page(owner, 0, 100)) == count
            assert work.identities._execution.run(_READ).scalar_one() - before <= count + 1
