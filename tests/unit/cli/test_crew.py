"""When a process that ended is replaced, and when that is given up; with processes that only say what they are."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.cli.failures import Failure
from service.cli.processes import (
    FIRST_PAUSE,
    HUNG_SECONDS,
    LONGEST_PAUSE,
    LOOK_SECONDS,
    MOST_IN_VAIN,
    STEADY_SECONDS,
    _Child,
    _Crew,
)


@dataclass
class Actor:
    """A process that has ended with ``returned`` once its line is closed."""

    line: socket.socket
    pid: int = 1
    returned: int = 0
    signals: list[int] = field(default_factory=list)

    def wait(self) -> int:
        return self.returned

    def send_signal(self, number: int) -> None:
        self.signals.append(number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@dataclass
class Play:
    """A crew of actors."""

    crew: _Crew
    actors: list[Actor]
    announced: list[str]
    refusals: list[OSError]

    def start(self) -> _Child:
        """The one that is due, whatever pause there is."""
        assert self.crew._due()
        self.crew._start_one()
        return self.crew._children[-1]

    def started(self) -> _Child:
        """One that is ready."""
        child = self.start()
        self.ready(child)
        return child

    def ready(self, child: _Child) -> None:
        self._actor(child).line.send(b".")
        self.crew._listen_to(child)

    def end(self, child: _Child, status: int) -> None:
        self._actor(child).returned = status
        self._actor(child).line.close()
        self.crew._listen_to(child)

    def leave(self, child: _Child) -> None:
        self._actor(child).line.send(b"-")
        self.crew._listen_to(child)

    def orders(self, child: _Child) -> list[int]:
        return list(self._actor(child).line.recv(64))

    def signals(self, child: _Child) -> list[int]:
        return self._actor(child).signals

    def _actor(self, child: _Child) -> Actor:
        process: object = child.process
        return next(actor for actor in self.actors if actor is process)


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Play]]:
    with ExitStack() as stack:
        actors: list[Actor] = []
        refusals: list[OSError] = []
        crews: list[_Crew] = []

        def start(_: list[str], *, pass_fds: tuple[int, int], **__: Any) -> Actor:
            if refusals:
                raise refusals.pop()
            actors.append(Actor(stack.enter_context(socket.socket(fileno=os.dup(pass_fds[1])))))
            return actors[-1]

        def made(size: int) -> Play:
            announced: list[str] = []
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            crew = _Crew(size, listener, tmp_path / "metrics", lambda: announced.append("ready"))
            stack.callback(crew._events.close)
            crews.append(crew)
            return Play(crew, actors, announced, refusals)

        monkeypatch.setattr(subprocess, "Popen", start)
        yield made
        for crew in crews:
            for child in crew._children:
                child.line.close()


def test_the_first_starts_alone_and_is_announced_once(play: Callable[[int], Play]) -> None:
    scene = play(3)
    first = scene.start()
    assert not scene.crew._due()
    scene.ready(first)
    second = scene.start()
    assert not scene.crew._due()
    scene.ready(second)
    scene.ready(scene.start())
    assert not scene.crew._due()
    assert scene.announced == ["ready"]


def test_an_order_to_stop_comes_before_what_starts_is_ready(play: Callable[[int], Play]) -> None:
    scene = play(2)
    first = scene.start()
    scene.crew._stop(signal.SIGHUP)
    scene.ready(first)
    assert not scene.crew._due()
    scene.crew._stop(signal.SIGINT)
    assert scene.orders(first) == [signal.SIGTERM, signal.SIGINT]
    scene.end(first, 0)
    assert scene.crew._children == []
    assert scene.announced == []


@pytest.mark.parametrize(("status", "told"), [(0, "with status 0"), (-9, "by SIGKILL"), (-200, "by signal 200")])
def test_a_first_that_ends_without_a_word_is_told_of(play: Callable[[int], Play], status: int, told: str) -> None:
    scene = play(2)
    with pytest.raises(Failure, match=f"{told} before it was ready"):
        scene.end(scene.start(), status)


def test_a_first_that_said_why_it_ends_has_the_last_word(play: Callable[[int], Play]) -> None:
    scene = play(2)
    with pytest.raises(SystemExit) as ended:
        scene.end(scene.start(), 2)
    assert ended.value.code == 2


def test_it_is_given_up_only_while_nobody_answers(play: Callable[[int], Play]) -> None:
    scene = play(2)
    first = scene.start()
    scene.ready(first)
    for _ in range(2 * MOST_IN_VAIN):
        scene.end(scene.start(), 1)
    assert scene.crew._pause == LONGEST_PAUSE
    scene.end(first, -9)
    assert scene.crew._not_before <= time.monotonic() + FIRST_PAUSE
    for _ in range(MOST_IN_VAIN - 1):
        scene.end(scene.start(), 1)
    with pytest.raises(Failure, match="no process can be started any more"):
        scene.end(scene.start(), 1)


def test_one_that_lived_long_is_replaced_at_once_whatever_another_one_did(play: Callable[[int], Play]) -> None:
    scene = play(2)
    steady = scene.start()
    scene.ready(steady)
    scene.end(scene.start(), 1)
    assert scene.crew._not_before > time.monotonic()
    steady.begun -= STEADY_SECONDS
    scene.end(steady, -11)
    assert scene.crew._not_before <= time.monotonic()
    assert scene.crew._due()


def test_a_system_without_room_for_another_process(play: Callable[[int], Play]) -> None:
    scene = play(2)
    full = OSError(errno.EAGAIN, "Resource temporarily unavailable")
    scene.refusals.append(full)
    with pytest.raises(Failure, match="no process can be started: Resource temporarily unavailable"):
        scene.crew._start_one()
    first = scene.start()
    scene.ready(first)
    scene.refusals.append(full)
    scene.crew._start_one()
    assert scene.crew._children == [first]
    assert scene.crew._not_before > time.monotonic()
    scene.end(first, -9)
    scene.refusals += MOST_IN_VAIN * [full]
    for _ in range(MOST_IN_VAIN - 1):
        scene.crew._start_one()
    with pytest.raises(Failure, match="no process can be started any more"):
        scene.crew._start_one()


def test_who_says_nothing_for_long_is_ended_at_last_by_force(play: Callable[[int], Play]) -> None:
    scene = play(3)
    hanging, other = (scene.started() for _ in range(2))
    starting_takes_its_time = scene.start()
    for _ in range(int(HUNG_SECONDS / LOOK_SECONDS) + 1):
        scene.ready(other)
        scene.crew._end_hung(LOOK_SECONDS)
    assert scene.signals(hanging) == [signal.SIGABRT, signal.SIGKILL]
    assert scene.signals(other) == scene.signals(starting_takes_its_time) == []


def test_who_is_about_to_end_may_take_its_time(play: Callable[[int], Play]) -> None:
    scene = play(2)
    leaving, other = (scene.started() for _ in range(2))
    scene.leave(leaving)
    scene.crew._end_hung(2 * HUNG_SECONDS)
    assert scene.signals(leaving) == []
    assert scene.signals(other) == [signal.SIGABRT]
    scene.crew._stop(signal.SIGTERM)
    scene.crew._end_hung(2 * HUNG_SECONDS)
    assert scene.signals(leaving) == []


def test_the_third_order_to_stop_is_by_force(play: Callable[[int], Play]) -> None:
    scene = play(2)
    deaf = scene.started()
    for _ in range(2):
        scene.crew._stop(signal.SIGINT)
    assert scene.signals(deaf) == []
    scene.crew._stop(signal.SIGINT)
    assert scene.orders(deaf) == 3 * [signal.SIGINT]
    assert scene.signals(deaf) == [signal.SIGKILL]
    scene.end(deaf, -9)
    assert scene.crew._children == []


def test_one_that_somebody_stopped_alone_is_no_error(
    play: Callable[[int], Play], caplog: pytest.LogCaptureFixture
) -> None:
    scene = play(2)
    stopped, killed = (scene.started() for _ in range(2))
    scene.leave(stopped)
    with caplog.at_level("INFO"):
        scene.end(stopped, 0)
        scene.end(killed, -9)
    assert [record.levelname for record in caplog.records if "takes its place" in record.message] == ["INFO", "ERROR"]


def test_of_who_ended_only_what_was_counted_is_kept(play: Callable[[int], Play]) -> None:
    scene = play(2)
    steady, early = scene.started(), scene.start()
    scene.crew._metrics.mkdir(exist_ok=True)
    for number, child in enumerate((steady, early), start=1):
        child.process.pid = number
        for name, count in (("counter", 100), ("histogram", 0), ("gauge_livesum", 8)):
            path = scene.crew._metrics / f"{name}_{number}.db"
            path.write_bytes(count.to_bytes(4, sys.byteorder) + bytes(2**16 - 4))
    scene.end(early, 1)
    scene.end(steady, -9)
    assert {path.name: path.stat().st_size for path in scene.crew._metrics.iterdir()} == {
        "counter_1.db": 100,
        "histogram_1.db": 8,
    }


def test_who_leaves_before_it_is_ready_is_not(play: Callable[[int], Play]) -> None:
    scene = play(2)
    first = scene.start()
    scene.leave(first)
    assert not first.ready
    assert scene.announced == []


def test_a_machine_that_stood_still_makes_nobody_hang(
    play: Callable[[int], Play], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = play(1)
    only = scene.started()
    monkeypatch.setattr(scene.crew._events, "select", lambda _: [])
    for _ in range(2):
        scene.crew._looked -= 100 * HUNG_SECONDS
        scene.crew._step(only.line)
    assert scene.signals(only) == []
    assert only.silent == 4 * LOOK_SECONDS


def test_who_hangs_is_looked_for_while_another_one_is_waited_for(
    play: Callable[[int], Play], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = play(2)
    only = scene.started()
    waits: list[float] = []

    def nothing_happens(seconds: float) -> list[object]:
        waits.append(seconds)
        return []

    scene.crew._not_before = time.monotonic() + LONGEST_PAUSE
    monkeypatch.setattr(scene.crew._events, "select", nothing_happens)
    scene.crew._step(only.line)
    assert waits == [LOOK_SECONDS]
