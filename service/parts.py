"""The parts of the service, each made of the settings; ``service.app`` puts them together.

Commands that need weights and no server take their parts from here.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2

from models import fetch
from models.manifest import ManifestError, PackManifest, load_pack
from models.progress import Progress
from service.administration import Admin, open_admin
from service.calibration.liveness import LivenessTable
from service.calibration.scores import ScoreTable
from service.capture.rules import RiskLimits
from service.errors import ServiceUnavailable
from service.face_keys import check_face_keys
from service.identity.authority import Authority
from service.identity.breaker import Breaker
from service.identity.enrolment import Enrolment
from service.identity.local import LocalAuthority
from service.identity.remote import Access, RemoteAuthority
from service.images.proxies import Proxies
from service.images.remote import PictureDownloader
from service.inference.admission import Admission
from service.inference.analyst import Analyst
from service.inference.batching import BatchLimits
from service.inference.engine import Engine
from service.inference.runtimes import runtime_for
from service.inference.session import DeviceUnavailable, Runtime
from service.intake.intake import Intake
from service.intake.memory import FaceMemory
from service.intake.report import Reporter
from service.library_model import library_model, settle
from service.search.catalog import Catalog
from service.search.folder import NAME as SNAPSHOT_FOLDER
from service.search.folder import purge
from service.search.keeper import SnapshotKeeper
from service.search.maintenance import Maintenance
from service.search.probing import RecallProbe
from service.search.protocol import FaceSearch
from service.search.snapshots import Snapshots
from service.search.tiered import TieredIndex
from service.settings import SettingsError
from service.storage.installation import installation_of
from service.storage.listener import Listener
from service.storage.models import LibraryModel
from service.storage.sealing import Mode
from service.storage.source import PostgresChangeSource

if TYPE_CHECKING:
    from service.settings import Settings


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """What looks at pictures: the networks of one pack, and what their numbers mean."""

    pack: PackManifest
    engine: Engine
    reporter: Reporter | None
    """``None`` for a pack that brings no networks for attributes, quality and liveness."""
    scores: ScoreTable


@dataclass(frozen=True)
class Workbench:
    """What commands that work on many faces at once need: no index and no server, only weights and database."""

    admin: Admin
    models: Models
    intake: Intake
    downloader: PictureDownloader


def load_library_models(admin: Admin, *, progress: Progress | None = None) -> Models:
    """The weights that the library is in. Raises as ``load_models``."""
    return load_models(admin.settings, library_model(admin.database, admin.settings), progress=progress)


def load_models(settings: Settings, wanted: LibraryModel | None = None, *, progress: Progress | None = None) -> Models:
    """The weights of a pack, by default of that which the settings name, fetched, checked, loaded and calibrated.

    Raises ``models.errors.ModelsError``, ``CalibrationError`` and ``DeviceUnavailable``, each with a sentence.
    """
    pack = load_pack(settings.pack if wanted is None else wanted.pack)
    if wanted is not None and pack.model_id != wanted.model_id:
        raise ManifestError(
            f"the library is embedded by {wanted.model_id}, and the pack {pack.name} of this release is "
            f"{pack.model_id}: run the release that it was embedded with"
        )
    keeps = {"bf16": pack.embedder.bfloat16, "int8": all(part.ranges is not None for part in pack.embedder.parts)}
    if not keeps.get(settings.precision, True):
        raise DeviceUnavailable(
            f"precision {settings.precision} is not offered for the pack {pack.name}, which was not measured in it or "
            "lost accuracy: set AIPFACE_PRECISION=auto"
        )
    files = fetch.ensure(
        pack,
        settings.model_dir,
        offline=settings.offline,
        sources=settings.model_sources,
        accept_noncommercial=settings.accept_noncommercial,
        progress=progress,
    )
    cv2.setNumThreads(1)  # the work is spread over requests: threads within one would only fight for the processors
    runtime = runtime_for(settings.device, settings.home, settings.precision)
    batch = BatchLimits(settings.batch_size, settings.batch_wait_ms / 1000)
    engine = Engine(pack, files, runtime, batch=batch)
    logger.info(
        "networks loaded",
        extra={"device": settings.device, "precision": settings.precision, "runtimes": ", ".join(engine.providers)},
    )
    own = settings.own_score_table(pack.model_id)
    scores = ScoreTable.load(own if own.exists() else pack.calibration, pack.model_id)
    return Models(pack, engine, _reporter(pack, files, runtime), scores)


@contextlib.contextmanager
def open_workbench(
    settings: Settings, *, progress: Progress | None = None, models: Models | None = None
) -> Iterator[Workbench]:
    """Weights loaded (unless they are given) and database open. Running servers hear of writes by the change log.

    Raises what ``open_admin``, ``check_face_keys``, ``load_models`` and ``downloader_of`` raise.
    """
    with open_admin(settings) as admin:
        check_face_keys(admin.database)
        models = models or load_library_models(admin, progress=progress)
        settle(admin.database, LibraryModel(models.pack.name, models.engine.model_id))
        downloader = downloader_of(settings)
        admission = Admission(settings.inference_threads, settings.queue_limit)
        yield Workbench(admin, models, intake_of(admin, models, admission, downloader), downloader)


@contextlib.contextmanager
def open_enrolment(settings: Settings, *, progress: Progress | None = None) -> Iterator[tuple[Admin, Enrolment]]:
    """What entering people into the register needs: weights, database, keys; no index.

    Raises what ``open_admin``, ``load_models`` and ``downloader_of`` raise.
    """
    with open_admin(settings) as admin:
        models = load_library_models(admin, progress=progress)
        admission = Admission(settings.inference_threads, settings.queue_limit)
        intake = intake_of(admin, models, admission, downloader_of(settings))
        yield admin, Enrolment(admin.register, intake, keep_portraits=settings.keep_crops)


def catalog_of(stack: contextlib.ExitStack, admin: Admin, engine: Engine) -> FaceSearch:
    """Where faces are searched; empty yet."""
    settings = admin.settings
    source = PostgresChangeSource(admin.database, engine.model_id, engine.dimension)
    plain = not admin.database.sealing.seals
    snapshots = snapshots_of(settings, engine.model_id, engine.dimension, enabled=plain)
    if settings.search_backend == "memory":
        return _in_memory(stack, source, engine.dimension, snapshots, exact=settings.search_exact)
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
        installation=installation_of(admin.database),
        uri=settings.milvus_uri,
        token="" if settings.milvus_token is None else settings.milvus_token.get_secret_value(),
        index_type=settings.milvus_index,
    )
    stack.callback(milvus.close)
    return milvus


def snapshots_of(settings: Settings, model_id: str, dimension: int, *, enabled: bool = True) -> Snapshots | None:
    """Where indexes are kept on the disk; ``None`` where they are not, and what lies there from before is deleted.

    Snapshots hold embeddings in plain: whoever keeps those sealed in the database says ``enabled=False``.
    """
    root = settings.home / SNAPSHOT_FOLDER
    if enabled and settings.search_backend == "memory" and settings.snapshot_interval:
        return Snapshots(root, model_id, dimension)
    purge(root)
    return None


def keep_snapshots(stack: contextlib.ExitStack, admin: Admin, catalog: FaceSearch) -> None:
    """Write snapshots of the indexes from now on, if any are kept."""
    settings = admin.settings
    if isinstance(catalog, Catalog) and catalog.snapshots is not None:
        keeper = SnapshotKeeper(
            catalog,
            catalog.snapshots,
            interval=settings.snapshot_interval,
            least_faces=settings.snapshot_least_faces,
        )
        stack.callback(keeper.stop)
        keeper.start()


def _in_memory(
    stack: contextlib.ExitStack,
    source: PostgresChangeSource,
    dimension: int,
    snapshots: Snapshots | None,
    *,
    exact: bool,
) -> Catalog:
    """An empty catalog whose large groups are reorganised by a thread of their own."""
    maintenance = Maintenance()

    def make(dimension: int, expected: int) -> TieredIndex:
        return TieredIndex(dimension, expected, maintenance, exact=exact)

    stack.callback(maintenance.stop)
    maintenance.start()
    catalog = Catalog(source, dimension, make, snapshots)
    probe = RecallProbe(catalog.indexes)
    stack.callback(probe.stop)
    probe.start()
    return catalog


class Followed(Protocol):
    """What hears of changes; see ``service.generations.Generations``."""

    def catalogs(self) -> Sequence[FaceSearch]:
        """Everything that is searched, or will be."""
        ...

    def wake(self) -> None:
        """The models that are in use may have changed."""
        ...

    def loaded(self) -> Sequence[str]:
        """The ids of the models that can be searched with at once."""
        ...


def follow(stack: contextlib.ExitStack, admin: Admin, followed: Followed) -> None:
    """Keep the indexes, the models and the apps' cache current with what other processes do."""

    def caught_up_and_forgotten() -> None:
        followed.wake()
        admin.apps.forget()
        for catalog in followed.catalogs():
            catalog.catch_up_all()

    def changed(app_pk: int, seq: int) -> None:
        for catalog in followed.catalogs():
            catalog.catch_up(app_pk, seq)

    def forget(app_pk: int) -> None:
        admin.apps.forget()
        for catalog in followed.catalogs():
            catalog.catch_up(app_pk)  # an app that was erased leaves no index behind

    listener = Listener(
        admin.database.url,
        on_change=changed,
        on_app=forget,
        on_connect=caught_up_and_forgotten,
        on_lost=None if admin.embedded is None else admin.embedded.start,  # our own: bring it back
        on_models=followed.wake,
        loaded=followed.loaded,
        only_sealed=admin.database.sealing.enrolled.mode is Mode.ONLY,
        lines=admin.database.lines,
    )
    stack.callback(listener.stop)
    listener.start()


