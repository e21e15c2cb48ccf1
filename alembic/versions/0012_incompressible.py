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
INCOMPRESSIBLE = {
    ("faces", "portrait"): "EXTERNAL",
    ("faces", "embedding"): "MAIN",
    ("face_embeddings", "embedding"): "EXTENDED",
    ("face_tokens", "portrait"): "EXTERNAL",
    ("face_tokens", "embedding"): "EXTENDED",
    ("identities", "embedding"): "EXTENDED",
    ("capture_people", "embedding"): "EXTENDED",
}
"""With how they were stored before."""


def upgrade() -> None:
    for table, column in INCOMPRESSIBLE:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")


def downgrade() -> None:
    for (table, column), before in INCOMPRESSIBLE.items():
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE {before}")
