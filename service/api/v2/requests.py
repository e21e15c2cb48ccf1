"""V2 requests: from form fields to the arguments of the use cases. Everything is checked here, before any work.

Numbers above the documented maximum count as that maximum: the cloud answered so, and old clients rely on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from service.api.body import Parameters
from service.api.fields import MAX_IDENTIFIER_LENGTH, Fields, is_identifier, single
from service.errors import ParameterMalformed, ParameterMissing, ParameterTooLong
from service.library.memberships import GroupIds
from service.library.names import MAX_USER_INFO_BYTES
from service.library.users import EnrolAction
from service.recognition.compare import Probe
from service.recognition.identify import SearchOptions
from service.values import FaceField, ImageKind, ImageSource, PictureType

MAX_FACES = 10
MAX_GROUPS = 10
MAX_PICTURES = 10
"""Pictures of one ``match``, which make 45 pairs."""
MAX_USERS_IDENTIFY = 5
MAX_USERS_MULTI_IDENTIFY = 20
MAX_SCORES = 20
"""Scores per user; a user has at most this many faces in a group."""
DEFAULT_PAGE = 100
MAX_PAGE = 1000
MAX_NUMBER = 2**31 - 1

FACE_FIELDS: Mapping[str, frozenset[FaceField]] = {
    "age": frozenset({FaceField.AGE}),
    "beauty": frozenset({FaceField.BEAUTY}),
    "expression": frozenset({FaceField.EXPRESSION}),
    "faceshape": frozenset({FaceField.FACE_SHAPE}),
    "gender": frozenset({FaceField.GENDER}),
    "glasses": frozenset({FaceField.GLASSES}),
    "landmark": frozenset({FaceField.LANDMARK, FaceField.LANDMARK72}),
    "qualities": frozenset({FaceField.QUALITY, FaceField.FACE_TYPE}),
}
"""What the words of ``face_fields`` ask for. Other words, ``race`` among them, are ignored."""

LIVENESS = "faceliveness"

PICTURE_TYPES = {
    "7": PictureType.LIVE,
    "11": PictureType.IDCARD,
    "12": PictureType.WATERMARK,
    "13": PictureType.CERT,
}
"""By the number in ``types`` of ``match``: everyday photograph, chip of an identity card, watermarked picture,
photographed card."""

_ANY_SCORE = 0.0
"""V2 has no threshold: it answers with the best users, and the caller judges by their scores."""

_PICTURE_NAMES = ("image", "images")
"""Both have been documented for every call."""

_DATA_URL = "data:"
_MOST_COMMAS = 1_000
"""Far more commas than the allowed pictures need. Bounded, since every piece between commas costs time and memory."""

_LIVE = frozenset({FaceField.LIVENESS})


@dataclass(frozen=True, slots=True)
class DetectRequest:
    source: ImageSource
    max_faces: int
    fields: frozenset[FaceField]


@dataclass(frozen=True, slots=True)
class IdentifyRequest:
    source: ImageSource
    group_ids: tuple[str, ...]
    options: SearchOptions
    faces_per_user: int


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    source: ImageSource
    user_id: str
    group_ids: tuple[str, ...]
    limit: int
    fields: frozenset[FaceField]


@dataclass(frozen=True, slots=True)
class EnrolRequest:
    source: ImageSource
    group_ids: GroupIds
    user_id: str
    user_info: str | None
    replace: bool


@dataclass(frozen=True, slots=True)
class UserRequest:
    user_id: str
    group_ids: GroupIds


@dataclass(frozen=True, slots=True)
class GroupsRequest:
    user_id: str
    group_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CopyRequest:
    user_id: str
    source_group_id: str
    group_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PageRequest:
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class GroupUsersRequest:
    group_id: str
    page: PageRequest


def detect(parameters: Parameters) -> DetectRequest:
    """Arguments of ``detect``."""
    fields = single(parameters)
    return DetectRequest(
        source=_source(fields),
        max_faces=_count(fields, "max_face_num", default=1, most=MAX_FACES),
        fields=frozenset().union(*(FACE_FIELDS.get(word, frozenset()) for word in _words(fields, "face_fields"))),
    )


def face_verify(parameters: Parameters) -> DetectRequest:
    """Arguments of ``faceverify``: liveness is told of each face, whether ``face_fields`` asks for it or not."""
    request = detect(parameters)
    return replace(request, fields=request.fields | _LIVE)


def match(parameters: Parameters) -> tuple[Probe, ...]:
    """Arguments of ``match``: pictures in one text, separated by commas; the use case counts that they are enough."""
    fields = single(parameters)
    pictures = _pictures(fields)
    if len(pictures) > MAX_PICTURES:
        raise ParameterTooLong("images")
    types = _aligned(fields, "types", len(pictures))
    if any(word not in PICTURE_TYPES for word in types if word):
        raise ParameterMalformed("types")
    live = _aligned(fields, "image_liveness", len(pictures))
    return tuple(
        Probe(
            ImageSource(ImageKind.BASE64, picture, PICTURE_TYPES.get(kind, PictureType.LIVE)),
            fields=_LIVE if wish == LIVENESS else frozenset(),
        )
        for picture, kind, wish in zip(pictures, types, live, strict=True)
    )


def identify(parameters: Parameters) -> IdentifyRequest:
    """Arguments of ``identify``."""
    fields = single(parameters)
    options = SearchOptions(
        threshold=_ANY_SCORE,
        max_users=_count(fields, "user_top_num", default=1, most=MAX_USERS_IDENTIFY),
        fields=_extra(fields),
    )
    return _identify(fields, options, _count(fields, "face_top_num", default=1, most=MAX_SCORES))


def multi_identify(parameters: Parameters) -> IdentifyRequest:
    """Arguments of ``multi-identify``, which gives one score a user."""
    fields = single(parameters)
    options = SearchOptions(
        threshold=_ANY_SCORE,
        max_users=_count(fields, "user_top_num", default=1, most=MAX_USERS_MULTI_IDENTIFY),
        max_faces=_count(fields, "detect_top_num", default=1, most=MAX_FACES),
        fields=_extra(fields),
    )
    return _identify(fields, options, 1)


def verify(parameters: Parameters) -> VerifyRequest:
    """Arguments of ``verify``."""
    fields = single(parameters)
    return VerifyRequest(
        source=_source(fields),
        user_id=_user_id(fields),
        group_ids=_group_ids(fields),
        limit=_count(fields, "top_num", default=1, most=MAX_SCORES),
        fields=_extra(fields),
    )


def add_user(parameters: Parameters) -> EnrolRequest:
    """Arguments of ``faceset/user/add``. The documents' table writes ``app`` where every sample writes ``append``."""
    fields = single(parameters)
    return _enrol(fields, _group_ids(fields), "append", "app")


