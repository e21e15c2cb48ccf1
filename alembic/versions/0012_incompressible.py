"""Portraits and embeddings are stored as they are: PostgreSQL would try in vain to make them smaller.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# A JPEG of 40 kB took 0.9 ms to write instead of 0.3 (by hand, shortest of 300), most of it for a compression whose
# result was thrown away.
INCOMPRESSIBLE = (
    ("faces", "portrait"),
    ("faces", "embedding"),
    ("face_embeddings", "embedding"),
    ("face_tokens", "portrait"),
    ("face_tokens", "embedding"),
    ("identities", "embedding"),
    ("capture_people", "embedding"),
)


def upgrade() -> None:
    for table, column in INCOMPRESSIBLE:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")


def downgrade() -> None:
    for table, column in INCOMPRESSIBLE:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTENDED")
