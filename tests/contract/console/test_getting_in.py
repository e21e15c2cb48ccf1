"""Logging in to the console and out of it, and what no other site can do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import httpx
import pytest

from service.app import Service
from service.console.sessions import IDLE_SECONDS, Sessions
from tests.contract.console.visits import PAGES, PASSWORD, login, send


@pytest.mark.usefixtures("password_restored")
def test_without_a_password_there_is_no_console(service: Service, visitor: httpx.Client) -> None:
    service.operator.password.remove()
    for response in (visitor.get("/"), visitor.get("/login"), login(visitor, PASSWORD)):
        assert response.status_code == 404
        assert "aipface console password" in response.text


@pytest.mark.parametrize("page", [*PAGES, "/library/1", "/library/1/g/u/f/picture", "/nothing"])
def test_strangers_are_sent_to_the_door(visitor: httpx.Client, page: str) -> None:
    response = visitor.get(page)
    assert response.status_code == 303
    assert response.headers["location"] == f"/console/login?next={quote('/console' + page.partition('?')[0], safe='/')}"


def test_strangers_cannot_send_forms(service: Service, visitor: httpx.Client) -> None:
    before = len(service.apps.list())
    assert visitor.post("/apps", data={"name": "mine"}).status_code == 401
    assert visitor.post("/try", content=b"{}").status_code == 401
    assert len(service.apps.list()) == before


def test_a_wrong_password_is_told_and_after_a_few_one_has_to_wait(service: Service, visitor: httpx.Client) -> None:
    try:
        for _ in range(5):
            response = login(visitor, "wrong horse battery")
            assert response.status_code == 401
            assert "set-cookie" not in response.headers
        refused = login(visitor, PASSWORD)
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= 301
    finally:
        service.operator.throttle.succeeded("127.0.0.1")
    assert login(visitor, PASSWORD).status_code == 303


def test_wrong_passwords_at_once_are_looked_at_no_more_often(service: Service, visitor: httpx.Client) -> None:
    try:
        with ThreadPoolExecutor(12) as together:
            answers = list(together.map(lambda _: login(visitor, "wrong horse battery").status_code, range(12)))
        assert answers.count(401) <= 5
        assert set(answers) == {401, 429}
    finally:
        service.operator.throttle.succeeded("127.0.0.1")


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(visitor: httpx.Client) -> None:
    cookie = login(visitor, PASSWORD).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/console" in cookie
    assert "secure" not in cookie
    response = visitor.post("/login", data={"password": PASSWORD}, headers={"X-Forwarded-Proto": "https"})
    assert "secure" in response.headers["set-cookie"].lower()


@pytest.mark.parametrize(
    ("wanted", "led"),
    [
        ("/console/usage", "/console/usage"),
        ("https://example.com/console/", "/console/"),
        ("//example.com", "/console/"),
        ("/console/\\example.com", "/console/"),
        ("/console//example.com", "/console//example.com"),
    ],
)
def test_one_is_led_to_the_wanted_page_of_the_console_only(visitor: httpx.Client, wanted: str, led: str) -> None:
    assert login(visitor, PASSWORD, next=wanted).headers["location"] == led


def test_a_login_form_of_another_site_is_refused(visitor: httpx.Client) -> None:
    for origin in ("https://example.com", "http://[", "null"):
        response = visitor.post("/login", data={"password": PASSWORD}, headers={"Origin": origin})
        assert response.status_code == 403


@pytest.mark.usefixtures("password_restored")
def test_a_session_ends_when_idle_when_logged_out_and_with_a_new_password(
    service: Service, visitor: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = visitor
    login(operator, PASSWORD)
    assert operator.get("/").status_code == 200
    sessions: Sessions = service.operator.sessions
    clock = sessions._clock
    with monkeypatch.context() as later:
        later.setattr(sessions, "_clock", lambda: clock() + IDLE_SECONDS + 1)
        assert operator.get("/").status_code == 303
    assert operator.get("/").status_code == 200
    service.operator.password.set(PASSWORD)
    assert operator.get("/").status_code == 303
    login(operator, PASSWORD)
    cookies = dict(operator.cookies)
    left = send(operator, "/logout")
    assert left.headers["location"] == "/console/login"
    assert left.headers.get_list("set-cookie") == [
        'aipface_console=""; HttpOnly; Max-Age=0; Path=/console; SameSite=strict'
    ]
    assert "aipface_console" not in operator.cookies
    assert httpx.get(f"{operator.base_url}/", cookies=cookies, trust_env=False).status_code == 303


def test_what_the_browser_says_of_a_form_counts_before_its_origin(visitor: httpx.Client) -> None:
    """Behind a proxy that changes ``Host``, the origin is another."""
    headers = {"Origin": "https://door.example.com", "Sec-Fetch-Site": "same-origin"}
    assert visitor.post("/login", headers=headers, data={"password": PASSWORD}).status_code == 303
    for site in ("cross-site", "same-site"):
        refused = visitor.post("/login", headers={"Sec-Fetch-Site": site}, data={"password": PASSWORD})
        assert refused.status_code == 403
