"""The schema as SQLAlchemy sees it; ``alembic/versions`` builds it, and a test compares the two.

Numbers: ``pk`` columns come from identities and are never given twice, which the change log and the search rely on.
Names that callers choose are compared byte by byte (``COLLATE "C"``).
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB

from service.storage import columns
from service.storage.columns import count, created, last_seen, name, of_app, parent, pk

metadata = columns.metadata
"""Of all tables."""

app_ids = sa.Sequence("app_ids", start=30000001, metadata=metadata)
"""Public app numbers. A sequence, so that a deleted app's number, and with it its old tokens, never lives again."""

apps = sa.Table(
    "apps",
    metadata,
    pk(),
    sa.Column("app_id", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("api_key", sa.Text, nullable=False, unique=True),
    sa.Column("secret", BYTEA, nullable=False, comment="sealed by service.access"),
    sa.Column("epoch", sa.Integer, nullable=False, server_default="0"),
    sa.Column("permissions", ARRAY(sa.Text)),
    sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.true()),
    created(),
    sa.Column("qps", sa.Integer, comment="most requests a second; null: no limit"),
    sa.Column("daily", sa.BigInteger, comment="most requests a day; null: no limit"),
    sa.Column("total", sa.BigInteger, comment="most requests ever; null: no limit"),
    sa.Column("concurrent", sa.Integer, comment="most requests at once; null: no limit"),
)

groups = sa.Table(
    "groups",
    metadata,
    pk(),
    parent("apps"),
    name("name"),
    sa.Column("scene", sa.Text, comment="null: an ordinary group"),
    created(),
    sa.UniqueConstraint("app_pk", "name"),
)

users = sa.Table(
    "users",
    metadata,
    pk(),
    sa.Column("app_pk", sa.BigInteger, nullable=False),
    parent("groups"),
    name("name"),
    sa.Column("info", sa.Text, nullable=False, server_default=""),
    created(),
    sa.UniqueConstraint("group_pk", "name"),
    sa.Index(None, "app_pk", "name"),
    sa.Index(None, "group_pk", "pk"),
)

faces = sa.Table(
    "faces",
    metadata,
    pk(),
    sa.Column("app_pk", sa.BigInteger, nullable=False),
    sa.Column("group_pk", sa.BigInteger, nullable=False),
    parent("users"),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("model_id", sa.Text, nullable=False),
    sa.Column("embedding", BYTEA, nullable=False, comment="float32, little endian, unit length"),
    sa.Column("location", JSONB, nullable=False),
    sa.Column("angles", JSONB, nullable=False),
    sa.Column("confidence", sa.Double, nullable=False),
    sa.Column("quality", JSONB),
    sa.Column("points", BYTEA, nullable=False, comment="float32: frame, box and completeness of the portrait, points"),
    sa.Column("portrait", BYTEA, comment="JPEG"),
    created(),
    sa.UniqueConstraint("user_pk", "token"),
    sa.Index(None, "app_pk", "token"),
    sa.Index(None, "group_pk"),
)

face_embeddings = sa.Table(
    "face_embeddings",
    metadata,
    parent("faces", primary_key=True),
    sa.Column("model_id", sa.Text, primary_key=True),
    sa.Column("app_pk", sa.BigInteger, nullable=False),
    sa.Column("embedding", BYTEA, nullable=False, comment="float32, little endian, unit length"),
    sa.Index("face_embeddings_app_pk_idx", "app_pk", "model_id"),
)
"""What further models made of a face, beside the one that stands in ``faces``: see ``service.storage.models``."""

