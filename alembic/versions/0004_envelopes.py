"""Keys, nonces and history of capture envelopes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA, JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _keys()
    _nonces()
    _devices()
    _pictures()


def downgrade() -> None:
    for table in (
        "capture_pictures",
        "capture_people",
        "capture_failures",
        "capture_devices",
        "envelope_nonces",
        "envelope_keys",
    ):
        op.drop_table(table)


def _pk() -> sa.Column[int]:
    return sa.Column("pk", sa.BigInteger, sa.Identity(always=True), nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def _of_app(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["app_pk"], ["apps.pk"], name=f"{table}_app_pk_fkey", ondelete="CASCADE")


def _of_device(table: str) -> sa.ForeignKeyConstraint:
    name = f"{table}_capture_device_pk_fkey"
    return sa.ForeignKeyConstraint(["capture_device_pk"], ["capture_devices.pk"], name=name, ondelete="CASCADE")


def _keys() -> None:
    op.create_table(
        "envelope_keys",
        _pk(),
        _number("app_pk"),
        sa.Column("kid", sa.Text, nullable=False, comment="thumbprint, RFC 7638"),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("public", JSONB, nullable=False, comment="JWK"),
        sa.Column("private", BYTEA, nullable=False, comment="PKCS #8, sealed by service.access"),
        _now("created"),
        sa.Column("retires", sa.DateTime(timezone=True), comment="null: the current key of its algorithm"),
        sa.PrimaryKeyConstraint("pk", name="envelope_keys_pkey"),
        _of_app("envelope_keys"),
        sa.UniqueConstraint("app_pk", "kid", name="envelope_keys_app_pk_kid_key"),
    )
    op.create_index(
        "envelope_keys_current_idx",
        "envelope_keys",
        ["app_pk", "algorithm"],
        unique=True,
        postgresql_where=sa.text("retires IS NULL"),
    )
    op.create_index("envelope_keys_retires_idx", "envelope_keys", ["retires"])


def _nonces() -> None:
    """Written to the log, unlike face tokens: a crash must not let an envelope through again."""
    op.create_table(
        "envelope_nonces",
        _number("app_pk"),
        sa.Column("digest", BYTEA, nullable=False, comment="SHA-256 of the nonce"),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("app_pk", "digest", name="envelope_nonces_pkey"),
        _of_app("envelope_nonces"),
    )
    op.create_index("envelope_nonces_expires_idx", "envelope_nonces", ["expires"])


def _devices() -> None:
    op.create_table(
        "capture_devices",
        _pk(),
        _number("app_pk"),
        sa.Column("device", BYTEA, nullable=False, comment="keyed hash"),
        sa.Column("passed", sa.Integer, nullable=False, comment="captures that did not fail"),
        _now("last_seen"),
        sa.PrimaryKeyConstraint("pk", name="capture_devices_pkey"),
        _of_app("capture_devices"),
        sa.UniqueConstraint("app_pk", "device", name="capture_devices_app_pk_device_key"),
    )
    op.create_index("capture_devices_last_seen_idx", "capture_devices", ["last_seen"])
    op.create_table(
        "capture_failures",
        _pk(),
        _number("capture_device_pk"),
        _now("created"),
        sa.PrimaryKeyConstraint("pk", name="capture_failures_pkey"),
        _of_device("capture_failures"),
    )
    op.create_index(
        "capture_failures_capture_device_pk_created_idx", "capture_failures", ["capture_device_pk", "created"]
    )
    op.create_index("capture_failures_created_idx", "capture_failures", ["created"])
    op.create_table(
        "capture_people",
        _pk(),
        _number("capture_device_pk"),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("embedding", BYTEA, nullable=False, comment="float32, little endian, sealed by service.access"),
        _now("last_seen"),
        sa.PrimaryKeyConstraint("pk", name="capture_people_pkey"),
        _of_device("capture_people"),
    )
    op.create_index(
        "capture_people_capture_device_pk_last_seen_idx", "capture_people", ["capture_device_pk", "last_seen"]
    )
    op.create_index("capture_people_last_seen_idx", "capture_people", ["last_seen"])


def _pictures() -> None:
    op.create_table(
        "capture_pictures",
        _number("app_pk"),
        sa.Column("picture", BYTEA, nullable=False, comment="keyed hash"),
        _number("capture_device_pk"),
        sa.Column("sightings", sa.Integer, nullable=False),
        _now("last_seen"),
        sa.PrimaryKeyConstraint("app_pk", "picture", name="capture_pictures_pkey"),
        _of_app("capture_pictures"),
        _of_device("capture_pictures"),
    )
    op.create_index("capture_pictures_capture_device_pk_idx", "capture_pictures", ["capture_device_pk"])
    op.create_index("capture_pictures_last_seen_idx", "capture_pictures", ["last_seen"])
