"""Scripts that detect, delete, and then enrol by the token that they were told: the next run tells the same token."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from service.storage.tokens import GRACE
from tests.contract.test_recognition import Photos, by_token, enrol, photos
from tests.contract.wire import Wire
from tests.fixtures.sealing import execute

__all__ = ["photos"]

GROUP = "g1"
USER = {"group_id": GROUP, "user_id": "u1"}
Photo = Mapping[str, object]


def delete_user(wire: Wire, _other: Photo) -> None:
    wire.call("deleteUser", USER)  # there is none in the first round


def delete_everywhere(wire: Wire, _other: Photo) -> None:
    wire.call("deleteUser", {**USER, "group_id": "@ALL"})


def delete_group(wire: Wire, _other: Photo) -> None:
    wire.call("groupDelete", {"group_id": GROUP})


def replace(wire: Wire, other: Photo) -> None:
    """The user has another face meanwhile, and none that was told."""
    wire.call("updateUser", {**other, **USER})
    wire.call("deleteUser", USER)


def delete_face(wire: Wire, other: Photo) -> None:
    """One face of two."""
    for face in (wire.call("faceGetlist", USER)["result"] or {"face_list": []})["face_list"]:
        enrol(wire, dict(other), "u1", GROUP)
        wire.result("faceDelete", {**USER, "face_token": face["face_token"]})
    wire.call("deleteUser", USER)


@pytest.mark.parametrize("taking", [delete_user, delete_everywhere, delete_group, replace, delete_face])
def test_who_was_deleted_is_enrolled_by_the_token_that_was_told_before(
    wire: Wire, photos: Photos, taking: Callable[[Wire, Photo], None]
) -> None:
    for _ in range(2):
        (face,) = wire.result("detect", photos["obama"])["face_list"]
        taking(wire, photos["biden"])
        assert enrol(wire, by_token(face), "u1", GROUP)["face_token"] == face["face_token"]
    assert wire.result("getGroupUsers", {"group_id": GROUP}) == {"user_id_list": ["u1"]}


def test_a_token_can_be_moved_to_another_group(wire: Wire, photos: Photos) -> None:
    (face,) = wire.result("detect", photos["obama"])["face_list"]
    enrol(wire, by_token(face), "u1", GROUP)
    wire.result("deleteUser", USER)
    assert enrol(wire, by_token(face), "u1", "g2")["face_token"] == face["face_token"]


def test_who_has_but_the_token_keeps_no_face_of_somebody_deleted(
    wire: Wire, photos: Photos, contract_database_url: str
) -> None:
    (face,) = wire.result("detect", photos["obama"])["face_list"]
    enrol(wire, by_token(face), "u1", GROUP)
    wire.result("deleteUser", USER)

    def ends_soon() -> bool:
        wire.result("match", [by_token(face), photos["biden"]])  # also waits for what is written behind answers
        query = "SELECT expires <= now() + %s FROM face_tokens WHERE token = %s"
        ((soon,),) = execute(contract_database_url, query, GRACE, face["face_token"])
        return bool(soon)

    assert ends_soon()
    assert ends_soon()
    wire.result("detect", photos["obama"])  # he is seen anew
    assert not ends_soon()
