"""The whole server with faces encrypted at rest: it answers as ever, and a dump of its database shows no face."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from service.access.keys import KeyringError
from service.administration import open_admin
from service.app import Service, create_app, open_service
from service.settings import Settings, load_settings
from service.storage.rows import embedding_bytes
from tests.contract.conftest import caller, listening
from tests.contract.wire import Wire
from tests.fixtures.pictures import Pictures
from tests.fixtures.sealing import dumped, execute
from tests.fixtures.server import Home

HERE = {"group_id": "home", "user_id": "somebody"}


@pytest.fixture
def settings(model_dir: Path, database_url: str, tmp_path: Path) -> Callable[[str], Settings]:
    """Those of a server on the test's own database, with faces encrypted as named."""
    given = {"home": tmp_path, "model_dir": model_dir, "offline": True, "database_url": database_url}
    return lambda mode: load_settings(**given, inference_threads=2, encrypt_faces=mode)


def plain_columns(service: Service, wire: Wire, token: str) -> list[bytes]:
    """Embedding and crop of an enrolled face, as the server's own key opens them."""
    app = service.apps.by_app_id(wire.credentials.app_id)
    assert app is not None
    with service.database.read() as reader:
        known = reader.faces.stored_by_token(app.pk, token, service.engine.model_id)
    assert known is not None
    assert known.embedding is not None
    assert known.face.portrait is not None
    return [embedding_bytes(known.embedding), known.face.portrait]


def test_it_answers_as_ever_and_a_dump_shows_no_face(
    settings: Callable[[str], Settings], database_url: str, pictures: Pictures
) -> None:
    first, second = ({"image": pictures.base64(name), "image_type": "BASE64"} for name in ("obama.jpg", "obama2.jpg"))
    with open_service(settings("on")) as service, listening(create_app(service)) as client:
        wire = caller(service, client)
        token = wire.result("detect", first)["face_list"][0]["face_token"]
        remembered = {"image": token, "image_type": "FACE_TOKEN"}
        assert wire.result("addUser", {**remembered, **HERE})["face_token"] == token
        (found,) = wire.result("search", {**second, "group_id_list": "home"})["user_list"]
        assert (found["user_id"], found["score"] > 80) == ("somebody", True)
        assert wire.result("match", [remembered, second])["score"] == pytest.approx(found["score"], abs=0.1)
        wire.result("groupAdd", {"group_id": "office"})
        wire.result("userCopy", {"user_id": "somebody", "src_group_id": "home", "dst_group_id": "office"})
        faces = plain_columns(service, wire, token)
    content = dumped(database_url)
    for column in faces:
        assert column not in content
        assert column[len(column) // 2 :][:100] not in content
    assert execute(database_url, "SELECT count(*), count(portrait) FROM faces") == [(2, 2)]
    assert execute(database_url, "SELECT count(*) FROM face_tokens") != [(0,)]

    with open_service(settings("only")) as service:
        assert service.catalog.faces() == 2

    execute(database_url, "UPDATE face_keys SET key_id = %s", b"lost")
    with pytest.raises(KeyringError, match=b"lost".hex()), open_service(settings("off")):
        pass


def test_an_import_without_the_setting_is_found_by_a_server_that_takes_no_plain_faces(
    settings: Callable[[str], Settings], database_url: str, pictures: Pictures, tmp_path: Path
) -> None:
    people = tmp_path / "people" / "home" / "somebody"
    people.mkdir(parents=True)
    shutil.copy(pictures.path("obama.jpg"), people)
    command = ["import", str(tmp_path / "people"), "--output", str(tmp_path / "out"), "--no-doubles"]
    with open_service(settings("only")) as service, listening(create_app(service)) as client:
        wire = caller(service, client)
        variables = {"DATABASE_URL": database_url, "MODEL_DIR": str(settings("off").model_dir), "OFFLINE": "true"}
        home = Home(tmp_path, variables)
        done = home.run(*command, "--app", wire.credentials.app_id)
        assert (done.returncode, "although AIPFACE_ENCRYPT_FACES is off" in done.stderr) == (0, True), done.stderr
        assert execute(database_url, "SELECT count(*) FROM faces WHERE octet_length(embedding) %% 4 = 0") == [(0,)]
        probe = {"image": pictures.base64("obama2.jpg"), "image_type": "BASE64"}
        (found,) = wire.result("search", {**probe, "group_id_list": "home"})["user_list"]
        assert (found["user_id"], found["score"] > 80) == ("somebody", True)

        with open_admin(settings("off"), serving=True) as stray:  # another replica without the setting
            app = stray.apps.by_app_id(wire.credentials.app_id)
            assert app is not None
            with stray.database.write(app.pk) as work:
                (known,) = work.users.entries(app.pk, "somebody")
                work.faces.copy(known.pk, work.users.insert(work.groups.insert("office"), "somebody"))
        service.catalog.catch_up(app.pk)
        assert service.catalog.faces() == 1
        assert "PROBLEM  encrypted faces" in home.run("doctor").stdout
        assert home.run("key", "seal-faces").returncode == 0
        (found,) = wire.result("search", {**probe, "group_id_list": "office"})["user_list"]
        assert found["user_id"] == "somebody"
        assert "ok       encrypted faces" in home.run("doctor").stdout
