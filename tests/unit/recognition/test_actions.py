"""Actions told from made-up measures."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

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
    assert performed(Track.of([]), [action]) == ()


@pytest.mark.parametrize(
    ("action", "shown"),
    [
        (Action.BLINK, track(closed=np.where(SECONDS > 1, 1.0, 0.0))),
        (Action.BLINK, track(closed=np.where(SECONDS < 1, 1.0, 0.0))),
        (Action.BLINK, track(closed=bump(0.5, 3.0))),
        (Action.BLINK, track(closed=1.0)),
        (Action.BLINK, replace(track(closed=bump(1.0, 0.3)), lids=track().lids)),  # in a dark frame, the lids apart
        (Action.OPEN_MOUTH, track(mouth=np.where(SECONDS < 1, 0.4, 0.0))),
        (Action.OPEN_MOUTH, track(mouth=0.4)),
        (Action.SHAKE_HEAD, track(yaw=bump(0.8, 0.6, 18))),
        (Action.SHAKE_HEAD, track(yaw=bump(0.8, 0.6, 18) + bump(2.0, 0.6, 18))),
        (Action.RAISE_HEAD, track(pitch=-30)),
        (Action.LOWER_HEAD, track(pitch=bump(1.0, 0.6, 16), yaw=bump(1.0, 0.6, 25))),
        (Action.SHAKE_HEAD, track(yaw=np.where(SECONDS < 0.5, 18, 0) - bump(0.6, 0.6, 18))),
        (Action.RAISE_HEAD, track(pitch=np.where(SECONDS < 1, -16, 0) + bump(0.5, 0.2, 10))),
        (Action.RAISE_HEAD, track(pitch=np.where(SECONDS < 1, -6.5, 0) + bump(0.2, 0.6, -6))),
        (Action.LOWER_HEAD, track(pitch=np.where(SECONDS < 1, -16, 0))),
        (Action.LOWER_HEAD, track(pitch=np.where(SECONDS < 1, 0, -16))),
    ],
)
def test_what_only_resembles_an_action(action: Action, shown: Track) -> None:
    assert events(shown, action) == []


@pytest.mark.parametrize(
    ("done", "opposite", "degrees"),
    [(Action.RAISE_HEAD, Action.LOWER_HEAD, -16), (Action.LOWER_HEAD, Action.RAISE_HEAD, 16)],
)
def test_an_action_may_be_held_longer_than_the_rest_of_the_video(
    done: Action, opposite: Action, degrees: float
) -> None:
    held = track(pitch=np.where((SECONDS > 0.8) & (SECONDS < 3.4), degrees, 0.0))
    assert [round(event.end - event.start, 1) for event in events(held, done)] == [2.5]
    assert events(held, opposite) == []


@pytest.mark.parametrize("first", [0.0, 14.0])
def test_a_short_look_ahead_at_both_ends_tells_the_rest(first: float) -> None:
    """Also where the very first frame was misread."""
    pitch = np.where((SECONDS > 0.4) & (SECONDS < 3.6), 16.0, 0.0)
    pitch[0] = first
    held = track(pitch=pitch)
    assert len(events(held, Action.LOWER_HEAD)) == 1
    assert events(held, Action.RAISE_HEAD) == []


def test_a_head_may_be_held_turned_to_one_side_for_long() -> None:
    sides = np.select([SECONDS < 0.6, SECONDS < 3.0, SECONDS < 3.5], [0.0, 18.0, -18.0], 0.0)
    assert len(events(track(yaw=sides), Action.SHAKE_HEAD)) == 1


@pytest.mark.parametrize("degrees", [-16.0, 16.0])
def test_an_action_that_wavers_is_one(degrees: float) -> None:
    """It dips below what makes an action, and not back to rest."""
    wavering = track(
        pitch=np.where((SECONDS > 0.8) & (SECONDS < 2.4), degrees * (0.55 + 0.15 * np.cos(9 * SECONDS)), 0)
    )
    assert len(events(wavering, Action.RAISE_HEAD if degrees < 0 else Action.LOWER_HEAD)) == 1


@pytest.mark.parametrize(("slower", "shakes"), [(1, 1), (2, 1), (4, 0)])
def test_the_turns_of_a_shake_follow_each_other_soon(slower: float, shakes: int) -> None:
    """The head looks ahead for 1.3 s, 2.6 s and 5.2 s in between."""
    turned = track(yaw=bump(0.6, 0.6, 18) - bump(2.3, 0.6, 18))
    assert len(events(replace(turned, seconds=turned.seconds * slower), Action.SHAKE_HEAD)) == shakes


@pytest.mark.parametrize(("turns", "shakes"), [(3, 1), (4, 1), (6, 1)])
def test_a_head_that_is_shaken_on_is_shaken_once(turns: int, shakes: int) -> None:
    yaw = sum((bump(0.5 + 0.5 * turn, 0.5, 18 * (-1) ** turn) for turn in range(turns)), np.zeros(len(SECONDS)))
    assert len(events(track(yaw=yaw), Action.SHAKE_HEAD)) == shakes


def test_a_raised_head_turns_to_no_side() -> None:
    """Its measured yaw strays, here by more than a turn, and would make the shake before it last until then."""
    shaken = bump(0.3, 0.5, 18) - bump(0.8, 0.5, 18)
    strays = track(yaw=shaken + bump(1.6, 0.6, 10), pitch=bump(1.4, 1.0, -16))
    assert [round(event.end, 1) for event in events(strays, Action.SHAKE_HEAD)] == [1.2]
    assert performed(strays, [Action.SHAKE_HEAD, Action.RAISE_HEAD]) == (Action.SHAKE_HEAD, Action.RAISE_HEAD)
    back = track(yaw=bump(0.6, 0.6, 10) - bump(1.6, 0.6, 18), pitch=bump(0.4, 1.0, -16))
    assert events(back, Action.SHAKE_HEAD) == []


def test_a_head_that_is_turned_further_than_raised_is_shaken() -> None:
    raised = np.where((SECONDS > 1.8) & (SECONDS < 3.2), -11.0, 0.0)
    assert len(events(track(yaw=SHAKEN, pitch=raised), Action.SHAKE_HEAD)) == 1


def test_a_head_that_is_raised_again_a_little_does_not_swing_past_its_rest() -> None:
    again = track(pitch=bump(0.6, 0.8, -20) + bump(1.5, 0.4, -9.8))
    assert len(events(again, Action.RAISE_HEAD)) == 2


def test_a_head_that_is_shaken_again_later_is_shaken_twice() -> None:
    pair = bump(0.3, 0.5, 18) - bump(0.8, 0.5, 18) + bump(2.6, 0.5, 18) - bump(3.1, 0.5, 18)
    assert len(events(track(yaw=pair), Action.SHAKE_HEAD)) == 2


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
        (Action.RAISE_HEAD, bump(1.0, 0.25, -16), bump(2.0, 0.25, -16)),
    ],
)
def test_what_is_done_once_counts_once(action: Action, once: Series, twice: Series) -> None:
    """However short it is: a server may be told to ask for one kind of action alone."""
    done = "mouth" if action is Action.OPEN_MOUTH else "pitch"
    assert performed(track(**{done: once}), [action] * 3) == (action,)
    assert performed(track(**{done: once + twice}), [action] * 3) == (action, action)


def test_a_blink_counts_once_in_a_fast_video() -> None:
    blink = track(closed=np.where(np.arange(len(SECONDS)) == 20, 1.0, 0.0))
    fast = replace(blink, seconds=SECONDS * 0.6)
    assert performed(fast, [Action.BLINK] * 2) == (Action.BLINK,)


def test_an_action_that_is_no_longer_asked_for_still_answers_its_code() -> None:
    """The session was opened under another setting."""
    assert performed(PERFORMANCES[Action.OPEN_MOUTH], [Action.OPEN_MOUTH], [Action.BLINK]) == (Action.OPEN_MOUTH,)


def test_of_two_actions_that_begin_together_the_shorter_comes_first() -> None:
    mouth = np.where((SECONDS > 1) & (SECONDS < 1.4), 0.4, 0.0)
    head = np.where((SECONDS > 1) & (SECONDS < 1.8), -16.0, 0.0)
    told = [performed(track(mouth=mouth, pitch=head), [action]) for action in (Action.OPEN_MOUTH, Action.RAISE_HEAD)]
    assert told == [(Action.OPEN_MOUTH, Action.RAISE_HEAD), ()]


BLINKS = sum((bump(start, 0.2) for start in (0.1, 0.9, 1.75, 3.2)), np.zeros(len(SECONDS)))
RAISED, LOWERED = bump(0.35, 0.5, -16), bump(1.15, 0.5, 16)
SHAKEN = bump(2.0, 0.5, 18) - bump(2.5, 0.5, 18)
TURNS_LESS = bump(0.8, 0.6, 18) - bump(1.6, 0.6, 11)


def answered(shown: Track) -> set[str]:
    """The codes of up to three of the default actions, none twice in a row, that a video answers."""
    codes = ("".join(code) for length in (1, 2, 3) for code in product("0457", repeat=length))
    fair = [code for code in codes if all(code[place] != code[place - 1] for place in range(1, len(code)))]
    assert len(fair) == 52
    asked = [Action(digit) for digit in "0457"]
    return {code for code in fair if performed(shown, (wanted := [Action(d) for d in code]), asked) == tuple(wanted)}


def test_a_video_in_which_everything_is_done_answers_one_code() -> None:
    assert answered(track(closed=BLINKS, pitch=RAISED + LOWERED, yaw=SHAKEN)) == {"457"}


def test_blinks_by_the_way_are_no_offence() -> None:
    assert answered(track(closed=BLINKS, pitch=RAISED + LOWERED)) == {"45", "045", "405", "450"}
    assert answered(track(closed=BLINKS)) == {"0"}


@pytest.mark.parametrize(
    ("at_the_end", "codes", "share"),
    [(0.0, "4 04 40 040 404", 0.16), (16.0, "4 04 40 040 404 45 045 405", 0.20)],
)
def test_how_many_sessions_one_recording_answers(at_the_end: float, codes: str, share: float) -> None:
    """The most that are known, out of sessions of which a third have one, two and three actions each."""
    blinks = sum((bump(start, 0.2) for start in (0.1, 1.3, 2.8)), np.zeros(len(SECONDS)))
    twice = bump(0.4, 0.6, -16) + bump(1.8, 0.6, -16) + np.where(SECONDS > 3.5, at_the_end, 0)
    found = answered(track(closed=blinks, pitch=twice))
    assert found == set(codes.split())
    assert sum(1 / 3 / (4 * 3 ** (len(code) - 1)) for code in found) == pytest.approx(share, abs=0.005)


def test_an_action_may_begin_while_the_one_before_it_ends() -> None:
    assert "04" in answered(track(closed=bump(0.9, 0.3), pitch=bump(0.9, 0.8, -16)))
    assert "04" not in answered(track(closed=bump(0.9, 0.3), pitch=bump(0.7, 0.8, -16)))
    tilted = track(mouth=bump(0.6, 0.4, 0.4), pitch=bump(0.8, 0.5, -10))  # what another brings along may follow it
    assert performed(tilted, [Action.OPEN_MOUTH]) == (Action.OPEN_MOUTH,)


@pytest.mark.parametrize(
    "shown",
    [
        track(pitch=bump(0.6, 0.8, -20) + bump(1.5, 0.4, 9.5)),  # swings back past the rest
        track(pitch=bump(0.6, 0.6, -16) + bump(1.6, 0.6, -14)),  # does it again, to be sure
        track(pitch=bump(0.6, 0.8, -16) + np.where(SECONDS > 3.5, 16, 0)),  # looks down to end the video
        track(pitch=bump(0.6, 0.8, -16), mouth=bump(0.7, 0.6, 0.3)),  # sessions do not ask for the mouth
        track(pitch=bump(0.6, 0.8, -18), yaw=bump(0.3, 0.4, 11) - bump(1.3, 0.4, 11)),  # turns a little, up and back
    ],
)
def test_what_is_natural_beside_an_action(shown: Track) -> None:
    assert "4" in answered(shown)


@pytest.mark.parametrize(
    ("shown", "wanted", "told"),
    [
        (track(pitch=RAISED + LOWERED), "4", "45"),
        (track(pitch=RAISED + LOWERED), "5", ""),
        (track(pitch=bump(0.6, 0.8, -20) + bump(1.5, 0.5, 14)), "4", "45"),  # too far for a swing
        (track(pitch=bump(0.6, 0.8, -20) + bump(2.4, 0.4, 9.5)), "4", "45"),  # too late for one
        (track(pitch=RAISED + LOWERED, yaw=SHAKEN), "47", "4"),
        (track(pitch=LOWERED, yaw=SHAKEN, closed=BLINKS), "07", "0"),
        (track(pitch=bump(0.6, 0.8, 16) + np.where(SECONDS > 3.5, -16, 0)), "5", "54"),
        (track(pitch=RAISED, mouth=bump(0.5, 0.4, 0.3)), "4", "41"),  # where sessions do ask for the mouth
        (track(pitch=RAISED, mouth=bump(0.4, 0.4, 0.15)), "4", "4"),  # a mouth that opens a little meanwhile
        (track(mouth=bump(0.6, 0.8, 0.4), pitch=bump(0.7, 0.6, -10)), "1", "1"),  # a head that tilts with the mouth
        (track(mouth=bump(0.6, 0.8, 0.17), pitch=bump(0.7, 0.6, -10)), "1", "1"),  # that opens a little as well
        (track(yaw=TURNS_LESS, pitch=bump(1.3, 0.4, 11)), "7", "7"),  # that nods between the turns
        (track(pitch=RAISED + np.where(SECONDS > 3, 16, 0), mouth=bump(3.2, 0.6, 0.4)), "4", "45"),  # no mere look down
        (track(mouth=bump(0.6, 0.8, 0.4), pitch=bump(0.7, 0.6, -16)), "1", "14"),  # or is raised
        (track(mouth=bump(0.6, 0.6, 0.4), pitch=bump(1.6, 0.6, -10)), "1", "14"),  # or tilts later
        (track(pitch=RAISED), "", ""),
    ],
)
def test_what_was_done_must_be_the_code_and_nothing_else(shown: Track, wanted: str, told: str) -> None:
    assert "".join(action.value for action in performed(shown, [Action(digit) for digit in wanted])) == told


LOOKS_DOWN = np.where((SECONDS < 0.7) | (SECONDS > 3.4), 12.0, 0.0)
"""At the button, to begin and to end the video."""


@pytest.mark.parametrize(
    ("done", "code"),
    [
        (track(pitch=LOOKS_DOWN + bump(1.4, 0.7, -16)), "4"),
        (track(pitch=LOOKS_DOWN + bump(1.4, 0.7, 16)), "5"),
        (track(pitch=LOOKS_DOWN / 2 + bump(1.4, 0.7, 12)), "5"),
        (track(pitch=LOOKS_DOWN + bump(1.1, 0.6, 16), yaw=bump(2.0, 0.5, 18) - bump(2.5, 0.5, 18)), "57"),
    ],
)
def test_a_look_at_the_button_at_both_ends_is_no_offence(done: Track, code: str) -> None:
    assert code in answered(done)


def test_a_head_that_is_raised_for_most_of_the_video_was_not_lowered() -> None:
    """It looks as if it had been lowered at both ends."""
    raised = track(pitch=np.where((SECONDS > 0.8) & (SECONDS < 3.2), -16.0, 0.0))
    assert answered(raised) == {"4"}


def test_a_single_frame_that_was_misread_is_no_action() -> None:
    spikes = np.where(np.isin(np.arange(len(SECONDS)), (6, 40)), 14.0, 0.0)
    assert answered(track(pitch=RAISED + spikes)) == {"4"}
    assert performed(track(mouth=np.where(np.arange(len(SECONDS)) == 20, 0.3, 0.0)), [Action.OPEN_MOUTH]) == ()


def test_the_moments_that_made_an_action_are_told() -> None:
    for action, shown in PERFORMANCES.items():
        (event,) = events(shown, action)
        assert len(event.shown) == (2 if action is Action.SHAKE_HEAD else 1)
        for group in event.shown:
            assert event.start <= SECONDS[group[0]] <= SECONDS[group[-1]] <= event.end
    (raised,) = events(PERFORMANCES[Action.RAISE_HEAD], Action.RAISE_HEAD)
    assert PERFORMANCES[Action.RAISE_HEAD].pitch[list(raised.shown[0])].max() < 5 - 7


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
