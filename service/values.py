"""Values that all rooms share: immutable, without behaviour beyond arithmetic on themselves.

Units and conventions, everywhere below the API:

* pictures are ``uint8`` arrays of shape ``(height, width, 3)`` in **BGR** order, EXIF orientation already applied;
* coordinates are pixels of that picture, x to the right, y down, as ``float32``;
* angles are degrees; ``roll`` and ``rotation`` are positive clockwise in the picture, ``yaw`` is negative when the nose
  points to the right side of the picture, ``pitch`` is negative looking up (the signs of the cloud's answers);
* embeddings are ``float32`` vectors of unit length, so that a dot product is a cosine similarity.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""``(height, width, 3)`` uint8, BGR."""

Points = NDArray[np.float32]
"""``(n, 2)`` float32, (x, y) in pixels of the picture."""

Embedding = NDArray[np.float32]
"""``(dimension,)`` float32 of unit length."""

Embeddings = NDArray[np.float32]
"""``(n, dimension)`` float32, rows of unit length."""


# --- pictures -----------------------------------------------------------------------------------------------------


class ImageKind(str, enum.Enum):
    """How a caller hands over a picture (the API's ``image_type``)."""

    BASE64 = "BASE64"
    URL = "URL"
    FACE_TOKEN = "FACE_TOKEN"


class PictureType(str, enum.Enum):
    """What kind of photograph a picture is (the API's ``face_type`` parameter)."""

    LIVE = "LIVE"
    IDCARD = "IDCARD"
    WATERMARK = "WATERMARK"
    CERT = "CERT"
    INFRARED = "INFRARED"


class Control(str, enum.Enum):
    """How strict quality or liveness control is (``quality_control``, ``liveness_control``)."""

    NONE = "NONE"
    LOW = "LOW"
    NORMAL = "NORMAL"
    HIGH = "HIGH"


class LongText:
    """Megabytes of ASCII in the buffer that they arrived in: making a ``str`` of them would block all other threads.

    Compares equal to the ``str`` of the same letters.
    """

    __slots__ = ("_letters",)

    def __init__(self, letters: memoryview) -> None:
        """``letters`` are bytes that nobody changes, all of them ASCII."""
        self._letters = letters

    def __len__(self) -> int:
        return len(self._letters)

    def __getitem__(self, part: slice) -> memoryview:
        return self._letters[part]

    def __str__(self) -> str:
        return str(self._letters, "ascii")

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, str | LongText) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A picture as a caller names it: base64 text, an address, or the token of a face seen before."""

    kind: ImageKind
    text: str | LongText
    """``LongText`` for base64 alone."""
    picture_type: PictureType = PictureType.LIVE


# --- faces --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Location:
    """The face box of the API: hugs brow to chin and ear to ear.

    ``left``, ``top``, ``width`` and ``height`` describe the box *before* it is turned about its top left corner by
    ``rotation`` degrees (clockwise positive, -180..180). For an upright face it is the plain box.
    """

    left: float
    top: float
    width: float
    height: float
    rotation: int = 0


@dataclass(frozen=True, slots=True)
class Angles:
    """Head pose in degrees, signs as in the module's docstring."""

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face found in a picture.

    ``box``: axis-aligned ``(x, y, width, height)`` of the detector; ``points``: five points ``(5, 2)`` in the order
    picture-left eye, picture-right eye, nose tip, picture-left mouth corner, picture-right mouth corner *of the
    upright face*, i.e. the subject's right eye comes first; ``outline``: 68 points ``(68, 2)`` in the usual iBUG
    order; ``confidence``: how likely it is a face, 0..1, and 1 for nearly every clear one.
    """

    box: tuple[float, float, float, float]
    confidence: float
    points: Points
    outline: Points
    location: Location
    angles: Angles


@dataclass(frozen=True, slots=True)
class StoredFace:
    """What the face-token store and the library keep of one seen face, apart from the embedding.

    ``portrait`` is a JPEG of the face with its surroundings (``None`` where the operator keeps no crops);
    ``location``, ``angles`` and ``confidence`` are the answer for the original picture; ``points`` are in pixels of
    the portrait, and ``frame`` = (left, top, scale) leads back: original = (left, top) + portrait / scale.
    """

    token: str
    location: Location
    angles: Angles
    confidence: float
    portrait: bytes | None
    points: tuple[tuple[float, float], ...]
    """Five alignment points followed by the 68 outline points, in pixels of the portrait."""
    frame: tuple[float, float, float] = (0.0, 0.0, 1.0)
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """The detector's ``(x, y, width, height)`` in pixels of the portrait."""
    complete: bool = True
    """Whether all of the face lay inside the original picture."""


