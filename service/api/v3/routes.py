"""The calls of V3, one value each."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from service.api import calls
from service.api.calls import Call, Dispatcher
from service.api.descriptions import compared
from service.api.presenting import nothing, outcome_only
from service.api.v3 import person, requests, responses, updating

PREFIX = "/rest/2.0/face/v3"

_PICTURE = {"image": "https://example.org/picture.jpg", "image_type": "URL"}
_USER = {"group_id": "group1", "user_id": "user1"}


_DETECT = Call(
    path=f"{PREFIX}/detect",
    name="detect",
    summary="Find faces in a picture.",
    permission="detect",
    parse=requests.detect,
    run=lambda service, app, r: service.detect(app, r.source, r.max_faces, r.fields, r.controls, r.order),
    present=responses.detected,
    example={**_PICTURE, "face_field": "landmark", "max_face_num": 2},
)

_MATCH = Call(
    path=f"{PREFIX}/match",
    name="match",
    summary="Compare the faces of two pictures (1:1).",
    permission="match",
    parse=requests.match,
    run=lambda service, app, probes: service.compare(app, probes),
    present=outcome_only(compared),
    example=[_PICTURE, _PICTURE],
)

_FACEVERIFY = Call(
    path=f"{PREFIX}/faceverify",
    name="faceverify",
    summary="Tell whether pictures of one person were taken of a living one.",
    permission="faceverify",
    parse=requests.face_verify,
    run=lambda service, app, r: service.liveness(app, r.sources, r.fields),
    present=responses.verified,
    example=[_PICTURE],
)

_SEARCH = Call(
    path=f"{PREFIX}/search",
    name="search",
    summary="Find who is in a picture (1:N), or whether one user is (with user_id).",
    permission="search",
    parse=requests.search,
    run=lambda service, app, r: service.identify.search(app, r.source, r.group_ids, r.options),
    present=outcome_only(responses.identified),
    example={**_PICTURE, "group_id_list": "group1,group2", "max_user_num": 3},
)

_MULTI_SEARCH = Call(
    path=f"{PREFIX}/multi-search",
    name="multiSearch",
    summary="Find who each face of a picture is (M:N).",
    permission="multi-search",
    parse=requests.multi_search,
    run=lambda service, app, r: service.identify.multi_search(app, r.source, r.group_ids, r.options),
    present=outcome_only(responses.identified_all),
    example={**_PICTURE, "group_id_list": "group1", "max_face_num": 3},
)

_ADD_USER = Call(
    path=f"{PREFIX}/faceset/user/add",
    name="addUser",
    summary="Enrol a face of a user; user and group come into being when missing.",
    permission="faceset/user/add",
    parse=requests.add_user,
    run=lambda service, app, r: service.users.add(
        app, r.source, r.group_id, r.user_id, r.user_info, r.action, r.controls
    ),
    present=outcome_only(responses.enrolled),
    example={**_PICTURE, **_USER, "user_info": "Ada", "action_type": "APPEND"},
)

_UPDATE_USER = Call(
    path=f"{PREFIX}/faceset/user/update",
    name="updateUser",
    summary="Replace the faces of a user; with REPLACE user and group come into being when missing.",
    permission="faceset/user/update",
    parse=requests.update_user,
    run=updating.update_user,
    present=outcome_only(responses.enrolled),
    example={**_PICTURE, **_USER},
)

_GET_USER = Call(
    path=f"{PREFIX}/faceset/user/get",
    name="getUser",
    summary="Read a user's info, in one group or (@ALL) in each.",
    permission="faceset/user/get",
    parse=requests.user_of_groups,
    run=lambda service, app, r: service.users.get(app, r.group_id, r.user_id),
    present=outcome_only(responses.users),
    example=_USER,
)

_USER_COPY = Call(
    path=f"{PREFIX}/faceset/user/copy",
    name="userCopy",
    summary="Copy a user with all faces into another group.",
    permission="faceset/user/copy",
    parse=requests.copy_user,
    run=lambda service, app, r: service.users.copy(app, r.user_id, r.source_group_id, r.destination_group_id),
    present=nothing,
    example={"user_id": "user1", "src_group_id": "group1", "dst_group_id": "group2"},
)

_DELETE_USER = Call(
    path=f"{PREFIX}/faceset/user/delete",
    name="deleteUser",
    summary="Delete a user from one group or (@ALL) from each.",
    permission="faceset/user/delete",
    parse=requests.user_of_groups,
    run=lambda service, app, r: service.users.delete(app, r.group_id, r.user_id),
    present=nothing,
    example=_USER,
)

_FACE_DELETE = Call(
    path=f"{PREFIX}/faceset/face/delete",
    name="faceDelete",
    summary="Delete one face of a user, and the user with the last one.",
    permission="faceset/face/delete",
    parse=requests.face,
    run=lambda service, app, r: service.faces.delete(app, r.group_id, r.user_id, r.face_token),
    present=nothing,
    example={**_USER, "face_token": "2fa64a88a9d5118916f9a303782a97d3"},
)

_FACE_GETLIST = Call(
    path=f"{PREFIX}/faceset/face/getlist",
    name="faceGetlist",
    summary="List the faces of a user.",
    permission="faceset/face/getlist",
    parse=requests.user,
    run=lambda service, app, r: service.faces.list(app, r.group_id, r.user_id),
    present=outcome_only(responses.faces),
    example=_USER,
)

_GROUP_ADD = Call(
    path=f"{PREFIX}/faceset/group/add",
    name="groupAdd",
    summary="Create an empty group.",
    permission="faceset/group/add",
    parse=requests.group,
    run=lambda service, app, group_id: service.groups.add(app, group_id),
    present=nothing,
    example={"group_id": "group1"},
)

_GROUP_DELETE = Call(
    path=f"{PREFIX}/faceset/group/delete",
    name="groupDelete",
    summary="Delete a group with everything in it.",
    permission="faceset/group/delete",
    parse=requests.group,
    run=lambda service, app, group_id: service.groups.delete(app, group_id),
    present=nothing,
    example={"group_id": "group1"},
)

_GET_GROUP_LIST = Call(
    path=f"{PREFIX}/faceset/group/getlist",
    name="getGroupList",
    summary="List the groups.",
    permission="faceset/group/getlist",
    parse=requests.page,
    run=lambda service, app, r: service.groups.list(app, r.start, r.length),
    present=outcome_only(responses.group_ids),
    example={"start": 0, "length": 100},
)

_GET_GROUP_USERS = Call(
    path=f"{PREFIX}/faceset/group/getusers",
    name="getGroupUsers",
    summary="List the users of a group.",
    permission="faceset/group/getusers",
    parse=requests.group_users,
    run=lambda service, app, r: service.groups.users(app, r.group_id, r.page.start, r.page.length),
    present=outcome_only(responses.user_ids),
    example={"group_id": "group1", "start": 0, "length": 100},
)

CALLS: tuple[Call[Any, Any], ...] = (
    _DETECT,
    _MATCH,
    _FACEVERIFY,
    _SEARCH,
    _MULTI_SEARCH,
    _ADD_USER,
    _UPDATE_USER,
    _GET_USER,
    _USER_COPY,
    _DELETE_USER,
    _FACE_DELETE,
    _FACE_GETLIST,
    _GROUP_ADD,
    _GROUP_DELETE,
    _GET_GROUP_LIST,
    _GET_GROUP_USERS,
)
"""Every call of V3 that this server answers but for those of ``person``, in the order of the documents."""


def router(dispatcher: Dispatcher) -> APIRouter:
    """The routes of V3."""
    return calls.router((*CALLS, *person.CALLS), responses.Envelope(), dispatcher, tag="v3")