def update_user(parameters: Parameters) -> EnrolRequest:
    """Arguments of ``faceset/user/update``; without ``group_id``, as the first clients called it, every group is meant.

    With ``replace`` it works like ``add``, which needs ``group_id``.
    """
    fields = single(parameters)
    request = _enrol(fields, _optional_group_ids(fields), "update")
    if request.replace and request.group_ids is None:
        raise ParameterMissing("group_id")
    return request


def user(parameters: Parameters) -> UserRequest:
    """Arguments of ``faceset/user/{get,delete}``, where no group means all."""
    fields = single(parameters)
    return UserRequest(_user_id(fields), _optional_group_ids(fields))


def copy_user(parameters: Parameters) -> CopyRequest:
    """Arguments of ``faceset/group/adduser``."""
    fields = single(parameters)
    return CopyRequest(_user_id(fields), fields.identifier("src_group_id"), _group_ids(fields))


def user_of_groups(parameters: Parameters) -> GroupsRequest:
    """Arguments of ``faceset/group/deleteuser``."""
    fields = single(parameters)
    return GroupsRequest(_user_id(fields), _group_ids(fields))


def page(parameters: Parameters) -> PageRequest:
    """Arguments of ``faceset/group/getlist``."""
    return _page(single(parameters))


def group_users(parameters: Parameters) -> GroupUsersRequest:
    """Arguments of ``faceset/group/getusers``."""
    fields = single(parameters)
    return GroupUsersRequest(fields.identifier("group_id"), _page(fields))