def authority_of(stack: contextlib.ExitStack, admin: Admin, intake: Intake) -> Authority:
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


def _reporter(pack: PackManifest, files: Mapping[str, Path], runtime: Runtime) -> Reporter | None:
    """What reads attributes, quality and liveness; ``None`` for a pack that brings no networks for it."""
    if pack.liveness is None or not Analyst.needs() <= files.keys():
        return None
    analyst = Analyst(files, runtime)
    hashes = {name: file.sha256 for name, file in pack.files.items()}
    return Reporter(analyst, LivenessTable.load(pack.liveness, hashes))


def intake_of(admin: Admin, models: Models, admission: Admission, downloader: PictureDownloader) -> Intake:
    settings = admin.settings
    return Intake(
        engine=models.engine,
        reporter=models.reporter,
        admission=admission,
        memory=FaceMemory(admin.database, admission, timedelta(seconds=settings.face_token_ttl)),
        keyring=admin.keyring,
        download=downloader.fetch,
        max_picture_bytes=settings.max_body_bytes,
        max_picture_pixels=settings.max_picture_pixels,
    )


def downloader_of(settings: Settings, at_once: int | None = None) -> PictureDownloader:
    """What fetches pictures by their address. Raises ``ProxyError`` for a setting that names no proxy."""
    proxies = Proxies.from_setting(None if settings.url_proxy is None else settings.url_proxy.get_secret_value())
    return PictureDownloader(
        time_limit=settings.url_timeout,
        size_limit=settings.max_body_bytes,
        allowed=settings.url_allow_hosts,
        proxies=proxies,
        at_once=at_once,
    )


def risk_limits(settings: Settings) -> RiskLimits:
    return RiskLimits(
        people=settings.risk_people,
        failures=settings.risk_failures,
        clock=timedelta(seconds=settings.risk_clock),
        window=timedelta(seconds=settings.risk_window),
        history=timedelta(seconds=settings.risk_history),
    )
