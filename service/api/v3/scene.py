"""The calls of scenes, in V3's format. A scene is a library for one kind of camera, apart from the ordinary one.

A group belongs to one scene or to none, and no two groups of an app have the same name, whatever their scenes: the SDKs
search without naming a scene, and they read and delete users of a scene by V3's calls, which find a group by its name
alone. Enrolling and searching see only the groups of their own scene. Any name of a scene is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter

from service.api import calls
from service.api.body import Parameters
from service.api.calls import Call, Dispatcher
from service.api.fields import Fields
from service.api.presenting import nothing, outcome_only
from service.api.v3 import requests, responses, updating
from service.api.v3.requests import EnrolRequest, SearchRequest
from service.values import ANY_SCENE

PREFIX = "/rest/2.0/face"

MAX_SCENE_LENGTH = 64

_PICTURE = {"image": "https://example.org/picture.jpg", "image_type": "URL"}
_USER = {"group_id": "group1", "user_id": "user1", "scene_type": "VIDEO"}


@dataclass(frozen=True, slots=True)
class SceneEnrolRequest:
    enrolment: EnrolRequest
    scene: str


@dataclass(frozen=True, slots=True)
class SceneGroupRequest:
    group_id: str
    scene: str


def add_user(parameters: Parameters) -> SceneEnrolRequest:
    """Arguments of ``scene/faceset/user/add``."""
    return SceneEnrolRequest(requests.add_user(parameters), _scene(parameters))


def update_user(parameters: Parameters) -> SceneEnrolRequest:
    """Arguments of ``scene/faceset/user/update``."""
    return SceneEnrolRequest(requests.update_user(parameters), _scene(parameters))


def group(parameters: Parameters) -> SceneGroupRequest:
    """Arguments of ``scene/faceset/group/add``."""
    return SceneGroupRequest(requests.group(parameters), _scene(parameters))


def search(parameters: Parameters) -> SearchRequest:
    """Arguments of ``capture/search``: those of V3's search. Without ``scene_type`` groups of every scene count."""
    found = requests.search(parameters)
    scene = _fields(parameters).optional_identifier("scene_type", max_length=MAX_SCENE_LENGTH)
    return replace(found, options=replace(found.options, scene=scene or ANY_SCENE))


def _scene(parameters: Parameters) -> str:
    return _fields(parameters).identifier("scene_type", max_length=MAX_SCENE_LENGTH)


def _fields(parameters: Parameters) -> Fields:
    return Fields(parameters if isinstance(parameters, Mapping) else {})


_ADD_USER = Call(
    path=f"{PREFIX}/scene/faceset/user/add",
    name="faceSceneFacesetUserAdd",
    summary="Enrol a face of a user of a scene; user and group come into being when missing.",
    permission="faceset/user/add",
    parse=add_user,
    run=lambda service, app, r: service.users.add(
        app,
        r.enrolment.source,
        r.enrolment.group_id,
        r.enrolment.user_id,
        r.enrolment.user_info,
        r.enrolment.action,
        r.enrolment.controls,
        r.scene,
    ),
    present=outcome_only(responses.enrolled),
    example={**_PICTURE, **_USER},
)

_UPDATE_USER = Call(
    path=f"{PREFIX}/scene/faceset/user/update",
    name="faceSceneFacesetUserUpdate",
    summary="Replace the faces of a user of a scene; with REPLACE user and group come into being when missing.",
    permission="faceset/user/update",
    parse=update_user,
    run=lambda service, app, r: updating.update_user(service, app, r.enrolment, r.scene),
    present=outcome_only(responses.enrolled),
    example={**_PICTURE, **_USER},
)

_ADD_GROUP = Call(
    path=f"{PREFIX}/scene/faceset/group/add",
    name="faceSceneFacesetGroupAdd",
    summary="Create a group of a scene.",
    permission="faceset/group/add",
    parse=group,
    run=lambda service, app, r: service.groups.add(app, r.group_id, r.scene),
    present=nothing,
    example={"group_id": "group1", "scene_type": "VIDEO"},
)

_CAPTURE_SEARCH = Call(
    path=f"{PREFIX}/capture/search",
    name="faceCaptureSearch",
    summary="Find who is in a picture of a scene's camera (1:N).",
    permission="search",
    parse=search,
    run=lambda service, app, r: service.identify.search(app, r.source, r.group_ids, r.options),
    present=outcome_only(responses.identified),
    example={**_PICTURE, "group_id_list": "group1"},
)

CALLS: tuple[Call[Any, Any], ...] = (
    _ADD_USER,
    _UPDATE_USER,
    _ADD_GROUP,
    _CAPTURE_SEARCH,
)
"""Every call of scenes that the SDKs make."""


def router(dispatcher: Dispatcher) -> APIRouter:
    """The routes of scenes."""
    return calls.router(CALLS, responses.Envelope(), dispatcher, tag="scene")
