"""An append-only audit log in hash chains."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

GUARD = """
    CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_TABLE_NAME = 'audit' AND TG_OP = 'DELETE' AND TG_LEVEL = 'ROW' THEN
            IF OLD.seq <= (SELECT max(seq) FROM audit_anchors WHERE chain = OLD.chain) THEN
                RETURN OLD;
            END IF;
        END IF;
        RAISE EXCEPTION '% of % is refused: it is append-only', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END $$
"""
"""Rows go only up to an anchor, which the retention leaves and nothing takes away."""


def upgrade() -> None:
    _log()
    _ends()
    op.execute(GUARD)
    for table, events in (
        ("audit", "UPDATE OR DELETE"),
        ("audit_anchors", "UPDATE OR DELETE"),
        ("audit_heads", "DELETE"),
    ):
        run = "EXECUTE FUNCTION audit_is_append_only()"
        op.execute(f"CREATE TRIGGER {table}_rows BEFORE {events} ON {table} FOR EACH ROW {run}")
        op.execute(f"CREATE TRIGGER {table}_all BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {run}")
        op.execute(f"SELECT aipface_guard('{table}', 'chain = aipface_app()')")


def downgrade() -> None:
    """The audit log goes."""
    for table in ("audit", "audit_anchors", "audit_heads"):
        op.drop_table(table)
    op.execute("DROP FUNCTION audit_is_append_only()")


def _chain(*, comment: str | None = None) -> sa.Column[int]:
    return sa.Column("chain", sa.BigInteger, autoincrement=False, nullable=False, comment=comment)


def _seq(*, comment: str | None = None) -> sa.Column[int]:
    return sa.Column("seq", sa.BigInteger, autoincrement=False, nullable=False, comment=comment)


def _seal() -> sa.Column[bytes]:
    return sa.Column("seal", BYTEA, nullable=False, comment="HMAC under a key that is not in the database")


def _log() -> None:
    op.create_table(
        "audit",
        _chain(comment="pk of the app, or 0"),
        _seq(),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("call", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False, comment="the API's code; 0: success"),
        sa.Column("groups", ARRAY(sa.Text), nullable=False),
        sa.Column("users", ARRAY(sa.Text), nullable=False),
        sa.Column("log_id", sa.BigInteger),
        sa.Column("detail", JSONB),
        sa.Column("hash", BYTEA, nullable=False, comment="SHA-256 over the hash before and this row"),
        sa.PrimaryKeyConstraint("chain", "seq", name="audit_pkey"),
    )
    op.create_index("audit_time_idx", "audit", ["time"])
    op.create_index("audit_users_idx", "audit", ["users"], postgresql_using="gin")


def _ends() -> None:
    op.create_table(
        "audit_heads",
        _chain(),
        sa.Column("app_id", sa.Text, nullable=False),
        _seq(),
        sa.Column("hash", BYTEA, nullable=False),
        _seal(),
        sa.PrimaryKeyConstraint("chain", name="audit_heads_pkey"),
    )
    op.create_table(
        "audit_anchors",
        _chain(),
        _seq(comment="rows up to it may be deleted"),
        sa.Column("hash", BYTEA, nullable=False),
        _seal(),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("chain", "seq", name="audit_anchors_pkey"),
    )
