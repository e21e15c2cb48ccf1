"""Session codes of video liveness."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "liveness_sessions",
        sa.Column("app_pk", sa.BigInteger, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False, comment="digits to speak, or one digit per action"),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("app_pk", "session_id", name="liveness_sessions_pkey"),
        sa.ForeignKeyConstraint(["app_pk"], ["apps.pk"], name="liveness_sessions_app_pk_fkey", ondelete="CASCADE"),
        prefixes=["UNLOGGED"],
    )
    op.create_index("liveness_sessions_expires_idx", "liveness_sessions", ["expires"])


def downgrade() -> None:
    """Whoever is recording a video asks for another code."""
    op.drop_table("liveness_sessions")
