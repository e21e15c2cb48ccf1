"""What root's commands leave in a home that is somebody else's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from service.access import certificates, key_file, private_files
from service.console.password import PasswordFile

SERVER = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_commands_of_root_keep_no_server_out(tmp_path: Path) -> None:
    os.chown(tmp_path, SERVER, SERVER)
    for _ in range(2):
        key_file.add(tmp_path / "secret.key")
        PasswordFile(tmp_path / "console.password").set("long enough")
        certificates.create(tmp_path / "tls", ["localhost"])
    made = [*tmp_path.rglob("*")]
    assert {path.stat().st_uid for path in made} == {SERVER}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600, 0o700}
    assert len(made) == 8


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_a_file_that_is_replaced_keeps_its_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, SERVER, SERVER)
    key = tmp_path / "secret.key"
    key_file.add(key)
    os.chown(key, 0, 0)
    key_file.add(key)
    assert key.stat().st_uid == 0


def test_a_file_and_a_folder_for_their_owner_alone(tmp_path: Path) -> None:
    private_files.make_folder(tmp_path / "new")
    private_files.make_folder(tmp_path / "new")
    os.close(private_files.created(tmp_path / "new" / "draft", tmp_path / "new" / "file"))
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "new" / "draft").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        private_files.created(tmp_path / "new" / "draft", tmp_path / "new" / "file")


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "file"
    private_files.put_new(file, b"one")
    with pytest.raises(FileExistsError):
        private_files.put_new(file, b"two")
    assert file.read_bytes() == b"one"
    private_files.put(file, b"three")
    assert file.read_bytes() == b"three"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [*tmp_path.iterdir()] == [file]


def test_a_file_has_its_name_once_it_is_on_the_disk_and_the_name_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename that a power cut takes back would take the key with it under which everything was sealed since."""
    file, seen = tmp_path / "file", []
    synced = os.fsync

    def watched(descriptor: int) -> None:
        seen.append((Path(f"/proc/self/fd/{descriptor}").readlink() == tmp_path, file.exists()))
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    private_files.put_new(file, b"one")
    assert seen == [(False, False), (True, True)]
