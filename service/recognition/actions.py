"""What a face did in a video, told from its measures over time. Pure functions; figures: ``docs/video-liveness.md``.

Everything is measured against the face's own resting state in the same video, so that narrow eyes, a smile that shows
the teeth or a phone held low change nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

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
    """One action seen, from when to when, in seconds from the first frame.

    ``shown``: the moments of the track that made it one; two groups where a head turned to both sides, else one.
    ``reach``: how far it went at most, in shares of what makes an action; of a blink 1.
    """

    action: Action
    start: float
    end: float
    shown: tuple[tuple[int, ...], ...]
    reach: float = 1.0


CLOSED_EYES, OPEN_EYES = 0.4, 0.6
"""How likely both eyes are open, below and above which they count as closed and as open."""

CLOSED_LIDS = 0.75
"""Largest opening of closed lids, as a share of the video's median opening. A second condition beside the eye network,
which dark frames fool; the contours of the lids are not fooled by them."""

LONGEST_BLINK = 1.2
"""Seconds. Eyes that stay closed longer are closed and did not blink."""

MOUTH_RISE = 0.12
"""How far the gap between the lips must grow beyond the resting one, in widths of the mouth, to count as an open
mouth."""

SPEECH_RISE = 0.05
"""The same for a mouth that speaks."""

PITCH_TURN, YAW_TURN = 8.0, 9.0
"""Least turn from the resting pose, in degrees, of a raised or lowered head, and of each half of a shaken one."""

AT_REST = 0.6
"""The face is back at rest below this share of an action's limit. The gap between the two keeps one action from being
seen as two.

An action has to begin at rest. A pose that the video begins with is no action: it was taken before the request.
"""

REST_SECONDS = 0.4
"""Length of the beginning and of the end of a video whose poses may be the resting one: five moments, shorter than any
action."""

REBOUND_SECONDS, REBOUND = 0.5, 0.5
"""A head that returns may swing past its resting pose. A movement to the other side counts as such a swing if it
follows within this many seconds and reaches at most this share of the action.

A half is more than a swing needs: after an action of less than 16° its swing stays below the limit of an action in any
case. And who was asked to raise and then lower the head seldom raises it twice as far.
"""

SIDE_EFFECT = 1.5
"""An action may cause another one: heads nod a little while they are shaken, and tilt when the mouth opens wide. An
action that reaches less than this many times its limit, and less than an action at the same time, was not done on
purpose.

