"""Actions told from made-up measures."""

from __future__ import annotations

import numpy as np
import pytest

from service.intake.track import Series, Track
from service.recognition.actions import (
    Action,
    events,
    greatest_jump,
    longest_absence,
    performed,
    spoken_openings,
)
from service.recognition.video import GREATEST_JUMP

RATE = 12
SECONDS: Series = np.arange(4 * RATE) / RATE


def bump(start: float, length: float, height: float = 1.0) -> Series:
    share = (SECONDS - start) / length
    return np.where((share >= 0) & (share <= 1), height * np.sin(np.pi * np.clip(share, 0, 1)), 0.0)


def track(
    *,
    yaw: Series | float = 0.0,
    pitch: Series | float = 0.0,
    closed: Series | float = 0.0,
    mouth: Series | float = 0.0,
    across: Series | float = 100.0,
    side: Series | float = 80.0,
) -> Track:
    """A face at rest but for what is said; ``closed`` lids are 1 when shut."""
    rest = np.zeros(len(SECONDS))
    noise = np.random.default_rng(1).normal(0, 0.3, (2, len(SECONDS)))
    return Track(
        seconds=SECONDS,
        yaw=-3 + noise[0] + yaw,
        pitch=5 + noise[1] + pitch,
        lids=0.25 - 0.2 * (rest + closed),
        eyes=1 - (rest + closed),
        mouth=0.1 + rest + mouth,
        across=rest + across,
        down=rest + 50,
        side=rest + side,
    )


PERFORMANCES = {
    Action.BLINK: track(closed=bump(1.0, 0.3)),
    Action.OPEN_MOUTH: track(mouth=bump(1.0, 0.8, 0.4)),
    Action.RAISE_HEAD: track(pitch=bump(1.0, 0.9, -16)),
    Action.LOWER_HEAD: track(pitch=bump(1.0, 0.9, 16)),
    Action.SHAKE_HEAD: track(yaw=bump(0.8, 0.6, 18) - bump(1.5, 0.6, 18)),
}


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("shown", Action)
def test_an_action_is_seen_where_it_is_performed_and_nowhere_else(action: Action, shown: Action) -> None:
    assert len(events(PERFORMANCES[shown], action)) == (1 if action is shown else 0)


@pytest.mark.parametrize("action", Action)
def test_a_face_at_rest_does_nothing(action: Action) -> None:
    assert events(track(), action) == []
    assert events(Track.of([]), action) == []


@pytest.mark.parametrize(
    ("action", "shown"),
    [
        (Action.BLINK, track(closed=np.where(SECONDS > 1, 1.0, 0.0))),
        (Action.BLINK, track(closed=np.where(SECONDS < 1, 1.0, 0.0))),
        (Action.BLINK, track(closed=bump(0.5, 3.0))),
        (Action.BLINK, track(closed=1.0)),
        (Action.OPEN_MOUTH, track(mouth=np.where(SECONDS < 1, 0.4, 0.0))),
        (Action.OPEN_MOUTH, track(mouth=0.4)),
        (Action.SHAKE_HEAD, track(yaw=bump(0.8, 0.6, 18))),
        (Action.SHAKE_HEAD, track(yaw=bump(0.8, 0.6, 18) + bump(2.0, 0.6, 18))),
        (Action.RAISE_HEAD, track(pitch=-30)),
        (Action.LOWER_HEAD, track(pitch=bump(1.0, 0.6, 16), yaw=bump(1.0, 0.6, 25))),
    ],
)
def test_what_only_resembles_an_action(action: Action, shown: Track) -> None:
    assert events(shown, action) == []


def test_actions_count_in_the_order_in_which_they_were_asked_for() -> None:
    both = track(closed=bump(0.6, 0.3), pitch=bump(1.5, 0.9, 16))
    assert performed(both, [Action.BLINK, Action.LOWER_HEAD]) == (Action.BLINK, Action.LOWER_HEAD)
    assert performed(both, [Action.LOWER_HEAD, Action.BLINK]) == (Action.LOWER_HEAD,)
    assert performed(both, [Action.OPEN_MOUTH, Action.BLINK]) == ()
    assert performed(both, [Action.BLINK, Action.LOWER_HEAD, Action.BLINK]) == (Action.BLINK, Action.LOWER_HEAD)


@pytest.mark.parametrize(
    ("action", "once", "twice"),
    [
        (Action.OPEN_MOUTH, bump(1.0, 0.2, 0.4), bump(2.0, 0.2, 0.4)),
        (Action.RAISE_HEAD, bump(1.0, 0.2, -16), bump(2.0, 0.2, -16)),
    ],
)
def test_what_is_done_once_counts_once(action: Action, once: Series, twice: Series) -> None:
    """However short it is: a server may be told to ask for one kind of action alone."""
    done = "mouth" if action is Action.OPEN_MOUTH else "pitch"
    assert performed(track(**{done: once}), [action] * 3) == (action,)
    assert performed(track(**{done: once + twice}), [action] * 3) == (action, action)


def test_openings_of_a_speaking_mouth_are_counted() -> None:
    assert spoken_openings(track(mouth=bump(0.5, 0.4, 0.2) + bump(1.2, 0.4, 0.2) + bump(2.0, 0.4, 0.2))) == 3
    assert spoken_openings(track()) == spoken_openings(Track.of([])) == 0


def test_jumps_are_told_from_movements() -> None:
    assert greatest_jump(track(across=100 + 40 * np.sin(SECONDS))) < 0.1
    assert greatest_jump(track(across=np.where(SECONDS < 2, 100.0, 200.0))) == pytest.approx(100 / 80)
    assert greatest_jump(track(side=np.where(SECONDS < 2, 80.0, 200.0))) == pytest.approx(60 / 80)
    assert greatest_jump(Track.of([])) == 0


@pytest.mark.parametrize("gap", [0.05, 0.2, 0.25, 0.5, 1.0])
def test_a_pause_lets_a_face_move_further_but_not_anywhere(gap: float) -> None:
    def moved(sides: float) -> float:
        rest = (0.0, 0.0, 0.3, 1.0, 0.1)
        return greatest_jump(Track.of([(0.0, *rest, 100.0, 50.0, 80.0), (gap, *rest, 100.0 + sides * 80, 50.0, 80.0)]))

    assert moved(0.7) < GREATEST_JUMP
    assert moved(0.7 * max(gap / 0.2, 1)) < GREATEST_JUMP
    assert moved(0.9 * max(gap / 0.2, 1)) > GREATEST_JUMP


def test_absence_counts_from_the_beginning() -> None:
    assert longest_absence(track()) == pytest.approx(1 / RATE)
    late = Track.of([(1.5, *[0.0] * 8), (1.6, *[0.0] * 8)])
    assert longest_absence(late) == pytest.approx(1.5)
    assert longest_absence(Track.of([])) == float("inf")
