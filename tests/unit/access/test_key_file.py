"""The file of the master keys loses no key that anything may be sealed under."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.access import key_file
from service.access.keys import KeyringError, load, load_or_create


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "secret.key"
    key_file.add(path)
    key_file.add(path)
    return path


def test_it_grows_in_front_and_loses_its_end(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    load_or_create(path)
    first = path.read_text().split()
    key_file.add(path)
    key_file.add(path)
    grown = path.read_text().split()
    assert (len(grown), grown[2:]) == (3, first)
    assert path.stat().st_mode & 0o777 == 0o600
    assert key_file.drop_old(path, load(path)) == 2
    assert path.read_text().split() == grown[:1]
    assert key_file.drop_old(path, load(path)) == 0
    assert sorted(tmp_path.iterdir()) == [path, path.with_name("secret.key.lock")]


def test_the_key_that_everything_was_sealed_under_is_not_dropped_for_a_newer_one(path: Path) -> None:
    """As when ``aipface key add`` runs while ``aipface key drop-old`` seals a large register anew."""
    resealed = load(path)
    key_file.add(path)
    before = path.read_text()
    with pytest.raises(KeyringError, match="No key was dropped"):
        key_file.drop_old(path, resealed)
    assert path.read_text() == before


def test_a_key_that_nothing_was_resealed_from_is_not_dropped(path: Path) -> None:
    """Whoever put it behind the others, by hand, has something that it opens."""
    resealed, before = load(path), path.read_text() + base64.b64encode(b"h" * 32).decode() + "\n"
    path.write_text(before)
    with pytest.raises(KeyringError, match="No key was dropped"):
        key_file.drop_old(path, resealed)
    assert path.read_text() == before


def test_what_was_dropped_meanwhile_is_not_missed(path: Path) -> None:
    resealed = load(path)
    assert key_file.drop_old(path, resealed) == 1
    assert key_file.drop_old(path, resealed) == 0


def test_no_key_is_made_where_all_are_gone(path: Path) -> None:
    resealed = load(path)
    path.unlink()
    with pytest.raises(KeyringError, match="cannot be read"):
        key_file.drop_old(path, resealed)
    assert not path.exists()


def test_commands_at_the_same_time_lose_no_key_of_each_other(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(key_file.add, [path] * 40))
    assert len({*path.read_text().split()}) == 42


def test_a_folder_that_takes_no_file_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "secret.key.lock").symlink_to(tmp_path / "elsewhere")  # what nobody may write through
    load_or_create(tmp_path / "secret.key")
    with pytest.raises(KeyringError, match="cannot be written"):
        key_file.add(tmp_path / "secret.key")
    assert not (tmp_path / "elsewhere").exists()
