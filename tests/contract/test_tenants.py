"""No call tells one app anything of another, or changes anything there.

Two apps that know nothing of each other are asked the same: one with the identifiers that a third app has, one with
identifiers that nobody has. Both must get the same answers, and the third app must stay as it was.
"""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from service.api.application import build_api
from service.api.linkface import routes as linkface
from service.api.oauth import routes as oauth
from service.api.v3 import private, scene
from service.app import Service
from service.recognition.liveness_sessions import SessionKind
from service.storage.rows import RememberedFace
from service.values import App
from tests.contract.conftest import caller, listening
from tests.contract.devices import SMALL, keys_of
from tests.contract.people import VALIDITY
from tests.contract.tenants import CASES, Asker, Body, Names
from tests.contract.wire import Wire
from tests.fixtures.envelopes import content, seal
from tests.fixtures.people import claim, number
from tests.fixtures.pictures import Pictures

BY_KEYS = {oauth.PATH, linkface.PATH}
"""They take keys and no identifiers of an app."""
OF_NOBODY = {"/healthz", "/readyz", "/metrics"}

INFO = "what the owner alone may read"
SCENE = {"scene_type": "VIDEO"}
CHANGING = re.compile(r'"(log_id|serverlogid|timestamp|ctime|session_id|code)":("[^"]*"|[0-9]+)')
NO_SESSION = "S" + "0" * 32


@dataclass(frozen=True)
class Owner:
    """The app whose belongings the others ask for."""

    wire: Wire
    app: App
    names: Names
    stranger: RememberedFace
    """A face of somebody else, with which others enrol users of the same names."""


def app_of(service: Service, wire: Wire) -> App:
    app = service.apps.by_app_id(wire.credentials.app_id)
    assert app is not None
    return app


@pytest.fixture(scope="module")
def every_route(service: Service) -> Iterator[httpx.Client]:
    """Every route there is, those that need a setting too."""
    with listening(build_api(service, private_alias=True)) as client:
        yield client


@pytest.fixture(scope="module")
def methods(service: Service) -> dict[str, dict[str, object]]:
    """Every path that is served, with its methods."""
    paths: dict[str, dict[str, object]] = build_api(service, private_alias=True).openapi()["paths"]
    return paths


@pytest.fixture(scope="module")
def owner(service: Service, every_route: httpx.Client, pictures: Pictures) -> Owner:
    """An app with something of everything."""
    wire = caller(service, every_route)
    person, other = ({"image": pictures.base64(name), "image_type": "BASE64"} for name in ("obama2.jpg", "biden.jpg"))
    user = {"group_id": "victims", "user_id": "alice", "user_info": INFO}
    token = wire.result("addUser", {**person, **user})["face_token"]
    seen = wire.result("detect", other)["face_list"][0]["face_token"]
    # A search leaves the embedding with the token, which finds nobody.
    assert wire.code("search", {"image": seen, "image_type": "FACE_TOKEN", "group_id_list": "victims"}) == 222207
    in_scene = {**user, **SCENE, "group_id": "watched", "image": token, "image_type": "FACE_TOKEN"}
    add_path = next(call.path for call in scene.CALLS if call.name == "faceSceneFacesetUserAdd")
    added = wire.post(add_path, json.dumps(in_scene).encode())
    assert added["error_code"] == 0, added
    key = next(key for key in keys_of(wire) if key["alg"] == "ECDH-ES")
    captured = content(SMALL, nonce="nonce-of-the-owner", device_id="phone-of-the-owner")
    data = seal(key, captured)
    assert wire.code("onlinePictureLiveV4", {"app": "ios", "sdk_version": "4", "data": data}) != 222950
    wire.response("/rpc/2.0/feedback/v1/report", b'{"feedback":[{"log_id":1,"api_url":"x"}]}')
    app = app_of(service, wire)
    service.enrolment.enter(claim(7), VALIDITY, pictures.bytes("obama2.jpg"), app)
    session = service.liveness_sessions.open(app, SessionKind.VOICE, 3, 3).session_id
    names = Names(
        "victims",
        "watched",
        "alice",
        token,
        seen,
        added["log_id"],
        "nonce-of-the-owner",
        "phone-of-the-owner",
        key,
        session,
        claim(7).number,
    )
    with service.database.read() as reader:
        stranger = reader.tokens.get(app.pk, seen, service.engine.model_id)
    assert stranger is not None
    return Owner(wire, app, names, stranger)


@pytest.fixture(scope="module")
def nobodys(service: Service, every_route: httpx.Client) -> Names:
    """Identifiers of the same kinds, not one of which exists."""
    key = next(key for key in keys_of(caller(service, every_route)) if key["alg"] == "ECDH-ES")
    tokens = (secrets.token_hex(16), secrets.token_hex(16))
    # The key's app is not among those that ask: to them it is a key of nobody's.
    return Names(
        "unheard",
        "unseen_",
        "nobod",
        *tokens,
        2**62,
        "nonce-of-nobody-else",
        "phone-of-nobody",
        key,
        NO_SESSION,
        number(8),
    )


