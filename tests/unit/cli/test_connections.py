"""What a connection sends, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from service.cli.connections import OneWrite


class Recorder(asyncio.Transport):
    """What would go to the system, a list of pieces for every time."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.sent: list[list[bytes]] = []
        self.ended = ""

    def writelines(self, list_of_data: Iterable[bytes]) -> None:  # type: ignore[override]
        self.sent.append(list(list_of_data))

    def get_write_buffer_size(self) -> int:
        return 5

    def is_closing(self) -> bool:
        return self.ended != ""

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"


async def _turn() -> None:
    await asyncio.sleep(0)


def test_an_answer_is_sent_at_once_at_the_end_of_the_turn() -> None:
    async def told() -> None:
        under = Recorder()
        transport = OneWrite(under, asyncio.get_running_loop(), 60)
        transport.write(b"head")
        transport.writelines([b"body", b"end"])
        assert under.sent == []
        assert transport.get_write_buffer_size() == 5 + len("headbodyend")
        assert transport.get_extra_info("peername") == ("127.0.0.1", 1)
        await _turn()
        assert under.sent == [[b"head", b"body", b"end"]]
        assert transport.get_write_buffer_size() == 5
        await _turn()
        transport.write(b"next")
        await _turn()
        assert under.sent[1:] == [[b"next"]]

    asyncio.run(told())


def test_what_was_written_goes_out_before_a_connection_is_closed_and_not_when_it_is_given_up() -> None:
    async def told() -> None:
        loop = asyncio.get_running_loop()
        closed, aborted, gone = Recorder(), Recorder(), Recorder()
        for under in (closed, aborted, gone):
            OneWrite(under, loop, 60).write(b"of another turn")
        await _turn()
        polite, rude, late = (OneWrite(under, loop, 60) for under in (closed, aborted, gone))
        for transport in (polite, rude, late):
            transport.write(b"answer")
        polite.close()
        rude.abort()
        gone.ended = "by the client"
        await _turn()
        assert closed.sent == [[b"of another turn"], [b"answer"]]
        assert aborted.sent == gone.sent == [[b"of another turn"]]
        assert (closed.ended, aborted.ended) == ("closed", "aborted")

    asyncio.run(told())


def test_who_does_not_read_the_rest_of_a_closed_connection_is_hung_up_on() -> None:
    async def told() -> None:
        loop = asyncio.get_running_loop()
        gone, unread = Recorder(), Recorder()
        polite = OneWrite(gone, loop, 0.01)
        polite.close()
        polite.lost()
        polite.close()  # as uvicorn does then
        OneWrite(unread, loop, 0.01).close()
        while unread.ended != "aborted":
            await _turn()
        assert gone.ended == "closed"

    asyncio.run(told())
