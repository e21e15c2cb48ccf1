"""Servers and commands that are set to different packs, on one library: everybody who is enrolled is found."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.manifest import load_pack
from service.administration import Admin, open_admin
from service.app import Service, open_service
from service.cli.doctor import Check, examine
from service.cli.failures import Failure
from service.cli.main import application
from service.intake.controls import NO_CONTROLS
from service.library.users import EnrolAction
from service.library_model import settle
from service.recognition.identify import SearchOptions
from service.search.folder import NAME as SNAPSHOTS
from service.search.folder import SnapshotFolder
from service.settings import Settings, load_settings
from service.storage.models import LibraryModel
from service.values import App, ImageKind, ImageSource
from tests.fixtures.library import new_app, random_embedding, stored_face
from tests.fixtures.pictures import Pictures
from tests.fixtures.waiting import wait_for

CORE = LibraryModel("core", load_pack("core").model_id)
LIGHT = load_pack("light").model_id


@pytest.fixture
def settings(model_dir: Path, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of everything but the pack, in the environment, so that commands have them too."""
    monkeypatch.setenv("AIPFACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIPFACE_DATABASE_URL", database_url)
    monkeypatch.setenv("AIPFACE_MODEL_DIR", str(model_dir))
    monkeypatch.setenv("AIPFACE_OFFLINE", "true")
    return load_settings()


def found(service: Service, app: App, picture: ImageSource) -> str:
    (match,) = service.identify.search(app, picture, ["group"], SearchOptions()).matches
    return match.user_id


@pytest.mark.usefixtures("settings")
def test_who_is_enrolled_in_one_server_is_found_in_one_that_is_set_to_another_pack(pictures: Pictures) -> None:
    picture = ImageSource(ImageKind.BASE64, pictures.base64("obama.jpg"))
    with open_service(load_settings(pack="core")) as first:
        app = first.apps.by_app_id(first.apps.create("app").app_id)
        assert app is not None
        with open_service(load_settings(pack="light")) as second:
            wait_for(lambda: first.pack.name == "light")  # nobody was enrolled yet
            first.users.add(app, picture, "group", "obama", None, EnrolAction.APPEND, NO_CONTROLS)
            assert found(second, app, picture) == found(first, app, picture) == "obama"
    with open_service(load_settings(pack="core")) as third:
        assert (third.pack.name, third.readiness().ready) == ("light", True)
        assert found(third, app, picture) == "obama"


@pytest.fixture
def admin(settings: Settings) -> Iterator[Admin]:
    with open_admin(settings) as admin:
        yield admin


@pytest.fixture
def mixed(admin: Admin, pictures: Pictures) -> App:
    """An app with users of both packs, as earlier releases let them come about; the library is in core."""
    app = new_app(admin.database)
    faces = {"core": (CORE.model_id, b"any"), "light": (LIGHT, pictures.bytes("obama.jpg")), "bare": (LIGHT, None)}
    with admin.database.write(app.pk) as work:
        group = work.groups.get_or_create("group")
        for user, (model_id, crop) in faces.items():
            face = stored_face(user, crop)
            work.faces.insert(work.users.insert(group, user), face, model_id, random_embedding(1))
    settle(admin.database, CORE)
    return app


def ran(*arguments: str) -> str:
    result = CliRunner().invoke(application, ["reembed", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def index(settings: Settings) -> Check:
    (check,) = [check for check in examine(settings) if check.name == "index"]
    return check


def test_what_another_pack_has_left_is_embedded_by_the_library_s(
    settings: Settings, admin: Admin, mixed: App, tmp_path: Path
) -> None:
    before = index(settings)
    assert before.found == f"1 faces of {CORE.model_id}; not searchable with this model: 2"
    assert before.mend.startswith("aipface reembed --pack core;")
    assert "2 faces are embedded by other packs alone and not found: aipface reembed --pack core" in ran("--finish")

    listed = tmp_path / "need.csv"
    outcome = json.loads(ran("--pack", "core", "--json", "--output", str(listed)))
    assert [outcome[name] for name in ("embedded", "missing", "without_crop", "moved")] == [2, 0, 1, False]
    with listed.open(encoding="utf-8-sig", newline="") as file:
        assert [row["user_id"] for row in csv.DictReader(file)] == ["bare"]
    with admin.database.read() as reader:
        (user,) = reader.users.entries(mixed.pk, "light")
        ((_, embedding),) = reader.faces.embeddings_of_users([user.pk], CORE.model_id)
    assert embedding.shape == (192,)
    assert index(settings).found == f"2 faces of {CORE.model_id}; not searchable with this model: 1"

    with admin.database.write(mixed.pk) as work:
        for entry in work.users.entries(mixed.pk, "bare"):
            work.users.delete(entry.pk)
    folders = [SnapshotFolder(settings.home / SNAPSHOTS, model_id, 192) for model_id in (LIGHT, CORE.model_id)]
    for folder in folders:
        folder.make()
        folder.file(mixed.pk).write_bytes(b"")
    assert f"the library has embeddings of {CORE.model_id} alone" in ran("--finish")
    assert [folder.apps() for folder in folders] == [[], [mixed.pk]]  # the other pack would embed the faces anew
    assert index(settings).ok
    refused = CliRunner().invoke(application, ["reembed", "--pack", "core"])
    assert isinstance(refused.exception, Failure)
    assert "the library is in the pack core already" in str(refused.exception)
