"""The composition root: the only place that knows every room and puts them together.

The half that needs no weights is ``service.administration``, so that small commands start quickly.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from models import fetch
from models.manifest import PackManifest, load_pack
from models.progress import Progress
from service.access.sealed_data import SealedData
from service.access.tokens import Tokens
from service.administration import Admin, open_admin
from service.api.application import build_api
from service.api.ports import Check, Readiness
from service.calibration.liveness import LivenessTable
from service.calibration.scores import ScoreTable
from service.capture.envelope import OpenEnvelopes
from service.capture.keys import EnvelopeKeys
from service.capture.risk import JudgeRisk
from service.capture.rules import RiskLimits
from service.errors import ServiceUnavailable
from service.identity.authority import Authority
from service.identity.breaker import Breaker
from service.identity.enrolment import Enrolment
from service.identity.local import LocalAuthority
from service.identity.register import Register
from service.identity.remote import Access, RemoteAuthority
from service.identity.verification import VerifyPerson
from service.images.remote import PictureDownloader
from service.images.video import VideoLimits
from service.inference.admission import Admission
from service.inference.analyst import Analyst
from service.inference.engine import Engine
from service.inference.providers import providers_for
from service.intake.intake import Intake
from service.intake.report import Reporter
from service.intake.watch import Watch
from service.library.apps import Apps
from service.library.audit import AuditTrail
from service.library.faces import Faces
from service.library.feedback import Feedback
from service.library.groups import Groups
from service.library.memberships import Memberships
from service.library.uploads import Uploads
from service.library.users import Users
from service.recognition.actions import Action
from service.recognition.compare import CompareFaces
from service.recognition.detect import DetectFaces
from service.recognition.identify import IdentifyFaces
from service.recognition.liveness import VerifyLiveness
from service.recognition.liveness_sessions import LivenessSessions
from service.recognition.ranking import RankFaces
from service.recognition.selfie import VerifySelfie
from service.recognition.video import VerifyVideo
from service.search.catalog import Catalog
from service.search.protocol import FaceSearch
from service.settings import SettingsError
from service.storage import migrations
from service.storage.engine import Database
from service.storage.listener import Listener
from service.storage.source import PostgresChangeSource
from service.upkeep import Upkeep

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.settings import Settings


@dataclass(frozen=True)
class Models:
    """What looks at pictures: the networks of one pack, and what their numbers mean."""

    pack: PackManifest
    engine: Engine
    reporter: Reporter | None
    """``None`` for a pack that brings no networks for attributes, quality and liveness."""
    scores: ScoreTable


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

    def readiness(self) -> Readiness:
        """Whether requests can be answered. Asks the database; the weights were warmed before this object existed."""
        checks = (self._weights(), self._database_check(), self._index())
        return Readiness(all(check.ok for check in checks), checks)

    def _weights(self) -> Check:
        return Check("weights", ok=True, detail=f"{self.engine.model_id} on {', '.join(self.engine.providers)}")

    def _database_check(self) -> Check:
        try:
            current, head = migrations.current(self.database.url), migrations.head()
        except ServiceUnavailable as error:
            return Check("database", ok=False, detail=str(error))
        if current != head:
            return Check("database", ok=False, detail=f"schema {current}, needed {head}: aipface db upgrade")
        return Check("database", ok=True, detail=f"schema {current}")

    def _index(self) -> Check:
        try:
            with self.database.read() as reader:
                heads = reader.changes.heads()
        except ServiceUnavailable as error:
            return Check("index", ok=False, detail=str(error))
        # An app that has never written is not loaded before it is used; it has nothing to be behind with.
        behind = sum(max(self.catalog.position(app), 0) < head for app, head in heads.items())
        if behind:
            return Check("index", ok=False, detail=f"{behind} apps are being replayed")
        return Check("index", ok=True, detail=f"{self.catalog.faces()} faces")


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
        catalog = _catalog(stack, admin, engine)
        catalog.load()
        _follow(stack, admin, catalog)
        stack.callback(admin.audit.stop)
        admin.audit.start()
        upkeep = Upkeep(admin.database, _risk_limits(settings), admin.audit)
        stack.callback(upkeep.stop)
        upkeep.start()
        yield _compose(stack, admin, models, catalog)


@contextlib.contextmanager
def open_enrolment(settings: Settings, *, progress: Progress | None = None) -> Iterator[tuple[Admin, Enrolment]]:
    """What entering people into the register needs: weights, database, keys; no index. Raises as ``open_service``."""
    models = load_models(settings, progress=progress)
    with open_admin(settings) as admin:
        admission = Admission(settings.inference_threads, settings.queue_limit)
        intake = _intake(admin, models.engine, None, admission, _downloader(settings))
        yield admin, Enrolment(admin.register, intake, keep_portraits=settings.keep_crops)


def load_models(settings: Settings, *, progress: Progress | None = None) -> Models:
    """The weights of the chosen pack, fetched, checked and loaded, with their calibration.

    Raises ``models.errors.ModelsError`` and ``CalibrationError``, each with a sentence.
    """
    pack = load_pack(settings.pack)
    files = fetch.ensure(
        pack,
        settings.model_dir,
        offline=settings.offline,
        sources=settings.model_sources,
        accept_noncommercial=settings.accept_noncommercial,
        progress=progress,
    )
    cv2.setNumThreads(1)  # the work is spread over requests: threads within one would only fight for the processors
    engine = Engine(pack, files, providers_for(settings.device))
    own = settings.own_score_table(pack.model_id)
    scores = ScoreTable.load(own if own.exists() else pack.calibration, pack.model_id)
    return Models(pack, engine, _reporter(pack, files, engine), scores)


def create_app(service: Service) -> FastAPI:
    """The ASGI application in front of a service."""
    settings = service.settings
    return build_api(
        service,
        threads=settings.request_threads,
        max_body_bytes=settings.max_body_bytes,
        max_video_bytes=settings.max_video_bytes,
        private_alias=settings.private_alias,
    )


def _catalog(stack: contextlib.ExitStack, admin: Admin, engine: Engine) -> FaceSearch:
    """Where faces are searched; empty yet."""
    settings = admin.settings
    source = PostgresChangeSource(admin.database, engine.model_id, engine.dimension)
    if settings.search_backend == "memory":
        return Catalog(source, engine.dimension)
    try:
        from service.search.milvus import MilvusCatalog  # noqa: PLC0415 (an extra, and slow to load)
    except ModuleNotFoundError as error:
        raise ServiceUnavailable(
            f"the backend milvus needs {error.name}: pip install 'aipface-server[milvus]'"
        ) from None
    milvus = MilvusCatalog(
        source,
        engine.model_id,
        engine.dimension,
        uri=settings.milvus_uri,
        token="" if settings.milvus_token is None else settings.milvus_token.get_secret_value(),
        index_type=settings.milvus_index,
    )
    stack.callback(milvus.close)
    return milvus


def _follow(stack: contextlib.ExitStack, admin: Admin, catalog: FaceSearch) -> None:
    """Keep the index and the apps' cache current with what other processes do."""

    def caught_up_and_forgotten() -> None:
        catalog.catch_up_all()
        admin.apps.forget()

    def forget(app_pk: int) -> None:
        admin.apps.forget()
        catalog.catch_up(app_pk)  # an app that was erased leaves no index behind

    listener = Listener(
        admin.database.url,
        on_change=catalog.catch_up,
        on_app=forget,
        on_connect=caught_up_and_forgotten,
        on_lost=None if admin.embedded is None else admin.embedded.start,  # our own: bring it back
    )
    stack.callback(listener.stop)
    listener.start()


