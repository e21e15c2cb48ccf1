"""The thread that keeps snapshots of the indexes on the disk not far behind them."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

from service.background import Background
from service.errors import ServiceUnavailable
from service.metrics import SNAPSHOTS
from service.search.catalog import Catalog
from service.search.snapshot_file import Contents
from service.search.snapshots import Snapshots

logger = logging.getLogger(__name__)

ROUND_SECONDS = 5.0
MANY_CHANGES = 20_000
"""After this many changes a snapshot is written without waiting for the interval, once no further ones come: a bulk
load has probably ended."""
MANY_SHARE = 0.1
"""The same limit as a share of the app's faces; the larger of the two counts."""
RETRY_SECONDS = 60.0
"""Pause after a failure, or the interval where that is shorter, so that a large file is not begun every few seconds."""
CLOSING_SECONDS = 5.0
"""Longest time for writing when the server stops. What is not written is replayed from the log at the next start."""
_PAUSE = 0.0005
"""Seconds between pieces of a file, in which a waiting search gets the interpreter and the caches."""


def _now() -> float:
    return time.monotonic()


class Abandoned(Exception):
    """A snapshot was not finished in time."""


@dataclass(slots=True)
class _Known:
    """An app's snapshot on the disk: its ``position`` in the log (0: there is none), coded faces, and time of writing.

    ``before``: position of the app's log one round ago. Nothing is written before the time ``not_before``.
    """

    position: int
    coded: int
    since: float
    before: int = -1
    not_before: float = 0.0


class SnapshotKeeper:
    """Writes an app's snapshot when the app has changed and ``interval`` seconds have passed, or when much has changed.

    Of several processes with one home only one writes. Apps with fewer than ``least_faces`` faces get no snapshot.
    """

    def __init__(self, catalog: Catalog, snapshots: Snapshots, *, interval: float, least_faces: int) -> None:
        self._catalog = catalog
        self._snapshots = snapshots
        self._interval = interval
        self._least_faces = least_faces
        self._known: dict[int, _Known] = {}
        self._begun = _now()
        self._deadline: float | None = None
        self._background = Background("index snapshots", self._run)

    def start(self) -> None:
        """Begin; the first round comes after ``ROUND_SECONDS``."""
        self._background.start()

    def stop(self) -> None:
        """Write what has changed, if that is quick, and stop; returns when the thread has ended."""
        self._deadline = _now() + CLOSING_SECONDS
        self._background.stop()

    def round(self, *, last: bool = False) -> None:
        """Write the snapshots that are due; in the ``last`` round those of all apps that have changed since.

        A failure with one app is logged; the others are written all the same. Raises ``Abandoned``.
        """
        faces = {app: count for app, count in self._catalog.faces_of_apps().items() if count >= self._least_faces}
        if not self._claimed(anything=bool(faces)):
            return
        there = set(self._snapshots.folder.apps())
        for app_pk in there - faces.keys():  # deleted, grown small, or not loaded as a whole
            self._snapshots.folder.discard(app_pk)
            self._known.pop(app_pk, None)
        for app_pk, count in faces.items():
            known = self._known.get(app_pk)
            if known is None:
                known = self._known[app_pk] = self._found(app_pk)
            if app_pk not in there:  # erased, or thrown away by a process that could not use it
                known.position = known.coded = 0
            if last or self._due(app_pk, count, known):
                known.not_before = _now() + min(self._interval, RETRY_SECONDS)
                with _logged(app_pk):
                    self._pause()  # each may wait for a database that is away
                    self._write(app_pk, known)
                    known.not_before = 0.0
            known.before = self._catalog.position(app_pk)
        if last:
            self._snapshots.folder.tidy()

    # --- inside ---

    def _run(self) -> None:
        for _ in self._background.rounds(ROUND_SECONDS):
            self._attempt(last=False)
        self._attempt(last=True)
        self._snapshots.folder.release()

    def _attempt(self, *, last: bool) -> None:
        try:
            with _logged():
                self.round(last=last)
        except Abandoned:
            logger.info("a snapshot was given up: the server stops")

    def _claimed(self, *, anything: bool) -> bool:
        """Whether this process is the one that writes. When it becomes that, it forgets what it knew of the files."""
        folder = self._snapshots.folder
        if folder.claimed():
            return True
        if anything:
            folder.make()
        self._known.clear()
        return folder.claim()

    def _found(self, app_pk: int) -> _Known:
        saved = self._snapshots.saved(app_pk)
        if saved is None:
            return _Known(0, 0, self._begun)
        return _Known(saved.position, saved.coded, _now() - saved.age)

    def _due(self, app_pk: int, faces: int, known: _Known) -> bool:
        size = self._catalog.coded_faces(app_pk)
        position = self._catalog.position(app_pk)
        changes = max(abs(position - known.position), abs(size.coded - known.coded))
        if changes == 0 or _now() < known.not_before:
            return False
        if _now() - known.since >= self._interval:
            return True
        settled = position == known.before and size.waiting == 0
        return settled and (known.position == 0 or changes >= max(MANY_CHANGES, MANY_SHARE * faces))

    def _write(self, app_pk: int, known: _Known) -> None:
        if self._catalog.position(app_pk) == known.position and (
            self._catalog.coded_faces(app_pk).coded == known.coded
        ):
            return

        def contents() -> Contents | None:
            # Up to date now that the file is there: an erasure that comes later finds the file (service.search.folder).
            self._catalog.catch_up(app_pk)
            return self._catalog.contents(app_pk)

        head = self._snapshots.save(app_pk, contents, self._pause)
        if head is not None:
            known.position, known.coded, known.since = head.mark[0], head.coded, _now()

    def _pause(self) -> None:
        if self._deadline is not None and _now() > self._deadline:
            raise Abandoned
        time.sleep(_PAUSE)


@contextlib.contextmanager
def _logged(app_pk: int | None = None) -> Iterator[None]:
    """A failure in the block is logged and ends it; ``Abandoned`` goes on."""
    told = {} if app_pk is None else {"app_pk": app_pk}
    try:
        yield
    except Abandoned:
        raise
    except ServiceUnavailable as error:
        logger.warning("no snapshot was written: %s", error, extra=told)
    except OSError as error:
        SNAPSHOTS.labels("failed").inc()
        logger.warning("no snapshot was written: %s", error.strerror or error, extra=told)
    except Exception:
        SNAPSHOTS.labels("failed").inc()
        logger.exception("writing snapshots failed", extra=told)
