"""``aipface copy`` from an instance that is changed while it is read."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from service.administration import Admin
from service.cli.bulk_copy import BATCH
from service.cli.bulk_import import SOME_REFUSED
from service.values import App
from tests.fixtures.sealing import execute
from tests.integration.library.test_erasure_commands import admin, app, ran

__all__ = ["admin", "app"]

GROUP_GONE, USER_GONE = 223100, 223103


class Changing(BaseHTTPRequestHandler):
    """A library whose group ``old`` and user ``grace`` are deleted as soon as they have been listed.

    With ``many`` empty groups more.
    """

    many = 0

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/oauth/2.0/token":
            self._answer({"access_token": "token"})
            return
        call, parameters = self.path.partition("?")[0].rpartition("faceset/")[2], json.loads(asked)
        if parameters.get("group_id") == "old":
            self._answer({"error_code": GROUP_GONE, "error_msg": "group is not exist"})
        elif parameters.get("user_id") == "grace":
            self._answer({"error_code": USER_GONE, "error_msg": "user is not exist"})
        else:
            results: dict[str, object] = {
                "group/getlist": {"group_id_list": ["old", "crew", *(f"empty{number}" for number in range(self.many))]},
                "group/getusers": {
                    "user_id_list": ["ada", "grace", "joe"] if parameters.get("group_id") == "crew" else []
                },
                "user/get": {"user_list": [{"group_id": "crew", "user_info": "told"}]},
                "face/getlist": {"face_list": [{"face_token": "0" * 32}]},
            }
            self._answer({"error_code": 0, "result": results[call]})

    def _answer(self, content: dict[str, object]) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name in the library)
        """Nothing on standard error."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("SOURCE_API_KEY", "SOURCE_SECRET_KEY"):
        monkeypatch.setenv(name, "key")
    with HTTPServer(("127.0.0.1", 0), Changing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_who_is_deleted_there_meanwhile_is_left_out(admin: Admin, app: App, address: str, tmp_path: Path) -> None:
    table = tmp_path / "need.csv"
    done = ran("copy", "--from", address, "--app", app.app_id, "--output", str(table))
    assert done.exit_code == 0, done.output
    assert "2 groups and users were deleted there meanwhile, and are left out" in done.stdout
    assert "2 users; the API gives no pictures" in done.stdout
    with table.open(encoding="utf-8-sig", newline="") as file:
        assert [row["user_id"] for row in csv.DictReader(file)] == ["ada", "joe"]
    with admin.database.read(app.pk) as reader:
        assert reader.groups.pk(app.pk, "old") is None
        crew = reader.groups.pk(app.pk, "crew")
        assert crew is not None
        assert reader.groups.users(crew, 0, 10) == ["ada", "joe"]


def test_a_group_whose_name_a_scene_has_here_is_named_and_not_counted(
    admin: Admin, app: App, address: str, tmp_path: Path
) -> None:
    with admin.database.write(app.pk) as work:
        gate = work.groups.insert("crew", "GATE")
    table = tmp_path / "need.csv"
    done = ran("copy", "--from", address, "--app", app.app_id, "--output", str(table))
    assert done.exit_code == SOME_REFUSED, done.output
    assert "0 users; the API gives no pictures" in done.stdout
    assert "not copied, since a scene's group has the name here: crew, with all users" in done.stdout
    with table.open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.DictReader(file)) == []
    with admin.database.read(app.pk) as reader:
        assert reader.groups.users(gate, 0, 10) == []


def test_many_groups_are_several_transactions(
    app: App, address: str, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Changing, "many", 2 * BATCH)
    assert ran("copy", "--from", address, "--app", app.app_id, "--output", str(tmp_path / "need.csv")).exit_code == 0
    made = execute(
        database_url, "SELECT count(*)::int FROM groups WHERE starts_with(name, 'empty') GROUP BY xmin::text"
    )
    sizes = [int(str(number)) for (number,) in made]
    assert sum(sizes) == 2 * BATCH
    assert max(sizes) <= BATCH
