"""Trying a call with a picture of the operator's, and the live search: both as requests to the API of this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from service.console import samples
from service.console.in_process import InProcessApi
from service.console.site import Site, Visit
from service.values import App

Body = dict[str, object]
Options = Mapping[str, str]

FIELDS = (
    "age", "gender", "beauty", "expression", "face_shape", "glasses", "emotion", "face_type", "mask", "eye_status",
    "quality", "spoofing", "landmark", "landmark72", "landmark150",
)  # fmt: skip
"""What can be ticked for ``detect``."""

LEVELS = ("NONE", "LOW", "NORMAL", "HIGH")
_NUMBERS = frozenset({"max_face_num", "max_user_num", "match_threshold"})


@dataclass(frozen=True, slots=True)
class Trial:
    """A call that can be tried: its options on the form, and the method of the clients with its arguments.

    ``arguments`` makes them of the pictures (as they stand in the request) and the options that were given.
    """

    name: str
    method: str
    path: str
    pictures: int
    options: tuple[str, ...]
    arguments: Callable[[Body], Sequence[object]]


def _with(*names: str) -> Callable[[Body], Sequence[object]]:
    """Arguments: picture, type, the options of these names, and a mapping with the rest if there is any."""

    def arguments(body: Body) -> Sequence[object]:
        rest = {key: value for key, value in body.items() if key not in {"image", "image_type", *names}}
        return [body["image"], body["image_type"], *(body.get(name, "") for name in names), *([rest] if rest else [])]

    return arguments


_CONTROLS = ("quality_control", "liveness_control")
_FACE = "/rest/2.0/face/v3"
TRIALS = (
    Trial("detect", "detect", f"{_FACE}/detect", 1, ("face_field", "max_face_num", "liveness_control"), _with()),
    Trial("match", "match", f"{_FACE}/match", 2, _CONTROLS, lambda body: [body]),
    Trial(
        "search", "search", f"{_FACE}/search", 1,
        ("group_id_list", "max_user_num", "match_threshold", *_CONTROLS), _with("group_id_list"),
    ),
    Trial(
        "multi-search", "multiSearch", f"{_FACE}/multi-search", 1,
        ("group_id_list", "max_face_num", "max_user_num", "match_threshold", *_CONTROLS), _with("group_id_list"),
    ),
    Trial(
        "user/add", "addUser", f"{_FACE}/faceset/user/add", 1,
        ("group_id", "user_id", "user_info", "action_type", *_CONTROLS), _with("group_id", "user_id"),
    ),
)  # fmt: skip
_BY_NAME = {trial.name: trial for trial in TRIALS}


class BadTrial(Exception):
    """The page's script sent something that it never sends."""


class Trials:
    """The pages that try calls."""

    def __init__(self, site: Site, api: InProcessApi) -> None:
        self._site = site
        self._api = api

    def page(self, visit: Visit) -> Response:
        """The form."""
        return self._site.render(visit, "try.html", apps=self._apps(), trials=TRIALS, fields=FIELDS, levels=LEVELS)

    def live(self, visit: Visit) -> Response:
        """The camera, searched all the time."""
        return self._site.render(visit, "live.html", apps=self._apps())

    async def answer(self, visit: Visit) -> Response:
        """Make the call that the script asks for; the answer, its time, and the request as code."""
        try:
            trial, app, options, content = await run_in_threadpool(self._prepared, visit.body)
        except BadTrial:
            return JSONResponse({"problem": "malformed"}, status_code=400)
        if app is None or not app.enabled:
            return JSONResponse({"problem": "app"}, status_code=404)
        answer = await self._api.call(app, trial.path, content)
        marks = [samples.mark(number) for number in range(trial.pictures)]
        shown = _request(trial, marks, options)
        base = str(visit.request.base_url).removesuffix("/").removesuffix("/console")
        arguments = trial.arguments(shown) if isinstance(shown, dict) else [shown]
        code = samples.all_samples(base, app.app_id, app.api_key, trial.path, shown, trial.method, arguments)
        # As text too: a script would round log_id, by which the log tells of the call.
        text = json.dumps(answer.content, ensure_ascii=False, indent=1)
        milliseconds = round(answer.milliseconds, 1)
        return JSONResponse({"answer": answer.content, "json": text, "milliseconds": milliseconds, "samples": code})

    def _prepared(self, body: bytes) -> tuple[Trial, App | None, Options, bytes]:
        """What to send, and for whom. Pictures are large: this is work for a thread. Raises ``BadTrial``."""
        trial, app_id, pictures, options = _read(body)
        content = json.dumps(_request(trial, pictures, options)).encode()
        return trial, self._site.service.apps.by_app_id(app_id), options, content

    def _apps(self) -> list[App]:
        return [app for app in self._site.service.apps.list() if app.enabled]


def _read(body: bytes) -> tuple[Trial, str, list[str], Options]:
    """What the script sent. Raises ``BadTrial``."""
    try:
        sent: Any = json.loads(body)
        trial = _BY_NAME[sent["call"]]
        app_id, pictures, options = sent["app_id"], sent["pictures"], sent["options"]
        texts = [app_id, *pictures, *options, *options.values()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadTrial from None
    if not all(isinstance(text, str) for text in texts) or len(pictures) != trial.pictures:
        raise BadTrial
    return trial, app_id, pictures, options


def _request(trial: Trial, pictures: Sequence[str], options: Options) -> Body | list[Body]:
    """The body of the request; options that were left empty are left out."""
    given: Body = {name: _value(name, options[name]) for name in trial.options if options.get(name, "").strip()}
    bodies: list[Body] = [{"image": picture, "image_type": "BASE64", **given} for picture in pictures]
    return bodies if trial.pictures > 1 else bodies[0]


def _value(name: str, text: str) -> object:
    number = name in _NUMBERS and text.isascii() and text.isdigit() and len(text) < 10
    return int(text) if number else text
