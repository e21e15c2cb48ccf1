"""What a connection sends, and when."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from service.cli.connections import OneWrite


class Recorder(asyncio.Transport):
    """What would go to the system, one string for every time."""

    waiting = 5

    def __init__(self, **extra: object) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), **extra})
        self.sent: list[bytes] = []
        self.ended = ""

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.sent.append(data)

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return self.ended != ""

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"


class Plain(Recorder):
    """One over a socket, with nothing to be sent before."""

    waiting = 0

    def __init__(self, own: socket.socket, **more: object) -> None:
        super().__init__(socket=own, **more)
        own.setblocking(False)


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
        assert under.sent == [b"headbodyend"]
        assert transport.get_write_buffer_size() == 5
        await _turn()
        transport.write(b"next")
        await _turn()
        assert under.sent[1:] == [b"next"]

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
        assert closed.sent == [b"of another turn", b"answer"]
        assert aborted.sent == gone.sent == [b"of another turn"]
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


def test_a_plain_answer_is_sent_without_the_transport_which_would_keep_pythons_lock_meanwhile() -> None:
    async def told() -> None:
        own, client = socket.socketpair()
        with own, client:
            under = Plain(own)
            transport = OneWrite(under, asyncio.get_running_loop(), 60)
            transport.write(b"head")
            transport.write(b"body")
            await _turn()
            assert client.recv(100) == b"headbody"
            assert under.sent == []
            under.waiting = 1  # of an answer before: nothing may overtake it
            transport.write(b"next")
            await _turn()
            assert under.sent == [b"next"]

    asyncio.run(told())


@pytest.mark.parametrize("rest", [0, 5_000_000])
def test_what_a_client_does_not_take_at_once_is_left_to_the_transport(rest: int) -> None:
    """All of it where the connection is full or gone."""

    async def told() -> None:
        own, client = socket.socketpair()
        with own, client:
            under = Plain(own)
            transport = OneWrite(under, asyncio.get_running_loop(), 60)
            if not rest:
                client.close()
            answer = b"answer" + bytes(rest)
            transport.write(answer)
            await _turn()
            (left,) = under.sent
            assert answer.endswith(left)
            taken = len(answer) - len(left)
            assert (taken > 0) == (rest > 0)
            assert rest == 0 or client.recv(taken, socket.MSG_WAITALL) + left == answer

    asyncio.run(told())


def test_what_is_to_be_encrypted_goes_through_the_transport() -> None:
    async def told() -> None:
        own, client = socket.socketpair()
        with own, client:
            under = Plain(own, sslcontext=ssl.create_default_context())
            OneWrite(under, asyncio.get_running_loop(), 60).write(b"secret")
            await _turn()
            assert under.sent == [b"secret"]

    asyncio.run(told())
