"""The composition root: the only place that knows every room and puts them together.

The half that needs no weights is ``service.administration``, so that small commands start quickly.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from models.manifest import PackManifest
from models.progress import Progress
from service import state
from service.access import certificates
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
from service.face_keys import check_face_keys
from service.generations import Generation, Generations
from service.identity.enrolment import Enrolment
from service.identity.register import Register
from service.identity.verification import VerifyPerson
from service.images.remote import PictureDownloader
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
from service.library_model import library_model, settle
from service.metrics import State
from service.parts import (
    Models,
    authority_of,
    catalog_of,
    downloader_of,
    follow,
    intake_of,
    keep_snapshots,
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
from service.storage.models import LibraryModel
from service.upkeep import Retention, Upkeep

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.settings import Settings


LONGEST_END = 15.0
"""Seconds that a service which ends waits for its database. What is left to be written takes one, if that answers."""


@dataclass(frozen=True)
class Service:
    """Every use case, ready to be called from many threads; made by ``open_service``.

    Properties that depend on the weights return those of the current generation: read them anew for every request.
    """

    settings: Settings
    database: Database
    generations: Generations
    admission: Admission
    apps: Apps
    audit: AuditTrail
    tokens: Tokens
    attempts: Attempts
    quotas: Quotas
    liveness_sessions: LivenessSessions
    register: Register
    feedback: Feedback
    envelope_keys: EnvelopeKeys
    open_envelope: OpenEnvelopes
    uploads: Uploads
    operator: Operator
    certificate_expires: datetime | None
    """Of the certificate that was there when the service was opened; ``None`` for plain HTTP."""

    @property
    def pack(self) -> PackManifest:
        return self.generations.current.pack

    @property
    def catalog(self) -> FaceSearch:
        return self.generations.current.catalog

    @property
    def engine(self) -> Engine:
        return self.generations.current.engine

    @property
    def detect(self) -> DetectFaces:
        return self.generations.current.detect

    @property
    def compare(self) -> CompareFaces:
        return self.generations.current.compare

    @property
    def liveness(self) -> VerifyLiveness:
        return self.generations.current.liveness

    @property
    def video(self) -> VerifyVideo:
        return self.generations.current.video

    @property
    def selfie(self) -> VerifySelfie:
        return self.generations.current.selfie

    @property
    def identify(self) -> IdentifyFaces:
        return self.generations.current.identify

    @property
    def ranking(self) -> RankFaces:
        return self.generations.current.ranking

    @property
    def person(self) -> VerifyPerson:
        return self.generations.current.person

    @property
    def enrolment(self) -> Enrolment:
        return self.generations.current.enrolment

    @property
    def users(self) -> Users:
        return self.generations.current.users

    @property
    def memberships(self) -> Memberships:
        return self.generations.current.memberships

    @property
    def faces(self) -> Faces:
        return self.generations.current.faces

    @property
    def groups(self) -> Groups:
        return self.generations.current.groups

    @property
    def judge_risk(self) -> JudgeRisk:
        return self.generations.current.judge_risk

    def readiness(self) -> Readiness:
        """Whether requests can be answered. Asks the database; the weights were warmed before this object existed."""
        return state.readiness(self)

    def state(self) -> State:
        """What goes up and down, in numbers."""
        return state.look(self)


@contextlib.contextmanager
def open_service(settings: Settings, *, progress: Progress | None = None) -> Iterator[Service]:
    """Everything, warmed up: weights fetched and loaded, database migrated, index loaded and kept current.

    Raises what ``open_admin`` raises, and ``models.errors.ModelsError``, ``CalibrationError``, ``DeviceUnavailable``,
    ``ServiceUnavailable`` (Milvus), ``SettingsError`` (a file that it names) and ``ProxyError``, each with a sentence.
    """
    with contextlib.ExitStack() as stack:
        admin = stack.enter_context(open_admin(settings, serving=True))
        admin.apps.check_master_key()
        check_face_keys(admin.database)
        admission = Admission(settings.inference_threads, settings.queue_limit)
        # Downloads may take half of the threads and of the places for requests, so that slow hosts leave the other half
        # to pictures that are sent. One request may fetch two pictures at a time.
        at_once = max(2, min(settings.request_threads, admission.permits + admission.queue_limit) // 2)
        shared = _Shared(admin, admission, downloader_of(settings, at_once))
        composing = _Composing(shared)
        generations = composing.generations
        stack.callback(generations.stop)
        model = library_model(admin.database, settings, serving=True)
        generations.begin(composing.load(model, progress))
        settle(admin.database, model)
        follow(stack, admin, generations)
        generations.start()
        stack.callback(admin.audit.stop)
        admin.audit.start()
        upkeep = Upkeep(admin.database, risk_limits(settings), admin.audit, retention=_retention(settings))
        stack.callback(upkeep.stop)
        upkeep.start()
        stack.callback(admin.quotas.stop)
        admin.quotas.start()
        stack.callback(admin.database.lines.cut_after, LONGEST_END)  # the first thing at the end
        yield _compose(shared, generations)


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


@dataclass(frozen=True)
class _Shared:
    """What all generations share."""

    admin: Admin
    admission: Admission
    downloader: PictureDownloader

    @property
    def video_limits(self) -> VideoLimits:
        settings = self.admin.settings
        return VideoLimits(
            size=settings.max_video_bytes, seconds=settings.max_video_seconds, work=settings.max_video_seconds
        )

    @property
    def liveness_sessions(self) -> LivenessSessions:
        settings = self.admin.settings
        return LivenessSessions(
            self.admin.database,
            timedelta(seconds=settings.liveness_session_ttl),
            [Action(digit) for digit in settings.liveness_actions],
        )


class _Composing:
    """Makes the generations. When the library moves, they find each other through this object."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self.generations = Generations(shared.admin.database, self.load)

    def load(self, model: LibraryModel, progress: Progress | None = None) -> Generation:
        """Fetched, loaded, warmed up, its index complete. Raises what ``open_service`` raises."""
        admin = self._shared.admin
        models = load_models(admin.settings, model, progress=progress)
        models.engine.warm_up()
        with contextlib.ExitStack() as stack:
            catalog = catalog_of(stack, admin, models.engine)
            catalog.load()
            keep_snapshots(stack, admin, catalog)
            return self._composed(models, catalog, stack)

    def _composed(self, models: Models, catalog: FaceSearch, stack: contextlib.ExitStack) -> Generation:
        shared, admin, scores = self._shared, self._shared.admin, models.scores
        database, keep_crops = admin.database, admin.settings.keep_crops
        intake = intake_of(admin, models, shared.admission, shared.downloader)
        analyst = None if models.reporter is None else models.reporter.analyst
        watch = Watch(models.engine, analyst, shared.admission, shared.video_limits)
        compare = CompareFaces(intake, scores)
        identify = IdentifyFaces(intake, scores, database, catalog, self._identify)
        users = Users(intake, database, catalog.catch_up, keep_crops=keep_crops, by_model=self._users)
        opener = SealedData(admin.apps.secret)
        return Generation(
            pack=models.pack,
            engine=models.engine,
            catalog=catalog,
            detect=DetectFaces(intake),
            compare=compare,
            liveness=VerifyLiveness(intake),
            video=VerifyVideo(watch, intake, scores, shared.liveness_sessions),
            selfie=VerifySelfie(
                intake, compare, shared.downloader.fetch, shared.admission, opener, shared.video_limits
            ),
            identify=identify,
            ranking=RankFaces(intake, scores, database, identify, self._ranking),
            person=VerifyPerson(intake, scores, authority_of(stack, admin, intake)),
            enrolment=Enrolment(admin.register, intake, keep_portraits=keep_crops),
            users=users,
            memberships=Memberships(users, intake, database, catalog.catch_up),
            faces=Faces(database, catalog.catch_up),
            groups=Groups(database, catalog.catch_up),
            judge_risk=JudgeRisk(intake, scores, database, admin.keyring, risk_limits(admin.settings)),
            resources=stack.pop_all(),
        )

    # A library that has moved is searched, and written to, by what works with its model.

    def _identify(self, model_id: str) -> IdentifyFaces | None:
        found = self.generations.of(model_id)
        return None if found is None else found.identify

    def _ranking(self, model_id: str) -> RankFaces | None:
        found = self.generations.of(model_id)
        return None if found is None else found.ranking

    def _users(self, model_id: str) -> Users | None:
        found = self.generations.of(model_id)
        return None if found is None else found.users