def standing(service: Service, owner: Owner) -> list[object]:
    """Everything that the owner can see of its belongings, and what the database holds of them."""
    user = {"group_id": "victims", "user_id": "alice"}
    enrolled, seen = (
        {"image": token, "image_type": "FACE_TOKEN", "group_id_list": "victims", "match_threshold": 0}
        for token in (owner.names.token, owner.names.seen)
    )
    answers = [
        owner.wire.result("getGroupList"),
        owner.wire.result("getGroupUsers", {"group_id": "victims"}),
        owner.wire.result("getGroupUsers", {"group_id": "watched"}),
        owner.wire.result("getUser", user),
        owner.wire.result("faceGetlist", user),
        owner.wire.result("search", enrolled)["user_list"],
        owner.wire.result("search", seen)["user_list"],
        keys_of(owner.wire),
    ]
    with service.database.read() as reader:
        return [*answers, reader.changes.head(owner.app.pk), reader.feedback.latest(owner.app.pk, 100)]


def enrol_the_same_names(service: Service, app: App, names: Names, face: RememberedFace) -> None:
    """Somebody else, under the names and the very tokens of the owner's user."""
    assert face.embedding is not None
    for group, of_scene in ((names.group, None), (names.scene_group, "VIDEO"), ("mine", None)):
        with service.database.write(app.pk) as work:
            group_pk = work.groups.get_or_create(group, of_scene)
            user_pk = work.users.insert(group_pk, names.user, "somebody else")
            enrolled = dataclasses.replace(face.face, token=names.token)
            work.faces.insert(user_pk, enrolled, service.engine.model_id, face.embedding)
    service.catalog.catch_up(app.pk, work.seq)


def ask(wire: Wire, path: str, method: str, body: Body) -> str:
    """The answer's text."""
    query = {"appid" if path.startswith(private.PREFIX) else "access_token": ""}
    query = {name: wire.credentials.app_id if name == "appid" else wire.token for name in query}
    if method == "get":
        assert not isinstance(body, list)
        answer = wire.http.get(path, params={**query, **dict(body)})  # type: ignore[arg-type]
    else:
        answer = wire.http.post(path, params=query, content=json.dumps(body))
    assert answer.status_code == 200, answer.text
    return answer.text


def comparable(answer: str, wire: Wire, names: Names) -> str:
    """An answer without what differs between any two requests, and without the names that were asked for."""
    text = CHANGING.sub(r'"\1":0', answer)
    for field in dataclasses.fields(names):
        value = getattr(names, field.name)
        if isinstance(value, str):
            text = text.replace(f'"{value}"', f'"<{field.name}>"')
    # Tokens of faces depend on the app: told by their order.
    found: dict[str, str] = {}
    text = re.sub(r"\b[0-9a-f]{32}\b", lambda match: found.setdefault(match[0], f"<token {len(found)}>"), text)
    published = keys_of(wire) if '"keys"' in text else []
    for key in published:
        for part in key.values():
            text = text.replace(json.dumps(part), '"<key>"')
    return text


def test_every_route_has_a_case(methods: dict[str, dict[str, object]]) -> None:
    assert set(CASES) == set(methods) - BY_KEYS - OF_NOBODY


# The aliases of V3's paths lead to the same calls: the harder question is enough for them.
@pytest.mark.parametrize(
    ("path", "populated"),
    [
        pytest.param(path, populated, id=f"{path}-{'same names' if populated else 'empty'}")
        for path in sorted(CASES)
        for populated in (False, True)
        if populated or not path.startswith(private.PREFIX)
    ],
)
def test_what_another_app_has_makes_no_difference(
    service: Service,
    every_route: httpx.Client,
    pictures: Pictures,
    owner: Owner,
    nobodys: Names,
    methods: dict[str, dict[str, object]],
    path: str,
    populated: bool,
) -> None:
    before = standing(service, owner)
    for method in methods[path]:
        told = []
        for names in (owner.names, nobodys):
            wire = caller(service, every_route)
            if populated:
                enrol_the_same_names(service, app_of(service, wire), names, owner.stranger)
            key = next(key for key in keys_of(wire) if key["alg"] == "ECDH-ES") if "/v4/" in path else {}
            bodies = CASES[path](names, Asker(pictures.base64("obama.jpg"), key))
            answers = [ask(wire, path, method, body) for body in bodies]
            assert INFO not in "".join(answers)
            told.append([comparable(answer, wire, names) for answer in answers])
        assert told[0] == told[1]
        assert '"error_code":1,' not in "".join(told[0])
    assert standing(service, owner) == before


def test_keys_of_one_app_are_not_good_for_another(service: Service, every_route: httpx.Client, owner: Owner) -> None:
    other = caller(service, every_route).credentials
    mixed = {"client_id": other.api_key, "client_secret": owner.wire.credentials.secret_key}
    grant = {"grant_type": "client_credentials"}
    assert every_route.get(oauth.PATH, params={**grant, **mixed}).status_code == 401
    keys = {"api_id": owner.wire.credentials.api_key, "api_secret": other.secret_key}
    assert every_route.post(linkface.PATH, data=keys).status_code == 401


def test_a_token_is_not_good_for_another_app(service: Service, every_route: httpx.Client, owner: Owner) -> None:
    other = caller(service, every_route)
    forged = owner.wire.token.rpartition("-")[0] + "-" + other.credentials.app_id
    answer = every_route.post("/rest/2.0/face/v3/faceset/group/getlist", params={"access_token": forged})
    assert answer.json()["error_code"] == 110
