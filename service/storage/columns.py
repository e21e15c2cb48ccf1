"""Columns that several tables have, and the naming of keys and constraints."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    }
)


def pk() -> sa.Column[int]:
    return sa.Column("pk", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def parent(table: str, **options: bool) -> sa.Column[int]:
    column = f"{table.removesuffix('s')}_pk"
    key = sa.ForeignKey(f"{table}.pk", ondelete="CASCADE")
    return sa.Column(column, sa.BigInteger, key, nullable=False, **options)  # type: ignore[arg-type]


def name(column: str) -> sa.Column[str]:
    return sa.Column(column, sa.Text(collation="C"), nullable=False)


def created() -> sa.Column[object]:
    return sa.Column("created", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def count(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0", comment=comment)


def of_app() -> sa.Column[int]:
    return sa.Column("app_pk", sa.BigInteger, sa.ForeignKey("apps.pk", ondelete="CASCADE"), primary_key=True)


def last_seen() -> sa.Column[object]:
    return sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
