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


REMOVE_GROUP = 4
"""As ``service.values.ChangeKind`` had it at this revision."""

# What deleting a group does otherwise: remembered faces of the same tokens go too, and the change log says so, for a
# server that still runs would go on finding the group in its index.
FORGET_TOKENS = """
    DELETE FROM face_tokens USING faces, groups WHERE groups.scene IS NOT NULL AND faces.group_pk = groups.pk
    AND face_tokens.app_pk = faces.app_pk AND face_tokens.token = faces.token
"""
RECORD = f"""
    WITH heads AS (
        SELECT app_pk, seq FROM change_heads
        WHERE app_pk IN (SELECT app_pk FROM groups WHERE scene IS NOT NULL) ORDER BY app_pk FOR UPDATE
    ), gone AS (
        SELECT heads.app_pk, groups.pk,
            heads.seq + row_number() OVER (PARTITION BY heads.app_pk ORDER BY groups.pk) AS seq
        FROM heads JOIN groups ON groups.app_pk = heads.app_pk WHERE groups.scene IS NOT NULL
    ), written AS (
        INSERT INTO changes (app_pk, seq, kind, group_pk, user_pk, face_pk)
        SELECT app_pk, seq, {REMOVE_GROUP}, pk, 0, 0 FROM gone
    ), last AS (
        SELECT app_pk, max(seq) AS seq FROM gone GROUP BY app_pk
    ), moved AS (
        UPDATE change_heads SET seq = last.seq FROM last WHERE change_heads.app_pk = last.app_pk
    )
    SELECT pg_notify('aipface_changes', app_pk || ':' || seq) FROM last
"""  # noqa: S608 - a number of ours


def downgrade() -> None:
    """Groups of scenes go with everything in them: an older server would search them like any other."""
    op.execute(RECORD)
    op.execute(FORGET_TOKENS)
    op.execute("DELETE FROM faces WHERE group_pk IN (SELECT pk FROM groups WHERE scene IS NOT NULL)")
    op.execute("DELETE FROM groups WHERE scene IS NOT NULL")
    op.drop_column("groups", "scene")
    op.drop_table("feedback")
