"""What is remembered about devices that took pictures: when they sent some, who was in front of them, what failed.

Devices and pictures are stored as keyed hashes, embeddings sealed, so that nothing can be read without the master key.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from service.storage.execution import Execution
from service.storage.tables import capture_failures, capture_people

_SEE_DEVICE = sa.text("""
    INSERT INTO capture_devices AS known (app_pk, device, passed) VALUES (:app_pk, :device, :passed)
    ON CONFLICT (app_pk, device) DO UPDATE SET
        last_seen = now(),
        passed = :passed
            + CASE WHEN known.last_seen > now() - CAST(:history AS interval) THEN known.passed ELSE 0 END
    RETURNING pk, passed - :passed AS passed_before
""")

_SEE_PICTURE = sa.text("""
    INSERT INTO capture_pictures AS known (app_pk, picture, capture_device_pk, sightings)
    VALUES (:app_pk, :picture, :device_pk, 1)
    ON CONFLICT (app_pk, picture) DO UPDATE SET
        last_seen = now(),
        sightings = 1
            + CASE WHEN known.last_seen > now() - CAST(:history AS interval) THEN known.sightings ELSE 0 END,
        capture_device_pk = CASE WHEN known.last_seen > now() - CAST(:history AS interval)
            THEN known.capture_device_pk ELSE :device_pk END
    RETURNING sightings, capture_device_pk
""")

_KEEP_PEOPLE = sa.text("""
    DELETE FROM capture_people WHERE capture_device_pk = :device_pk AND pk NOT IN (
        SELECT pk FROM capture_people WHERE capture_device_pk = :device_pk ORDER BY last_seen DESC, pk DESC LIMIT :keep
    )
""")

_PURGE = """
    DELETE FROM {table} WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM {table} WHERE {column} <= now() - CAST(:age AS interval) AND {forgettable}
        ORDER BY {column} LIMIT :limit FOR UPDATE SKIP LOCKED
    ))
"""

_PURGES_OF_WINDOW = tuple(
    sa.text(_PURGE.format(table=table, column=column, forgettable="TRUE"))
    for table, column in (("capture_failures", "created"), ("capture_people", "last_seen"))
)
# A picture goes with the device that it came from first: that one is kept while others still send the picture.
_FIRST_TO_SEND_NONE = "NOT EXISTS (SELECT 1 FROM capture_pictures WHERE capture_device_pk = capture_devices.pk)"
_PURGES_OF_HISTORY = tuple(
    sa.text(_PURGE.format(table=table, column="last_seen", forgettable=forgettable))
    for table, forgettable in (("capture_pictures", "TRUE"), ("capture_devices", _FIRST_TO_SEND_NONE))
)


@dataclass(frozen=True, slots=True)
class SeenDevice:
    """``passed_before``: captures of the device, before this one, that did not fail."""

    pk: int
    passed_before: int


@dataclass(frozen=True, slots=True)
class SeenPictures:
    """Whether any of the pictures had come before this, and whether any had come from another device first."""

    repeated: bool
    elsewhere: bool


@dataclass(frozen=True, slots=True)
class SeenPerson:
    """Somebody who was in front of a device; ``embedding`` is sealed."""

    pk: int
    embedding: bytes


class CaptureWriter:
    """Records captures and returns what was recorded before.

    Call ``see_device`` first: it locks the device's row, so that requests of one device follow each other and count
    right. Several pictures are recorded in one fixed order, so that two requests cannot deadlock.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def see_device(self, app_pk: int, device: bytes, *, passed: bool, history: timedelta) -> SeenDevice:
        """Note a capture; what is older than ``history`` counts no more."""
        parameters = {"app_pk": app_pk, "device": device, "passed": int(passed), "history": history}
        row = self._execution.run(_SEE_DEVICE, parameters).one()
        return SeenDevice(row.pk, row.passed_before)

    def see_pictures(
        self, app_pk: int, device_pk: int, pictures: Collection[bytes], history: timedelta
    ) -> SeenPictures:
        """Note the pictures of one capture."""
        rows = [self._see_picture(app_pk, device_pk, picture, history) for picture in sorted(set(pictures))]
        return SeenPictures(
            repeated=any(row.sightings > 1 for row in rows),
            elsewhere=any(row.capture_device_pk != device_pk for row in rows),
        )

    def add_failure(self, device_pk: int) -> None:
        """Note that a capture failed."""
        self._execution.run(capture_failures.insert(), {"capture_device_pk": device_pk})

    def failures(self, device_pk: int, window: timedelta) -> int:
        """How many captures of the device failed within the last ``window``."""
        recent = capture_failures.c.created > sa.func.now() - window
        query = sa.select(sa.func.count()).where((capture_failures.c.capture_device_pk == device_pk) & recent)
        return int(self._execution.run(query).scalar_one())

    def people(self, device_pk: int, model_id: str, window: timedelta) -> list[SeenPerson]:
        """Who was in front of the device within the last ``window``, as far as ``model_id`` can tell."""
        columns = capture_people.c
        mine = (columns.capture_device_pk == device_pk) & (columns.model_id == model_id)
        query = sa.select(columns.pk, columns.embedding).where(mine & (columns.last_seen > sa.func.now() - window))
        return [SeenPerson(row.pk, bytes(row.embedding)) for row in self._execution.run(query)]

    def see_person_again(self, pk: int) -> None:
        """Note that somebody known came back."""
        self._execution.run(capture_people.update().where(capture_people.c.pk == pk).values(last_seen=sa.func.now()))

    def add_person(self, device_pk: int, model_id: str, embedding: bytes, keep: int) -> None:
        """Note somebody new; of the device's people only the ``keep`` last ones stay."""
        row = {"capture_device_pk": device_pk, "model_id": model_id, "embedding": embedding}
        self._execution.run(capture_people.insert(), row)
        self._execution.run(_KEEP_PEOPLE, {"device_pk": device_pk, "keep": keep})

    def purge(self, *, window: timedelta, history: timedelta, limit: int) -> int:
        """Forget what counts no more, at most ``limit`` rows of each kind; returns how many rows were deleted."""
        deleted = 0
        for age, statements in ((window, _PURGES_OF_WINDOW), (history, _PURGES_OF_HISTORY)):
            for statement in statements:
                deleted += self._execution.run(statement, {"age": age, "limit": limit}).rowcount
        return deleted

    def _see_picture(self, app_pk: int, device_pk: int, picture: bytes, history: timedelta) -> sa.Row[Any]:
        parameters = {"app_pk": app_pk, "picture": picture, "device_pk": device_pk, "history": history}
        return self._execution.run(_SEE_PICTURE, parameters).one()
