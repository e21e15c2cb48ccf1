from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.access.keys import Keyring, KeyringError, decode_key, load_or_create

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
PICTURE = hashlib.sha256(b"picture").digest()


def test_what_is_sealed_opens_again() -> None:
    keyring = Keyring(OLD)
    sealed = keyring.seal(b"secret", b"app 1")
    assert keyring.open(sealed, b"app 1") == b"secret"
    assert b"secret" not in sealed


def test_sealing_twice_gives_two_texts() -> None:
    keyring = Keyring(OLD)
    assert keyring.seal(b"secret", b"app 1") != keyring.seal(b"secret", b"app 1")


def test_a_sealed_value_does_not_open_for_another_context() -> None:
    keyring = Keyring(OLD)
    with pytest.raises(KeyringError):
        keyring.open(keyring.seal(b"secret", b"app 1"), b"app 2")


@pytest.mark.parametrize("position", [0, 1, 13, -1])
def test_a_changed_byte_is_noticed(position: int) -> None:
    keyring = Keyring(OLD)
    sealed = bytearray(keyring.seal(b"secret", b"app 1"))
    sealed[position] ^= 1
    with pytest.raises(KeyringError):
        keyring.open(bytes(sealed), b"app 1")


@pytest.mark.parametrize("sealed", [b"", b"\0", bytes(29)])
def test_what_is_too_short_is_refused(sealed: bytes) -> None:
    with pytest.raises(KeyringError):
        Keyring(OLD).open(sealed, b"")


def test_after_rotation_old_values_open_and_new_ones_use_the_new_key() -> None:
    before, after = Keyring(OLD), Keyring(NEW, OLD)
    assert after.open(before.seal(b"secret", b"app"), b"app") == b"secret"
    assert Keyring(NEW).open(after.seal(b"secret", b"app"), b"app") == b"secret"
    with pytest.raises(KeyringError):
        before.open(after.seal(b"secret", b"app"), b"app")


def test_each_purpose_has_its_own_key() -> None:
    keyring = Keyring(NEW, OLD)
    tokens, faces = keyring.derive("tokens"), keyring.derive("face-tokens")
    assert len({*tokens, *faces, OLD, NEW}) == 6
    assert all(len(key) == 32 for key in tokens)


@pytest.mark.parametrize("masters", [(), (b"short",), (OLD, b"")])
def test_masters_of_the_wrong_length_are_refused(masters: tuple[bytes, ...]) -> None:
    with pytest.raises(KeyringError):
        Keyring(*masters)


def test_a_face_token_is_the_same_for_the_same_face_only() -> None:
    keyring = Keyring(OLD)
    token = keyring.face_token("1", PICTURE, (1, 2, 3, 4))
    assert token == keyring.face_token("1", PICTURE, (1, 2, 3, 4))
    assert len(token) == 32
    assert int(token, 16) >= 0
    others = {
        keyring.face_token("2", PICTURE, (1, 2, 3, 4)),
        keyring.face_token("1", hashlib.sha256(b"other").digest(), (1, 2, 3, 4)),
        keyring.face_token("1", PICTURE, (1, 2, 34, 4)),
        Keyring(NEW).face_token("1", PICTURE, (1, 2, 3, 4)),
    }
    assert len(others) == 4
    assert token not in others


def test_the_key_file_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "home" / "secret.key"
    sealed = load_or_create(path).seal(b"secret", b"")
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_create(path).open(sealed, b"") == b"secret"
    assert [entry.name for entry in path.parent.iterdir()] == ["secret.key"]


def test_starts_at_the_same_time_agree_on_one_key(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    with ThreadPoolExecutor(8) as pool:
        rings = list(pool.map(lambda _: load_or_create(path), range(8)))
    sealed = rings[0].seal(b"secret", b"")
    assert all(ring.open(sealed, b"") == b"secret" for ring in rings)


def test_a_key_file_may_hold_older_keys_too(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    path.write_text(f"{NEW.hex()}\n{base64.b64encode(OLD).decode()}\n")
    path.chmod(0o600)
    assert load_or_create(path).open(Keyring(OLD).seal(b"secret", b""), b"") == b"secret"


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        (OLD.hex(), 0o644, "chmod 600"),
        ("", 0o600, "empty"),
        ("not a key", 0o600, "32 bytes"),
        ("ключ", 0o600, "cannot be read"),
    ],
)
def test_a_bad_key_file_is_refused_in_words(tmp_path: Path, content: str, mode: int, complaint: str) -> None:
    path = tmp_path / "secret.key"
    path.write_text(content, encoding="utf-8")
    path.chmod(mode)
    with pytest.raises(KeyringError, match=complaint):
        load_or_create(path)


def test_a_key_file_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyringError, match="cannot be made"):
        load_or_create(tmp_path / "file" / "secret.key")


def test_keys_are_read_as_hexadecimal_and_base64() -> None:
    assert decode_key(OLD.hex().upper() + "\n") == OLD
    key = b"\xff" * 32
    assert decode_key(base64.b64encode(key).decode()) == decode_key(base64.urlsafe_b64encode(key).decode()) == key
    with pytest.raises(KeyringError):
        decode_key(base64.b64encode(b"short").decode())
