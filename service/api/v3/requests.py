"""V3 requests: from parameters to the arguments of the use cases. Everything is checked here, before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.api.body import BODY, Parameters
from service.api.fields import Fields, is_identifier
from service.errors import FaceTokenNotFound, ParameterMalformed, TooManyGroups, WrongPictureCount
from service.intake.controls import Controls
from service.library.users import ALL_GROUPS, EnrolAction
from service.recognition.compare import PICTURES_COMPARED, Probe
from service.recognition.identify import DEFAULT_THRESHOLD, SearchOptions
from service.recognition.liveness import MOST_PICTURES
from service.values import Control, FaceField, ImageKind, ImageSource, PictureType

MAX_FACES = 10
MAX_GROUPS = 10
MAX_USERS_SEARCH = 50
MAX_USERS_MULTI_SEARCH = 20
DEFAULT_PAGE = 100
MAX_PAGE = 1000
MAX_START = 2**31 - 1
MAX_FACE_TOKEN_LENGTH = 64
MAX_USER_INFO_BYTES = 256

FACE_FIELDS: Mapping[str, frozenset[FaceField]] = {
    **{field.value: frozenset({field}) for field in FaceField},
    "landmark": frozenset({FaceField.LANDMARK, FaceField.LANDMARK72}),
    "landmark4": frozenset({FaceField.LANDMARK}),
    "faceshape": frozenset({FaceField.FACE_SHAPE}),
    "facetype": frozenset({FaceField.FACE_TYPE}),
    "eyestatus": frozenset({FaceField.EYE_STATUS}),
    "occlusion": frozenset({FaceField.QUALITY}),
    "parsing_info": frozenset({FaceField.PARSING}),
    "faceliveness": frozenset({FaceField.LIVENESS}),
    "race": frozenset(),
}
"""Every spelling of ``face_field`` that the vendor's documents have used, and the name it goes by here."""


@dataclass(frozen=True, slots=True)
class DetectRequest:
    source: ImageSource
    max_faces: int
    fields: frozenset[FaceField]
    controls: Controls


@dataclass(frozen=True, slots=True)
class LivenessRequest:
    sources: tuple[ImageSource, ...]
    fields: frozenset[FaceField]


@dataclass(frozen=True, slots=True)
class SearchRequest:
    source: ImageSource
    group_ids: tuple[str, ...]
    options: SearchOptions


@dataclass(frozen=True, slots=True)
class EnrolRequest:
    source: ImageSource
    group_id: str
    user_id: str
    user_info: str | None
    action: EnrolAction
    controls: Controls


@dataclass(frozen=True, slots=True)
class UserRequest:
    group_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class FaceRequest:
    group_id: str
    user_id: str
    face_token: str


@dataclass(frozen=True, slots=True)
class CopyRequest:
    user_id: str
    source_group_id: str
    destination_group_id: str


@dataclass(frozen=True, slots=True)
class PageRequest:
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class GroupUsersRequest:
    group_id: str
    page: PageRequest


def detect(parameters: Parameters) -> DetectRequest:
    """Of ``detect``."""
    fields = _single(parameters)
    return DetectRequest(
        source=_source(fields),
        max_faces=fields.integer("max_face_num", default=1, low=1, high=MAX_FACES),
        fields=fields.words("face_field", FACE_FIELDS),
        controls=_controls(fields),
    )


def match(parameters: Parameters) -> tuple[Probe, ...]:
    """Of ``match``: a list of pictures, counted before they are looked at."""
    pictures = parameters if isinstance(parameters, list) else [parameters] if parameters else []
    if len(pictures) != PICTURES_COMPARED:
        raise WrongPictureCount
    entries = [Fields(picture) for picture in pictures]
    return tuple(Probe(_source(fields), _controls(fields)) for fields in entries)


def face_verify(parameters: Parameters) -> LivenessRequest:
    """Of ``faceverify``: a list of pictures, counted before they are looked at; ``face_field`` may stand in any."""
    pictures = parameters if isinstance(parameters, list) else [parameters] if parameters else []
    if not 1 <= len(pictures) <= MOST_PICTURES:
        raise WrongPictureCount
    entries = [Fields(picture) for picture in pictures]
    asked = frozenset[FaceField]().union(*(fields.words("face_field", FACE_FIELDS) for fields in entries))
    return LivenessRequest(tuple(_source(fields) for fields in entries), asked)


def search(parameters: Parameters) -> SearchRequest:
    """Of ``search``."""
    return _search(_single(parameters), max_users=MAX_USERS_SEARCH, many=False)


