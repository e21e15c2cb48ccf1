"""The composition root: the only place that knows every room and puts them together.

The half that needs no weights is ``service.administration``, so that small commands start quickly.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from models.manifest import PackManifest
from models.progress import Progress
from service import state
from service.access.attempts import Attempts
from service.access.failures import Failures
from service.access.sealed_data import SealedData
from service.access.tokens import Tokens
from service.administration import Admin, open_admin
from service.api.application import build_api
from service.api.ports import Readiness
from service.capture.envelope import OpenEnvelopes
from service.capture.keys import EnvelopeKeys
from service.capture.risk import JudgeRisk
from service.console import application as console
from service.console.ports import Operator
from service.console.sessions import THROTTLE_SECONDS
from service.identity.enrolment import Enrolment
from service.identity.register import Register
from service.identity.verification import VerifyPerson
from service.images.video import VideoLimits
from service.inference.admission import Admission
from service.inference.engine import Engine
from service.intake.watch import Watch
from service.library.apps import Apps
from service.library.audit import AuditTrail
from service.library.faces import Faces
from service.library.feedback import Feedback
from service.library.groups import Groups
from service.library.logins import SharedFailures
from service.library.memberships import Memberships
from service.library.quotas import Quotas
from service.library.uploads import Uploads
from service.library.users import Users
from service.metrics import State
from service.parts import (
    Models,
    authority_of,
    catalog_of,
    downloader_of,
    follow,
    intake_of,
    load_models,
    risk_limits,
)
from service.recognition.actions import Action
from service.recognition.compare import CompareFaces
from service.recognition.detect import DetectFaces
from service.recognition.identify import IdentifyFaces
from service.recognition.liveness import VerifyLiveness
from service.recognition.liveness_sessions import LivenessSessions
from service.recognition.ranking import RankFaces
from service.recognition.selfie import VerifySelfie
from service.recognition.video import VerifyVideo
from service.search.protocol import FaceSearch
from service.storage.engine import Database
from service.upkeep import Upkeep

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.settings import Settings


@dataclass(frozen=True)
class Service:
    """Every use case, ready to be called from many threads; made by ``open_service``."""

    settings: Settings
    pack: PackManifest
    database: Database
    catalog: FaceSearch
    engine: Engine
    admission: Admission
    apps: Apps
    audit: AuditTrail
    tokens: Tokens
    attempts: Attempts
    quotas: Quotas
    detect: DetectFaces
    compare: CompareFaces
    liveness: VerifyLiveness
    liveness_sessions: LivenessSessions
    video: VerifyVideo
    selfie: VerifySelfie
    identify: IdentifyFaces
    ranking: RankFaces
    person: VerifyPerson
    register: Register
    enrolment: Enrolment
    users: Users
    memberships: Memberships
    faces: Faces
    groups: Groups
    feedback: Feedback
    envelope_keys: EnvelopeKeys
    open_envelope: OpenEnvelopes
    judge_risk: JudgeRisk
    uploads: Uploads
    operator: Operator

    def readiness(self) -> Readiness:
        """Whether requests can be answered. Asks the database; the weights were warmed before this object existed."""
        return state.readiness(self)

    def state(self) -> State:
        """What goes up and down, in numbers."""
        return state.look(self)


@contextlib.contextmanager
def open_service(settings: Settings, *, progress: Progress | None = None) -> Iterator[Service]:
    """Everything, warmed up: weights fetched and loaded, database migrated, index loaded and kept current.

    Raises what ``open_admin`` raises, ``models.errors.ModelsError`` and ``CalibrationError``, each with a sentence.
    """
    models = load_models(settings, progress=progress)
    engine = models.engine
    engine.warm_up()
    with contextlib.ExitStack() as stack:
        admin = stack.enter_context(open_admin(settings))
        admin.apps.check_master_key()
        catalog = catalog_of(stack, admin, engine)
        catalog.load()
        follow(stack, admin, catalog)
        stack.callback(admin.audit.stop)
        admin.audit.start()
        upkeep = Upkeep(admin.database, risk_limits(settings), admin.audit)
        stack.callback(upkeep.stop)
        upkeep.start()
        stack.callback(admin.quotas.stop)
        admin.quotas.start()
        yield _compose(stack, admin, models, catalog)


def create_app(service: Service) -> FastAPI:
    """The ASGI application in front of a service, and the console."""
    settings = service.settings
    api = build_api(
        service,
        threads=settings.request_threads,
        max_body_bytes=settings.max_body_bytes,
        max_video_bytes=settings.max_video_bytes,
        private_alias=settings.private_alias,
        slow_seconds=settings.slow_request_ms / 1000,
        request_seconds=settings.request_timeout,
        metrics_access=settings.metrics_access,
    )
    api.add_route("/console", console.to_the_console)
    pages = console.build_console(service, api, max_body_bytes=settings.max_body_bytes, audit=service.audit)
    api.mount("/console", pages)
    return api


def _compose(stack: contextlib.ExitStack, admin: Admin, models: Models, catalog: FaceSearch) -> Service:
    settings, database = admin.settings, admin.database
    engine, scores = models.engine, models.scores
    admission = Admission(settings.inference_threads, settings.queue_limit)
    shared, secret = SharedFailures(database), admin.keyring.derive("attempts")[0]
    downloader = downloader_of(settings)
    intake = intake_of(admin, models, admission, downloader)
    compare = CompareFaces(intake, scores)
    limits = VideoLimits(
        size=settings.max_video_bytes, seconds=settings.max_video_seconds, work=settings.max_video_seconds
    )
    watch = Watch(engine, None if models.reporter is None else models.reporter.analyst, admission, limits)
    sessions = LivenessSessions(
        database,
        timedelta(seconds=settings.liveness_session_ttl),
        [Action(digit) for digit in settings.liveness_actions],
    )
    identify = IdentifyFaces(intake, scores, database, catalog)
    users = Users(intake, database, catalog.catch_up, keep_crops=settings.keep_crops)
    return Service(
        settings=settings,
        pack=models.pack,
        database=database,
        catalog=catalog,
        engine=engine,
        admission=admission,
        apps=admin.apps,
        audit=admin.audit,
        tokens=Tokens(admin.keyring),
        attempts=Attempts(settings.login_failures, Failures(settings.login_window, shared=shared, key=secret)),
        quotas=admin.quotas,
        detect=DetectFaces(intake),
        compare=compare,
        liveness=VerifyLiveness(intake),
        liveness_sessions=sessions,
        video=VerifyVideo(watch, intake, scores, sessions),
        selfie=VerifySelfie(intake, compare, downloader.fetch, admission, SealedData(admin.apps.secret), limits),
        identify=identify,
        ranking=RankFaces(intake, scores, database, identify),
        person=VerifyPerson(intake, scores, authority_of(stack, admin, intake)),
        register=admin.register,
        enrolment=Enrolment(admin.register, intake, keep_portraits=settings.keep_crops),
        users=users,
        memberships=Memberships(users, intake, database, catalog.catch_up),
        faces=Faces(database, catalog.catch_up),
        groups=Groups(database, catalog.catch_up),
        feedback=admin.feedback,
        uploads=Uploads(
            database,
            admin.keyring,
            lifetime=timedelta(seconds=settings.upload_ttl),
            most_bytes=settings.upload_bytes_per_app,
        ),
        envelope_keys=admin.envelope_keys,
        open_envelope=OpenEnvelopes(
            admin.envelope_keys,
            database,
            max_age=timedelta(seconds=settings.envelope_max_age),
            max_picture_bytes=settings.max_body_bytes,
        ),
        operator=Operator(
            settings.home,
            admin.keyring.derive("console"),
            Failures(THROTTLE_SECONDS, shared=shared, key=secret),
        ),
        judge_risk=JudgeRisk(intake, scores, database, admin.keyring, risk_limits(settings)),
    )
