"""Apps, groups, users, faces, face tokens, change log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _tenants()
    _library()
    _face_tokens()
    _change_log()


def downgrade() -> None:
    for table in ("changes", "change_heads", "face_tokens", "faces", "users", "groups", "apps"):
        op.drop_table(table)
    op.execute(sa.schema.DropSequence(sa.Sequence("app_ids")))


def _created() -> sa.Column[object]:
    return sa.Column("created", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def _pk() -> sa.Column[int]:
    return sa.Column("pk", sa.BigInteger, sa.Identity(always=True), nullable=False)


def _tenants() -> None:
    op.execute(sa.schema.CreateSequence(sa.Sequence("app_ids", start=30000001)))
    op.create_table(
        "apps",
        _pk(),
        sa.Column("app_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("api_key", sa.Text, nullable=False),
        sa.Column("secret", BYTEA, nullable=False, comment="sealed by service.access"),
        sa.Column("epoch", sa.Integer, server_default="0", nullable=False),
        sa.Column("permissions", ARRAY(sa.Text)),
        sa.Column("enabled", sa.Boolean, server_default=sa.true(), nullable=False),
        _created(),
        sa.PrimaryKeyConstraint("pk", name="apps_pkey"),
        sa.UniqueConstraint("app_id", name="apps_app_id_key"),
        sa.UniqueConstraint("api_key", name="apps_api_key_key"),
    )


def _library() -> None:
    op.create_table(
        "groups",
        _pk(),
        sa.Column("app_pk", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        _created(),
        sa.PrimaryKeyConstraint("pk", name="groups_pkey"),
        sa.ForeignKeyConstraint(["app_pk"], ["apps.pk"], name="groups_app_pk_fkey", ondelete="CASCADE"),
        sa.UniqueConstraint("app_pk", "name", name="groups_app_pk_name_key"),
    )
    op.create_table(
        "users",
        _pk(),
        sa.Column("app_pk", sa.BigInteger, nullable=False),
        sa.Column("group_pk", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("info", sa.Text, server_default="", nullable=False),
        _created(),
        sa.PrimaryKeyConstraint("pk", name="users_pkey"),
        sa.ForeignKeyConstraint(["group_pk"], ["groups.pk"], name="users_group_pk_fkey", ondelete="CASCADE"),
        sa.UniqueConstraint("group_pk", "name", name="users_group_pk_name_key"),
    )
    op.create_index("users_app_pk_name_idx", "users", ["app_pk", "name"])
    op.create_table(
        "faces",
        _pk(),
        sa.Column("app_pk", sa.BigInteger, nullable=False),
        sa.Column("group_pk", sa.BigInteger, nullable=False),
        sa.Column("user_pk", sa.BigInteger, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("embedding", BYTEA, nullable=False, comment="float32, little endian, unit length"),
        sa.Column("location", JSONB, nullable=False),
        sa.Column("angles", JSONB, nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("quality", JSONB),
        sa.Column(
            "points",
            BYTEA,
            nullable=False,
            comment="float32: frame, box and completeness of the portrait, points",
        ),
        sa.Column("portrait", BYTEA, comment="JPEG"),
        _created(),
        sa.PrimaryKeyConstraint("pk", name="faces_pkey"),
        sa.ForeignKeyConstraint(["user_pk"], ["users.pk"], name="faces_user_pk_fkey", ondelete="CASCADE"),
        sa.UniqueConstraint("user_pk", "token", name="faces_user_pk_token_key"),
    )
    op.create_index("faces_app_pk_token_idx", "faces", ["app_pk", "token"])
    op.create_index("faces_group_pk_idx", "faces", ["group_pk"])
    # Loading reads the embedding of every row: keep it in the row. Portraits are read one by one and do not compress.
    op.execute("ALTER TABLE faces ALTER COLUMN embedding SET STORAGE MAIN, ALTER COLUMN portrait SET STORAGE EXTERNAL")


def _face_tokens() -> None:
    op.create_table(
        "face_tokens",
        sa.Column("app_pk", sa.BigInteger, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("location", JSONB, nullable=False),
        sa.Column("angles", JSONB, nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("points", BYTEA, nullable=False),
        sa.Column("portrait", BYTEA),
        sa.Column("model_id", sa.Text),
        sa.Column("embedding", BYTEA),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("app_pk", "token", name="face_tokens_pkey"),
        sa.ForeignKeyConstraint(["app_pk"], ["apps.pk"], name="face_tokens_app_pk_fkey", ondelete="CASCADE"),
        prefixes=["UNLOGGED"],
    )
    op.create_index("face_tokens_expires_idx", "face_tokens", ["expires"])
    op.execute("ALTER TABLE face_tokens ALTER COLUMN portrait SET STORAGE EXTERNAL")


def _change_log() -> None:
    op.create_table(
        "change_heads",
        sa.Column("app_pk", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, server_default="0", nullable=False),
        sa.Column("floor", sa.BigInteger, server_default="0", nullable=False, comment="rows up to it were pruned"),
        sa.PrimaryKeyConstraint("app_pk", name="change_heads_pkey"),
        sa.ForeignKeyConstraint(["app_pk"], ["apps.pk"], name="change_heads_app_pk_fkey", ondelete="CASCADE"),
    )
    op.create_table(
        "changes",
        sa.Column("app_pk", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("group_pk", sa.BigInteger, nullable=False),
        sa.Column("user_pk", sa.BigInteger, nullable=False, comment="0 where the kind names no user"),
        sa.Column("face_pk", sa.BigInteger, nullable=False, comment="0 where the kind names no face"),
        _created(),
        sa.PrimaryKeyConstraint("app_pk", "seq", name="changes_pkey"),
        sa.ForeignKeyConstraint(["app_pk"], ["apps.pk"], name="changes_app_pk_fkey", ondelete="CASCADE"),
    )
