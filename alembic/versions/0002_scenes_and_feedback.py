"""Groups that belong to a scene; feedback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("groups", sa.Column("scene", sa.Text, comment="null: an ordinary group"))
    op.create_table(
        "feedback",
        sa.Column("pk", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("app_pk", sa.BigInteger, nullable=False),
        sa.Column("content", JSONB, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("pk", name="feedback_pkey"),
        sa.ForeignKeyConstraint(["app_pk"], ["apps.pk"], name="feedback_app_pk_fkey", ondelete="CASCADE"),
    )
    op.create_index("feedback_app_pk_pk_idx", "feedback", ["app_pk", "pk"])
    op.create_index("feedback_created_idx", "feedback", ["created"])


def downgrade() -> None:
    """Groups of scenes go with everything in them: an older server would search them like any other."""
    op.execute("DELETE FROM faces WHERE group_pk IN (SELECT pk FROM groups WHERE scene IS NOT NULL)")
    op.execute("DELETE FROM groups WHERE scene IS NOT NULL")
    op.drop_column("groups", "scene")
    op.drop_table("feedback")