This does not let a recording answer more codes, since which actions count depends on the recording alone. The value is
reasoned, not measured: there were no recordings of people.
"""

FEWEST_MOMENTS = 2
"""Moments beyond the limit that a nod or an open mouth needs. A single frame may have been misread, and nobody nods in
less than the sixth of a second that two frames take."""

LONGEST_BETWEEN_TURNS = 3.0
"""Seconds from one side to the other in one shake: a pause to look ahead, not two glances at different times."""

SHAKE_GOES_ON = 0.8
"""Seconds after a shake within which a further turn belongs to it: heads are often shaken more than once."""

SLACK = 0.15
"""Seconds by which an action may begin before the one that comes before it has ended."""

JUMP_SECONDS = 0.2
"""Seconds over which a jump is measured. Where moments are further apart (slow videos, a lost face), only the movement
per this time counts."""

_RESTING_MOUTH = 20
"""Percentile of the gap between the lips that counts as the resting mouth."""


@dataclass(frozen=True, slots=True)
class _Excursion:
    """A movement away from rest and back.

    ``moments``: those beyond the limit; ``side``: 1 or -1; ``reach``: the greatest distance from rest, in limits.
    """

    moments: tuple[int, ...]
    side: int
    reach: float


def events(track: Track, action: Action, *, ends: bool = True) -> list[Event]:
    """Every time that the face did ``action``, in the order of time.

    ``ends``: whether the pose at the beginning and end of the video is the resting one, or the pose of most of it.
    """
    if not len(track):
        return []
    if action is Action.BLINK:
        return _blinks(track)
    if action is Action.OPEN_MOUTH:
        opened = [each for each in _excursions(_rise(track.mouth, _RESTING_MOUTH) / MOUTH_RISE) if each.side > 0]
        return [_event(action, track, each) for each in opened if len(each.moments) >= FEWEST_MOMENTS]
    turned = _turned(track, ends=ends)
    if action is Action.SHAKE_HEAD:
        return _shakes(turned)
    side = -1 if action is Action.RAISE_HEAD else 1
    return [_event(action, track, each) for each in _nods(turned) if each.side == side]


def answer(track: Track, wanted: Sequence[Action], asked: Collection[Action] = tuple(Action)) -> list[Event]:
    """The actions of ``wanted`` that were done one after the other, up to the first that is missing or out of order.

    The video must show the wanted actions *and no others*: else one recording of all actions would answer every code.
    So where all were done and a further one, that one stands at the end of the result. The following do not count as
    further actions: blinks, which are involuntary; repetitions, unless the code repeats the action; a lowered head at
    the end of the video (a look at the button that stops it); what another action caused; and actions that are not in
    ``asked``, those that sessions ask for at all.

    An action counts once, even if it was shorter than ``SLACK`` and the code has the same action twice in a row.

    A head that is lowered at the beginning and at the end of the video (a look at the button) and a head that is raised
    for most of the video look the same. What happens in between tells them apart: a raised head is held still.
    """
    if not wanted or not len(track):
        return []
    blinks = events(track, Action.BLINK)
    kinds = {*asked, *wanted} - {Action.BLINK}
    deeds = _deeds(track, kinds, ends=False) if _looks_down_at_both_ends(track) else []
    deeds = deeds or _deeds(track, kinds, ends=True)
    done: list[Event] = []
    last: Event | None = None
    since = 0.0
    for action in wanted:
        if action is Action.BLINK:
            found = next((blink for blink in blinks if blink.start >= since and blink not in done), None)
        else:
            deeds = _after(deeds, last, action, since)
            found = last = deeds.pop(0) if deeds and deeds[0].action is action and deeds[0].start >= since else None
        if found is None:
            return done
        done.append(found)
        since = found.end - SLACK
    more = [event for event in deeds if last is None or event.action is not last.action]
    leaves = len(more) == 1 and more[0].action is Action.LOWER_HEAD and len(track) - 1 in more[0].shown[-1]
    return [*done, *more[:1]] if not leaves else done


def performed(track: Track, wanted: Sequence[Action], asked: Collection[Action] = tuple(Action)) -> tuple[Action, ...]:
    """The actions of ``answer``: ``wanted`` itself when it was done and nothing else."""
    return tuple(event.action for event in answer(track, wanted, asked))


def spoken_openings(track: Track) -> int:
    """How often the mouth opened, as it does for every syllable or every other one."""
    if not len(track):
        return 0
    return len(_runs(_rise(track.mouth, _RESTING_MOUTH) > SPEECH_RISE))


def greatest_jump(track: Track) -> float:
    """How far the face moved at most from one moment to the next, in sides of its box.

    Of a movement that took longer than ``JUMP_SECONDS`` the distance per that time counts. A change of size counts as
    the distance that an edge of the box moves. People move, they do not jump.
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
            found.append(Event(Action.BLINK, float(before), float(after), (tuple(range(start, end)),)))
    return found


def _shakes(track: Track) -> list[Event]:
    """A turn to one side and soon one to the other, whichever comes first; turns that follow at once belong to it."""
    yaw, pitch = np.abs(track.yaw), np.abs(track.pitch)
    tilted = (pitch > PITCH_TURN) & (pitch > yaw)  # yaw of a face seen from below or above is only a guess
    found: list[Event] = []
    first: _Excursion | None = None
    over = -np.inf
    for turn in _excursions(track.yaw / YAW_TURN, ~tilted):
        start, end = _span(track, turn)
        if first is None and start - over <= SHAKE_GOES_ON:
            over = end
        elif first is None or first.side == turn.side or start - _span(track, first)[1] > LONGEST_BETWEEN_TURNS:
            first = turn
        else:
            began, _ = _span(track, first)
            reach = max(first.reach, turn.reach)
            found.append(Event(Action.SHAKE_HEAD, began, end, (first.moments, turn.moments), reach))
            first, over = None, end
    return found


