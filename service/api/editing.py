"""The SDKs' calls that edit pictures. This server does not edit any and refuses them with an error code of V3."""

from __future__ import annotations

from typing import Any, NoReturn

from fastapi import APIRouter

from service.api import calls
from service.api.body import Parameters
from service.api.calls import Call, Dialect, Dispatcher
from service.api.ports import UseCases
from service.api.presenting import nothing
from service.errors import PermissionDenied
from service.values import App

PREFIX = "/rest/2.0/face/v1"


def _unread(_parameters: Parameters) -> None:
    """Whatever was sent, the answer is the same."""


def _refuse(_service: UseCases, _app: App, _arguments: None) -> NoReturn:
    raise PermissionDenied("picture editing is not offered")


def _call(path: str, name: str, summary: str) -> Call[Any, Any]:
    return Call(
        path=f"{PREFIX}/{path}",
        name=name,
        summary=summary,
        permission=None,
        parse=_unread,
        run=_refuse,
        present=nothing,
        example={},
    )


CALLS = (
    _call("merge", "faceMergeV1", "Merging faces: not offered, answers 6."),
    _call("editattr", "faceSkinSmoothV1", "Editing faces: not offered, answers 6."),
)


def router(dispatcher: Dispatcher, dialect: Dialect) -> APIRouter:
    """The routes of these calls, which authenticate the caller and then refuse."""
    return calls.router(CALLS, dialect, dispatcher, tag="editing")
