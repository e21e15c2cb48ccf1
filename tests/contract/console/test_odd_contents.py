"""Pages about what is rarely there: other time zones, apps that may nothing, and links that must not lose anything."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime

import httpx
import pytest

from service.app import Service
from tests.contract.console.visits import send
from tests.contract.wire import Wire
from tests.fixtures.pictures import Pictures


@pytest.fixture
def kiritimati(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's clock, fourteen hours before UTC's."""
    with monkeypatch.context() as zone:
        zone.setenv("TZ", "UTC-14")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("kiritimati")
def test_times_are_the_machines(operator: httpx.Client, wire: Wire, pictures: Pictures) -> None:
    """As the charts, the log and `aipface audit list` tell them."""
    picture = {"image": pictures.base64("obama.jpg"), "image_type": "BASE64"}
    before = f"{datetime.now():%Y-%m-%d %H:%M}"  # noqa: DTZ005 - the machine's
    wire.result("addUser", {**picture, "group_id": "staff", "user_id": "obama"})
    for page in ("/audit", f"/library/{wire.credentials.app_id}/staff/obama"):
        assert max(re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d", operator.get(page).text)) >= before, page


def test_another_language_keeps_what_else_was_asked_for(operator: httpx.Client, visitor: httpx.Client) -> None:
    assert 'href="?minutes=180&amp;lang=zh"' in operator.get("/usage?minutes=180").text
    chinese = operator.get("/usage?minutes=180", headers={"Accept-Language": "zh"}).text
    assert 'href="?minutes=180&amp;lang=en"' in chinese
    door = visitor.get("/login?next=/console/usage&lang=zh").text
    assert 'name="next" value="/console/usage"' in door
    assert re.search(r'href="\?next=[^"]*usage&amp;lang=en"', door)


def test_a_page_that_shows_a_key_is_not_left_for_another_language(service: Service, operator: httpx.Client) -> None:
    made = send(operator, "/apps", name="shown once")
    rotated = send(operator, f"/apps/{service.apps.list()[-1].app_id}/rotate")
    for page in (made, rotated):
        assert 'id="secret"' in page.text
        assert "lang=zh" not in page.text
    assert "lang=zh" in operator.get("/apps").text


def test_an_app_that_may_nothing_says_so(service: Service, operator: httpx.Client) -> None:
    service.apps.create("idle", permissions=())
    assert "May make: –" in operator.get("/apps").text


def test_what_is_too_large_is_told_from_a_form_that_has_ended(operator: httpx.Client) -> None:
    large = send(operator, "/apps", name="x" * 70_000)
    assert "larger than a request may be" in large.text
    headers = {"Accept": "application/json"}
    assert operator.post("/apps", content=b"x" * 70_000, headers=headers).status_code == 413


def test_users_and_groups_may_be_called_like_pages(
    service: Service, operator: httpx.Client, wire: Wire, pictures: Pictures
) -> None:
    """The page of a user "delete" does not ask whether the group shall go, and deleting "delete" is written down."""
    picture = {"image": pictures.base64("obama.jpg"), "image_type": "BASE64"}
    for group in ("library", "delete"):
        wire.result("addUser", {**picture, "group_id": group, "user_id": "delete"})
    app = service.apps.by_app_id(wire.credentials.app_id)
    assert app is not None
    root = f"/library/{app.app_id}"
    assert "<h1>delete</h1>" in operator.get(f"{root}/delete/delete").text
    assert send(operator, f"{root}/delete/delete/delete").status_code == 303
    assert wire.result("getGroupUsers", {"group_id": "delete"})["user_id_list"] == []
    assert f'href="/console{root}/library/-/delete"' in operator.get(f"{root}/library").text
    assert send(operator, f"{root}/library/-/delete").status_code == 303
    assert wire.result("getGroupList")["group_id_list"] == ["delete"]
    assert ("console library delete", ("delete",), ("delete",)) in _written(service, app.pk)
    assert ("console library delete", ("library",), ()) in _written(service, app.pk)


def test_a_question_that_nobody_answered_is_no_deletion_in_the_audit_log(
    service: Service, operator: httpx.Client, wire: Wire
) -> None:
    wire.result("groupAdd", {"group_id": "kept"})
    app = service.apps.by_app_id(wire.credentials.app_id)
    assert app is not None
    for names in ("kept/-", "kept/somebody"):
        assert "Delete for good?" in operator.get(f"/library/{app.app_id}/{names}/delete").text
    assert not any(call.startswith("console") for call, _, _ in _written(service, app.pk))


def _written(service: Service, chain: int) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    service.audit.flush()
    entries = [entry.draft for entry in service.audit.latest(100, chain=chain)]
    return [(entry.call, entry.groups, entry.users) for entry in entries]
