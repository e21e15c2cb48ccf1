"""Changing a user of several groups beside requests that see the same faces: none may wait for another in a circle."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from service.app import Service
from service.intake.controls import NO_CONTROLS
from service.library.users import ALL_GROUPS, EnrolAction
from service.storage.rows import RememberedFace
from service.storage.urls import driver_address
from service.values import App, ImageKind, ImageSource
from tests.fixtures.library import stored_face
from tests.fixtures.pictures import Pictures
from tests.fixtures.sealing import execute
from tests.fixtures.waiting import wait_for, waiting

GROUPS = ["first", "second"]
USER = "user"

Change = Callable[[Service, App, ImageSource], object]


def delete_everywhere(service: Service, app: App, _: ImageSource) -> None:
    service.users.delete(app, ALL_GROUPS, USER)


def delete_memberships(service: Service, app: App, _: ImageSource) -> None:
    service.memberships.delete(app, GROUPS, USER)


def leave(service: Service, app: App, another: ImageSource) -> None:
    service.users.add(app, another, "third", USER, None, EnrolAction.APPEND, NO_CONTROLS)
    service.memberships.leave(app, USER, GROUPS)


def update(service: Service, app: App, another: ImageSource) -> None:
    service.memberships.update(app, another, None, USER, None, NO_CONTROLS)


def replace(service: Service, app: App, another: ImageSource) -> None:
    service.memberships.add(app, another, GROUPS, USER, None, EnrolAction.REPLACE, NO_CONTROLS)


@pytest.mark.parametrize("change", [delete_everywhere, delete_memberships, leave, update, replace])
def test_what_is_remembered_of_faces_that_go_is_waited_for_in_the_order_in_which_it_is_told(
    service: Service, contract_database_url: str, pictures: Pictures, change: Change
) -> None:
    app = service.apps.by_app_id(service.apps.create("contract").app_id)
    assert app is not None
    *sources, another = (
        ImageSource(ImageKind.BASE64, pictures.base64(f"{name}.jpg")) for name in ("obama", "biden", "obama2")
    )
    told = {
        service.users.add(app, source, "others", "other", None, EnrolAction.APPEND, NO_CONTROLS).token: source
        for source in sources
    }
    last, first = sorted(told, reverse=True)
    for group, token in zip(GROUPS, (last, first), strict=True):  # the other way round than who sees both tells them
        service.users.add(app, told[token], group, USER, None, EnrolAction.APPEND, NO_CONTROLS)

    def free() -> list[object]:
        query = "SELECT token FROM face_tokens WHERE token = ANY (%s) ORDER BY token FOR UPDATE SKIP LOCKED"
        return [token for (token,) in execute(contract_database_url, query, [first, last])]

    with service.database.remembering(app.pk) as tokens:
        told_of = [RememberedFace(stored_face(token), None) for token in told]
        tokens.put(app.pk, told_of, "any model", timedelta(hours=1))
    assert free() == [first, last]
    with ThreadPoolExecutor(1) as pool, psycopg.connect(driver_address(contract_database_url)) as telling:
        telling.execute("SELECT FROM face_tokens WHERE token = %s FOR UPDATE", [first])
        changed = pool.submit(change, service, app, another)
        wait_for(lambda: waiting(service.database) == 1)
        assert free() == [last]
        telling.commit()
        changed.result()
