"""How risky a capture looks: a handful of rules that can be read and explained, over what is known of its device.

Pure functions. Levels are the API's: 1 high risk, 2 suspect, 3 ordinary, 4 normal.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import timedelta


class RiskLevel(enum.IntEnum):
    """The lower, the riskier."""

    HIGH = 1
    SUSPECT = 2
    ORDINARY = 3
    NORMAL = 4


class RiskTag(str, enum.Enum):
    """What speaks against a capture."""

    PICTURE_REPLAYED = "picture_replayed"
    """A picture, byte for byte, came from another device before: no camera makes the same file twice."""
    PICTURE_REPEATED = "picture_repeated"
    """A picture came from this device before, in another envelope: perhaps a second try, perhaps a stored file."""
    MANY_PEOPLE = "device_many_people"
    """Many different people stood in front of this device lately."""
    MANY_FAILURES = "device_many_failures"
    """Many captures of this device failed lately."""
    CLOCK_OFF = "device_clock_off"
    """The device's clock is wrong, or the capture was held back."""


TAG_LEVELS = {
    RiskTag.PICTURE_REPLAYED: RiskLevel.HIGH,
    RiskTag.MANY_PEOPLE: RiskLevel.SUSPECT,
    RiskTag.MANY_FAILURES: RiskLevel.SUSPECT,
    RiskTag.PICTURE_REPEATED: RiskLevel.ORDINARY,
    RiskTag.CLOCK_OFF: RiskLevel.ORDINARY,
}
"""How grave each tag is by itself."""


@dataclass(frozen=True, slots=True)
class RiskLimits:
    """Where the rules begin to speak.

    ``people`` and ``failures`` count within ``window``; pictures and devices are remembered for ``history``; ``clock``
    is how far off the time of capture may be.
    """

    people: int
    failures: int
    clock: timedelta
    window: timedelta
    history: timedelta


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a capture, itself included.

    ``people``: different persons in front of the device within the window; ``failures``: its failed captures within
    the window; ``clock``: seconds that the time of capture was ahead of ours; ``known``: whether a capture of the
    device has passed before.
    """

    people: int
    failures: int
    clock: float
    picture_repeated: bool
    picture_elsewhere: bool
    known: bool


@dataclass(frozen=True, slots=True)
class Risk:
    """A level and what led to it, gravest first."""

    level: RiskLevel
    tags: tuple[RiskTag, ...]


def judge(facts: Facts, limits: RiskLimits) -> Risk:
    """The gravest tag decides, and two that are suspect make a high risk. Without a tag, knowing the device decides."""
    holds = {
        RiskTag.PICTURE_REPLAYED: facts.picture_elsewhere,
        RiskTag.MANY_PEOPLE: facts.people >= limits.people,
        RiskTag.MANY_FAILURES: facts.failures >= limits.failures,
        RiskTag.PICTURE_REPEATED: facts.picture_repeated and not facts.picture_elsewhere,
        RiskTag.CLOCK_OFF: abs(facts.clock) > limits.clock.total_seconds(),
    }
    tags = tuple(tag for tag in TAG_LEVELS if holds[tag])
    if not tags:
        return Risk(RiskLevel.NORMAL if facts.known else RiskLevel.ORDINARY, ())
    levels = [TAG_LEVELS[tag] for tag in tags]
    if levels.count(RiskLevel.SUSPECT) > 1:
        return Risk(RiskLevel.HIGH, tags)
    return Risk(min(levels), tags)
