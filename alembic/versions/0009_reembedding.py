"""Embeddings of several models a face, and which model the library is in.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_LET_TENANTS_READ = """
    DO $$ BEGIN
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'aipface_tenant') THEN
            GRANT SELECT ON library_models TO aipface_tenant;
        END IF;
    END $$
"""

_BACK_INTO_FACES = """
    UPDATE faces SET model_id = face_embeddings.model_id, embedding = face_embeddings.embedding
    FROM face_embeddings JOIN library_models USING (model_id)
    WHERE library_models.role = 'active' AND face_embeddings.face_pk = faces.pk
"""


def upgrade() -> None:
    op.create_table(
        "library_models",
        sa.Column("role", sa.Text, nullable=False, comment="active, target or previous"),
        sa.Column("pack", sa.Text, nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("role", name="library_models_pkey"),
    )
    op.execute(_LET_TENANTS_READ)
    op.create_table(
        "face_embeddings",
        sa.Column("face_pk", sa.BigInteger, nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("app_pk", sa.BigInteger, nullable=False),
        sa.Column("embedding", BYTEA, nullable=False, comment="float32, little endian, unit length"),
        sa.PrimaryKeyConstraint("face_pk", "model_id", name="face_embeddings_pkey"),
        sa.ForeignKeyConstraint(["face_pk"], ["faces.pk"], name="face_embeddings_face_pk_fkey", ondelete="CASCADE"),
    )
    op.create_index("face_embeddings_app_pk_idx", "face_embeddings", ["app_pk", "model_id"])
    op.execute("SELECT aipface_guard('face_embeddings')")


def downgrade() -> None:
    """Embeddings of other models than the library's go; those of its model become the faces' own."""
    op.execute(_BACK_INTO_FACES)
    op.drop_table("face_embeddings")
    op.drop_table("library_models")
