"""What signals do to commands. That nothing stays behind is shown in tests/e2e/test_signals.py."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import pytest
import typer

from service.cli.serve import INTERRUPTED, ended_by_signals, interruptible, stopped_by_signals
from tests.fixtures.signals import NUMBERS, as_in_a_terminal


@pytest.fixture(autouse=True)
def _undisturbed() -> Iterator[None]:
    with as_in_a_terminal():
        yield


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_command_ends_with_the_signal_as_its_status(number: signal.Signals, status: int) -> None:
    cleaned = []

    def clean_up() -> None:
        for again in NUMBERS:
            signal.raise_signal(again)  # which disturbs nothing any more
        cleaned.append(number)

    with ExitStack() as stack:
        ended = stack.enter_context(pytest.raises(SystemExit))
        stack.enter_context(ended_by_signals())
        stack.callback(clean_up)
        signal.raise_signal(number)
    assert (ended.value.code, cleaned) == (status, [number])
    assert [signal.getsignal(each) for each in NUMBERS] == [signal.SIG_DFL] * 3


def test_ctrl_c_is_a_keyboard_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), ended_by_signals():
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_server_stops_normally(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    went_on = False
    with ended_by_signals(), stopped_by_signals():
        signal.raise_signal(number)
        went_on = True
    assert (went_on, capsys.readouterr().err) == (False, "stopped\n")


@pytest.mark.parametrize("number", NUMBERS)
def test_what_can_be_done_again_ends_alike(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, ended_by_signals(), interruptible("do it again"):
        signal.raise_signal(number)
    assert (ended.value.exit_code, capsys.readouterr().err) == (INTERRUPTED, "stopped\ndo it again\n")
    with interruptible("do it again"):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("block", [ended_by_signals, stopped_by_signals])
def test_nohup_is_heeded(block: Callable[[], AbstractContextManager[None]]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with block():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