def _compose(shared: _Shared, generations: Generations) -> Service:
    admin, settings, database = shared.admin, shared.admin.settings, shared.admin.database
    failures, secret = SharedFailures(database), admin.keyring.derive("attempts")[0]
    return Service(
        settings=settings,
        database=database,
        generations=generations,
        admission=shared.admission,
        apps=admin.apps,
        audit=admin.audit,
        tokens=Tokens(admin.keyring),
        attempts=Attempts(settings.login_failures, Failures(settings.login_window, shared=failures, key=secret)),
        quotas=admin.quotas,
        liveness_sessions=shared.liveness_sessions,
        register=admin.register,
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
            Failures(THROTTLE_SECONDS, shared=failures, key=secret),
        ),
        certificate_expires=_certificate_expires(settings),
    )


def _certificate_expires(settings: Settings) -> datetime | None:
    """That of the certificate to answer with. One that cannot be read matters to who answers, and not to commands."""
    if not settings.tls:
        return None
    with contextlib.suppress(certificates.CertificateError):
        return certificates.describe(settings.tls_cert or settings.tls_folder / certificates.SERVER_CERTIFICATE).expires
    return None


def _retention(settings: Settings) -> Retention:
    crops = timedelta(days=settings.crop_days) if settings.crop_days else None
    return Retention(feedback=timedelta(days=settings.feedback_days), crops=crops)
