"""What a face did in a video, told from its measures over time. Pure functions; figures: ``docs/video-liveness.md``.

Everything is measured against the face's own resting state in the same video, so that narrow eyes, a smile that shows
the teeth or a phone held low change nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from service.intake.track import Series, Track


class Action(str, enum.Enum):
    """What a person may be asked to do; the values are the digits of the API's code."""

    BLINK = "0"
    OPEN_MOUTH = "1"
    RAISE_HEAD = "4"
    LOWER_HEAD = "5"
    SHAKE_HEAD = "7"


@dataclass(frozen=True, slots=True)
class Event:
    """One action seen, from when to when, in seconds from the first frame."""

    action: Action
    start: float
    end: float


CLOSED_EYES, OPEN_EYES = 0.4, 0.6
"""How likely both eyes are open, below and above which they count as closed and as open."""

CLOSED_LIDS = 0.75
"""Opening of closed lids in medians of the video's, at most: a dark frame fools the eye network, not the contours."""

LONGEST_BLINK = 1.2
"""Seconds. Eyes that stay closed longer are closed and did not blink."""

MOUTH_RISE = 0.12
"""Gap between the lips beyond the resting one, in widths of the mouth, of a mouth that was opened on request."""

SPEECH_RISE = 0.05
"""The same of a mouth that speaks."""

PITCH_TURN, YAW_TURN = 8.0, 9.0
"""Degrees from the resting pose that a raised or lowered head, and each half of a shaken one, reaches at least."""

SLACK = 0.15
"""Seconds by which an action may begin before the one that comes before it has ended."""

JUMP_SECONDS = 0.2
"""Moments that are further apart, in slow videos or where the face was lost, give it as much more time to move."""

_RESTING_MOUTH = 20
"""Percentile of the gap between the lips that counts as the resting mouth."""


def events(track: Track, action: Action) -> list[Event]:
    """Every time the face did it, in the order of time."""
    if not len(track):
        return []
    if action is Action.BLINK:
        return _blinks(track)
    if action is Action.OPEN_MOUTH:
        return _events(action, track.seconds, _rise(track.mouth, _RESTING_MOUTH) > MOUTH_RISE)
    if action is Action.SHAKE_HEAD:
        return _shakes(track)
    turned = track.pitch - np.median(track.pitch)
    ahead = np.abs(track.yaw - np.median(track.yaw)) < YAW_TURN  # of a face seen from the side pitch is a guess
    return _events(action, track.seconds, ahead & ((-turned if action is Action.RAISE_HEAD else turned) > PITCH_TURN))


def performed(track: Track, wanted: Sequence[Action]) -> tuple[Action, ...]:
    """Those of ``wanted`` that were done one after the other, up to the first that is missing.

    What was done once counts once, also where it took no longer than the slack and the same is wanted again.
    """
    done: list[Event] = []
    since = -SLACK
    for action in wanted:
        found = next((event for event in events(track, action) if event.start >= since and event not in done), None)
        if found is None:
            break
        done.append(found)
        since = found.end - SLACK
    return tuple(event.action for event in done)


def spoken_openings(track: Track) -> int:
    """How often the mouth opened, as it does for every syllable or every other one."""
    if not len(track):
        return 0
    return len(_runs(_rise(track.mouth, _RESTING_MOUTH) > SPEECH_RISE))


def greatest_jump(track: Track) -> float:
    """How far the face moved at most from one moment to the next, in sides of its box.

    A movement that took longer than ``JUMP_SECONDS`` counts with what it came to in so many seconds; a change of size
    as what an edge of the box moves by. People move, they do not jump.
    """
    if len(track) < 2:
        return 0.0
    side = np.minimum(track.side[1:], track.side[:-1])
    moved = np.hypot(np.diff(track.across), np.diff(track.down)) + np.abs(np.diff(track.side)) / 2
    longer = np.maximum(np.diff(track.seconds) / JUMP_SECONDS, 1.0)
    return float(np.max(moved / np.maximum(side, 1e-6) / longer))


def longest_absence(track: Track) -> float:
    """The longest time without a face, in seconds, the beginning counted."""
    return float(np.diff(track.seconds, prepend=0.0).max()) if len(track) else float("inf")


def _blinks(track: Track) -> list[Event]:
    closed = (track.eyes < CLOSED_EYES) & (track.lids < CLOSED_LIDS * np.median(track.lids))
    opened = track.eyes > OPEN_EYES
    found = []
    for start, end in _runs(closed):
        if not opened[:start].any() or not opened[end:].any():
            continue
        before = track.seconds[:start][opened[:start]][-1]
        after = track.seconds[end:][opened[end:]][0]
        if after - before <= LONGEST_BLINK:
            found.append(Event(Action.BLINK, float(before), float(after)))
    return found


def _shakes(track: Track) -> list[Event]:
    """A turn to one side and then one to the other, whichever comes first."""
    turned = track.yaw - np.median(track.yaw)
    turns = [(start, end, 1) for start, end in _runs(turned > YAW_TURN)]
    turns = sorted([*turns, *((start, end, -1) for start, end in _runs(turned < -YAW_TURN))])
    return [
        Event(Action.SHAKE_HEAD, float(track.seconds[first]), float(track.seconds[last - 1]))
        for (first, _, side), (_, last, other) in pairwise(turns)
        if side != other
    ]


def _rise(values: Series, resting: float) -> Series:
    return np.asarray(values - np.percentile(values, resting), dtype=np.float64)


def _events(action: Action, seconds: Series, present: NDArray[np.bool_]) -> list[Event]:
    """A state that the video begins with is no action: the person came into it before being asked."""
    return [Event(action, float(seconds[start]), float(seconds[end - 1])) for start, end in _runs(present) if start > 0]


def _runs(present: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end (exclusive) of each unbroken run of ``True``."""
    edges = np.diff(np.concatenate([[0], present.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))