def multi_search(parameters: Parameters) -> SearchRequest:
    """Of ``multi-search``."""
    return _search(_single(parameters), max_users=MAX_USERS_MULTI_SEARCH, many=True)


def add_user(parameters: Parameters) -> EnrolRequest:
    """Of ``faceset/user/add``."""
    return _enrol(_single(parameters), EnrolAction.APPEND, EnrolAction.REPLACE)


def update_user(parameters: Parameters) -> EnrolRequest:
    """Of ``faceset/user/update``; the sample in the documents sends ``REPLACE``, which means the same there."""
    return _enrol(_single(parameters), EnrolAction.UPDATE, EnrolAction.REPLACE)


def user_of_groups(parameters: Parameters) -> UserRequest:
    """Of ``faceset/user/{get,delete}``, where the group may be ``@ALL``."""
    fields = _single(parameters)
    user_id = fields.identifier("user_id")
    return UserRequest(fields.identifier("group_id", also=(ALL_GROUPS,)), user_id)


def user(parameters: Parameters) -> UserRequest:
    """Of ``faceset/face/getlist``."""
    fields = _single(parameters)
    user_id = fields.identifier("user_id")
    return UserRequest(fields.identifier("group_id"), user_id)


def face(parameters: Parameters) -> FaceRequest:
    """Of ``faceset/face/delete``."""
    fields = _single(parameters)
    user_id = fields.identifier("user_id")
    group_id = fields.identifier("group_id")
    return FaceRequest(group_id, user_id, fields.identifier("face_token", max_length=MAX_FACE_TOKEN_LENGTH))


def copy_user(parameters: Parameters) -> CopyRequest:
    """Of ``faceset/user/copy``: the documents call the groups optional, and the call means nothing without them."""
    fields = _single(parameters)
    return CopyRequest(
        fields.identifier("user_id"), fields.identifier("src_group_id"), fields.identifier("dst_group_id")
    )


def group(parameters: Parameters) -> str:
    """Of ``faceset/group/{add,delete}``."""
    return _single(parameters).identifier("group_id")


def page(parameters: Parameters) -> PageRequest:
    """Of ``faceset/group/getlist``."""
    return _page(_single(parameters))


def group_users(parameters: Parameters) -> GroupUsersRequest:
    """Of ``faceset/group/getusers``."""
    fields = _single(parameters)
    return GroupUsersRequest(fields.identifier("group_id"), _page(fields))


def _single(parameters: Parameters) -> Fields:
    if not isinstance(parameters, Mapping):
        raise ParameterMalformed(BODY, "one set of parameters is expected")
    return Fields(parameters)


def _source(fields: Fields) -> ImageSource:
    text = fields.text("image")
    kind = fields.choice("image_type", ImageKind)
    if kind is ImageKind.FACE_TOKEN and not is_identifier(text, MAX_FACE_TOKEN_LENGTH):
        raise FaceTokenNotFound("no token of ours looks like that")
    return ImageSource(kind, text, fields.choice("face_type", PictureType, PictureType.LIVE))


def _controls(fields: Fields) -> Controls:
    return Controls(
        quality=fields.choice("quality_control", Control, Control.NONE),
        liveness=fields.choice("liveness_control", Control, Control.NONE),
    )


def _search(fields: Fields, *, max_users: int, many: bool) -> SearchRequest:
    source = _source(fields)
    group_ids = fields.identifiers("group_id_list")
    if len(group_ids) > MAX_GROUPS:
        raise TooManyGroups
    options = SearchOptions(
        threshold=fields.number("match_threshold", default=DEFAULT_THRESHOLD, low=0, high=100),
        max_users=fields.integer("max_user_num", default=1, low=1, high=max_users),
        max_faces=fields.integer("max_face_num", default=1, low=1, high=MAX_FACES) if many else 1,
        user_id=None if many else fields.optional_identifier("user_id"),
        controls=_controls(fields),
    )
    return SearchRequest(source, group_ids, options)


def _enrol(fields: Fields, default: EnrolAction, *others: EnrolAction) -> EnrolRequest:
    return EnrolRequest(
        source=_source(fields),
        group_id=fields.identifier("group_id"),
        user_id=fields.identifier("user_id"),
        user_info=fields.optional_text("user_info", MAX_USER_INFO_BYTES),
        action=fields.choice("action_type", EnrolAction, default, among=(default, *others)),
        controls=_controls(fields),
    )


def _page(fields: Fields) -> PageRequest:
    return PageRequest(
        start=fields.integer("start", default=0, low=0, high=MAX_START),
        length=fields.integer("length", default=DEFAULT_PAGE, low=1, high=MAX_PAGE),
    )
