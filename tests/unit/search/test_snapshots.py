"""Snapshots as files: what comes back is what was written, and nothing else is ever believed."""

from __future__ import annotations

import logging
import os
import random
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest

from service.search import fine, tiered
from service.search import snapshots as snapshots_module
from service.search.folder import SnapshotCopies
from service.search.pooled import Pool
from service.search.snapshot_file import Contents
from service.search.snapshots import Snapshots
from service.search.tiered import TieredIndex
from service.values import ChangeMark, Embeddings

DIMENSION = 24
MODEL = "test-24-000000000000"
APP = 7
MARK = ChangeMark(seq=41, kind=1, group_pk=2, user_pk=3, face_pk=4, created=1_790_000_000_123_456)
SEAL_AT = 1_000
Groups = dict[int, TieredIndex]


def faces(count: int, seed: int) -> Embeddings:
    """People with three faces each, so that there is something to find, along a few axes mostly, as real ones."""
    rng = np.random.default_rng(seed)
    spread = 0.8 ** np.arange(DIMENSION)
    people = rng.standard_normal((count // 3 + 1, DIMENSION)) * spread
    made = np.repeat(people, 3, axis=0)[:count] + 0.3 * rng.standard_normal((count, DIMENSION)) * spread
    units: Embeddings = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
    return units


def new_index(expected: int = 0) -> TieredIndex:
    return TieredIndex(DIMENSION, expected, seal_at=SEAL_AT)


def filled(count: int, first: int) -> TieredIndex:
    index = new_index()
    index.add_many(np.arange(first, first + count), np.arange(count) // 3 + first, faces(count, first))
    return index


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """FAISS's threads wait for each other by spinning, which takes long on a busy machine."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


@pytest.fixture(scope="module", autouse=True, params=["short codes", "fine codes too"])
def kinds(request: pytest.FixtureRequest) -> Iterator[None]:
    """Embeddings of so few numbers have no fine codes otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "fine codes too":
            patch.setattr(fine, "SHARE", 1.0)
        yield


@pytest.fixture(scope="module")
def library(one_thread: None, kinds: None) -> Groups:  # noqa: ARG001 - they come first
    """Small groups, one of several segments with removed rows and a tail, one that lost everything."""
    groups = {1: filled(40, 1), 5: filled(3, 1_000), 9: filled(6_000, 100_000), 11: filled(2, 50)}
    large = groups[9]
    large.add_many(np.arange(300_000, 300_400), np.arange(400) + 300_000, faces(400, 8))
    for face in range(100_000, 101_000, 7):
        large.remove_face(face)
    for user in range(100_500, 100_560):
        large.remove_user(user)
    groups[1].remove_face(3)
    for face in (50, 51):
        groups[11].remove_face(face)
    assert large.coded_faces() > 5_000
    return groups


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "index", MODEL, DIMENSION)


def save(snapshots: Snapshots, groups: Groups, pause: Callable[[], None] = lambda: None) -> bool:
    def contents() -> Contents:
        return snapshots.contents(APP, MARK, {pk: index.state() for pk, index in groups.items()})

    return snapshots.save(APP, contents, pause) is not None


def restored(snapshots: Snapshots) -> Groups | None:
    found = snapshots.restore(APP, new_index, lambda mark: mark == MARK)
    return None if found is None else found.groups


def assert_equal(found: Groups | None, expected: Groups, probes: int = 30) -> None:
    assert found is not None
    assert set(found) <= set(expected)
    for group, index in expected.items():
        back = found.get(group, new_index())
        assert len(back) == len(index)
        for probe in [*faces(probes, group), *faces(probes // 3, 77)]:
            for limit, threshold in ((1, 0.5), (20, 0.8), (50, -1.5)):
                one, other = back.search(probe, limit, threshold), index.search(probe, limit, threshold)
                # Removed faces take no place in the short list any more, which is lengthened at other searches then.
                assert len(one) == len(other)
                assert one[:20] == other[:20]
                back.exact = index.exact = True
                assert back.search(probe, limit, threshold) == index.search(probe, limit, threshold)
                back.exact = index.exact = False
            assert back.search(probe, 1, 0.5) == index.search(probe, 1, 0.5)
        for user in (1, 2, 5, 100_001, 100_520, 300_100, 404):
            assert back.search_user(probe, user) == index.search_user(probe, user)


def test_what_comes_back_is_what_was_written(snapshots: Snapshots, library: Groups) -> None:
    assert save(snapshots, library)
    back = restored(snapshots)
    assert_equal(back, library)
    assert back is not None
    assert back[9].coded_faces() == library[9].coded_faces()
    assert snapshots.folder.apps() == [APP]
    assert [path.name for path in snapshots.folder.path.iterdir()] == [f"app-{APP}.snapshot"]


def test_what_came_back_lives_on(snapshots: Snapshots, library: Groups) -> None:
    """Additions, removals and a second life."""
    save(snapshots, {9: library[9]})
    back = restored(snapshots)
    assert back is not None
    fresh = faces(2_500, 5)
    back[9].add_many(np.arange(100_000, 102_500), np.arange(2_500), fresh)  # known, and removed in the former life
    assert len(back[9]) > len(library[9])
    back[9].remove_user(300_100)
    assert back[9].search_user(fresh[0], 300_100) is None
    save(snapshots, back)
    assert_equal(restored(snapshots), back)


def test_a_common_list_is_not_measured_again(snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiered, "LARGEST_SEGMENT", 7 * SEAL_AT)
    index = new_index()
    for first in range(0, 14 * SEAL_AT, SEAL_AT):
        rows = np.arange(first, first + SEAL_AT)
        index.add_many(rows, rows // 3, faces(SEAL_AT, first))
    index.maintain(threading.Event())
    state = index.state()
    assert len(state.segments) > 1
    assert state.common is not None
    save(snapshots, {4: index, 5: filled(3, 1_000)})
    back = restored(snapshots)
    assert back is not None
    assert back[4].state().common == state.common
    assert back[5].state().common is None
    monkeypatch.setattr(Pool, "measure", lambda *_: pytest.fail("measured again"))
    back[4].maintain(threading.Event())
    probe = faces(SEAL_AT, 0)[5]
    assert back[4].search(probe, 50, -1.5) == index.search(probe, 50, -1.5)


def test_nothing_of_removed_faces_is_on_the_disk(snapshots: Snapshots) -> None:
    index = filled(4_000, 1)
    gone = faces(4_000, 1)[6]
    index.remove_face(7)
    assert index.coded_faces() == 3_999
    save(snapshots, {1: index})
    content = snapshots.folder.file(APP).read_bytes()
    assert gone.astype(np.float16).tobytes() not in content
    assert faces(4_000, 1)[7].astype(np.float16).tobytes() in content
    for segment, removed in index.state().segments:
        if segment.fine is not None:
            assert all(row.tobytes() not in content for row in segment.fine[removed])
            assert segment.fine[~removed][0].tobytes() in content


def test_files_are_for_us_alone(snapshots: Snapshots, library: Groups) -> None:
    before = os.umask(0)
    try:
        save(snapshots, {1: library[1]})
    finally:
        os.umask(before)
    path = snapshots.folder.file(APP)
    assert path.stat().st_mode & 0o777 == 0o600
    assert {folder.stat().st_mode & 0o777 for folder in (path.parent, path.parent.parent)} == {0o700}


def discarded(snapshots: Snapshots, caplog: pytest.LogCaptureFixture) -> str:
    """That the snapshot is not believed, and gone; returns what the log says."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert restored(snapshots) is None
    assert not snapshots.folder.file(APP).is_symlink()
    assert not snapshots.folder.file(APP).exists()
    (record,) = caplog.records
    return record.getMessage()


def put(snapshots: Snapshots, content: bytes) -> None:
    path = snapshots.folder.file(APP)
    path.touch(0o600)
    path.write_bytes(content)


def test_a_torn_file(snapshots: Snapshots, library: Groups, caplog: pytest.LogCaptureFixture) -> None:
    save(snapshots, library)
    whole = snapshots.folder.file(APP).read_bytes()
    places = [0, 1, 21, 22, 4096, len(whole) // 3, len(whole) // 2, len(whole) - 1000, len(whole) - 22, len(whole) - 1]
    for place in places:
        put(snapshots, whole[:place])
        assert snapshots.saved(APP) is None
        assert "damaged" in discarded(snapshots, caplog)
    # What was in the middle when the machine stopped may also be zeros.
    put(snapshots, whole[: len(whole) // 2] + bytes(4096) + whole[len(whole) // 2 + 4096 :])
    assert "damaged" in discarded(snapshots, caplog)
    for garbage in (b"", b"PK", bytes(100_000), random.Random(1).randbytes(100_000), b"PK\x05\x06" + bytes(18)):  # noqa: S311
        put(snapshots, garbage)
        assert "damaged" in discarded(snapshots, caplog)


def test_a_flipped_bit_in_every_part(snapshots: Snapshots, caplog: pytest.LogCaptureFixture) -> None:
    """Either it is found, or it is in what means nothing (a time in the archive's directory)."""
    groups = {1: filled(40, 1), 9: filled(4_000, 100_000)}
    groups[9].remove_face(100_003)
    save(snapshots, groups)
    path = snapshots.folder.file(APP)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        directory = archive.start_dir
    generator = random.Random(2)  # noqa: S311
    places = [generator.randrange(member.header_offset + 30, member.header_offset + 60) for member in members]
    inside = [member.header_offset + 60 + generator.randrange(max(1, member.file_size - 40)) for member in members]
    found = 0
    for place in (*places, *inside, *range(directory, len(whole), 13)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << generator.randrange(8)
        put(snapshots, bytes(flipped))
        back = restored(snapshots)
        if back is not None:
            assert_equal(back, groups, probes=1)
            path.unlink()
        found += back is None
        assert not path.exists()
        if place in inside:
            assert back is None
    assert found > len(members)
    caplog.clear()


def test_those_of_others(
    snapshots: Snapshots, library: Groups, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    save(snapshots, {1: library[1]})
    kept = tmp_path / "kept"
    shutil.copy2(snapshots.folder.file(APP), kept)
    path = snapshots.folder.file(APP)

    def put_back() -> None:
        shutil.copy2(kept, path)

    snapshots.folder.file(8).write_bytes(kept.read_bytes())
    snapshots.folder.file(8).chmod(0o600)
    assert snapshots.restore(8, new_index, lambda mark: True) is None
    assert "another app: 7 and not 8" in caplog.text
    for other, reason in (
        (Snapshots(tmp_path / "index", "other", DIMENSION), "another model"),
        (Snapshots(tmp_path / "index", MODEL, 25), "another dimension"),
    ):
        other.folder.make()
        shutil.copy2(kept, other.folder.file(APP))
        assert reason in discarded(other, caplog)
    path.chmod(0o640)
    assert "others can read" in discarded(snapshots, caplog)
    path.symlink_to(kept)
    assert "damaged" in discarded(snapshots, caplog)
    path.mkdir()
    with caplog.at_level(logging.WARNING):
        assert restored(snapshots) is None
    path.rmdir()
    put_back()
    with caplog.at_level(logging.WARNING):
        assert snapshots.restore(APP, new_index, lambda mark: False) is None
    assert "does not go on from its position 41" in caplog.text
    assert not path.exists()
    put_back()
    snapshots.discard(APP, "")
    assert restored(snapshots) is None


def test_another_release_of_the_library_or_the_format(
    snapshots: Snapshots, library: Groups, caplog: pytest.LogCaptureFixture
) -> None:
    for old, new in (
        *(('"faiss":"', '"faiss":"0.'), ('"format":3', '"format":2'), ('"short_list"', '"long_list"')),
        ('"loose"', '"left_out":1,"loose"'),  # one that lacks faces
    ):
        save(snapshots, {9: library[9]})
        rewritten(snapshots.folder.file(APP), old, new)
        discarded(snapshots, caplog)


def rewritten(path: Path, old: str, new: str) -> None:
    """The same archive, whole in itself, with another head."""
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
    text = members["head.json"].decode()
    assert old in text
    members["head.json"] = text.replace(old, new, 1).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_changes_while_it_is_written(snapshots: Snapshots) -> None:
    """What is written is the moment that was asked for, whatever happens to the index meanwhile."""
    index = filled(4_000, 1)
    index.add_many(np.arange(9_000, 9_200), np.arange(9_000, 9_200), faces(200, 3))
    expected = filled(4_000, 1)
    expected.add_many(np.arange(9_000, 9_200), np.arange(9_000, 9_200), faces(200, 3))
    numbers = iter(range(1, 10**6))

    def change() -> None:
        number = next(numbers)
        index.remove_face(number)
        index.remove_face(9_000 + number)
        index.add_many(np.arange(100) + 20_000 + 100 * number, np.arange(100) + 50_000, faces(100, number))

    assert save(snapshots, {1: index}, change)
    assert next(numbers) > 5
    assert_equal(restored(snapshots), {1: expected})


def test_who_erases_stops_a_snapshot_that_is_being_written(snapshots: Snapshots, library: Groups) -> None:
    copies = SnapshotCopies(snapshots.folder.path.parent)
    assert copies.erase(APP) == 0
    save(snapshots, {1: library[1]})
    assert copies.erase(8) == 0
    assert restored(snapshots) is not None
    assert copies.erase(APP) == 1
    assert copies.erase(APP) == 0
    erased = []

    def erase() -> None:
        erased.append(copies.erase(APP))

    assert not save(snapshots, library, erase)
    assert set(erased) == {0}
    assert list(snapshots.folder.path.iterdir()) == []


def test_a_snapshot_that_fails_leaves_the_former_one(
    snapshots: Snapshots, library: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(snapshots, {1: library[1]})

    def fail() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        save(snapshots, library, fail)
    monkeypatch.setattr(snapshots_module, "LEAST_FREE_BYTES", 2**62)
    with pytest.raises(OSError, match="no room"):
        save(snapshots, library)
    assert snapshots.save(APP, lambda: None, fail) is None
    assert_equal(restored(snapshots), {1: library[1]})
    assert [path.suffix for path in snapshots.folder.path.iterdir()] == [".snapshot"]
