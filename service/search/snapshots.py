"""The snapshots of one model's indexes: put back at the start, when they are to be believed, and written.

Which database a snapshot belongs to is told by the mark in it: the row of the change log up to which it was made. Who
has that row in the log has the same library at that position, be it the same server or a copy of it; another database,
or the same one put back to an earlier state and changed since, has another row there, or none.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from service.metrics import SNAPSHOTS
from service.search import snapshot_file
from service.search.folder import SnapshotFolder
from service.search.snapshot_file import BrokenSnapshot, Contents, NewIndex, Pause
from service.search.snapshot_head import Head
from service.search.tiered import IndexState, TieredIndex
from service.values import ChangeMark

logger = logging.getLogger(__name__)

LEAST_FREE_BYTES = 2**30
"""So much has to be free beside a snapshot: the disk may be the database's too."""


@dataclass(frozen=True, slots=True)
class Restored:
    """An app's indexes as they were when the log ended at ``mark``."""

    mark: ChangeMark
    groups: dict[int, TieredIndex]


@dataclass(frozen=True, slots=True)
class Saved:
    """What there is of an app on the disk: the log's position, faces in segments, and its age in seconds."""

    position: int
    coded: int
    age: float


class Snapshots:
    """Reading and writing. Nothing that lies in the folder makes it fail."""

    def __init__(self, root: Path, model_id: str, dimension: int) -> None:
        self.folder = SnapshotFolder(root, model_id, dimension)
        self._model_id = model_id
        self._dimension = dimension

    def contents(self, app_pk: int, mark: ChangeMark, groups: Mapping[int, IndexState]) -> Contents:
        """What :meth:`save` writes of an app whose log has been applied up to ``mark``."""
        return Contents(self._model_id, self._dimension, app_pk, mark, groups)

    def restore(self, app_pk: int, new_index: NewIndex, believed: Callable[[ChangeMark], bool]) -> Restored | None:
        """The app's snapshot, when ``believed`` says that the log has its mark; a broken or foreign one is deleted.

        Raises what ``believed`` raises.
        """
        try:
            with snapshot_file.opened(self.folder.file(app_pk), app_pk, self._model_id, self._dimension) as snapshot:
                if believed(snapshot.mark):
                    return Restored(snapshot.mark, snapshot.groups(new_index))
                reason = f"the change log does not go on from its position {snapshot.mark.seq}"
        except FileNotFoundError:
            return None
        except BrokenSnapshot as error:
            reason = str(error)
        self.discard(app_pk, reason)
        return None

    def discard(self, app_pk: int, reason: str) -> None:
        """Delete a snapshot that cannot be used."""
        logger.warning("a snapshot was discarded: %s", reason, extra={"app_pk": app_pk})
        SNAPSHOTS.labels("discarded").inc()
        try:
            self.folder.discard(app_pk)
        except OSError as error:
            logger.warning("it cannot be deleted: %s", error.strerror)

    def saved(self, app_pk: int) -> Saved | None:
        """What there is of an app, by its head alone; ``None`` when there is none, or a broken one."""
        path = self.folder.file(app_pk)
        try:
            with snapshot_file.opened(path, app_pk, self._model_id, self._dimension) as snapshot:
                age = max(0.0, time.time() - path.stat().st_mtime)
                return Saved(snapshot.mark.seq, snapshot.head.coded, age)
        except (BrokenSnapshot, OSError):
            return None

    def save(self, app_pk: int, contents: Callable[[], Contents | None], pause: Pause) -> Head | None:
        """Write what ``contents`` returns; ``None`` when that is nothing or the app was erased meanwhile.

        ``contents`` is asked once the unfinished file is there: who erases something afterwards finds the file.
        Raises ``OSError`` (of a full disk, too), and what ``contents`` and ``pause`` raise; an earlier snapshot stays.
        """
        begun = time.monotonic()
        descriptor, path = self.folder.create(app_pk)
        try:
            with open(descriptor, "w+b") as file:  # noqa: PTH123 - a descriptor
                library = contents()
                if library is None:
                    return None
                self._check_room(library)
                head = snapshot_file.write(file, library, pause)
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            if not self.folder.finish(path, app_pk):
                logger.info("a snapshot was not kept: its app was erased from meanwhile", extra={"app_pk": app_pk})
                return None
        finally:
            path.unlink(missing_ok=True)
        SNAPSHOTS.labels("written").inc()
        logger.info(
            "wrote a snapshot of %d faces, %.1f MiB in %.1f s",
            head.faces,
            size / 2**20,
            time.monotonic() - begun,
            extra={"app_pk": app_pk},
        )
        return head

    def _check_room(self, library: Contents) -> None:
        sealed = [segment.nbytes() for state in library.groups.values() for segment, _ in state.segments]
        if shutil.disk_usage(self.folder.path).free < sum(sealed) + LEAST_FREE_BYTES:
            raise OSError(f"there is no room for a snapshot of {sum(sealed) / 2**20:.0f} MiB beside 1 GiB left free")
