"""V1 over the wire: what is done in a video, and by whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import psycopg
import pytest

from service.storage.urls import driver_address
from service.values import Image
from tests.contract.filmed import MOVES, SIDE, VERIFY, failure, opened, post, text
from tests.contract.wire import Wire
from tests.fixtures import videos
from tests.fixtures.videos import RATE, Moment, Pose, Puppet, encode


class Asker:
    """Opens sessions that ask for what a test wants."""

    def __init__(self, wire: Wire, database_url: str) -> None:
        self.wire = wire
        self._database_url = database_url

    def verify(self, code: str, video: bytes) -> dict[str, Any]:
        """The answer to a video that answers this code."""
        session_id = opened(self.wire, type=1)["session_id"]
        with psycopg.connect(driver_address(self._database_url)) as connection:
            connection.execute("UPDATE liveness_sessions SET code = %s WHERE session_id = %s", [code, session_id])
        return post(self.wire, VERIFY, {"session_id": session_id, "video_base64": text(video)})


@pytest.fixture
def asker(wire: Wire, contract_database_url: str) -> Asker:
    return Asker(wire, contract_database_url)


def test_more_than_was_asked_for_is_no_answer(asker: Asker, cast: dict[str, Puppet]) -> None:
    moves = [MOVES[digit](0.3 + 1.2 * place) for place, digit in enumerate("45")]
    video = encode(cast["obama"].play(videos.together(videos.sways, *moves), 2.9))
    answers = {}
    for code in ("4", "45", "5", "47"):
        result = asker.verify(code, video)["result"]
        answers[code] = (result["code"]["identify"], result["code"]["similarity"], result["action_verify"])
    assert answers == {
        "4": ("45", 0.5, "fail"),
        "45": ("45", 1, "pass"),
        "5": ("", 0, "fail"),
        "47": ("4", 0.5, "fail"),
    }


STRANGER = (0.55, 0.95)
"""From when to when another person acts, in seconds: within one of the stretches that one still is kept of."""

SHORT_MOVES: dict[str, Moment] = {
    "0": videos.blinks(0.6, length=0.3),
    "4": videos.raises_head(0.55, 0.4),
    "5": videos.lowers_head(0.55, 0.4),
}


def acted_by(person: Puppet, actor: Puppet, move: Moment) -> Iterator[Image]:
    """``actor`` in place of ``person`` while the move lasts; later light falls from one side and from the other.

    The light changes the face more than the other person does.
    """
    shadow = np.where(np.arange(SIDE) < SIDE / 2, 0.1, 1.0)[np.newaxis, :, np.newaxis]
    for index in range(round(2.6 * RATE)):
        seconds = index / RATE
        if STRANGER[0] <= seconds < STRANGER[1]:
            yield np.asarray(cv2.GaussianBlur(actor.frame(move(seconds)), (0, 0), 1.2), np.uint8)
        elif 1.5 <= seconds < 2.3:
            light = shadow if int(seconds / 0.15) % 2 else shadow[:, ::-1]
            yield np.asarray(person.frame(Pose()) * light, np.uint8)
        else:
            yield person.frame(Pose())


@pytest.mark.parametrize("code", SHORT_MOVES)
def test_who_acts_must_be_the_person_who_is_seen(asker: Asker, cast: dict[str, Puppet], code: str) -> None:
    obama, biden = cast["obama"], cast["biden"]
    own = asker.verify(code, encode(acted_by(biden, biden, SHORT_MOVES[code])))
    assert own["result"]["action_verify"] == "pass", own
    assert asker.verify(code, encode(acted_by(biden, obama, SHORT_MOVES[code])))["err_no"] == 216434


def test_flashes_beside_the_face_hide_nobody(wire: Wire, cast: dict[str, Puppet]) -> None:
    """Each changes the picture more than another face does; the other person's frames are too blurred for a still."""
    frames = []
    for index in range(round(2.6 * RATE)):
        stranger = 0.6 <= index / RATE < 0.85
        face = cast["obama" if stranger else "biden"].frame(Pose())
        if stranger:
            face = np.asarray(cv2.GaussianBlur(face, (0, 0), 1.2), np.uint8)
        beside = np.full_like(face, 255 if index > 12 and index // 2 % 2 else 40)
        frames.append(np.hstack([face, beside]))
    assert failure(wire, VERIFY, video_base64=text(encode(frames))) == (216434, "liveness check fail")