def _pictures(fields: Fields) -> list[str]:
    """The base64 texts of a comma list. The comma behind the head of a ``data:`` URL is part of its picture."""
    text = next((found for name in _PICTURE_NAMES if (found := fields.optional_text(name)) is not None), None)
    if text is None:
        raise ParameterMissing("image")
    if text.count(",") > _MOST_COMMAS:
        raise ParameterTooLong("image", "holds too many commas")
    pictures: list[str] = []
    at_head = False  # the last of them is the head of an address
    for part in text.split(","):
        if at_head:
            pictures[-1] += f",{part}"
            at_head = False
        elif begun := part.strip():
            pictures.append(part)
            at_head = begun.startswith(_DATA_URL)
    if not pictures:
        raise ParameterMalformed("image", "holds no picture")
    return pictures


def _source(fields: Fields) -> ImageSource:
    """The one picture of a call."""
    pictures = _pictures(fields)
    if len(pictures) != 1:
        raise ParameterTooLong("image", "holds several pictures")
    return ImageSource(ImageKind.BASE64, pictures[0])


def _identify(fields: Fields, options: SearchOptions, faces_per_user: int) -> IdentifyRequest:
    return IdentifyRequest(
        source=_source(fields),
        group_ids=_group_ids(fields),
        options=options,
        faces_per_user=faces_per_user,
    )


def _enrol(fields: Fields, group_ids: GroupIds, *words: str) -> EnrolRequest:
    action = (fields.optional_text("action_type") or words[0]).strip().lower()
    if action not in (*words, EnrolAction.REPLACE.value.lower()):
        raise ParameterMalformed("action_type")
    return EnrolRequest(
        source=_source(fields),
        group_ids=group_ids,
        user_id=_user_id(fields),
        user_info=fields.optional_text("user_info", MAX_USER_INFO_BYTES),
        replace=action not in words,
    )


def _user_id(fields: Fields) -> str:
    uid = fields.text("uid")
    if not is_identifier(uid, MAX_IDENTIFIER_LENGTH):
        raise ParameterMalformed("uid")
    return uid


def _group_ids(fields: Fields) -> tuple[str, ...]:
    group_ids = fields.identifiers("group_id")
    if len(group_ids) > MAX_GROUPS:
        raise ParameterTooLong("group_id")
    return group_ids


def _optional_group_ids(fields: Fields) -> GroupIds:
    """The groups; ``None``, which means all of them, where the parameter was not sent.

    An empty list does not mean all groups: a program with an empty list must not delete a user everywhere.
    """
    if fields.lists_nothing("group_id"):
        raise ParameterMalformed("group_id")
    try:
        return _group_ids(fields)
    except ParameterMissing:
        return None


def _extra(fields: Fields) -> frozenset[FaceField]:
    """What ``ext_fields`` asks for."""
    return _LIVE if LIVENESS in _words(fields, "ext_fields") else frozenset()


def _words(fields: Fields, name: str) -> frozenset[str]:
    return frozenset(word.strip() for word in (fields.optional_text(name) or "").split(","))


def _aligned(fields: Fields, name: str, count: int) -> list[str]:
    """One word for each picture, empty where none was sent."""
    words = [word.strip() for word in (fields.optional_text(name) or "").split(",")]
    return (words + [""] * count)[:count]


def _count(fields: Fields, name: str, *, default: int, most: int, least: int = 1) -> int:
    return min(fields.integer(name, default=default, low=least, high=MAX_NUMBER), most)


def _page(fields: Fields) -> PageRequest:
    """The length is ``num`` in the documents and ``end`` in the SDKs for Java, Node and C++, which mean the same."""
    length = "end" if fields.optional_text("num") is None else "num"
    return PageRequest(
        start=_count(fields, "start", default=0, least=0, most=MAX_NUMBER),
        length=_count(fields, length, default=DEFAULT_PAGE, most=MAX_PAGE),
    )
