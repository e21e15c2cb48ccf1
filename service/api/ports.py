"""What the API needs of the rest: the use cases, as ``service.app`` composes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from service.access.attempts import Attempts
from service.access.tokens import Tokens
from service.capture.envelope import OpenEnvelopes
from service.capture.keys import EnvelopeKeys
from service.capture.risk import JudgeRisk
from service.identity.verification import VerifyPerson
from service.inference.admission import Admission
from service.library.apps import Apps
from service.library.audit import AuditTrail
from service.library.faces import Faces
from service.library.feedback import Feedback
from service.library.groups import Groups
from service.library.memberships import Memberships
from service.library.quotas import Quotas
from service.library.uploads import Uploads
from service.library.users import Users
from service.metrics import State
from service.recognition.compare import CompareFaces
from service.recognition.detect import DetectFaces
from service.recognition.identify import IdentifyFaces
from service.recognition.liveness import VerifyLiveness
from service.recognition.liveness_sessions import LivenessSessions
from service.recognition.ranking import RankFaces
from service.recognition.selfie import VerifySelfie
from service.recognition.video import VerifyVideo


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be in order before the service can answer."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the service can answer, and what it depends on."""

    ready: bool
    checks: tuple[Check, ...]


class UseCases(Protocol):
    """The use cases behind the routes. All are synchronous and thread-safe."""

    @property
    def apps(self) -> Apps: ...

    @property
    def audit(self) -> AuditTrail: ...

    @property
    def tokens(self) -> Tokens: ...

    @property
    def attempts(self) -> Attempts: ...

    @property
    def quotas(self) -> Quotas: ...

    @property
    def admission(self) -> Admission: ...

    @property
    def detect(self) -> DetectFaces: ...

    @property
    def compare(self) -> CompareFaces: ...

    @property
    def liveness(self) -> VerifyLiveness: ...

    @property
    def selfie(self) -> VerifySelfie: ...

    @property
    def liveness_sessions(self) -> LivenessSessions: ...

    @property
    def video(self) -> VerifyVideo: ...

    @property
    def identify(self) -> IdentifyFaces: ...

    @property
    def ranking(self) -> RankFaces: ...

    @property
    def person(self) -> VerifyPerson: ...

    @property
    def users(self) -> Users: ...

    @property
    def memberships(self) -> Memberships: ...

    @property
    def faces(self) -> Faces: ...

    @property
    def groups(self) -> Groups: ...

    @property
    def feedback(self) -> Feedback: ...

    @property
    def uploads(self) -> Uploads: ...

    @property
    def envelope_keys(self) -> EnvelopeKeys: ...

    @property
    def open_envelope(self) -> OpenEnvelopes: ...

    @property
    def judge_risk(self) -> JudgeRisk: ...

    def readiness(self) -> Readiness:
        """The state of everything the service depends on; may ask the database."""
        ...

    def state(self) -> State:
        """What goes up and down, in numbers; asks the database."""
        ...
