"""Stored uploads of the Linkface calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("app_pk", sa.BigInteger, nullable=False),
        sa.Column("upload_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("content", BYTEA, nullable=False, comment="sealed by service.library.uploads"),
        sa.Column("size", sa.BigInteger, nullable=False, comment="bytes of content"),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("app_pk", "upload_id", name="uploads_pkey"),
        sa.ForeignKeyConstraint(["app_pk"], ["apps.pk"], name="uploads_app_pk_fkey", ondelete="CASCADE"),
    )
    op.create_index("uploads_expires_idx", "uploads", ["expires"])
    # What is encrypted cannot be made smaller: do not try.
    op.execute("ALTER TABLE uploads ALTER COLUMN content SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_table("uploads")
