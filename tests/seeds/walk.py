"""Makes the calls of the transcribed documents: what ``$`` words stand for, and how each generation is spoken to."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlencode

import httpx

from examples.linkface_liveness_data import encode
from tests.contract.wire import Wire
from tests.fixtures.pictures import Pictures
from tests.seeds.data import Parameter, SeedCall

Answer = dict[str, Any]
Code = int | str
Values = dict[str, object]

NEVER_SEEN = "0" * 32
"""A face token that no face has: a call that answers so has taken every parameter, and has cost nothing."""
UNREACHABLE = "http://127.0.0.1:9/a.jpg"

MISSING_CODES: Mapping[str, Code] = {"v3": 222001, "v2": 216101, "v1": 216101}
"""What a generation says when a required parameter was left out."""


class Address(Protocol):
    """Puts content behind an address that the server may fetch."""

    def __call__(self, content: bytes) -> str: ...


@dataclass
class Stage:
    """One app with what the calls need; a word is made anew each time it is used, so that no call disturbs another.

    ``further`` are words that take more than HTTP to make.
    """

    wire: Wire
    pictures: Pictures
    address: Address
    further: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    _numbers: Any = field(default_factory=itertools.count)
    _token: str = ""
    _last: str = ""

    def fill(self, values: Mapping[str, object]) -> Values:
        """The values with what their words stand for; a text may hold several, separated by commas."""
        return {name: self._value(value) for name, value in values.items()}

    def _value(self, value: object) -> object:
        if not isinstance(value, str) or not value.startswith("$"):
            return value
        made = [self._words[word]() for word in value.split(",")]
        return made[0] if len(made) == 1 else ",".join(map(str, made))

    @property
    def _words(self) -> Mapping[str, Callable[[], object]]:
        face, other = (partial(self.pictures.base64, name) for name in ("obama.jpg", "obama2.jpg"))
        recorded = encode([self.pictures.bytes("obama.jpg")])
        selfie = self.pictures.bytes("obama2.jpg")
        return {
            **self.further,
            "$face": face,
            "$other_face": other,
            "$faces": lambda: [face(), other()],
            "$two_faces": lambda: f"{face()},{other()}",
            "$token": lambda: self.token,
            "$new": self._name,
            "$empty": self._empty_group,
            "$group": self._group,
            "$somebody": self._somebody,
            "$their_group": lambda: self._last,
            "$shared_group": lambda: (self._group(), self._group())[0],
            "$scene_group": self._scene_group,
            "$long": lambda: "x" * 257,
            "$nested": lambda: {"a": 1},
            "$many": lambda: [{"log_id": 1}] * 1000,
            "$feedback": lambda: [{"log_id": 1}],
            "$app_id": lambda: self.wire.credentials.app_id,
            "$api_key": lambda: self.wire.credentials.api_key,
            "$secret_key": lambda: self.wire.credentials.secret_key,
            "$picture_file": lambda: selfie,
            "$text_file": lambda: b"a text",
            "$data_file": lambda: recorded,
            "$picture_address": lambda: self.address(selfie),
            "$data_address": lambda: self.address(recorded),
            "$picture_id": lambda: self._upload("image_id"),
            "$data_id": lambda: self._upload("liveness_data_id"),
        }

    @property
    def token(self) -> str:
        """The token of a face that everybody called walker has."""
        if not self._token:
            found = self.wire.result("detect", {"image": self.pictures.base64("obama.jpg"), "image_type": "BASE64"})
            self._token = found["face_list"][0]["face_token"]
        return self._token

    def _name(self) -> str:
        return f"walk_{next(self._numbers)}"

    def _empty_group(self) -> str:
        name = self._name()
        self.wire.result("groupAdd", {"group_id": name})
        return name

    def _group(self) -> str:
        """A group with one user, who is in other groups as well when the test has used this word before."""
        name = self._name()
        self.wire.result("addUser", {**self._walker, "group_id": name, "user_info": "text"})
        return name

    def _somebody(self) -> str:
        """A user whom nobody else names, in a group of their own."""
        self._last, name = self._name(), self._name()
        self.wire.result("addUser", {**self._walker, "user_id": name, "group_id": self._last})
        return name

    def _scene_group(self) -> str:
        name = self._name()
        content = json.dumps({**self._walker, "group_id": name, "scene_type": "VIDEO"}).encode()
        assert self.wire.post("/rest/2.0/face/scene/faceset/user/add", content)["error_code"] == 0
        return name

    @property
    def _walker(self) -> Values:
        return {"image": self.token, "image_type": "FACE_TOKEN", "user_id": "walker"}

    def _upload(self, field: str) -> str:
        """The id of a file of an earlier call."""
        sent = {
            "api_id": self.wire.credentials.api_key,
            "api_secret": self.wire.credentials.secret_key,
            "selfie_file": self._value("$picture_file"),
            "liveness_data_file": self._value("$data_file"),
        }
        answer = _linkface(self.wire.http, "/identity/liveness_selfie_verification", sent)
        return str(answer[field])


def base(call: SeedCall, *, without: str = "") -> Values:
    """Valid values of what the call requires, ``without`` and what stands in its place left out."""
    return {each.name: each.valid for each in call.required if each.name != without}


def full(call: SeedCall, passed_over: Sequence[str]) -> Values:
    """Valid values of every parameter that can be sent with the others."""
    return {each.name: each.valid for each in call.parameters if not each.instead and each.name not in passed_over}


def replaced(call: SeedCall, parameter: Parameter, value: object) -> Values:
    """What the call requires, with this value of one parameter."""
    return {**base(call, without=parameter.instead or ""), parameter.name: value}


def cheapened(values: Values) -> tuple[Values, Code]:
    """The same call about a face that nobody knows, and the code that says that all else was understood."""
    if values.get("image_type") == "URL":
        return {**values, "image": UNREACHABLE}, 222204
    return {**values, "image": NEVER_SEEN, "image_type": "FACE_TOKEN"}, 222209


def send(stage: Stage, call: SeedCall, values: Mapping[str, object], method: str = "POST") -> Answer:
    """Make a call; the answer as it came."""
    filled = stage.fill(values)
    if call.dialect == "linkface":
        return _linkface(stage.wire.http, call.path, filled)
    query = f"{call.path}?access_token={stage.wire.token}"
    if method == "GET":
        return _decoded(stage.wire.http.get(f"{query}&{urlencode(filled)}"))
    if not call.json:
        return _decoded(stage.wire.http.post(query, data=filled))
    content: object = [filled, *[stage.fill(values) for _ in range(call.pictures - 1)]] if call.pictures else filled
    return _decoded(stage.wire.http.post(query, content=json.dumps(content).encode()))


def code(call: SeedCall, answer: Answer) -> Code:
    """What an answer says about success: 0, or ``OK``, or a code."""
    if call.dialect == "linkface":
        return str(answer["status"])
    found: int = answer["err_no"] if "err_no" in answer else answer.get("error_code", 0)
    return found


def has(answer: object, path: str) -> bool:
    """Whether a field is in an answer; of a list, in any of its entries."""
    name, _, rest = path.partition(".")
    if isinstance(answer, list):
        return any(has(entry, path) for entry in answer)
    if not isinstance(answer, dict) or name not in answer:
        return False
    return not rest or has(answer[name], rest)


def _linkface(http: httpx.Client, path: str, sent: Mapping[str, object]) -> Answer:
    files = {name: (name, value) for name, value in sent.items() if isinstance(value, bytes)}
    data = {name: value for name, value in sent.items() if not isinstance(value, bytes)}
    answer: Answer = http.post(path, data=data, files=files or None).json()
    return answer


def _decoded(response: httpx.Response) -> Answer:
    assert response.status_code == 200, response.text
    answer: Answer = response.json()
    return answer
