"""A command that is started without the setting of the servers seals what it writes where faces are sealed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from service.administration import Admin, open_admin
from service.face_keys import reseal_faces
from service.settings import Settings, load_settings
from service.storage.face_keys import Wish
from service.storage.models import ModelReader
from service.storage.rows import RememberedFace
from service.storage.sealing import Mode
from tests.fixtures.library import MODEL, enrol, new_app, random_embedding, stored_face
from tests.fixtures.sealing import dumped, execute

PLAIN = random_embedding(1).tobytes()
LOST = b"lost"
RETENTION = timedelta(hours=1)


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Callable[[str], Settings]:
    return lambda mode: load_settings(home=tmp_path, database_url=database_url, encrypt_faces=mode)


def lies_plain(admin: Admin, url: str) -> bool:
    """Whether the embedding of somebody who is enrolled, remembered and embedded by a further model shows in a dump."""
    app = new_app(admin.database)
    enrol(admin.database, app, "group", "user", f"t{app.pk}", random_embedding(1))
    with admin.database.write(app.pk) as work:
        ((face_pk,),) = execute(url, "SELECT pk FROM faces WHERE app_pk = %s", app.pk)
        assert isinstance(face_pk, int)
        assert work.embeddings.add("further", {face_pk: random_embedding(1)}) == 1
    with admin.database.admin() as work:
        work.tokens.put(app.pk, [RememberedFace(stored_face("seen"), random_embedding(1))], MODEL, RETENTION)
    return PLAIN in dumped(url)


@pytest.mark.parametrize("mode", ["on", "only"])
def test_a_command_beside_servers_that_seal_seals_too(
    settings: Callable[[str], Settings], database_url: str, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    with open_admin(settings(mode), serving=True) as server, open_admin(settings("off")) as command:
        assert not lies_plain(command, database_url)
        assert server.database.sealing.enrolled.mode.value == mode
        command.tell_sealing()
        assert "although AIPFACE_ENCRYPT_FACES is off" in caplog.text
        caplog.clear()
        server.tell_sealing()  # whose setting it is
    with open_admin(settings(mode)) as command:
        command.tell_sealing()
    assert caplog.text == ""


def test_where_nothing_is_sealed_a_command_writes_plain_faces(
    settings: Callable[[str], Settings], database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with open_admin(settings("off")) as command:
        assert lies_plain(command, database_url)
        command.tell_sealing()
    assert caplog.text == ""


def test_who_has_gone_back_to_plain_faces_is_not_followed(
    settings: Callable[[str], Settings], database_url: str
) -> None:
    with open_admin(settings("on")) as command:
        assert not lies_plain(command, database_url)
    with open_admin(settings("off"), serving=True) as server:
        assert not server.database.sealing.seals  # a server does what its setting says: so one goes back
    with open_admin(settings("off")) as command:
        assert command.database.sealing.seals
        reseal_faces(command.database, command.keyring, Wish.PLAIN)
    with open_admin(settings("off")) as command:
        assert not command.database.sealing.seals
        assert lies_plain(command, database_url)


def test_a_key_that_is_not_here_is_not_followed(settings: Callable[[str], Settings], database_url: str) -> None:
    """Such faces cannot be opened, and `aipface key forget` would leave the new key behind."""
    with open_admin(settings("off")):
        execute(database_url, "INSERT INTO face_keys (key_id) VALUES (%s)", LOST)
    with open_admin(settings("off")) as command:
        assert not command.database.sealing.seals
    assert execute(database_url, "SELECT key_id FROM face_keys") == [(LOST,)]


def test_a_newer_key_is_noted_before_anything_is_sealed_under_it(settings: Callable[[str], Settings]) -> None:
    with open_admin(settings("on")) as server:
        old = server.keyring
    path = settings("off").secret_key_file
    path.write_text("ab" * 32 + "\n" + path.read_text())
    with open_admin(settings("off")) as command:
        assert command.keyring != old
        with command.database.read() as reader:
            assert len(reader.face_keys.registered()) == 1, "a command that writes no faces has noted it"
        command.tell_sealing()
        with command.database.read() as reader:
            known = reader.face_keys.registered()
    assert set(known) == set(command.database.sealing.enrolled.key_ids)
    assert len(known) == 2


def test_beside_servers_that_take_plain_faces_for_forged_they_are_forged(
    settings: Callable[[str], Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else ``reembed`` would read a plain crop that somebody slipped in, and seal what it makes of it."""
    with open_admin(settings("on")):
        pass
    for refused, mode in ((False, Mode.ON), (True, Mode.ONLY)):
        monkeypatch.setattr(ModelReader, "plain_refused", lambda _, answer=refused: answer)
        with open_admin(settings("off")) as command:
            assert command.database.sealing.enrolled.mode is mode
