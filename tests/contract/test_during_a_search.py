"""What happens while a search looks into the index: users are deleted, other requests compute or do not."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import pytest

from service import beside
from service.app import Service
from service.inference.admission import Admission
from service.intake.intake import Intake
from service.recognition.identify import IdentifyFaces
from service.values import Embedding, Hit
from tests.contract.wire import Wire
from tests.fixtures.pictures import Pictures
from tests.fixtures.waiting import wait_for

GROUP = "during_a_search"


@pytest.fixture
def obama(pictures: Pictures) -> dict[str, object]:
    """Parameters that hand over a photograph."""
    return {"image": pictures.base64("obama.jpg"), "image_type": "BASE64"}


def enrol(wire: Wire, photo: dict[str, object], user: str) -> None:
    wire.result("addUser", {**photo, "group_id": GROUP, "user_id": user})


def test_who_is_deleted_during_a_search_makes_room_for_the_next(
    service: Service, wire: Wire, obama: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(wire, obama, "first")
    enrol(wire, obama, "second")
    search, left = service.catalog.search, ["first", "second"]

    def deleting(app_pk: int, group_pks: Sequence[int], probe: Embedding, limit: int, least: float) -> list[Hit]:
        found = search(app_pk, group_pks, probe, limit, least)
        if left:
            wire.result("deleteUser", {"group_id": GROUP, "user_id": left.pop(0)})
        return found

    monkeypatch.setattr(service.catalog, "search", deleting)
    left.pop()
    answer = wire.result("search", {**obama, "group_id_list": GROUP})
    assert [user["user_id"] for user in answer["user_list"]] == ["second"]
    left.append("second")
    assert wire.code("search", {**obama, "group_id_list": GROUP}) == 222207


def test_people_of_several_groups_fill_the_list_though_each_group_tells_no_more(
    service: Service, wire: Wire, pictures: Pictures, obama: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three people in three groups each; lists as long as three times the wanted users would take longer."""
    groups = [f"{GROUP}_{number}" for number in range(3)]
    for name in ("obama2", "biden", "astronaut"):
        path = "astronaut.png" if name == "astronaut" else f"{name}.jpg"
        photo = {"image": pictures.base64(path), "image_type": "BASE64"}
        for group in groups:
            wire.result("addUser", {**photo, "group_id": group, "user_id": name})
    search, limits = service.catalog.search, list[int]()

    def noting(app_pk: int, group_pks: Sequence[int], probe: Embedding, limit: int, least: float) -> list[Hit]:
        limits.append(limit)
        return search(app_pk, group_pks, probe, limit, least)

    monkeypatch.setattr(service.catalog, "search", noting)
    asked = {**obama, "group_id_list": ",".join(groups), "match_threshold": 0}
    everybody, two = (wire.result("search", {**asked, "max_user_num": most})["user_list"] for most in (50, 2))
    assert everybody[0]["user_id"] == "obama2"
    assert len(everybody) == 3
    assert two == everybody[:2]
    assert limits == [50, 2]


@contextmanager
def somebody_computing(admission: Admission) -> Iterator[None]:
    """Another request holds a permit for the block."""
    begun, done = threading.Event(), threading.Event()

    def compute() -> None:
        with admission.permit():
            begun.set()
            assert done.wait(30)

    with ThreadPoolExecutor(1) as threads:
        computing = threads.submit(compute)
        assert begun.wait(30)
        yield
        done.set()
        computing.result()


def test_a_search_is_helped_while_permits_lie_idle(
    service: Service, wire: Wire, obama: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a large gallery's search offers is done by another thread; while somebody else computes, by its own."""
    enrol(wire, obama, "anybody")
    search, threads = service.catalog.search, []

    meeting = threading.Barrier(2, timeout=30)

    def met() -> int:
        meeting.wait()  # for whoever does the other piece
        return threading.get_ident()

    def alone() -> int:
        time.sleep(0.2)  # enough for a helper who should not be there
        return threading.get_ident()

    def divided(app_pk: int, group_pks: Sequence[int], probe: Embedding, limit: int, least: float) -> list[Hit]:
        threads.append(len(set(beside.together([met, met]))))
        with somebody_computing(service.admission):
            threads.append(len(set(beside.together([alone, alone]))))
        return search(app_pk, group_pks, probe, limit, least)

    monkeypatch.setattr(service.admission, "permits", 2)
    monkeypatch.setattr(service.catalog, "search", divided)
    wire.result("search", {**obama, "group_id_list": GROUP})
    assert threads == [2, 1]


def test_where_to_search_is_asked_for_while_the_picture_is_looked_at(
    service: Service, wire: Wire, obama: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another thread, once; where all compute, by the request's own afterwards. The picture's faults come first."""
    enrol(wire, obama, "anybody")
    asked, asking = IdentifyFaces._scope, list[int]()
    looked, looking = Intake._look, list[int]()
    helped = threading.Event()

    def noted(*arguments: Any) -> Any:
        asking.append(threading.get_ident())
        helped.set()
        return asked(*arguments)

    def slowly(*arguments: Any) -> Any:
        looking.append(threading.get_ident())
        assert helped.wait(30)
        return looked(*arguments)

    monkeypatch.setattr(IdentifyFaces, "_scope", noted)
    monkeypatch.setattr(Intake, "_look", slowly)
    monkeypatch.setattr(service.admission, "permits", 2)
    wait_for(lambda: service.admission.inside == 0)
    wire.result("search", {**obama, "group_id_list": GROUP})
    assert len(asking) == len(looking) == 1
    assert asking != looking
    with somebody_computing(service.admission):
        wire.result("search", {**obama, "group_id_list": GROUP})
    assert len(asking) == 2
    assert asking[1] == looking[1]
    assert wire.code("search", {**obama, "group_id_list": "nowhere"}) == 223100
    encoded = cv2.imencode(".png", np.zeros((200, 200, 3), np.uint8))[1]
    black = {"image": base64.b64encode(encoded.tobytes()).decode(), "image_type": "BASE64"}
    assert wire.code("search", {**black, "group_id_list": "nowhere"}) == 222202
    assert wire.code("multiSearch", {**black, "group_id_list": "nowhere"}) == 222202
