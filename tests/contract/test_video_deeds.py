"""V1 over the wire: what is done in a video, and by whom."""

from __future__ import annotations

import psycopg
import pytest

from service.storage.urls import driver_address
from tests.contract.filmed import MOVES, VERIFY, opened, post, text
from tests.contract.wire import Wire
from tests.fixtures import videos
from tests.fixtures.videos import Puppet, encode


class Asker:
    """Opens sessions that ask for what a test wants."""

    def __init__(self, wire: Wire, database_url: str) -> None:
        self.wire = wire
        self._database_url = database_url

    def verify(self, code: str, video: bytes) -> dict[str, object]:
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
        assert isinstance(result, dict)
        answers[code] = (result["code"]["identify"], result["code"]["similarity"], result["action_verify"])
    assert answers == {
        "4": ("45", 0.5, "fail"),
        "45": ("45", 1, "pass"),
        "5": ("", 0, "fail"),
        "47": ("4", 0.5, "fail"),
    }
