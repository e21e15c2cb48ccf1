"""V3 as the vendor's own private deployment offers it: ``/face-api/v3/...?appid=<id>``, without a token.

Whoever can reach the port may use every app, so the routes exist only where the operator turns them on
(``private_alias``) and trusts the network. ``appid`` is in the query or among the parameters. There are two sets of
paths: V3's own, and the shorter ones of the vendor's deployment package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter

from service.api import body, calls
from service.api.body import Parameters, Received
from service.api.caller import Head
from service.api.calls import Call, Dispatcher
from service.api.ports import UseCases
from service.api.v3 import responses, routes
from service.errors import AppUnavailable
from service.values import App

PREFIX = "/face-api/v3"

APP_ID = "appid"

SHORT_PATHS = {
    "detect": "face/detect",
    "match": "face/match",
    "search": "face/identify",
    "addUser": "face/add",
    "updateUser": "face/update",
    "faceDelete": "face/delete",
    "getUser": "user/get",
    "getGroupUsers": "user/list",
    "userCopy": "user/copy",
    "deleteUser": "user/delete",
    "groupAdd": "group/add",
    "groupDelete": "group/delete",
    "getGroupList": "group/list",
}
"""Paths of the deployment package, by the names of the calls."""


def identify(service: UseCases, head: Head, received: Received) -> tuple[App, Parameters | None]:
    """The app that a request names. Raises ``AppUnavailable`` for an unknown one and for none."""
    named = dict(parse_qsl(head.signed.query)).get(APP_ID)
    parameters: Parameters | None = None
    if named is None:
        parameters = body.decode(received)
        value = parameters.get(APP_ID) if isinstance(parameters, Mapping) else None
        named = str(value) if isinstance(value, str | int) else ""
    app = service.apps.by_app_id(named.strip())
    if app is None:
        raise AppUnavailable(named)
    return app, parameters


def _aliases() -> Iterator[Call[Any, Any]]:
    for call in routes.CALLS:
        yield replace(call, path=PREFIX + call.path.removeprefix(routes.PREFIX))
        if call.name in SHORT_PATHS:
            yield replace(call, path=f"{PREFIX}/{SHORT_PATHS[call.name]}", name=f"{call.name}_short")


def router(dispatcher: Dispatcher) -> APIRouter:
    """The routes of the private deployment."""
    return calls.router(tuple(_aliases()), responses.Envelope(), dispatcher, tag="private", identify=identify)
