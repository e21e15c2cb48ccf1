"""Failed log-ins, counted by all processes together.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Lost in a crash: what is counted lasts minutes, and every process remembers its own.
    op.create_table(
        "login_failures",
        sa.Column("name", BYTEA, nullable=False, comment="keyed digest of who failed where"),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("ends", sa.DateTime(timezone=True), nullable=False, comment="of the window that they count in"),
        sa.PrimaryKeyConstraint("name", name="login_failures_pkey"),
        prefixes=["UNLOGGED"],
    )
    op.create_index("login_failures_ends_idx", "login_failures", ["ends"])


def downgrade() -> None:
    op.drop_table("login_failures")
