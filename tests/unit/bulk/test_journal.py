"""The memory of earlier runs."""

from __future__ import annotations

import stat
from pathlib import Path

from service.access.keys import Keyring
from service.bulk.journal import Journal

KEYRING = Keyring(bytes(32))


def test_what_was_seen_is_known_to_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "imports" / "a.txt"
    journal = Journal(path, KEYRING, "1")
    first, second = journal.key(b"first"), journal.key(b"second")
    assert journal.seen(first) == (None, None)
    journal.add([(first, "ab" * 16, None), (second, None, "face_not_found")])
    later = Journal(path, KEYRING, "1")
    assert later.seen(first) == ("ab" * 16, None)
    assert later.seen(second) == (None, "face_not_found")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    size = path.stat().st_size
    later.add([(first, "ab" * 16, None)])
    assert path.stat().st_size == size


def test_keys_belong_to_one_app_and_one_master_key(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    keys = {Journal(path, ring, app).key(b"p") for ring in (KEYRING, Keyring(bytes([1] * 32))) for app in ("1", "2")}
    assert len(keys) == 4


def test_a_torn_line_costs_one_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    journal = Journal(path, KEYRING, "1")
    keys = [journal.key(bytes([number])) for number in range(3)]
    journal.add([(key, "cd" * 16, None) for key in keys[:2]])
    path.write_bytes(path.read_bytes()[:-5])
    torn = Journal(path, KEYRING, "1")
    assert torn.seen(keys[0]) == ("cd" * 16, None)
    assert torn.seen(keys[1]) == (None, None)
    torn.add([(keys[2], "ef" * 16, None)])
    mended = Journal(path, KEYRING, "1")
    assert mended.seen(keys[2]) == ("ef" * 16, None)
    path.write_bytes(b"\xff\x00 nonsense\nzz zz\n")
    assert Journal(path, KEYRING, "1").seen(keys[0]) == (None, None)
