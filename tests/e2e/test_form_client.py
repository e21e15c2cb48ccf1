"""An old client that knows no JSON: true form bodies, strings for numbers, token by POST."""

from __future__ import annotations

import httpx
import pytest

from tests.fixtures.pictures import Pictures
from tests.fixtures.server import LiveServer


@pytest.fixture
def token(server: LiveServer) -> str:
    form = {
        "grant_type": "client_credentials",
        "client_id": server.credentials.api_key,
        "client_secret": server.credentials.secret_key,
    }
    answer = httpx.post(f"{server.base_url}/oauth/2.0/token", data=form, trust_env=False)
    assert answer.status_code == 200
    return str(answer.json()["access_token"])


def call(server: LiveServer, token: str, name: str, form: dict[str, str]) -> dict[str, object]:
    answer = httpx.post(
        f"{server.base_url}/rest/2.0/face/v3/{name}",
        params={"access_token": token},
        data=form,
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    content = answer.json()
    assert isinstance(content, dict)
    return content


def test_enrol_and_find(server: LiveServer, token: str, pictures: Pictures) -> None:
    face = {"image": pictures.base64("astronaut.png"), "image_type": "BASE64"}
    enrolled = call(server, token, "faceset/user/add", {**face, "group_id": "forms", "user_id": "eileen"})
    assert enrolled["error_code"] == 0
    options = {"group_id_list": "forms", "max_user_num": "3", "match_threshold": "70"}
    found = call(server, token, "search", {**face, **options})
    assert found["error_code"] == 0
    assert isinstance(result := found["result"], dict)
    assert [(user["user_id"], user["score"]) for user in result["user_list"]] == [("eileen", 100)]


def test_numbers_as_text(server: LiveServer, token: str, pictures: Pictures) -> None:
    form = {"image": pictures.base64("sample1.jpg"), "image_type": "BASE64", "max_face_num": "2", "face_field": ""}
    found = call(server, token, "detect", form)
    assert isinstance(result := found["result"], dict)
    assert result["face_num"] == 2


def test_a_wrong_secret_is_told_as_oauth_does(server: LiveServer) -> None:
    form = {"grant_type": "client_credentials", "client_id": server.credentials.api_key, "client_secret": "wrong"}
    answer = httpx.post(f"{server.base_url}/oauth/2.0/token", data=form, trust_env=False)
    assert answer.status_code == 401
    assert answer.json() == {"error": "invalid_client", "error_description": "Client authentication failed"}
