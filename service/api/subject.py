"""Ids of the groups and users that a request names, for the audit log. Nothing else of the request is logged."""

from __future__ import annotations

import re
from collections.abc import Iterable

from service.api.body import Parameters

_GROUPS = ("group_id", "group_id_list", "src_group_id", "dst_group_id")
_USERS = ("user_id", "uid")

_MOST = 20
_ID = re.compile(r"@ALL|\w{1,128}", re.ASCII)
"""Ids as the calls accept them; anything else is left out of the log."""


def groups(parameters: Parameters) -> tuple[str, ...]:
    """Groups that a request names, lists taken apart."""
    return _ids(parameters, _GROUPS)


def users(parameters: Parameters) -> tuple[str, ...]:
    """Users that a request names."""
    return _ids(parameters, _USERS)


def _ids(parameters: Parameters, names: Iterable[str]) -> tuple[str, ...]:
    if not isinstance(parameters, dict):
        return ()
    values = [value for name in names if isinstance(value := parameters.get(name), str | int)]
    words = (word.strip() for value in values for word in str(value).split(",", _MOST)[:_MOST])
    return tuple(dict.fromkeys(word for word in words if _ID.fullmatch(word)))
