"""People whose identity the operator vouches for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identities",
        sa.Column("pk", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("app_pk", sa.BigInteger, comment="null: known to every app that may ask"),
        sa.Column("lookup", BYTEA, nullable=False, comment="HMAC of whose register and the number"),
        sa.Column("person", BYTEA, nullable=False, comment="sealed: number, name, validity"),
        sa.Column("revoked", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.Column("model_id", sa.Text),
        sa.Column("embedding", BYTEA, comment="sealed: float32, little endian, unit length"),
        sa.Column("portrait", BYTEA, comment="sealed: JPEG"),
        sa.Column("fingerprint", BYTEA, nullable=False, comment="HMAC of what was handed in, to know it again"),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("pk", name="identities_pkey"),
        sa.ForeignKeyConstraint(["app_pk"], ["apps.pk"], name="identities_app_pk_fkey", ondelete="CASCADE"),
        sa.UniqueConstraint("lookup", name="identities_lookup_key"),
    )
    op.create_index("identities_app_pk_idx", "identities", ["app_pk"])
    # Sealed bytes do not compress.
    op.execute("ALTER TABLE identities ALTER COLUMN portrait SET STORAGE EXTERNAL")


def downgrade() -> None:
    """The register goes."""
    op.drop_table("identities")
