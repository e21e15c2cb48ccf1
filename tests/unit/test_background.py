"""The thread that long-lived objects work with in the background."""

from __future__ import annotations

import threading
import time

from service.background import Background


def test_stop_waits_until_the_work_has_returned() -> None:
    ended = threading.Event()

    def work() -> None:
        background.stopping.wait()
        time.sleep(0.05)
        ended.set()

    background = Background("test", work)
    background.start()
    background.stop()
    assert ended.is_set()


def test_stopping_what_was_never_started_does_nothing() -> None:
    background = Background("test", lambda: None)
    background.stop()
    assert background.stopping.is_set()


def test_rounds_are_numbered_and_end_amid_a_long_pause() -> None:
    seen: list[int] = []

    def work() -> None:
        for number in background.rounds(0.001):
            seen.append(number)
            if number == 3:
                assert not list(background.rounds(3600))

    background = Background("test", work)
    background.start()
    while len(seen) < 3:
        time.sleep(0.001)
    background.stop()
    assert seen == [1, 2, 3]


def test_it_has_its_name_and_does_not_keep_the_process_alive() -> None:
    found: list[tuple[str, bool]] = []
    background = Background(
        "snow", lambda: found.append((threading.current_thread().name, threading.current_thread().daemon))
    )
    background.start()
    background.stop()
    assert found == [("snow", True)]