def _authority(stack: contextlib.ExitStack, admin: Admin, intake: Intake) -> Authority:
    """Who knows people: the operator's own service where there is one, else the register."""
    settings = admin.settings
    if settings.identity_url is None:
        return LocalAuthority(admin.register, intake)
    token = settings.identity_token
    access = Access(
        settings.identity_url,
        None if token is None else token.get_secret_value(),
        seconds=settings.identity_timeout,
        attempts=settings.identity_attempts,
        verify=_certificates(settings),
    )
    breaker = Breaker(settings.identity_breaker_failures, settings.identity_breaker_seconds)
    remote = RemoteAuthority(access, breaker, intake, max_picture_bytes=settings.max_body_bytes)
    stack.callback(remote.close)
    return remote


def _certificates(settings: Settings) -> ssl.SSLContext | bool:
    """What vouches for the authority: the operator's own certificates, or with ``True`` those of public sites."""
    if settings.identity_ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=settings.identity_ca_file)
    except OSError as error:
        raise SettingsError(
            f"setting identity_ca_file (AIPFACE_IDENTITY_CA_FILE): no certificates can be read: {error}"
        ) from None


def _reporter(pack: PackManifest, files: Mapping[str, Path], engine: Engine) -> Reporter | None:
    """What reads attributes, quality and liveness; ``None`` for a pack that brings no networks for it."""
    if pack.liveness is None or not Analyst.needs() <= files.keys():
        return None
    analyst = Analyst(files, engine.providers)
    hashes = {name: file.sha256 for name, file in pack.files.items()}
    return Reporter(analyst, LivenessTable.load(pack.liveness, hashes))


def _intake(
    admin: Admin, engine: Engine, reporter: Reporter | None, admission: Admission, downloader: PictureDownloader
) -> Intake:
    settings = admin.settings
    return Intake(
        engine=engine,
        reporter=reporter,
        admission=admission,
        database=admin.database,
        keyring=admin.keyring,
        download=downloader.fetch,
        max_picture_bytes=settings.max_body_bytes,
        max_picture_pixels=settings.max_picture_pixels,
        token_lifetime=timedelta(seconds=settings.face_token_ttl),
    )


def _downloader(settings: Settings) -> PictureDownloader:
    return PictureDownloader(
        time_limit=settings.url_timeout, size_limit=settings.max_body_bytes, allowed=settings.url_allow_hosts
    )


def _compose(stack: contextlib.ExitStack, admin: Admin, models: Models, catalog: FaceSearch) -> Service:
    settings, database = admin.settings, admin.database
    engine, scores = models.engine, models.scores
    admission = Admission(settings.inference_threads, settings.queue_limit)
    downloader = _downloader(settings)
    intake = _intake(admin, engine, models.reporter, admission, downloader)
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
        detect=DetectFaces(intake),
        compare=compare,
        liveness=VerifyLiveness(intake),
        liveness_sessions=sessions,
        video=VerifyVideo(watch, intake, scores, sessions),
        selfie=VerifySelfie(intake, compare, downloader.fetch, admission, SealedData(admin.apps.secret)),
        identify=identify,
        ranking=RankFaces(intake, scores, database, identify),
        person=VerifyPerson(intake, scores, _authority(stack, admin, intake)),
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
        judge_risk=JudgeRisk(intake, scores, database, admin.keyring, _risk_limits(settings)),
    )


def _risk_limits(settings: Settings) -> RiskLimits:
    return RiskLimits(
        people=settings.risk_people,
        failures=settings.risk_failures,
        clock=timedelta(seconds=settings.risk_clock),
        window=timedelta(seconds=settings.risk_window),
        history=timedelta(seconds=settings.risk_history),
    )
