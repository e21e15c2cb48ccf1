"""The liveness data of ``docs/linkface.proto``, read off the wire with bounds on everything.

Source of the wire format: the Protocol Buffers encoding guide. Unknown fields are skipped, as the format wants it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

VERSION = 1
MOST_FRAMES = 8
MOST_ACTIONS = 16

ACTIONS = ("UNKNOWN", "BLINK", "MOUTH", "NOD", "YAW")
"""Names of the enumeration ``Action`` by number."""

_FIELD_VERSION, _FIELD_FRAMES, _FIELD_VIDEO, _FIELD_ACTIONS = 1, 2, 3, 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_FIELDS = 1000
_LONGEST_VARINT = 10


class LivenessDataError(ValueError):
    """The bytes are not liveness data, or more of it than allowed."""


@dataclass(frozen=True, slots=True)
class LivenessData:
    """Frames as picture files, in the order of recording, and names of the actions that were asked for.

    ``video`` is empty where frames were sent: these are better pictures of the same recording.
    """

    frames: tuple[bytes, ...]
    video: bytes
    actions: tuple[str, ...]


def parse(data: bytes) -> LivenessData:
    """Raises :class:`LivenessDataError`."""
    version, video = 0, b""
    frames: list[bytes] = []
    actions: list[int] = []
    for number, value in _fields(data):
        if number == _FIELD_VERSION and isinstance(value, int):
            version = value
        elif number == _FIELD_FRAMES and isinstance(value, bytes):
            frames.append(value)
        elif number == _FIELD_VIDEO and isinstance(value, bytes):
            video = value
        elif number == _FIELD_ACTIONS:
            actions.extend(_packed(value) if isinstance(value, bytes) else [value])
        elif number in (_FIELD_VERSION, _FIELD_FRAMES, _FIELD_VIDEO):
            raise LivenessDataError(f"field {number} has the wrong type")
    if version != VERSION:
        raise LivenessDataError(f"version {version} is not {VERSION}")
    if len(frames) > MOST_FRAMES or not (frames or video):
        raise LivenessDataError(f"{len(frames)} frames are not 1 to {MOST_FRAMES}, and a video takes the place of none")
    if len(actions) > MOST_ACTIONS:
        raise LivenessDataError(f"more than {MOST_ACTIONS} actions")
    names = tuple(ACTIONS[action] if action < len(ACTIONS) else ACTIONS[0] for action in actions)
    return LivenessData(tuple(frames), b"" if frames else video, names)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of every field of type varint or bytes."""
    place = 0
    for _ in range(_MOST_FIELDS):
        if place == len(data):
            return
        key, place = _varint(data, place)
        kind = key & 7
        if kind == _VARINT:
            value, place = _varint(data, place)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            length, place = _varint(data, place)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise LivenessDataError(f"wire type {kind} is not read")
        if length > len(data) - place:
            raise LivenessDataError("a field is cut off")
        if kind == _BYTES:
            yield key >> 3, data[place : place + length]
        place += length
    raise LivenessDataError(f"more than {_MOST_FIELDS} fields")


def _packed(data: bytes) -> list[int]:
    values: list[int] = []
    place = 0
    while place < len(data) and len(values) <= MOST_ACTIONS:
        value, place = _varint(data, place)
        values.append(value)
    return values


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """The number that begins at ``place``, and where it ends."""
    value = 0
    for index, byte in enumerate(data[place : place + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, place + index + 1
    raise LivenessDataError("a number does not end")
