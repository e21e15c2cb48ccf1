"""What each call is asked about somebody else's belongings; ``test_tenants`` asks it.

A call without a case fails the tests: add one to ``CASES`` that names everything of another app that it could reach.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from service.api import capture_keys, editing, feedback
from service.api.calls import Call
from service.api.v1 import routes as v1
from service.api.v2 import routes as v2
from service.api.v3 import person, private, routes, scene
from service.api.v4 import routes as v4
from tests.fixtures.envelopes import content, seal

JsonWebKey: TypeAlias = Mapping[str, object]
Body: TypeAlias = Mapping[str, object] | Sequence[Mapping[str, object]]


PERSON = "韦小宝"
TERM = {"start_date": "20160304", "end_date": "20360304"}
VIDEO = base64.b64encode(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2").decode()
"""The beginning of one: the session is looked at before the film."""


@dataclass(frozen=True)
class Names:
    """Every identifier that an app has, or, for comparison, that nobody has."""

    group: str
    scene_group: str
    user: str
    token: str
    """Of an enrolled face."""
    seen: str
    """Of a face that was only detected."""
    log_id: int
    nonce: str
    device: str
    key: JsonWebKey
    """Of its capture envelopes."""
    session: str
    """Of a video that has not come yet."""
    card: str
    """Number of somebody in its own register."""


@dataclass(frozen=True)
class Asker:
    """What a case needs of the app that asks: a picture of the person that is enrolled, and its own key."""

    picture: str
    key: JsonWebKey


Case = Callable[[Names, Asker], Sequence[Body]]


def _tokens(names: Names) -> list[dict[str, object]]:
    return [{"image": token, "image_type": "FACE_TOKEN"} for token in (names.token, names.seen)]


def _pictures(names: Names, asker: Asker) -> list[dict[str, object]]:
    return [*_tokens(names), {"image": asker.picture, "image_type": "BASE64"}]


def _in_group(names: Names) -> dict[str, object]:
    return {"group_id": names.group, "user_id": names.user}


def _in_any_group(names: Names) -> list[Body]:
    return [_in_group(names), {**_in_group(names), "group_id": "@ALL"}]


def _match(names: Names, asker: Asker) -> list[Body]:
    known = {"image": asker.picture, "image_type": "BASE64"}
    return [[known, token] for token in _tokens(names)]


def _search(names: Names, asker: Asker) -> list[Body]:
    pictures = _pictures(names, asker)
    anybody: list[Body] = [{**picture, "group_id_list": names.group} for picture in pictures]
    return [*anybody, {**pictures[-1], "group_id_list": names.group, "user_id": names.user}]


def _multi_search(names: Names, asker: Asker) -> list[Body]:
    return [{**picture, "group_id_list": names.group} for picture in _pictures(names, asker)]


def _enrol(names: Names, asker: Asker) -> list[Body]:
    return [{**picture, **_in_group(names), "user_info": "taken over"} for picture in _pictures(names, asker)]


def _copy(names: Names, _: Asker) -> list[Body]:
    copy: dict[str, object] = {"user_id": names.user, "src_group_id": names.group, "dst_group_id": "mine"}
    return [copy, {**copy, "src_group_id": "mine", "dst_group_id": names.group}]


def _delete_face(names: Names, _: Asker) -> list[Body]:
    return [{**_in_group(names), "face_token": names.token}, {**_in_group(names), "face_token": names.seen}]


def _group(names: Names, _: Asker) -> list[Body]:
    return [{"group_id": names.group}, {"group_id": names.scene_group}]


V3: Mapping[str, Case] = {
    "detect": lambda names, _: _tokens(names),
    "match": _match,
    "faceverify": lambda names, _: [[token] for token in _tokens(names)],
    "search": _search,
    "multiSearch": _multi_search,
    "addUser": _enrol,
    "updateUser": _enrol,
    "getUser": lambda names, _: _in_any_group(names),
    "userCopy": _copy,
    "deleteUser": lambda names, _: _in_any_group(names),
    "faceDelete": _delete_face,
    "faceGetlist": lambda names, _: _in_any_group(names),
    "groupAdd": _group,
    "groupDelete": _group,
    "getGroupList": lambda _, __: [{}, {"start": 0, "length": 1000}],
    "getGroupUsers": _group,
}


def _enrol_in_scene(names: Names, asker: Asker) -> list[Body]:
    user = {"group_id": names.scene_group, "user_id": names.user, "scene_type": "VIDEO"}
    return [{**picture, **user} for picture in _pictures(names, asker)]


def _search_scene(names: Names, asker: Asker) -> list[Body]:
    return [{**picture, "group_id_list": names.scene_group} for picture in _pictures(names, asker)]


SCENES: Mapping[str, Case] = {
    "faceSceneFacesetUserAdd": _enrol_in_scene,
    "faceSceneFacesetUserUpdate": _enrol_in_scene,
    "faceSceneFacesetGroupAdd": _enrol_in_scene,
    "faceCaptureSearch": _search_scene,
}


def _v2(**more: Callable[[Names], str]) -> Case:
    def bodies(names: Names, asker: Asker) -> list[Body]:
        return [{"image": asker.picture, **{name: value(names) for name, value in more.items()}}]

    return bodies


def _uid(names: Names) -> str:
    return names.user


def _gid(names: Names) -> str:
    return names.group


V2: Mapping[str, Case] = {
    "detect": _v2(),
    "detectV1": _v2(),
    "faceverify": _v2(),
    "match": lambda _, asker: [{"images": f"{asker.picture},{asker.picture}"}],
    "identify": _v2(group_id=_gid),
    "verify": _v2(group_id=_gid, uid=_uid),
    "multiIdentify": _v2(group_id=_gid),
    "addUser": _v2(group_id=_gid, uid=_uid, user_info=_uid),
    "updateUser": _v2(group_id=_gid, uid=_uid, user_info=_uid),
    "deleteUser": lambda names, _: [{"uid": names.user, "group_id": names.group}, {"uid": names.user}],
    "getUser": lambda names, _: [{"uid": names.user, "group_id": names.group}, {"uid": names.user}],
    "getGroupList": lambda _, __: [{}],
    "getGroupUsers": lambda names, _: [{"group_id": names.group}, {"group_id": names.scene_group}],
    "addGroupUser": lambda names, _: [
        {"uid": names.user, "src_group_id": names.group, "group_id": "mine"},
        {"uid": names.user, "src_group_id": "mine", "group_id": names.group},
    ],
    "deleteGroupUser": lambda names, _: [{"uid": names.user, "group_id": names.group}],
}


def _envelopes(names: Names, asker: Asker) -> list[dict[str, object]]:
    """One for the other's key; one with a nonce and a device of the other's."""
    used = {"nonce": names.nonce, "device_id": names.device}
    sealed = (seal(names.key, content(asker.picture)), seal(asker.key, content(asker.picture, **used)))
    return [{"app": "android", "sdk_version": "4", "data": data, "risk_identify": "true"} for data in sealed]


def _captured_match(names: Names, asker: Asker) -> list[Body]:
    register = {"register_image": asker.picture, "register_image_type": "BASE64"}
    plain = [{**token, **register} for token in _tokens(names)]
    known = [{"register_image": token["image"], "register_image_type": "FACE_TOKEN"} for token in _tokens(names)]
    return [
        *plain,
        *({"image": asker.picture, "image_type": "BASE64", **each} for each in known),
        *({**each, **register} for each in _envelopes(names, asker)),
    ]


def _person(names: Names, asker: Asker) -> list[dict[str, object]]:
    card: dict[str, object] = {"id_card_number": names.card, "name": PERSON, **TERM}
    return [{**card, **picture} for picture in _pictures(names, asker)]


def _captured_person(names: Names, asker: Asker) -> list[Body]:
    card = {"id_card_number": names.card, "name": PERSON, **TERM}
    return [*_person(names, asker), *({**card, **each} for each in _envelopes(names, asker))]


PERSONS: Mapping[str, Case] = {"personVerify": _person, "facePersonIdmatchV3": _person}

V1: Mapping[str, Case] = {
    "videoSessioncode": lambda _, __: [{}, {"type": "1"}],
    "facelivenessVerifyV1": lambda names, _: [{"session_id": names.session, "video_base64": VIDEO}],
    "faceLandmarkV1": lambda names, _: _tokens(names),
}

V4: Mapping[str, Case] = {
    "onlinePictureLiveV4": lambda names, asker: [{"image_list": [names.seen]}, *_envelopes(names, asker)],
    "faceMingJingMatch": _captured_match,
    "faceMingJingVerify": _captured_person,
    "faceIdmatchDateV4": _person,
    "faceVerifyDateV4": _captured_person,
}

OTHERS: Mapping[str, Case] = {
    **dict.fromkeys((call.path for call in editing.CALLS), lambda names, _: _tokens(names)),
    feedback.PATH: lambda names, _: [{"feedback": [{"log_id": names.log_id, "api_url": "x", "correct": 0}]}],
    capture_keys.PATH: lambda _, __: [{}],
}


def _cases() -> Iterator[tuple[str, Case]]:
    """Every path with its case; a table that has a call more or a call less than its cases is an error."""
    yield from OTHERS.items()
    tables: Sequence[tuple[Sequence[Call[Any, Any]], Mapping[str, Case]]] = (
        (routes.CALLS, V3),
        (person.CALLS, PERSONS),
        (v1.CALLS, V1),
        (v2.CALLS, V2),
        (v4.CALLS, V4),
        (scene.CALLS, SCENES),
    )
    for calls, cases in tables:
        for call in calls:
            if call.name in cases:
                yield call.path, cases[call.name]
    for call in routes.CALLS:
        if call.name in V3:
            yield private.PREFIX + call.path.removeprefix(routes.PREFIX), V3[call.name]
            if call.name in private.SHORT_PATHS:
                yield f"{private.PREFIX}/{private.SHORT_PATHS[call.name]}", V3[call.name]


CASES: Mapping[str, Case] = dict(_cases())
"""By path."""
