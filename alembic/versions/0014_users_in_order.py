"""Users by group in the order of enrolment: without it a page of a small group is sought among everybody's users.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_INDEX = "users_group_pk_pk_idx"


logger = logging.getLogger("service.storage.migrations")


def upgrade() -> None:
    if op.get_bind().scalar(sa.text("SELECT EXISTS (SELECT FROM users)")):
        logger.info("an index over users is made beside those who write; what has begun, as a backup, is waited for")
    with _beside_writers():
        # One that an interrupted attempt left is of no use.
        op.drop_index(_INDEX, "users", if_exists=True, postgresql_concurrently=True)
        op.create_index(_INDEX, "users", ["group_pk", "pk"], postgresql_concurrently=True)


def downgrade() -> None:
    with _beside_writers():
        op.drop_index(_INDEX, "users", if_exists=True, postgresql_concurrently=True)


@contextmanager
def _beside_writers() -> Iterator[None]:
    """Outside of a transaction, and with time for those that others are in: nobody stands behind who waits so."""
    with op.get_context().autocommit_block():
        before = op.get_bind().scalar(sa.text("SELECT current_setting('lock_timeout')"))
        op.execute("SET lock_timeout = '15min'")  # a backup may take as long, and what was built is lost otherwise
        try:
            yield
        finally:
            op.execute(sa.text("SELECT set_config('lock_timeout', :before, false)").bindparams(before=before))
