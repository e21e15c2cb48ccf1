"""The memory of earlier runs."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from service.access.keys import Keyring
from service.bulk.journal import ImportJournals, Journal

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


def beside(work: Callable[[], object]) -> threading.Thread:
    """Something that another process does: it has ended when this returns, unless it waits for us."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(0.3)
    return thread


def told(path: Path) -> list[str]:
    return [line.split()[1] for line in path.read_text().splitlines()]


def test_two_erasures_forget_what_either_erased(tmp_path: Path) -> None:
    path = tmp_path / "1-model-none.txt"
    path.write_text("".join(f"{number:032x} {token}\n" for number, token in enumerate("abc")))
    journals, enrolled, second = ImportJournals(tmp_path), {"b", "c"}, []

    def kept(tokens: Sequence[str]) -> list[str]:
        return [token for token in tokens if token in enrolled]

    def kept_while_another_is_erased(tokens: Sequence[str]) -> list[str]:
        found = kept(tokens)
        enrolled.discard("b")
        second.append(beside(lambda: journals.forget("1", kept)))
        return found

    assert journals.forget("1", kept_while_another_is_erased) == 1
    second[0].join()
    assert told(path) == ["c"]


def test_what_an_import_notes_while_an_erasure_looks_through_the_journal_stays(tmp_path: Path) -> None:
    path = tmp_path / "1-model-none.txt"
    journal = Journal(path, KEYRING, "1")
    journal.add([(journal.key(bytes([number])), token, None) for number, token in enumerate("ab")])
    noting = []

    def kept(_tokens: Sequence[str]) -> list[str]:
        noting.append(beside(lambda: journal.add([(journal.key(b"new"), "c", None)])))
        return ["b"]

    ImportJournals(tmp_path).forget("1", kept)
    noting[0].join()
    assert told(path) == ["b", "c"]


def test_drafts_that_an_erasure_left_go_and_are_no_journals(tmp_path: Path) -> None:
    journals = ImportJournals(tmp_path / "imports")
    assert journals.forget("1", lambda _: ()) == 0
    (tmp_path / "imports").mkdir()
    for name in ("1-model-none.txt", "1-model-none.txt.0123456789abcdef", "12-model-none.txt.0123456789abcdef"):
        (tmp_path / "imports" / name).write_text(f"{'0' * 32} token\n")
    assert journals.forget("1", lambda tokens: tokens) == 0
    left = {path.name for path in (tmp_path / "imports").glob("*.txt*")}
    assert left == {"1-model-none.txt", "12-model-none.txt.0123456789abcdef"}


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_an_erasure_by_root_locks_nobody_out(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    for name in ("1-a-none.txt", "1-b-none.txt"):
        journal = Journal(tmp_path / name, KEYRING, "1")
        journal.add([(journal.key(token.encode()), token, None) for token in "ab"])
    ImportJournals(tmp_path).forget("1", lambda tokens: ["a"])
    assert {path.stat().st_uid for path in tmp_path.iterdir()} == {65534}
    assert len(list(tmp_path.iterdir())) == 3
