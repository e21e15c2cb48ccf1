"""Quotas of apps and what they have used; rows of one app kept out of the reach of statements made for another."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ROLE = "aipface_tenant"
"""What a unit of work acts as. Roles belong to the whole server, so that it may be there already, and stays."""

_MAKE_ROLE = f"""
    DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN
            CREATE ROLE {ROLE} NOLOGIN;
        END IF;
        IF NOT pg_has_role('{ROLE}', 'MEMBER') THEN
            GRANT {ROLE} TO CURRENT_USER;
        END IF;
        GRANT USAGE ON SCHEMA public TO {ROLE};
    EXCEPTION
        WHEN duplicate_object OR unique_violation THEN NULL; -- made at this moment for another database
        WHEN insufficient_privilege THEN
            RAISE WARNING 'the role {ROLE} cannot be made: rows of different apps are kept apart by queries alone';
    END $$
"""

# A later migration guards its own tables: SELECT aipface_guard('table').
_MAKE_GUARD = f"""
    CREATE FUNCTION aipface_guard(guarded regclass, condition text DEFAULT 'app_pk = aipface_app()') RETURNS void
    LANGUAGE plpgsql AS $$ BEGIN
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('CREATE POLICY one_app ON %s USING (%s)', guarded, condition);
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO {ROLE}', guarded);
        END IF;
    END $$
"""

_MAKE_APP = """
    CREATE FUNCTION aipface_app() RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT nullif(current_setting('aipface.app', true), '')::bigint $$
"""

_OF_APPS = """
    SELECT DISTINCT relation.relname FROM pg_class relation
    JOIN pg_attribute attribute ON attribute.attrelid = relation.oid AND attribute.attname = 'app_pk'
    WHERE relation.relkind = 'r' AND relation.relnamespace = 'public'::regnamespace
        AND relation.relname <> 'change_heads'
    ORDER BY relation.relname
"""
# The head of an app's log is what a unit of work begins with, before it acts for the app: it is left unguarded.

_KNOWN_TO_ALL = "app_pk IS NULL OR app_pk = aipface_app()"
"""People in the register may be known to every app."""

_OF_DEVICES = ("capture_failures", "capture_people")
_THROUGH_DEVICE = "EXISTS (SELECT FROM capture_devices WHERE capture_devices.pk = capture_device_pk)"


def upgrade() -> None:
    _limits()
    _used()
    _guards()


def downgrade() -> None:
    connection = op.get_bind()
    guarded = connection.execute(sa.text("SELECT tablename FROM pg_policies WHERE policyname = 'one_app'"))
    for table in guarded.scalars().all():
        op.execute(f'DROP POLICY one_app ON "{table}"')
        op.execute(f'ALTER TABLE "{table}" DISABLE ROW LEVEL SECURITY')
    op.execute("DROP FUNCTION aipface_guard(regclass, text)")
    op.execute("DROP FUNCTION aipface_app()")
    if connection.execute(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": ROLE}).scalar():
        op.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {ROLE}")
        op.execute(f"REVOKE USAGE ON SCHEMA public FROM {ROLE}")
    for table in ("usage_counts", "quota_slots", "quota_seconds", "quota_budgets"):
        op.drop_table(table)
    for column in ("concurrent", "total", "daily", "qps"):
        op.drop_column("apps", column)


def _limits() -> None:
    for name, kind, meaning in (
        ("qps", sa.Integer, "requests a second"),
        ("daily", sa.BigInteger, "requests a day"),
        ("total", sa.BigInteger, "requests ever"),
        ("concurrent", sa.Integer, "requests at once"),
    ):
        op.add_column("apps", sa.Column(name, kind, comment=f"most {meaning}; null: no limit"))


def _of_app(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["app_pk"], ["apps.pk"], name=f"{table}_app_pk_fkey", ondelete="CASCADE")


def _app_pk() -> sa.Column[int]:
    return sa.Column("app_pk", sa.BigInteger, nullable=False)


def _count(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, server_default="0", nullable=False, comment=comment)


def _used() -> None:
    op.create_table(
        "quota_budgets",
        _app_pk(),
        sa.Column("day", sa.Date, server_default=sa.text("'1970-01-01'"), nullable=False),
        _count("day_taken", "of the day's requests, by all processes"),
        _count("total_taken"),
        _count("granted", "to the process that asked last"),
        sa.PrimaryKeyConstraint("app_pk", name="quota_budgets_pkey"),
        _of_app("quota_budgets"),
    )
    op.execute("INSERT INTO quota_budgets (app_pk) SELECT pk FROM apps")
    # Lost in a crash: what they count lasts a second, or is told anew every second.
    op.create_table(
        "quota_seconds",
        _app_pk(),
        sa.Column("second", sa.BigInteger, nullable=False, comment="since 1970"),
        _count("taken"),
        _count("granted", "to the process that asked last"),
        sa.PrimaryKeyConstraint("app_pk", name="quota_seconds_pkey"),
        _of_app("quota_seconds"),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "quota_slots",
        _app_pk(),
        sa.Column("process", sa.Uuid, nullable=False),
        sa.Column("slots", sa.Integer, nullable=False, comment="requests that the process may run at once"),
        sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("app_pk", "process", name="quota_slots_pkey"),
        _of_app("quota_slots"),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "usage_counts",
        _app_pk(),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("call", sa.Text, nullable=False),
        _count("requests", "let through"),
        _count("errors", "of these, answered with an error"),
        _count("refused", "not let through"),
        sa.PrimaryKeyConstraint("app_pk", "day", "call", name="usage_counts_pkey"),
        _of_app("usage_counts"),
    )


def _guards() -> None:
    op.execute(_MAKE_ROLE)
    op.execute(_MAKE_APP)
    op.execute(_MAKE_GUARD)
    connection = op.get_bind()
    for table in connection.execute(sa.text(_OF_APPS)).scalars().all():
        condition = f", '{_KNOWN_TO_ALL}'" if table == "identities" else ""
        op.execute(f"SELECT aipface_guard('\"{table}\"'{condition})")
    for table in _OF_DEVICES:
        op.execute(f"SELECT aipface_guard('{table}', '{_THROUGH_DEVICE}')")
    op.execute("SELECT aipface_guard('apps', 'pk = aipface_app()')")
    role = connection.execute(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": ROLE}).scalar()
    if role:
        op.execute(f"GRANT SELECT, UPDATE ON change_heads TO {ROLE}")
