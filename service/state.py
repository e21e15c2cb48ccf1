"""How a running service is doing: whether it can answer, and its state in numbers. Asked for when somebody looks."""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import Protocol

from models.manifest import PackManifest
from service import __version__
from service.api.ports import Check, Readiness
from service.errors import ServiceUnavailable
from service.generations import Generations
from service.inference.admission import Admission
from service.inference.engine import Engine
from service.metrics import State, Storage
from service.search.protocol import FaceSearch
from service.settings import Settings
from service.storage import migrations
from service.storage.engine import Database

PATIENCE = 0.5
"""Seconds that ``readiness`` gives the index to catch up with what has just been committed. Probes wait 1 s by
default."""
LONGEST_LOOK = 4.0
"""Seconds after which the database counts as not answering. Prometheus waits ten seconds by default."""

_asking = threading.Lock()


class Watched(Protocol):
    """The parts of a service that are looked at."""

    @property
    def settings(self) -> Settings: ...

    @property
    def pack(self) -> PackManifest: ...

    @property
    def engine(self) -> Engine: ...

    @property
    def admission(self) -> Admission: ...

    @property
    def database(self) -> Database: ...

    @property
    def catalog(self) -> FaceSearch: ...

    @property
    def generations(self) -> Generations: ...

    @property
    def certificate_expires(self) -> datetime | None: ...


def readiness(service: Watched) -> Readiness:
    """Whether requests can be answered. Asks the database; the weights were warmed before the service existed."""
    checks = (
        _weights(service.engine),
        _database(service.database),
        _index(service.database, service.catalog),
        service.generations.check(),
    )
    return Readiness(all(check.ok for check in checks), checks)


def look(service: Watched) -> State:
    """The values of all gauges. Raises nothing: the numbers of what cannot be reached are ``None``."""
    groups = faces = index_bytes = None
    expires = service.certificate_expires
    try:
        size = service.catalog.size()
    except ServiceUnavailable:
        pass
    else:
        groups, faces, index_bytes = size.groups, size.faces, size.nbytes
    return State(
        version=__version__,
        pack=service.pack.name,
        model_id=service.engine.model_id,
        providers=service.engine.providers,
        backend=service.settings.search_backend,
        working=service.admission.inside,
        waiting=service.admission.waiting,
        permits=service.admission.permits,
        queue_limit=service.admission.queue_limit,
        connections=service.database.connections(),
        groups=groups,
        faces=faces,
        index_bytes=index_bytes,
        certificate_days=None if expires is None else (expires - datetime.now(timezone.utc)) / timedelta(days=1),
        storage=_storage(service.database, service.catalog),
    )


def _storage(database: Database, catalog: FaceSearch) -> Storage | None:
    """What the database says; ``None`` where it does not answer in time, or an earlier question is still unanswered."""
    if not _asking.acquire(timeout=LONGEST_LOOK):
        return None
    found: list[Storage] = []

    def ask() -> None:
        try:
            with contextlib.suppress(ServiceUnavailable), database.read() as reader:
                heads = reader.changes.heads()
                rows, size = reader.tokens.size()
                found.append(Storage(sum(_behind(catalog, heads).values()), rows, size))
        finally:
            _asking.release()

    asking = threading.Thread(target=ask, name="state", daemon=True)
    try:
        asking.start()
    except RuntimeError:  # no thread is to be had
        _asking.release()
        return None
    asking.join(LONGEST_LOOK)
    return next(iter(found), None)


def _behind(catalog: FaceSearch, heads: dict[int, int]) -> dict[int, int]:
    """By app, how many changes its index lacks; apps that lack none are left out.

    An app without any change is loaded only when it is used, and is not behind.
    """
    lags = {app: head - max(catalog.position(app), 0) for app, head in heads.items()}
    return {app: lag for app, lag in lags.items() if lag > 0}


def _weights(engine: Engine) -> Check:
    return Check("weights", ok=True, detail=f"{engine.model_id} on {', '.join(engine.providers)}")


def _database(database: Database) -> Check:
    try:
        current, head = migrations.current(database.url), migrations.head()
    except ServiceUnavailable as error:
        return Check("database", ok=False, detail=str(error))
    if current is not None and current not in migrations.known():
        # A newer release has begun to take our place; saying no would leave nobody to answer until it is ready.
        return Check("database", ok=True, detail=f"schema {current} of a newer release; this one knows {head}")
    if current != head:
        return Check("database", ok=False, detail=f"schema {current}, needed {head}: aipface db upgrade")
    return Check("database", ok=True, detail=f"schema {current}")


def _index(database: Database, catalog: FaceSearch) -> Check:
    try:
        with database.read() as reader:
            heads = reader.changes.heads()
    except ServiceUnavailable as error:
        return Check("index", ok=False, detail=str(error))
    # What has just been written is on its way; an index that lags says so for longer.
    until = time.monotonic() + PATIENCE
    while (behind := _behind(catalog, heads)) and time.monotonic() < until:
        time.sleep(PATIENCE / 50)
    if behind:
        return Check("index", ok=False, detail=f"{len(behind)} apps are being replayed")
    try:
        found, origin = f"{catalog.faces()} faces", catalog.origin()
    except ServiceUnavailable as error:
        return Check("index", ok=False, detail=str(error))
    return Check("index", ok=True, detail=f"{found}; {origin}" if origin else found)
