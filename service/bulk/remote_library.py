"""Reading another instance's library, or the cloud's, through the public V3 API.

The API gives names and ``user_info`` and no pictures: what was enrolled cannot be read back. So this copies the
structure, and the list of those who need a picture.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from service.bulk.pictures import SourceError

PAGE = 1000
"""Most that a list answers at once."""

TIMEOUT_SECONDS = 30.0
PATIENCE_SECONDS = 120.0
"""How long one call is tried again when the other side is busy or out of reach."""

_BUSY = frozenset({2, 4, 18, 222301, 222302, 222361, *range(222901, 222917)})
"""Codes after which a call is tried again: temporarily unavailable, rate exceeded, "system busy" of several
services."""
_TOKEN_REFUSED = frozenset({110, 111})
_GONE = frozenset({223100, 223103})
"""The group, or the user, is not there."""
_HOST = re.compile(rb"[\w.:-]+")


class _Again(Exception):
    """The call may succeed a little later."""


class _Gone(Exception):
    """The group or user was deleted there since it was listed."""


@dataclass(frozen=True, slots=True)
class RemoteUser:
    """A user of a group elsewhere; ``faces``: how many are enrolled there."""

    group_id: str
    user_id: str
    user_info: str
    faces: int


class RemoteLibrary:
    """The library of one app of another instance. Raises ``SourceError`` when it cannot be read."""

    def __init__(self, base_url: str, api_key: str, secret_key: str, *, verify: Any = True) -> None:
        """``verify`` as httpx takes it: an SSL context, or whether certificates are checked at all."""
        self._http = httpx.Client(base_url=_address(base_url), timeout=TIMEOUT_SECONDS, verify=verify)
        self._keys = {"grant_type": "client_credentials", "client_id": api_key, "client_secret": secret_key}
        self._token = ""

    def __enter__(self) -> RemoteLibrary:  # noqa: PYI034 (Self came with Python 3.11)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def groups(self) -> list[str]:
        """Every group."""
        return list(self._pages("group/getlist", "group_id_list"))

    def users(self, group_id: str) -> list[str] | None:
        """Every user of a group; ``None`` where it has been deleted meanwhile."""
        try:
            return list(self._pages("group/getusers", "user_id_list", group_id=group_id))
        except _Gone:
            return None

    def user(self, group_id: str, user_id: str) -> RemoteUser | None:
        """One user, by two calls; ``None`` for one who has been deleted meanwhile."""
        named = {"group_id": group_id, "user_id": user_id}
        try:
            entries = self._call("user/get", **named).get("user_list") or [{}]
            faces = self._call("face/getlist", **named).get("face_list") or []
        except _Gone:
            return None
        return RemoteUser(group_id, user_id, str(entries[0].get("user_info") or ""), len(faces))

    def _pages(self, call: str, key: str, **parameters: str) -> Iterator[str]:
        start = 0
        while True:
            names = self._call(call, **parameters, start=start, length=PAGE).get(key) or []
            yield from (str(name) for name in names)
            if len(names) < PAGE:
                return
            start += PAGE

    def _call(self, name: str, **parameters: object) -> dict[str, Any]:
        retrying = Retrying(
            retry=retry_if_exception_type(_Again),
            wait=wait_random_exponential(max=8),
            stop=stop_after_delay(PATIENCE_SECONDS),
            sleep=time.sleep,
            reraise=True,
        )
        try:
            answer = retrying(self._once, name, parameters)
        except _Again as error:
            raise SourceError(f"{name}: {error}") from None
        result = answer.get("result")
        return result if isinstance(result, dict) else {}

    def _once(self, name: str, parameters: dict[str, object]) -> dict[str, Any]:
        if not self._token:
            self._token = self._fresh_token()
        path = f"/rest/2.0/face/v3/faceset/{name}"
        answer = self._json("POST", path, params={"access_token": self._token}, json=parameters)
        code = answer.get("error_code", 0)
        if code in _TOKEN_REFUSED:
            self._token = ""
            raise _Again("the token is refused")
        if code in _BUSY:
            raise _Again(f"error {code}: {answer.get('error_msg')}")
        if code in _GONE and "group_id" in parameters:
            raise _Gone
        if code:
            raise SourceError(f"{name} answered error {code}: {answer.get('error_msg')}")
        return answer

    def _fresh_token(self) -> str:
        answer = self._json("POST", "/oauth/2.0/token", data=self._keys)
        token = answer.get("access_token")
        if not isinstance(token, str):
            raise SourceError(f"the keys are refused: {answer.get('error_description') or answer.get('error')}")
        return token

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, **request).json()
        except httpx.TransportError as error:
            # The error's own text may hold the address with the token in it.
            raise _Again(f"{self._http.base_url.host} cannot be reached: {type(error).__name__}") from None
        except ValueError:
            raise SourceError(f"{self._http.base_url.host} does not answer like the face API") from None
        if not isinstance(answer, dict):
            raise SourceError(f"{self._http.base_url.host} does not answer like the face API")
        return answer


def _address(text: str) -> httpx.URL:
    """The address that was given. Raises ``SourceError`` for what names no host, which would be tried for minutes."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not _HOST.fullmatch(url.raw_host):
        raise SourceError(f"{text} is no address such as https://aip.baidubce.com")
    return url
