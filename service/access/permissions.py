"""What an app may be allowed to do. A permission is named after the path of its call.

V2, V3 and scenes share permissions. Calls of V1 and V4 have their own, which begin with ``v1/`` and ``v4/``, because
the cloud grants those separately.
"""

from __future__ import annotations

from collections.abc import Iterable

from service.errors import AppUnavailable, PermissionDenied
from service.values import App

PERMISSIONS = (
    "detect",
    "match",
    "faceverify",
    "search",
    "multi-search",
    "faceset/user/add",
    "faceset/user/update",
    "faceset/user/get",
    "faceset/user/copy",
    "faceset/user/delete",
    "faceset/face/delete",
    "faceset/face/getlist",
    "faceset/group/add",
    "faceset/group/delete",
    "faceset/group/getlist",
    "faceset/group/getusers",
    "person/verify",
    "person/idmatch",
    "v1/faceliveness/sessioncode",
    "v1/faceliveness/verify",
    "v1/landmark",
    "v4/faceverify",
    "v4/mingjing/match",
    "v4/mingjing/verify",
    "v4/idmatch_date",
    "v4/verify_date",
)
"""Every permission; an app whose ``permissions`` is ``None`` has them all."""


def check(app: App, permission: str | None) -> None:
    """Raises ``AppUnavailable`` for a disabled app, ``PermissionDenied`` for one that may not make the call.

    A call without a permission of its own (``None``) may be made by every app.
    """
    if not app.enabled:
        raise AppUnavailable(app.app_id)
    if permission is not None and not allows(app, permission):
        raise PermissionDenied(permission)


def allows(app: App, permission: str) -> bool:
    """Whether the app may do this."""
    return app.permissions is None or permission in app.permissions


def expand(names: Iterable[str]) -> frozenset[str]:
    """Permissions as an operator writes them: full names, or a folder with a star such as ``faceset/*``.

    Raises ``ValueError`` with one sentence for a name that means nothing.
    """
    granted: set[str] = set()
    for name in names:
        if name.endswith("/*"):
            found = {permission for permission in PERMISSIONS if permission.startswith(name[:-1])}
        else:
            found = {name} & set(PERMISSIONS)
        if not found:
            raise ValueError(f"there is no permission {name!r}; there are: {', '.join(PERMISSIONS)}")
        granted |= found
    return frozenset(granted)
