"""The second wall between apps: row-level security, for a query that forgot whose rows it may touch.

Migration 0007 makes a role that sees, of every table with an ``app_pk``, only the rows of the app that the setting
``aipface.app`` names, and none where it names none. Work for one app acts as that role; work on all apps (migrations,
upkeep, administration) as the account of the database's address. An account that may not make roles is told so in a
warning of the migration, and goes without the wall.

A transaction sets role and setting with its first statement, until its end. Reading has no transactions: a connection
keeps both until it is used for another app or for all apps, which then costs a round trip.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

PREPARE = """
    SELECT set_config('aipface.role', coalesce(
        (SELECT rolname FROM pg_roles WHERE rolname = 'aipface_tenant' AND pg_has_role(oid, 'MEMBER')), 'none'
    ), false)
"""
"""Run once per connection: finds out whether there is a role to act as, and notes it in a setting."""

_FOR_APP = sa.text(
    "SELECT set_config('aipface.app', :app, false), set_config('role', current_setting('aipface.role'), false)"
)
_FOR_ALL = sa.text("SELECT set_config('aipface.app', '', false), set_config('role', 'none', false)")
_FOR_ALL_WITHIN_TRANSACTION = sa.text("SELECT set_config('aipface.app', '', true), set_config('role', 'none', true)")

_FOR_APP_WITHIN_TRANSACTION = sa.text(
    "SELECT set_config('aipface.app', :app, true), set_config('role', current_setting('aipface.role'), true)"
)

_ACTING_FOR = "aipface.app"
"""Key in a pooled connection's ``info`` for the app that it acts for; without the key it acts for all apps."""


class OneApp:
    """Prepares a connection without transactions for reading one app's rows."""

    def __init__(self, app_pk: int) -> None:
        self._app_pk = app_pk

    def __call__(self, connection: sa.Connection) -> None:
        if connection.info.get(_ACTING_FOR) == self._app_pk:
            return
        connection.info[_ACTING_FOR] = None  # unknown, should the statement fail
        connection.execute(_FOR_APP, {"app": str(self._app_pk)})
        connection.info[_ACTING_FOR] = self._app_pk


class OneAppWithinTransaction:
    """Prepares a transaction for one app's rows. At its end the connection acts for whom it acted before."""

    def __init__(self, app_pk: int) -> None:
        self._app_pk = app_pk

    def __call__(self, connection: sa.Connection) -> None:
        if connection.info.get(_ACTING_FOR) != self._app_pk:
            connection.execute(_FOR_APP_WITHIN_TRANSACTION, {"app": str(self._app_pk)})


def all_apps(connection: sa.Connection) -> None:
    """Prepare a connection without transactions for work on all apps."""
    if _ACTING_FOR in connection.info:
        connection.execute(_FOR_ALL)
        del connection.info[_ACTING_FOR]


def all_apps_within_transaction(connection: sa.Connection) -> None:
    """Prepare a transaction for work on all apps. At its end the connection acts for whom it acted before."""
    if _ACTING_FOR in connection.info:
        connection.execute(_FOR_ALL_WITHIN_TRANSACTION)


def all_apps_again(run: Callable[[sa.Executable], object]) -> None:
    """Within a transaction that acted for one app: act for all of them from here on."""
    run(_FOR_ALL_WITHIN_TRANSACTION)
