"""The figures of ``docs/video-liveness.md``: how often actions are seen that were made, and that were not.

Still pictures of people are made to move (``tests/fixtures/videos.py``), encoded as H.264 and watched as the server
watches a video. Also: how often codes are answered, how alike one person's frames are and how unlike those of another
person who is cut in or acts, how far faces jump from frame to frame, and how long watching takes.

    python -m benchmarks.video_liveness [--quick] [--json] [--people N] [--lfw FOLDER] [--keep FILE]
"""

from __future__ import annotations

import base64
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.harness import Report, parser, weights
from models.manifest import load_pack
from service.calibration.scores import ScoreTable
from service.images.video import VideoLimits
from service.inference.admission import Admission
from service.inference.analyst import Analyst
from service.inference.engine import Engine
from service.intake.track import Track
from service.intake.watch import Observation, Watch
from service.recognition.actions import Action, events, greatest_jump, performed, spoken_openings
from tests.fixtures import videos
from tests.fixtures.pictures import fetch_pictures
from tests.fixtures.places import SHARED
from tests.fixtures.videos import Moment, Pose, Puppet
from tests.fixtures.weights import PROVIDERS

SECONDS, SIDE = 2.6, 360
PEOPLE = {False: 24, True: 2}

DIGITS = 4
MOTIONS: Mapping[str, tuple[Moment, frozenset[Action]]] = {
    "photograph": (videos.still, frozenset()),
    "sways": (videos.sways, frozenset()),
    "blinks": (videos.together(videos.sways, videos.blinks(1.0, length=0.3)), frozenset({Action.BLINK})),
    "opens mouth": (videos.together(videos.sways, videos.opens_mouth(0.8)), frozenset({Action.OPEN_MOUTH})),
    "raises head": (videos.together(videos.sways, videos.raises_head(0.8)), frozenset({Action.RAISE_HEAD})),
    "lowers head": (videos.together(videos.sways, videos.lowers_head(0.8)), frozenset({Action.LOWER_HEAD})),
    "shakes head": (videos.together(videos.sways, videos.shakes_head(0.6)), frozenset({Action.SHAKE_HEAD})),
    "holds head low": (videos.together(videos.sways, videos.holds_head(0.4, 1.8)), frozenset({Action.LOWER_HEAD})),
    "holds head high": (
        videos.together(videos.sways, videos.holds_head(0.4, 1.8, -18)),
        frozenset({Action.RAISE_HEAD}),
    ),
    "speaks": (videos.together(videos.sways, videos.speaks(DIGITS)), frozenset()),
}
NEITHER = {"speaks": frozenset({Action.OPEN_MOUTH})}
"""Actions that a motion may or may not show: who speaks opens the mouth."""

CODES = ("45", "54", "704", "457", "574", "047", "507")
MOVES: Mapping[str, Callable[[float], Moment]] = {
    "0": lambda start: videos.blinks(start + 0.1, length=0.3),
    "4": lambda start: videos.raises_head(start, 0.9),
    "5": lambda start: videos.lowers_head(start, 0.9),
    "7": lambda start: videos.shakes_head(start, 1.2),
}
BETWEEN = 1.4
"""Seconds from one action of a code to the next."""


@dataclass(frozen=True)
class Watched:
    """One clip as it was watched."""

    motion: str
    wanted: frozenset[Action]
    seen: Observation
    seconds: float


def people(engine: Engine, analyst: Analyst, lfw: Path, count: int) -> Iterator[Puppet]:
    """One picture each of different people."""
    pictures = fetch_pictures()
    paths = [pictures.path(name) for name in ("obama.jpg", "biden.jpg", "astronaut.png")]
    paths += [next(iter(sorted(folder.glob("*.jpg")))) for folder in sorted(lfw.glob("*")) if folder.is_dir()][::7]
    made = 0
    for path in paths:
        image = cv2.imread(str(path))
        puppet = None if image is None else videos.puppet(engine, analyst, np.asarray(image, np.uint8), SIDE)
        if puppet is not None and made < count:
            made += 1
            yield puppet


def cut_in(person: Puppet, other: Puppet) -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """A clip in which another person is seen for half a second."""
    for index in range(round(SECONDS * videos.RATE)):
        seconds = index / videos.RATE
        yield (other if 1.0 <= seconds < 1.5 else person).frame(Pose(yaw=3 * float(np.sin(seconds))))


def acted(person: Puppet, other: Puppet, motion: str) -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """A clip in which another person makes the action."""
    for index in range(round(SECONDS * videos.RATE)):
        pose = MOTIONS[motion][0](index / videos.RATE)
        away = max(abs(pose.yaw) - 3, abs(pose.pitch) - 2) > 3 or pose.blink > 0.05
        yield (other if away else person).frame(pose)


