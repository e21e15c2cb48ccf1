"""Crops of enrolled faces are kept for as many days as was set."""

from __future__ import annotations

from datetime import timedelta

import psycopg

from service.capture.rules import RiskLimits
from service.storage.engine import Database
from service.storage.urls import driver_address
from service.upkeep import Retention, Upkeep
from tests.fixtures.library import MODEL, new_app, random_embeddings, stored_face


def test_crops_go_after_their_days_and_their_faces_stay(database: Database, database_url: str) -> None:
    """The upkeep forgets them however many they are; without such days it forgets none."""
    app = new_app(database)
    with database.write(app.pk) as work:
        user = work.users.insert(work.groups.get_or_create("g"), "u")
        for number in range(5):
            work.faces.insert(user, stored_face(f"t{number}"), MODEL, random_embeddings(1, number)[0])
    with psycopg.connect(driver_address(database_url)) as connection:
        connection.execute("UPDATE faces SET created = now() - interval '40 days' WHERE token < 't3'")
    hour = timedelta(hours=1)
    limits = RiskLimits(people=5, failures=5, clock=hour, window=hour, history=hour)

    def crops() -> list[bool]:
        with database.read(app.pk) as reader:
            return [reader.faces.portrait(entry.pk) is not None for entry in reader.faces.entries(user)]

    Upkeep(database, limits).purge_old()
    assert crops() == [True] * 5
    with database.admin() as upkeep:
        last = upkeep.erasing.crops(timedelta(days=30), 0, limit=2)
        assert last is not None
    assert crops() == [False] * 2 + [True] * 3
    with database.admin() as upkeep:
        assert upkeep.erasing.crops(timedelta(days=30), 10**12, limit=2) is None
    Upkeep(database, limits, retention=Retention(crops=timedelta(days=30))).purge_old()
    assert crops() == [False] * 3 + [True] * 2


def test_copying_a_face_makes_its_crop_no_younger(database: Database, database_url: str) -> None:
    app = new_app(database)
    with database.write(app.pk) as work:
        group = work.groups.get_or_create("g")
        user, other = (work.users.insert(group, name) for name in ("u", "v"))
        work.faces.insert(user, stored_face("t"), MODEL, random_embeddings(1, 1)[0])
    with psycopg.connect(driver_address(database_url)) as connection:
        connection.execute("UPDATE faces SET created = now() - interval '40 days'")
    with database.write(app.pk) as work:
        assert work.faces.copy(user, other) == 1
    with database.admin() as upkeep:
        upkeep.erasing.crops(timedelta(days=30), 0, limit=10)
    with database.read(app.pk) as reader:
        portraits = [reader.faces.portrait(face.pk) for owner in (user, other) for face in reader.faces.entries(owner)]
    assert portraits == [None, None]
