"""An authority of the operator's own behind HTTP; ``docs/person-verification.md`` has the contract.

``POST`` of ``{"id_card_number", "name", "photo"}`` to one fixed address, answered with status 200 and
``{"result": "match" | "mismatch" | "unknown" | "invalid", "valid_from", "valid_to", "photo"}``. Asking changes nothing
over there, so that a question may be asked again.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import date
from typing import Literal

import httpx
import pydantic
import tenacity

from service.errors import AuthorityUnavailable, ParameterError, ReferencePictureMissing, ReferencePicturePoor
from service.identity.authority import Attestation, Verdict
from service.identity.breaker import Breaker
from service.identity.claims import Claim, Validity
from service.identity.portraits import Looker, describe
from service.images.inline import decode_base64
from service.values import App, Embedding

MOST_QUESTIONS = 16
"""Questions on their way at once; a slow authority must not take every thread of the service."""

_ENVELOPE_BYTES = 64 * 1024
"""Room for everything in an answer but the photo."""

_PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which the same question may be answered."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
"""Seconds between two attempts: doubled each time, of which a random part is waited."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Access:
    """How the authority is reached: ``seconds`` for one question with all its attempts."""

    url: str
    token: str | None
    seconds: float
    attempts: int
    verify: ssl.SSLContext | bool = True


class _Answer(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="ignore", hide_input_in_errors=True)

    result: Literal["match", "mismatch", "unknown", "invalid"]
    valid_from: date | None = None
    valid_to: date | Literal["permanent"] | None = None
    photo: str | None = None

    def validity(self) -> Validity | None:
        """``None`` unless both days are known."""
        if self.valid_from is None or self.valid_to is None:
            return None
        return Validity(self.valid_from, None if isinstance(self.valid_to, str) else self.valid_to)


class _Passing(AuthorityUnavailable):
    """A failure after which asking again may help."""


class RemoteAuthority:
    """See :class:`service.identity.authority.Authority`. Close it at the end."""

    def __init__(self, access: Access, breaker: Breaker, looker: Looker, *, max_picture_bytes: int) -> None:
        self._access = access
        self._breaker = breaker
        self._looker = looker
        self._max_picture_bytes = max_picture_bytes
        self._max_answer_bytes = max_picture_bytes * 4 // 3 + _ENVELOPE_BYTES
        self._slots = threading.BoundedSemaphore(MOST_QUESTIONS)
        self._client = httpx.Client(
            verify=access.verify,
            trust_env=False,  # a proxy of the environment would see numbers and names
            follow_redirects=False,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "aipface-server"}
            | ({} if access.token is None else {"Authorization": f"Bearer {access.token}"}),
        )

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()

    def ask(self, app: App, claim: Claim, *, picture: bool) -> Attestation:
        """As the protocol says. The authority does not learn which app asks."""
        del app
        if not self._slots.acquire(blocking=False):
            raise AuthorityUnavailable("too many questions are on their way")
        try:
            answer = self._breaker.call(lambda: self._asked(claim, picture=picture))
        finally:
            self._slots.release()
        verdict = Verdict(answer.result)
        if verdict is not Verdict.MATCH:
            return Attestation(verdict)
        return Attestation(verdict, answer.validity(), self._embedding(answer.photo) if picture else None)

    def _asked(self, claim: Claim, *, picture: bool) -> _Answer:
        """Ask until there is an answer, time is up, or asking again makes no sense."""
        question = {"id_card_number": claim.number, "name": claim.name, "photo": picture}
        deadline = time.monotonic() + self._access.seconds
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Passing),
            stop=tenacity.stop_after_attempt(self._access.attempts) | tenacity.stop_before_delay(self._access.seconds),
            wait=tenacity.wait_random_exponential(multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE),
            reraise=True,
        )
        try:
            content = retrying(self._exchange, question, deadline)
            return _Answer.model_validate_json(content)
        except pydantic.ValidationError:
            # The error's text is left out: it may tell what the answer held.
            logger.warning("the authority on identities answered something else than its contract says")
            raise AuthorityUnavailable("an answer that is none") from None
        except AuthorityUnavailable as error:
            logger.warning("the authority on identities did not answer: %s", error)
            raise

    def _exchange(self, question: dict[str, object], deadline: float) -> bytes:
        """One attempt."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise AuthorityUnavailable("no answer in time")
        try:
            with self._client.stream("POST", self._access.url, json=question, timeout=left) as response:
                if response.status_code != httpx.codes.OK:
                    kind = _Passing if response.status_code in _PASSING else AuthorityUnavailable
                    raise kind(f"status {response.status_code}")
                return self._content(response, deadline)
        except httpx.TimeoutException:
            raise _Passing("no answer in time") from None
        except httpx.HTTPError as error:
            raise _Passing(type(error).__name__) from None

    def _content(self, response: httpx.Response, deadline: float) -> bytes:
        """Everything that comes, within limits of size and time: neither may be trusted to the other side."""
        content = bytearray()
        for chunk in response.iter_raw():
            content += chunk
            if len(content) > self._max_answer_bytes:
                raise AuthorityUnavailable(f"an answer of more than {self._max_answer_bytes} bytes")
            if time.monotonic() > deadline:
                raise AuthorityUnavailable("no answer in time")
        return bytes(content)

    def _embedding(self, photo: str | None) -> Embedding:
        if not photo:
            raise ReferencePictureMissing
        try:
            picture = decode_base64(photo, self._max_picture_bytes)
        except ParameterError as error:
            raise ReferencePicturePoor(str(error)) from None
        return describe(self._looker, picture, keep_portrait=False).embedding
