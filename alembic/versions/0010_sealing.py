"""Which master keys embeddings and crops are sealed under.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "face_keys",
        sa.Column("key_id", BYTEA, primary_key=True, comment="says nothing of the key"),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )


def downgrade() -> None:
    """Faces that are sealed stay so, and an older release cannot read them: `aipface key open-faces` comes before."""
    op.drop_table("face_keys")