class FaceField(str, enum.Enum):
    """What a caller can ask about a face beyond where it is (the API's ``face_field``)."""

    AGE = "age"
    BEAUTY = "beauty"
    EXPRESSION = "expression"
    FACE_SHAPE = "face_shape"
    GENDER = "gender"
    GLASSES = "glasses"
    LANDMARK = "landmark"
    LANDMARK72 = "landmark72"
    LANDMARK150 = "landmark150"
    QUALITY = "quality"
    EYE_STATUS = "eye_status"
    EMOTION = "emotion"
    FACE_TYPE = "face_type"
    MASK = "mask"
    SPOOFING = "spoofing"
    LIVENESS = "liveness"
    PARSING = "parsing"


# --- tenants and their library --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an app may ask; ``None`` is no limit."""

    qps: int | None = None
    """Requests a second."""
    daily: int | None = None
    """Requests a day."""
    total: int | None = None
    """Requests ever."""
    concurrent: int | None = None
    """Requests at once."""


NO_LIMITS = Limits()
LARGEST_LIMITS = Limits(qps=10**6, daily=10**15, total=10**15, concurrent=10**5)
"""What a limit may be at most; at least it is 1."""


@dataclass(frozen=True, slots=True)
class App:
    """A tenant. ``pk`` is the database's number, ``app_id`` the public one that also ends its tokens."""

    pk: int
    app_id: str
    name: str
    api_key: str
    epoch: int
    """Counts revocations: a token carries the epoch it was signed under."""
    permissions: frozenset[str] | None
    """Names of the calls the app may make; ``None`` means all of them."""
    enabled: bool = True
    limits: Limits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class AppCredentials:
    """What an operator hands to a developer; the secret key is shown once and kept encrypted."""

    app_id: str
    api_key: str
    secret_key: str


@dataclass(frozen=True, slots=True)
class UserEntry:
    """A user as enrolled in one group."""

    pk: int
    group_id: str
    user_id: str
    user_info: str


@dataclass(frozen=True, slots=True)
class FaceEntry:
    """A face of a user, as the library lists it."""

    pk: int
    token: str
    created: datetime


ANY_SCENE = "*"
"""Stands for the groups of every scene; no scene has this name. Ordinary groups belong to none."""


# --- search -----------------------------------------------------------------------------------------------------------


class ChangeKind(enum.IntEnum):
    """What one row of the change log says. Replaying a row twice changes nothing."""

    ADD_FACE = 1
    REMOVE_FACE = 2
    REMOVE_USER = 3
    REMOVE_GROUP = 4


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One row of an app's ordered change log.

    ``seq`` counts from 1 per app without gaps, in commit order. ``embedding`` is set for ``ADD_FACE`` rows only, and
    is ``None`` there when the face has been deleted since (a later row says so) or belongs to another model.
    ``created`` is when its transaction began, in microseconds since 1970 by the database's clock.
    """

    seq: int
    kind: ChangeKind
    group_pk: int
    user_pk: int
    face_pk: int
    embedding: Embedding | None
    created: int = 0

    @property
    def mark(self) -> ChangeMark:
        """What tells it from a change with the same number in another history."""
        return ChangeMark(self.seq, int(self.kind), self.group_pk, self.user_pk, self.face_pk, self.created)


class Numbered(Protocol):
    """What rows of the change log have in common where they are written and where they are read."""

    @property
    def kind(self) -> ChangeKind: ...
    @property
    def group_pk(self) -> int: ...
    @property
    def user_pk(self) -> int: ...
    @property
    def face_pk(self) -> int: ...


C = TypeVar("C", bound=Numbered)


def lasting_additions(changes: Sequence[C]) -> list[C]:
    """The additions whose face, user and group none of ``changes`` removes. No number is ever given twice."""
    gone = {(change.kind, _removed(change)) for change in changes if change.kind is not ChangeKind.ADD_FACE}
    return [
        change
        for change in changes
        if change.kind is ChangeKind.ADD_FACE
        and (ChangeKind.REMOVE_FACE, change.face_pk) not in gone
        and (ChangeKind.REMOVE_USER, change.user_pk) not in gone
        and (ChangeKind.REMOVE_GROUP, change.group_pk) not in gone
    ]


def _removed(change: Numbered) -> int:
    """The number that a removal is about."""
    if change.kind is ChangeKind.REMOVE_FACE:
        return change.face_pk
    return change.user_pk if change.kind is ChangeKind.REMOVE_USER else change.group_pk


class ChangeMark(NamedTuple):
    """A row of the change log as numbers, fields as in :class:`Change`. It identifies a history.

    Two logs with the same row at a position are the same up to there. A database that was put back to an earlier state
    and has gone on since has another row under that number.
    """

    seq: int
    kind: int
    group_pk: int
    user_pk: int
    face_pk: int
    created: int


@dataclass(frozen=True, slots=True)
class LogHead:
    """Where an app's change log ends: 0 before the first change; ``mark`` is ``None`` then and when it was pruned."""

    seq: int
    mark: ChangeMark | None


@dataclass(frozen=True, slots=True)
class Hit:
    """The best face of one user for a probe. ``similarity`` is the cosine, -1..1."""

    group_pk: int
    user_pk: int
    face_pk: int
    similarity: float
