"""What no browser sends: cookies and paths made to do harm."""

from __future__ import annotations

import http.cookies

import httpx
import pytest

from service.app import Service
from tests.contract.console.visits import send
from tests.contract.wire import Wire

HOSTILE = f'a="{chr(92) * 500}"; aipface_console="{chr(92) * 500}"; aipface_language="{chr(92) * 500}"'


@pytest.mark.usefixtures("password_restored")
@pytest.mark.parametrize("console", ["on", "off"])
def test_cookies_in_quotation_marks_are_not_unquoted(
    service: Service, visitor: httpx.Client, monkeypatch: pytest.MonkeyPatch, console: str
) -> None:
    """Unquoting takes a time that grows with the square of the length, on the event loop."""
    if console == "off":
        service.operator.password.remove()
    unquoted: list[str] = []

    def noted(text: str) -> str:
        unquoted.append(text)
        return text

    monkeypatch.setattr(http.cookies, "_unquote", noted)
    root = visitor.base_url.copy_with(path="/")
    for path in ("console/", "console/login", "healthz", "metrics", "oauth/2.0/token", "nothing"):
        answer = visitor.get(root.join(path), headers={"Cookie": HOSTILE})
        assert answer.status_code < 500, path
    assert not any(text.startswith('"') for text in unquoted)


def test_a_cookie_is_found_among_others(operator: httpx.Client) -> None:
    ours = operator.cookies["aipface_console"]
    for sent in (f"a=b; aipface_console={ours} ;c", f"{HOSTILE.partition(';')[0]};aipface_console={ours}"):
        page = httpx.get(operator.base_url.join("apps"), headers={"Cookie": sent}, trust_env=False)
        assert page.status_code == 200
    strange = {"Cookie": f"xaipface_console={ours}; aipface_consolex={ours}; aipface_console"}
    assert httpx.get(operator.base_url.join("apps"), headers=strange, trust_env=False).status_code == 303


@pytest.mark.parametrize("name", ["%00", "a%00", "%ED%A0%80", "x" * 129, "%E9%97%A8", "a%20b", "@ALL"])
def test_what_cannot_be_a_name_is_not_there_and_is_not_written_down(
    service: Service, operator: httpx.Client, wire: Wire, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    app_id = wire.credentials.app_id
    library = f"/library/{app_id}"
    for path in (f"{library}/{name}", f"{library}/g/{name}", f"{library}/g/u/{name}/picture", f"/library/{name}"):
        assert operator.get(path).status_code == 404
    assert send(operator, f"{library}/{name}/-/delete").status_code == 404
    assert send(operator, f"/apps/{name}/disable").status_code == 404
    service.audit.flush()
    assert "unexpected failure" not in caplog.text
    app = service.apps.by_app_id(app_id)
    assert app is not None
    assert not service.audit.latest(10, chain=app.pk)