library_models = sa.Table(
    "library_models",
    metadata,
    sa.Column("role", sa.Text, primary_key=True, comment="active, target or previous"),
    sa.Column("pack", sa.Text, nullable=False),
    sa.Column("model_id", sa.Text, nullable=False),
    sa.Column("since", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
)

face_tokens = sa.Table(
    "face_tokens",
    metadata,
    # No foreign key: to check it locks the app's row, and that is logged.
    sa.Column("app_pk", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("token", sa.Text, primary_key=True),
    sa.Column("location", JSONB, nullable=False),
    sa.Column("angles", JSONB, nullable=False),
    sa.Column("confidence", sa.Double, nullable=False),
    sa.Column("points", BYTEA, nullable=False),
    sa.Column("portrait", BYTEA),
    sa.Column("model_id", sa.Text),
    sa.Column("embedding", BYTEA),
    sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
    sa.Index(None, "expires"),
    # Lost in a crash and not replicated: callers may detect again, and writes stay off the log.
    prefixes=["UNLOGGED"],
)

face_keys = sa.Table(
    "face_keys",
    metadata,
    sa.Column("key_id", BYTEA, primary_key=True, comment="says nothing of the key"),
    created(),
)
"""The master keys that faces are sealed under: a server without one of them must not start as if nothing were lost."""

change_heads = sa.Table(
    "change_heads",
    metadata,
    sa.Column("app_pk", sa.BigInteger, sa.ForeignKey("apps.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("floor", sa.BigInteger, nullable=False, server_default="0", comment="rows up to it were pruned"),
)

changes = sa.Table(
    "changes",
    metadata,
    sa.Column("app_pk", sa.BigInteger, sa.ForeignKey("apps.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("group_pk", sa.BigInteger, nullable=False),
    sa.Column("user_pk", sa.BigInteger, nullable=False, comment="0 where the kind names no user"),
    sa.Column("face_pk", sa.BigInteger, nullable=False, comment="0 where the kind names no face"),
    created(),
)

feedback = sa.Table(
    "feedback",
    metadata,
    pk(),
    parent("apps"),
    sa.Column("content", JSONB, nullable=False),
    created(),
    sa.Index(None, "app_pk", "pk"),
    sa.Index(None, "created"),
)

envelope_keys = sa.Table(
    "envelope_keys",
    metadata,
    pk(),
    parent("apps"),
    sa.Column("kid", sa.Text, nullable=False, comment="thumbprint, RFC 7638"),
    sa.Column("algorithm", sa.Text, nullable=False),
    sa.Column("public", JSONB, nullable=False, comment="JWK"),
    sa.Column("private", BYTEA, nullable=False, comment="PKCS #8, sealed by service.access"),
    created(),
    sa.Column("retires", sa.DateTime(timezone=True), comment="null: the current key of its algorithm"),
    sa.UniqueConstraint("app_pk", "kid"),
    # One current key for each algorithm: of two processes that make one at the same time, one wins.
    sa.Index(
        "envelope_keys_current_idx", "app_pk", "algorithm", unique=True, postgresql_where=sa.text("retires IS NULL")
    ),
    sa.Index(None, "retires"),
)

envelope_nonces = sa.Table(
    "envelope_nonces",
    metadata,
    sa.Column("app_pk", sa.BigInteger, sa.ForeignKey("apps.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("digest", BYTEA, primary_key=True, comment="SHA-256 of the nonce"),
    sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
    sa.Index(None, "expires"),
)

capture_devices = sa.Table(
    "capture_devices",
    metadata,
    pk(),
    parent("apps"),
    sa.Column("device", BYTEA, nullable=False, comment="keyed hash"),
    sa.Column("passed", sa.Integer, nullable=False, comment="captures that did not fail"),
    last_seen(),
    sa.UniqueConstraint("app_pk", "device"),
    sa.Index(None, "last_seen"),
)

capture_failures = sa.Table(
    "capture_failures",
    metadata,
    pk(),
    parent("capture_devices"),
    created(),
    sa.Index(None, "capture_device_pk", "created"),
    sa.Index(None, "created"),
)

capture_people = sa.Table(
    "capture_people",
    metadata,
    pk(),
    parent("capture_devices"),
    sa.Column("model_id", sa.Text, nullable=False),
    sa.Column("embedding", BYTEA, nullable=False, comment="float32, little endian, sealed by service.access"),
    last_seen(),
    sa.Index(None, "capture_device_pk", "last_seen"),
    sa.Index(None, "last_seen"),
)

capture_pictures = sa.Table(
    "capture_pictures",
    metadata,
    sa.Column("app_pk", sa.BigInteger, sa.ForeignKey("apps.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("picture", BYTEA, primary_key=True, comment="keyed hash"),
    parent("capture_devices"),
    sa.Column("sightings", sa.Integer, nullable=False),
    last_seen(),
    sa.Index(None, "capture_device_pk"),
    sa.Index(None, "last_seen"),
)

identities = sa.Table(
    "identities",
    metadata,
    pk(),
    sa.Column(
        "app_pk",
        sa.BigInteger,
        sa.ForeignKey("apps.pk", ondelete="CASCADE"),
        comment="null: known to every app that may ask",
    ),
    sa.Column("lookup", BYTEA, nullable=False, unique=True, comment="HMAC of whose register and the number"),
    sa.Column("person", BYTEA, nullable=False, comment="sealed: number, name, validity"),
    sa.Column("revoked", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("model_id", sa.Text),
    sa.Column("embedding", BYTEA, comment="sealed: float32, little endian, unit length"),
    sa.Column("portrait", BYTEA, comment="sealed: JPEG"),
    sa.Column("fingerprint", BYTEA, nullable=False, comment="HMAC of what was handed in, to know it again"),
    created(),
    sa.Column("updated", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Index(None, "app_pk"),
)
uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("app_pk", sa.BigInteger, sa.ForeignKey("apps.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("upload_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("content", BYTEA, nullable=False, comment="sealed by service.library.uploads"),
    sa.Column("size", sa.BigInteger, nullable=False, comment="bytes of content"),
    created(),
    sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
    sa.Index(None, "expires"),
)

liveness_sessions = sa.Table(
    "liveness_sessions",
    metadata,
    sa.Column("app_pk", sa.BigInteger, sa.ForeignKey("apps.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("session_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False, comment="digits to speak, or one digit per action"),
    sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
    sa.Index(None, "expires"),
    # Lost in a crash and not replicated: callers ask for another code.
    prefixes=["UNLOGGED"],
)

quota_budgets = sa.Table(
    "quota_budgets",
    metadata,
    of_app(),
    sa.Column("day", sa.Date, nullable=False, server_default=sa.text("'1970-01-01'")),
    count("day_taken", "of the day's requests, by all processes"),
    count("total_taken"),
    count("granted", "to the process that asked last"),
)

quota_seconds = sa.Table(
    "quota_seconds",
    metadata,
    of_app(),
    sa.Column("second", sa.BigInteger, nullable=False, comment="since 1970"),
    count("taken"),
    count("granted", "to the process that asked last"),
    # Lost in a crash: what is counted lasts a second.
    prefixes=["UNLOGGED"],
)

quota_slots = sa.Table(
    "quota_slots",
    metadata,
    of_app(),
    sa.Column("process", sa.Uuid, primary_key=True),
    sa.Column("slots", sa.Integer, nullable=False, comment="requests that the process may run at once"),
    sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
    # Lost in a crash: every process tells its slots anew every second.
    prefixes=["UNLOGGED"],
)

usage_counts = sa.Table(
    "usage_counts",
    metadata,
    of_app(),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("call", sa.Text, primary_key=True),
    count("requests", "let through"),
    count("errors", "of these, answered with an error"),
    count("refused", "not let through"),
)

login_failures = sa.Table(
    "login_failures",
    metadata,
    sa.Column("name", BYTEA, primary_key=True, comment="keyed digest of who failed where"),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("ends", sa.DateTime(timezone=True), nullable=False, comment="of the window that they count in"),
    sa.Index(None, "ends"),
    # Lost in a crash of the database, and where a standby takes over: what is counted lasts minutes, and every process
    # remembers its own. An address that the console has known for up to 30 days is known again by its next log-in.
    prefixes=["UNLOGGED"],
)

audit = sa.Table(
    "audit",
    metadata,
    # No foreign key: the log of an app outlives it. 0 is the installation's chain.
    sa.Column("chain", sa.BigInteger, primary_key=True, autoincrement=False, comment="pk of the app, or 0"),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("call", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False, comment="the API's code; 0: success"),
    sa.Column("groups", ARRAY(sa.Text), nullable=False),
    sa.Column("users", ARRAY(sa.Text), nullable=False),
    sa.Column("log_id", sa.BigInteger),
    sa.Column("detail", JSONB(none_as_null=True)),
    sa.Column("hash", BYTEA, nullable=False, comment="SHA-256 over the hash before and this row"),
    sa.Index(None, "time"),
    sa.Index("audit_users_idx", "users", postgresql_using="gin"),
)

audit_heads = sa.Table(
    "audit_heads",
    metadata,
    sa.Column("chain", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("app_id", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", BYTEA, nullable=False),
    sa.Column("seal", BYTEA, nullable=False, comment="HMAC under a key that is not in the database"),
)

audit_anchors = sa.Table(
    "audit_anchors",
    metadata,
    sa.Column("chain", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False, comment="rows up to it may be deleted"),
    sa.Column("hash", BYTEA, nullable=False),
    sa.Column("seal", BYTEA, nullable=False, comment="HMAC under a key that is not in the database"),
    created(),
)
