"""The SDKs' ``report``: callers tell that an answer was right or wrong.

The cloud takes a list of items, each naming the call (``api_url``) and the picture by itself (``image``), its MD5
(``image_md5``) or the ``log_id`` of the answer (``log_id``, ``image_logid``). Pictures are not kept: their MD5 is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
from fastapi import APIRouter

from service.api import calls
from service.api.body import Form, Parameters
from service.api.calls import Call, Dialect, Dispatcher
from service.api.envelope import dump
from service.api.ports import UseCases
from service.errors import ParameterMalformed, ParameterMissing, ParameterTooLong
from service.images.inline import decode_base64
from service.values import App, LongText

PATH = "/rpc/2.0/feedback/v1/report"

MAX_ITEMS = 100
MAX_ITEM_BYTES = 16_384
MAX_PICTURE_BYTES = 10 * 2**20

Item = Mapping[str, object]

_LIST = "feedback"
_PICTURE = "image"
_HASH = "image_md5"
_PICTURE_NAMES = (_PICTURE, _HASH, "log_id", "image_logid")
_NAMES = (*_PICTURE_NAMES, "api_url", "correct", "text")
"""Of what an item holds."""

_NAMED = re.compile(rf"{_LIST}(?:\[([0-9]+)\])?\[([^][]+)\](.*)", re.DOTALL)
"""A part of an item as PHP writes arrays into a form: ``feedback[0][log_id]``; without a number for one item."""

_LOST: Item = {}
"""An item whose values did not arrive: nothing can be kept."""

_ACCEPTED = {"error_code": 0, "error_msg": ""}
_REFUSED = {"error_code": 282004, "error_msg": "params error"}


@dataclass(frozen=True, slots=True)
class Report:
    """Items in the order they were sent; ``None`` for one that cannot be kept."""

    items: tuple[Item | None, ...]


def report(parameters: Parameters) -> Report:
    """A list of items, or one item, as JSON; in a form, as JSON in text, or as PHP writes arrays there.

    Other text is an item of its own, unless it is what Python makes of items in a form: their names, without values.
    Raises ``ParameterMissing`` for none, ``ParameterTooLong`` for more than ``MAX_ITEMS``.
    """
    value = _sent(parameters) if isinstance(parameters, Mapping) else parameters
    if isinstance(value, str) and value.strip():
        value = _unpacked(value)
    items = value if isinstance(value, list) else [value] if isinstance(value, Mapping) else []
    if not items:
        raise ParameterMissing(_LIST)
    if len(items) > MAX_ITEMS:
        raise ParameterTooLong(_LIST)
    return Report(tuple(_kept(item) for item in items))


def _sent(parameters: Mapping[str, object]) -> object:
    if isinstance(parameters, Form) and _LIST in parameters.repeated:
        return _LOST
    return parameters[_LIST] if _LIST in parameters else _gathered(parameters)


def _gathered(parameters: Mapping[str, object]) -> list[Item]:
    """Items out of fields that name one part each."""
    items: dict[str | None, dict[str, object]] = {}
    for field, value in parameters.items():
        if named := _NAMED.fullmatch(field):
            items.setdefault(named[1], {})[named[2] + named[3]] = value
    return list(items.values())


def _unpacked(text: str) -> object:
    if text.strip() in _NAMES:
        return _LOST
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"text": text}


def _kept(item: object) -> Item | None:
    if not isinstance(item, Mapping) or not ("text" in item or any(item.get(name) for name in _PICTURE_NAMES)):
        return None
    try:
        kept = _without_picture(item)
        content = dump(kept)
    except (ParameterMalformed, TypeError, RecursionError):  # the latter two for what is nested too deeply
        return None
    # A zero character cannot be stored in PostgreSQL's JSON; nobody means one.
    return kept if len(content) <= MAX_ITEM_BYTES and b"\\u0000" not in content else None


def _without_picture(item: Item) -> Item:
    picture = item.get(_PICTURE)
    if not picture:
        return item
    if not isinstance(picture, str | LongText):
        raise ParameterMalformed(_PICTURE)
    data = decode_base64(picture, MAX_PICTURE_BYTES)
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return {**{name: value for name, value in item.items() if name != _PICTURE}, _HASH: digest}


def _store(service: UseCases, app: App, arguments: Report) -> None:
    service.feedback.store(app, [item for item in arguments.items if item is not None])


def _answer(arguments: Report, _outcome: None) -> dict[str, Sequence[object]]:
    return {"result": [_REFUSED if item is None else _ACCEPTED for item in arguments.items]}


CALL = Call(
    path=PATH,
    name="report",
    summary="Tell that an answer was right or wrong.",
    permission=None,
    parse=report,
    run=_store,
    present=_answer,
    example={
        "feedback": [{"api_url": "https://aip.baidubce.com/rest/2.0/face/v3/match", "log_id": 1234567890, "correct": 0}]
    },
)


def router(dispatcher: Dispatcher, dialect: Dialect) -> APIRouter:
    """The route of ``report``."""
    return calls.router((CALL,), dialect, dispatcher, tag="feedback")
