"""The calls of V2, one value each. Permissions are those of the V3 calls that mean the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter

from service.access import permissions
from service.api import calls
from service.api.calls import Call, Dispatcher
from service.api.ports import UseCases
from service.api.presenting import nothing, outcome_only
from service.api.v2 import requests, responses
from service.api.v2.requests import DetectRequest, EnrolRequest
from service.errors import FaceNotFound
from service.intake.controls import Controls
from service.intake.seen import SeenFace
from service.library.users import EnrolAction
from service.values import App

PREFIX = "/rest/2.0/face/v2"

MATCH_BYTES = 20 * 2**20
"""The documents allow a body of 20 MB for several pictures."""

_PICTURE = {"image": "/9j/4AAQSkZJRgABAQAAAQABAAD"}
_USER = {"uid": "user1", "group_id": "group1,group2"}


def _detect(service: UseCases, app: App, request: DetectRequest) -> Sequence[SeenFace]:
    """V2 answers a picture without a face with no faces, where V3 answers with an error."""
    try:
        return service.detect(app, request.source, request.max_faces, request.fields, Controls())
    except FaceNotFound:
        return ()


def _add(service: UseCases, app: App, request: EnrolRequest) -> SeenFace:
    action = EnrolAction.REPLACE if request.replace else EnrolAction.APPEND
    return service.memberships.add(
        app, request.source, request.group_ids or (), request.user_id, request.user_info, action, Controls()
    )


def _update(service: UseCases, app: App, request: EnrolRequest) -> SeenFace:
    """With ``replace`` a missing user is enrolled, if the app has the permission to add users."""
    if request.replace and permissions.allows(app, "faceset/user/add"):
        return _add(service, app, request)
    return service.memberships.update(
        app, request.source, request.group_ids, request.user_id, request.user_info, Controls()
    )


_DETECT = Call(
    path=f"{PREFIX}/detect",
    name="detect",
    summary="Find faces in a picture.",
    permission="detect",
    parse=requests.detect,
    run=_detect,
    present=responses.detected,
    example={**_PICTURE, "face_fields": "landmark,qualities", "max_face_num": "2"},
)

_DETECT_V1 = replace(
    _DETECT,
    path="/rest/2.0/face/v1/detect",
    name="detectV1",
    summary="Find faces in a picture: V2's detect at the path that the first SDKs, otherwise V2's, ask at.",
)

_FACE_VERIFY = Call(
    path=f"{PREFIX}/faceverify",
    name="faceverify",
    summary="Find faces in a picture, and tell how much each looks taken of a living person.",
    permission="faceverify",
    parse=requests.face_verify,
    run=_detect,
    present=responses.live,
    example={**_PICTURE, "face_fields": "qualities,faceliveness"},
)

_MATCH = Call(
    path=f"{PREFIX}/match",
    name="match",
    summary="Compare the faces of several pictures, each with each.",
    permission="match",
    parse=requests.match,
    run=lambda service, app, r: service.compare.pairs(app, r),
    present=outcome_only(responses.compared),
    example={"images": ",".join([_PICTURE["image"]] * 2)},
    max_body_bytes=MATCH_BYTES,
)

_IDENTIFY = Call(
    path=f"{PREFIX}/identify",
    name="identify",
    summary="Find who is in a picture (1:N).",
    permission="search",
    parse=requests.identify,
    run=lambda service, app, r: service.ranking.identify(app, r.source, r.group_ids, r.options, r.faces_per_user),
    present=outcome_only(responses.identified),
    example={**_PICTURE, "group_id": "group1,group2", "user_top_num": "3"},
)

_VERIFY = Call(
    path=f"{PREFIX}/verify",
    name="verify",
    summary="Tell how well a picture fits an enrolled user (1:1).",
    permission="search",
    parse=requests.verify,
    run=lambda service, app, r: service.ranking.verify(app, r.source, r.group_ids, r.user_id, r.limit, r.fields),
    present=outcome_only(responses.verified),
    example={**_PICTURE, **_USER, "top_num": "2"},
)

_MULTI_IDENTIFY = Call(
    path=f"{PREFIX}/multi-identify",
    name="multiIdentify",
    summary="Find who each face of a picture is (M:N).",
    permission="multi-search",
    parse=requests.multi_identify,
    run=lambda service, app, r: service.identify.multi_search(app, r.source, r.group_ids, r.options),
    present=outcome_only(responses.identified_all),
    example={**_PICTURE, "group_id": "group1", "detect_top_num": "3"},
)

RECOGNITION: tuple[Call[Any, Any], ...] = (
    _DETECT,
    _DETECT_V1,
    _FACE_VERIFY,
    _MATCH,
    _IDENTIFY,
    _VERIFY,
    _MULTI_IDENTIFY,
)

_ADD_USER = Call(
    path=f"{PREFIX}/faceset/user/add",
    name="addUser",
    summary="Enrol a face of a user in several groups; user and groups come into being when missing.",
    permission="faceset/user/add",
    parse=requests.add_user,
    run=_add,
    present=nothing,
    example={**_PICTURE, **_USER, "user_info": "Ada", "action_type": "append"},
)

_UPDATE_USER = Call(
    path=f"{PREFIX}/faceset/user/update",
    name="updateUser",
    summary="Replace the faces of a user in several groups.",
    permission="faceset/user/update",
    parse=requests.update_user,
    run=_update,
    present=nothing,
    example={**_PICTURE, **_USER, "user_info": "Ada"},
)

_DELETE_USER = Call(
    path=f"{PREFIX}/faceset/user/delete",
    name="deleteUser",
    summary="Delete a user from the groups named, or from all.",
    permission="faceset/user/delete",
    parse=requests.user,
    run=lambda service, app, r: service.memberships.delete(app, r.group_ids, r.user_id),
    present=nothing,
    example={"uid": "user1"},
)

_GET_USER = Call(
    path=f"{PREFIX}/faceset/user/get",
    name="getUser",
    summary="Read a user's info in the groups named, or in all.",
    permission="faceset/user/get",
    parse=requests.user,
    run=lambda service, app, r: service.memberships.get(app, r.group_ids, r.user_id),
    present=outcome_only(responses.users),
    example={"uid": "user1"},
)

_GET_GROUP_LIST = Call(
    path=f"{PREFIX}/faceset/group/getlist",
    name="getGroupList",
    summary="List the groups.",
    permission="faceset/group/getlist",
    parse=requests.page,
    run=lambda service, app, r: service.groups.list(app, r.start, r.length),
    present=outcome_only(responses.group_ids),
    example={"start": "0", "num": "100"},
)

_GET_GROUP_USERS = Call(
    path=f"{PREFIX}/faceset/group/getusers",
    name="getGroupUsers",
    summary="List the users of a group with their info.",
    permission="faceset/group/getusers",
    parse=requests.group_users,
    run=lambda service, app, r: service.memberships.list(app, r.group_id, r.page.start, r.page.length),
    present=outcome_only(responses.group_users),
    example={"group_id": "group1", "start": "0", "num": "100"},
    methods=("POST", "GET"),  # the documents say GET, every client sends POST
)

_ADD_GROUP_USER = Call(
    path=f"{PREFIX}/faceset/group/adduser",
    name="addGroupUser",
    summary="Copy a user into other groups, which come into being when missing.",
    permission="faceset/user/copy",
    parse=requests.copy_user,
    run=lambda service, app, r: service.memberships.copy(app, r.user_id, r.source_group_id, r.group_ids),
    present=nothing,
    example={**_USER, "src_group_id": "group3"},
)

_DELETE_GROUP_USER = Call(
    path=f"{PREFIX}/faceset/group/deleteuser",
    name="deleteGroupUser",
    summary="Take a user out of groups, but not of the last one.",
    permission="faceset/user/delete",
    parse=requests.user_of_groups,
    run=lambda service, app, r: service.memberships.leave(app, r.user_id, r.group_ids),
    present=nothing,
    example=_USER,
)

LIBRARY: tuple[Call[Any, Any], ...] = (
    _ADD_USER,
    _UPDATE_USER,
    _DELETE_USER,
    _GET_USER,
    _GET_GROUP_LIST,
    _GET_GROUP_USERS,
    _ADD_GROUP_USER,
    _DELETE_GROUP_USER,
)

CALLS = (*RECOGNITION, *LIBRARY)
"""Every call of V2 that this server answers."""


def router(dispatcher: Dispatcher) -> APIRouter:
    """The routes of V2."""
    return calls.router(CALLS, responses.Plain(), dispatcher, tag="v2")
