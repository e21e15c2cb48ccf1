"""Face tokens without a foreign key: what checks it locks the app's row, which goes to the write-ahead log.

The table is unlogged so that remembering a face waits for no disk; with the key every commit waited for one.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_KEY = "face_tokens_app_pk_fkey"


def upgrade() -> None:
    op.drop_constraint(_KEY, "face_tokens", type_="foreignkey")


def downgrade() -> None:
    op.execute("DELETE FROM face_tokens WHERE NOT EXISTS (SELECT FROM apps WHERE apps.pk = face_tokens.app_pk)")
    op.create_foreign_key(_KEY, "face_tokens", "apps", ["app_pk"], ["pk"], ondelete="CASCADE")