def performs(code: str) -> tuple[Moment, float]:
    """The actions of a code one after the other, and how long that takes."""
    moves = [MOVES[digit](0.4 + BETWEEN * place) for place, digit in enumerate(code)]
    return videos.together(videos.sways, *moves), 0.6 + BETWEEN * len(code)


def compared(track: Track) -> list[tuple[int, ...]]:
    """The moments of every action."""
    return [shown for action in Action for event in events(track, action) for shown in event.shown]


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--people", type=int)
    options.add_argument("--lfw", type=Path, default=SHARED / "data" / "lfw-dev")
    options.add_argument("--keep", type=Path, help="write every track here (npz)")
    asked = options.parse_args()
    report = Report("video_liveness", asked.json)
    pack, files = load_pack(asked.pack), weights(asked.pack)
    cv2.setNumThreads(1)
    engine, analyst = Engine(pack, files, PROVIDERS), Analyst(files, PROVIDERS)
    scores = ScoreTable.load(pack.calibration, pack.model_id)
    watch = Watch(engine, analyst, Admission(1, 0), VideoLimits())
    puppets = list(people(engine, analyst, asked.lfw, asked.people or PEOPLE[asked.quick]))
    watched, changed, answered = list[Watched](), list[Observation](), list[bool]()

    def look(data: bytes) -> Observation:
        return watch(watch.open(base64.b64encode(data).decode()), compared)

    for index, puppet in enumerate(puppets):
        for place, (motion, (moment, wanted)) in enumerate(MOTIONS.items()):
            if asked.quick and (place + index) % 2:
                continue  # two people share the motions
            data = videos.encode(puppet.play(moment, SECONDS))
            started = time.perf_counter()
            seen = look(data)
            watched.append(Watched(motion, wanted, seen, time.perf_counter() - started))
        if asked.quick and index:
            continue
        changed.append(look(videos.encode(cut_in(puppet, puppets[index - 1]))))
        for motion in ("raises head", "lowers head", "shakes head", "blinks"):
            changed.append(look(videos.encode(acted(puppet, puppets[index - 1], motion))))
        for code in CODES[: 2 if asked.quick else None]:
            actions = tuple(Action(digit) for digit in code)
            answered.append(performed(look(videos.encode(puppet.play(*performs(code)))).track, actions) == actions)
    if asked.keep:
        kept: dict[str, Any] = {f"{n}:{each.motion}": _rows(each.seen) for n, each in enumerate(watched)}
        np.savez(asked.keep, **kept)
    tell(report, scores, watched, changed)
    report.figure("codes answered when performed", float(np.mean(answered)))
    report.at_least("codes answered when performed", float(np.mean(answered)), 0.9)
    report.figure("people", len(puppets))
    return report.close()


def tell(report: Report, scores: ScoreTable, watched: list[Watched], changed: list[Observation]) -> None:
    """Figures and checks."""
    hits, false = defaultdict[Action, list[bool]](list), defaultdict[Action, list[bool]](list)
    for each in watched:
        for action in set(Action) - NEITHER.get(each.motion, frozenset()):
            (hits if action in each.wanted else false)[action].append(bool(events(each.seen.track, action)))
    for action in Action:
        name = action.name.lower()
        report.figure(f"{name}: seen when made", float(np.mean(hits[action])))
        report.figure(f"{name}: seen when not made", float(np.mean(false[action])))
        report.at_least(f"{name}: seen when made", float(np.mean(hits[action])), 0.9)
        report.at_most(f"{name}: seen when not made", float(np.mean(false[action])), 0.03)
    openings = {
        each.motion: [spoken_openings(w.seen.track) for w in watched if w.motion == each.motion] for each in watched
    }
    for motion in ("photograph", "sways", "speaks"):
        report.figure(f"mouth openings: {motion}", float(np.mean(openings[motion])))
    same = [_least_score(scores, each.seen) for each in watched]
    other = [_least_score(scores, seen) for seen in changed]
    report.figure("least score of one person's frames", {"least": min(same), "1 %": float(np.percentile(same, 1))})
    report.figure("least score with another cut in", {"highest": max(other), "median": float(np.median(other))})
    jumps = [greatest_jump(each.seen.track) for each in watched]
    report.figure("greatest jump of a face", {"99 %": float(np.percentile(jumps, 99)), "highest": max(jumps)})
    moments = sum(len(each.seen.track) for each in watched)
    report.figure("milliseconds per frame watched", 1000 * sum(each.seconds for each in watched) / moments)


def _least_score(scores: ScoreTable, seen: Observation) -> float:
    return scores.score(float((seen.embeddings @ seen.embeddings[seen.best]).min()))


def _rows(seen: Observation) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    track = seen.track
    return np.stack([track.seconds, track.yaw, track.pitch, track.lids, track.eyes, track.mouth])


if __name__ == "__main__":
    sys.exit(main())
