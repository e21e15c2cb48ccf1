"""V3 requests: from parameters to the arguments of the use cases. Everything is checked here, before any work."""

from __future__ import annotations

from dataclasses import dataclass

from service.api import pictures
from service.api.body import Parameters
from service.api.fields import Fields, single
from service.api.pictures import MAX_FACE_TOKEN_LENGTH
from service.errors import TooManyGroups, WrongPictureCount
from service.intake.controls import Controls
from service.intake.order import FaceOrder
from service.library.names import MAX_USER_INFO_BYTES
from service.library.users import ALL_GROUPS, EnrolAction
from service.recognition.compare import PICTURES_COMPARED, Probe
from service.recognition.identify import DEFAULT_THRESHOLD, SearchOptions
from service.recognition.liveness import MOST_PICTURES
from service.values import FaceField, ImageSource

MAX_FACES = 10
MAX_GROUPS = 10
MAX_USERS_SEARCH = 50
MAX_USERS_MULTI_SEARCH = 20
DEFAULT_PAGE = 100
MAX_PAGE = 1000
MAX_START = 2**31 - 1


@dataclass(frozen=True, slots=True)
class DetectRequest:
    source: ImageSource
    max_faces: int
    fields: frozenset[FaceField]
    controls: Controls
    order: FaceOrder = FaceOrder.AREA


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
    """Arguments of ``detect``."""
    fields = single(parameters)
    return DetectRequest(
        source=pictures.source(fields),
        max_faces=fields.integer("max_face_num", default=1, low=1, high=MAX_FACES),
        fields=fields.words("face_field", pictures.FACE_FIELDS),
        controls=pictures.controls(fields),
        order=pictures.order(fields),
    )


def match(parameters: Parameters) -> tuple[Probe, ...]:
    """Arguments of ``match``: a list of pictures, counted before they are parsed."""
    entries = _entries(parameters)
    if len(entries) != PICTURES_COMPARED:
        raise WrongPictureCount
    return tuple(Probe(pictures.source(fields), pictures.controls(fields)) for fields in entries)


def face_verify(parameters: Parameters) -> LivenessRequest:
    """Arguments of ``faceverify``: a list of pictures, counted before they are parsed. Any may have ``face_field``."""
    entries = _entries(parameters)
    if not 1 <= len(entries) <= MOST_PICTURES:
        raise WrongPictureCount
    asked = frozenset[FaceField]().union(*(fields.words("face_field", pictures.FACE_FIELDS) for fields in entries))
    return LivenessRequest(tuple(pictures.source(fields) for fields in entries), asked)


def search(parameters: Parameters) -> SearchRequest:
    """Arguments of ``search``."""
    return _search(single(parameters), max_users=MAX_USERS_SEARCH, many=False)


def multi_search(parameters: Parameters) -> SearchRequest:
    """Arguments of ``multi-search``."""
    return _search(single(parameters), max_users=MAX_USERS_MULTI_SEARCH, many=True)


def add_user(parameters: Parameters) -> EnrolRequest:
    """Arguments of ``faceset/user/add``."""
    return _enrol(single(parameters), EnrolAction.APPEND, EnrolAction.REPLACE)


def update_user(parameters: Parameters) -> EnrolRequest:
    """Arguments of ``faceset/user/update``; the sample in the documents sends ``REPLACE``."""
    return _enrol(single(parameters), EnrolAction.UPDATE, EnrolAction.REPLACE)


def user_of_groups(parameters: Parameters) -> UserRequest:
    """Arguments of ``faceset/user/{get,delete}``, where the group may be ``@ALL``."""
    fields = single(parameters)
    user_id = fields.identifier("user_id")
    return UserRequest(fields.identifier("group_id", also=(ALL_GROUPS,)), user_id)


def user(parameters: Parameters) -> UserRequest:
    """Arguments of ``faceset/face/getlist``."""
    fields = single(parameters)
    user_id = fields.identifier("user_id")
    return UserRequest(fields.identifier("group_id"), user_id)


def face(parameters: Parameters) -> FaceRequest:
    """Arguments of ``faceset/face/delete``."""
    fields = single(parameters)
    user_id = fields.identifier("user_id")
    group_id = fields.identifier("group_id")
    return FaceRequest(group_id, user_id, fields.identifier("face_token", max_length=MAX_FACE_TOKEN_LENGTH))


def copy_user(parameters: Parameters) -> CopyRequest:
    """Arguments of ``faceset/user/copy``. Both groups are required, although the documents call them optional."""
    fields = single(parameters)
    return CopyRequest(
        fields.identifier("user_id"), fields.identifier("src_group_id"), fields.identifier("dst_group_id")
    )


def group(parameters: Parameters) -> str:
    """Arguments of ``faceset/group/{add,delete}``."""
    return single(parameters).identifier("group_id")


def page(parameters: Parameters) -> PageRequest:
    """Arguments of ``faceset/group/getlist``."""
    return _page(single(parameters))


def group_users(parameters: Parameters) -> GroupUsersRequest:
    """Arguments of ``faceset/group/getusers``."""
    fields = single(parameters)
    return GroupUsersRequest(fields.identifier("group_id"), _page(fields))


def _entries(parameters: Parameters) -> list[Fields]:
    given = parameters if isinstance(parameters, list) else [parameters] if parameters else []
    return [Fields(picture) for picture in given]


def _search(fields: Fields, *, max_users: int, many: bool) -> SearchRequest:
    source = pictures.source(fields)
    group_ids = fields.identifiers("group_id_list")
    if len(group_ids) > MAX_GROUPS:
        raise TooManyGroups
    options = SearchOptions(
        threshold=fields.number("match_threshold", default=DEFAULT_THRESHOLD, low=0, high=100),
        max_users=fields.integer("max_user_num", default=1, low=1, high=max_users),
        max_faces=fields.integer("max_face_num", default=1, low=1, high=MAX_FACES) if many else 1,
        user_id=None if many else fields.optional_identifier("user_id"),
        controls=pictures.controls(fields),
    )
    return SearchRequest(source, group_ids, options)


def _enrol(fields: Fields, default: EnrolAction, *others: EnrolAction) -> EnrolRequest:
    return EnrolRequest(
        source=pictures.source(fields),
        group_id=fields.identifier("group_id"),
        user_id=fields.identifier("user_id"),
        user_info=fields.optional_text("user_info", MAX_USER_INFO_BYTES),
        action=fields.choice("action_type", EnrolAction, default, among=(default, *others)),
        controls=pictures.controls(fields),
    )


def _page(fields: Fields) -> PageRequest:
    return PageRequest(
        start=fields.integer("start", default=0, low=0, high=MAX_START),
        length=fields.integer("length", default=DEFAULT_PAGE, low=1, high=MAX_PAGE),
    )