def _nods(track: Track) -> list[_Excursion]:
    """Heads raised (-1) and lowered (1), without the swing back past the rest."""
    ahead = np.abs(track.yaw) < YAW_TURN  # pitch of a face seen from the side is only a guess
    found: list[_Excursion] = []
    for nod in _excursions(track.pitch / PITCH_TURN, ahead):
        if len(nod.moments) < FEWEST_MOMENTS:
            continue
        back = bool(found) and found[-1].side != nod.side and nod.reach <= REBOUND * found[-1].reach
        if not (back and _span(track, nod)[0] - _span(track, found[-1])[1] <= REBOUND_SECONDS):
            found.append(nod)
    return found


def _deeds(track: Track, kinds: Collection[Action], *, ends: bool) -> list[Event]:
    """Everything done on purpose, in the order of time.

    Without ``ends`` a look at the button at the end counts, too.
    """
    seen = (event for kind in kinds for event in events(track, kind, ends=ends))
    deeds = _meant(sorted(seen, key=lambda event: (event.start, event.end, event.action.value)))
    return deeds if ends else [deed for deed in deeds if len(track) - 1 not in deed.shown[-1]]


def _meant(deeds: Sequence[Event]) -> list[Event]:
    """``deeds`` without those that another one caused."""
    return [
        deed
        for deed in deeds
        if deed.reach >= SIDE_EFFECT
        or not any(
            other.action is not deed.action
            and other.reach > deed.reach
            and max(other.start, deed.start) <= min(other.end, deed.end) + SLACK
            for other in deeds
        )
    ]


def _after(deeds: list[Event], last: Event | None, action: Action, since: float) -> list[Event]:
    """``deeds`` without those at the beginning that only repeat the ``last`` one before ``action`` is due."""
    for place, deed in enumerate(deeds):
        if last is None or deed.action is not last.action or (deed.action is action and deed.start >= since):
            return deeds[place:]
    return []


def _turned(track: Track, *, ends: bool) -> Track:
    """Yaw and pitch in degrees from the resting pose: of most of it, with ``ends`` the middle of that and both ends'.

    Most videos begin and end at rest, so that it does not matter how long an action is held in between. Of those that
    begin or end with something else the middle of all tells which.
    """

    def turned(angle: Series) -> Series:
        poses = _poses(angle, track)
        return np.asarray(angle - (np.median(poses) if ends else poses[-1]), dtype=np.float64)

    return replace(track, yaw=turned(track.yaw), pitch=turned(track.pitch))


def _poses(angle: Series, track: Track) -> tuple[float, float, float]:
    """Degrees at the beginning, at the end, and of the whole video."""
    first, last = track.seconds[0] + REST_SECONDS, track.seconds[-1] - REST_SECONDS
    beginning, end = angle[track.seconds <= first], angle[track.seconds >= last]
    return float(np.median(beginning)), float(np.median(end)), float(np.median(angle))


def _looks_down_at_both_ends(track: Track) -> bool:
    """Or has the head raised for most of the video."""
    beginning, end, most = _poses(track.pitch, track)
    return min(beginning, end) - most > AT_REST * PITCH_TURN


def _excursions(reach: Series, told: NDArray[np.bool_] | None = None) -> list[_Excursion]:
    """``reach``: distance from rest in limits, signed; where not ``told``, nothing is known of it."""
    found: list[tuple[int, list[int]]] = []
    side, moments = 0, list[int]()
    for place, moment in enumerate(range(len(reach)) if told is None else np.flatnonzero(told).tolist()):
        value = float(reach[moment])
        if side * value < AT_REST:
            side = 0
        if side == 0 and abs(value) > (1.0 if place else AT_REST):
            side, moments = (1 if value > 0 else -1), []
            if place:
                found.append((side, moments))
        if side * value > 1.0:
            moments.append(moment)
    return [_Excursion(tuple(beyond), way, float(np.abs(reach[beyond]).max())) for way, beyond in found]


def _event(action: Action, track: Track, seen: _Excursion) -> Event:
    return Event(action, *_span(track, seen), (seen.moments,), seen.reach)


def _span(track: Track, seen: _Excursion) -> tuple[float, float]:
    """Seconds of the first and the last moment."""
    return float(track.seconds[seen.moments[0]]), float(track.seconds[seen.moments[-1]])


def _rise(values: Series, resting: float) -> Series:
    return np.asarray(values - np.percentile(values, resting), dtype=np.float64)


def _runs(present: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end (exclusive) of each unbroken run of ``True``."""
    edges = np.diff(np.concatenate([[0], present.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))
