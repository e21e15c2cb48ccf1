"""A picture that is to be enrolled: whose it is, and how to get at its bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from service.images.endings import PICTURE_ENDINGS
from service.library.names import MAX_IDENTIFIER_LENGTH, MAX_USER_INFO_BYTES, is_identifier


class Refusal(Exception):
    """A picture cannot be used; ``reason`` is one word of the report, the text says more."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


class SourceError(Exception):
    """A folder, table or archive cannot be read at all; the text is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to enrol, and one row of the report.

    ``place``: where it is, as printable text. ``read`` returns its bytes or raises ``Refusal``. ``user_info``: ``None``
    where the source says nothing about it; then a new user gets ``default_info``, and an existing one keeps what it
    has.
    """

    place: str
    group_id: str
    user_id: str
    read: Callable[[], bytes]
    user_info: str | None = None
    default_info: str | None = None
    remote: bool = False
    """Whether reading waits for a network rather than for a disk."""
    path: str = ""
    """For pictures of a folder: the path below it, not made printable; bytes that are no UTF-8 as surrogate escapes."""


class Source(Protocol):
    """Where pictures come from."""

    @property
    def remote(self) -> bool:
        """Whether some pictures may have to be downloaded."""
        ...

    def count(self) -> int:
        """How many pictures ``pictures`` will give."""
        ...

    def pictures(self) -> Iterator[Picture]:
        """Every picture, always in the same order; those that cannot be used refuse when they are read."""
        ...


@dataclass(frozen=True, slots=True)
class Layout:
    """How names of folders become groups and users.

    ``group``: the group of everything, so that paths begin with the user; ``make_ids``: whether a name that is no id
    of the API becomes one (and the name itself ``user_info``) instead of being refused.
    """

    group: str | None = None
    make_ids: bool = False

    def picture(self, parts: tuple[str, ...], place: str, read: Callable[[], bytes]) -> Picture:
        """The picture at a path below the root: ``group/user/.../picture`` or ``group/user.jpg``."""
        if self.group is not None:
            parts = (self.group, *parts)
        if len(parts) < 3:
            parts = (*parts[:-1], PurePosixPath(parts[-1]).stem)
        if len(parts) < 2:
            return Picture(place, "", "", refusing("no_group", "lies in no group's folder; name one with --group"))
        return self.named(parts[0], parts[1], place, read)

    def named(
        self,
        group: str,
        user: str,
        place: str,
        read: Callable[[], bytes],
        user_info: str | None = None,
        *,
        remote: bool = False,
    ) -> Picture:
        """A picture of a user by name; refuses ids that the API could not name."""
        group_id, user_id = (self._id(name) for name in (group, user))
        default_info = _info_of(user) if self.make_ids and user_id != user else None
        for what, name in (("group_id", group_id), ("user_id", user_id)):
            if not is_identifier(name):
                detail = f"an id has 1 to {MAX_IDENTIFIER_LENGTH} letters, digits and underscores; see --make-ids"
                return Picture(place, printable(group), printable(user), refusing(f"bad_{what}", detail))
        return Picture(place, group_id, user_id, read, user_info, default_info, remote)

    def _id(self, name: str) -> str:
        if not self.make_ids or not name or is_identifier(name):
            return name
        # The digest keeps two names apart that look alike once their letters are replaced.
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:10]
        plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[: MAX_IDENTIFIER_LENGTH - len(digest) - 1]
        return f"{plain}_{digest}" if plain else f"id_{digest}"


def refusing(reason: str, detail: str = "") -> Callable[[], bytes]:
    """A ``read`` that refuses."""

    def read() -> bytes:
        raise Refusal(reason, detail)

    return read


def printable(name: str) -> str:
    """``name`` with bytes that are no UTF-8, and control characters, written as escapes."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _info_of(name: str) -> str:
    """A name as ``user_info``, cut where it is longer than that may be: escapes take four letters for a byte."""
    return printable(name).encode()[:MAX_USER_INFO_BYTES].decode("utf-8", "ignore")


def is_picture(name: str) -> bool:
    """Whether a file of this name is meant to be looked at: a picture's ending, and not hidden."""
    base = name.rpartition("/")[2]
    ending = base[base.rfind(".") :].lower() if "." in base else ""
    return ending in PICTURE_ENDINGS and not base.startswith(".")


def limited(data: bytes, limit: int) -> bytes:
    """``data``, which was read up to one byte more than allowed. Raises ``Refusal``."""
    if len(data) > limit:
        raise Refusal("picture_too_large", f"more than {limit} bytes")
    return data
