"""Tenants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from service.errors import AppUnavailable
from service.storage.execution import Execution
from service.storage.tables import app_ids, apps, change_heads, face_tokens, quota_budgets
from service.values import NO_LIMITS, App, Limits

CHANNEL = "aipface_apps"
"""NOTIFY channel; the payload is the app's ``pk``."""

_LIMITS = ("qps", "daily", "total", "concurrent")
_IDENTITY = (apps.c.pk, apps.c.app_id, apps.c.name, apps.c.api_key, apps.c.epoch, apps.c.permissions, apps.c.enabled)
_COLUMNS = (*_IDENTITY, *(apps.c[name] for name in _LIMITS))


class AppReader:
    """Finding apps."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def by_app_id(self, app_id: str) -> App | None:
        row = self._execution.run(sa.select(*_COLUMNS).where(apps.c.app_id == app_id)).one_or_none()
        return None if row is None else _app(row)

    def all(self) -> list[App]:
        """Every app, oldest first."""
        return [_app(row) for row in self._execution.run(sa.select(*_COLUMNS).order_by(apps.c.pk))]

    def sealed_secret(self, pk: int) -> bytes:
        """The secret as it was handed in, sealed. Raises :class:`AppUnavailable`."""
        secret = self._execution.run(sa.select(apps.c.secret).where(apps.c.pk == pk)).scalar_one_or_none()
        if secret is None:
            raise AppUnavailable(f"app {pk} does not exist")
        return bytes(secret)


class AppWriter(AppReader):
    """Changing apps; every change is told to the listeners of :data:`CHANNEL`."""

    def next_app_id(self) -> str:
        """A number that no app has or ever had."""
        return str(self._execution.run(sa.select(app_ids.next_value())).scalar_one())

    def insert(
        self,
        app_id: str,
        name: str,
        api_key: str,
        sealed_secret: bytes,
        permissions: Iterable[str] | None = None,
        limits: Limits = NO_LIMITS,
    ) -> App:
        """A new app with an empty library. ``app_id`` and ``api_key`` must be new: clashes are mistakes of ours."""
        values = {
            "app_id": app_id,
            "name": name,
            "api_key": api_key,
            "secret": sealed_secret,
            "permissions": None if permissions is None else sorted(permissions),
            **asdict(limits),
        }
        row = self._execution.run(apps.insert().values(values).returning(*_COLUMNS)).one()
        self._execution.run(change_heads.insert().values(app_pk=row.pk))
        self._execution.run(quota_budgets.insert().values(app_pk=row.pk))
        self._tell(row.pk)
        return _app(row)

    def rotate(self, pk: int, sealed_secret: bytes) -> App:
        """Give the app another secret; tokens signed before are worthless. Raises :class:`AppUnavailable`."""
        return self._update(pk, secret=sealed_secret, epoch=apps.c.epoch + 1)

    def set_enabled(self, pk: int, enabled: bool) -> App:
        """Suspend an app or let it work again. Raises :class:`AppUnavailable`."""
        return self._update(pk, enabled=enabled)

    def set_limits(self, pk: int, limits: Limits) -> App:
        """Change how much the app may ask. Raises :class:`AppUnavailable`."""
        return self._update(pk, **asdict(limits))

    def delete(self, pk: int) -> None:
        """Delete the app with everything that belongs to it. Raises :class:`AppUnavailable`.

        Waits for the app's writers, and lets those that come later find it gone.
        """
        # A large library takes longer than a request may.
        self._execution.run(sa.text("SET LOCAL statement_timeout = 0"))
        # In the order of a standstill, which lets nobody write to the table of apps and then waits for their logs.
        self._execution.run(sa.text("LOCK TABLE apps IN ROW EXCLUSIVE MODE"))
        self._execution.run(sa.select(change_heads.c.seq).where(change_heads.c.app_pk == pk).with_for_update())
        if not self._execution.run(apps.delete().where(apps.c.pk == pk)).rowcount:
            raise AppUnavailable(f"app {pk} does not exist")
        self._execution.run(face_tokens.delete().where(face_tokens.c.app_pk == pk))
        self._tell(pk)

    def _update(self, pk: int, **values: Any) -> App:
        row = self._execution.run(
            apps.update().where(apps.c.pk == pk).values(**values).returning(*_COLUMNS)
        ).one_or_none()
        if row is None:
            raise AppUnavailable(f"app {pk} does not exist")
        self._tell(pk)
        return _app(row)

    def _tell(self, pk: int) -> None:
        self._execution.run(sa.select(sa.func.pg_notify(CHANNEL, str(pk))))


def _app(row: sa.Row[Any]) -> App:
    permissions = None if row.permissions is None else frozenset(row.permissions)
    limits = Limits(row.qps, row.daily, row.total, row.concurrent)
    return App(row.pk, row.app_id, row.name, row.api_key, row.epoch, permissions, row.enabled, limits)
