"""What each of several processes has of its own. That they serve is shown in tests/e2e."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import metrics
from service.administration import LEAST_CONNECTIONS, embedded_connections
from service.cli import member, processes
from service.cli.failures import Failure
from service.cli.member import SHARED_METRICS, Member, of_each
from service.metrics import PROCESS, REGISTRY
from service.settings import SettingsError, load_settings


@pytest.mark.parametrize(
    ("cpus", "count", "threads", "queue"),
    [(1, 2, 1, 32), (2, 2, 2, 32), (4, 2, 2, 32), (5, 2, 3, 32), (16, 4, 4, 16), (16, 3, 6, 22)],
)
def test_each_has_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: int, count: int, threads: int, queue: int
) -> None:
    monkeypatch.setattr(member, "available_cpus", lambda: cpus)
    shares = of_each(load_settings(home=tmp_path, processes=count))
    assert shares == {"inference_threads": threads, "queue_limit": queue}


def test_what_the_operator_names_is_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "available_cpus", lambda: 8)
    named = load_settings(home=tmp_path, processes=2, inference_threads=7)
    assert of_each(named) == {"queue_limit": 32}
    monkeypatch.setenv("AIPFACE_QUEUE_LIMIT", "10")
    assert of_each(load_settings(home=tmp_path, processes=2)) == {"inference_threads": 4}


def test_the_embedded_database_takes_the_connections_of_all(tmp_path: Path) -> None:
    assert embedded_connections(load_settings(home=tmp_path)) == LEAST_CONNECTIONS
    many = load_settings(home=tmp_path, processes=8, database_pool_size=20)
    assert embedded_connections(many) > 8 * 20


def test_a_file_of_milvus_lite_is_for_one_process(tmp_path: Path) -> None:
    named = {"home": tmp_path, "search_backend": "milvus", "milvus_uri": str(tmp_path / "vectors.db")}
    assert load_settings(**named).milvus_is_a_file
    with pytest.raises(SettingsError, match="one process at a time"):
        load_settings(**named, processes=2)
    assert load_settings(**{**named, "milvus_uri": "http://milvus:19530"}, processes=2).processes == 2


def test_folders_of_killed_servers_are_removed_and_those_of_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "MEMORY", tmp_path)
    left = tmp_path / f"{processes.FOLDER}left"
    left.mkdir()
    (left / "lock").touch()
    with processes._counting_folder(1) as first, processes._counting_folder(1) as second:
        assert not left.exists()
        assert first != second
        assert first.is_dir()
        assert first.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == []


def test_without_the_folder_there_is_nothing_rather_than_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert metrics.registries() == (PROCESS, REGISTRY)
    monkeypatch.setattr(metrics, "SHARED", True)
    monkeypatch.setenv(SHARED_METRICS, str(tmp_path / "gone"))
    (common,) = metrics.registries()
    assert list(common.collect()) == []


@pytest.mark.parametrize("name", [SHARED_METRICS, SHARED_METRICS.lower()])
def test_another_programs_folder_is_not_counted_in(tmp_path: Path, name: str) -> None:
    code = "import service.cli.main, service.metrics; print(service.metrics.SHARED)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, name: str(tmp_path / "not there")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("handed", ["", "x", "3", "0,1", "a,b,first,/tmp", "-1,-1,first,/tmp", "9999,9998,first,"])
def test_what_only_the_one_above_may_say_is_refused_of_others(handed: str) -> None:
    with pytest.raises(Failure, match="--member"):
        Member(handed)


@pytest.mark.parametrize("number", ["0", "-1", "65", "1.5", "two", "２x", "9" * 400])
def test_a_number_of_processes_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    monkeypatch.setenv("AIPFACE_PROCESSES", number)
    with pytest.raises(SettingsError, match="AIPFACE_PROCESSES"):
        load_settings(home=tmp_path)


def test_a_place_without_room_for_counting_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MEMORY", tmp_path / "gone")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone, too"))
    with pytest.raises(Failure, match="no folder can be made"), processes._counting_folder(1):
        pass


def test_folders_of_other_accounts_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / f"{processes.FOLDER}left"
    left.mkdir()
    (left / "lock").touch()
    monkeypatch.setattr(os, "geteuid", lambda: left.stat().st_uid + 1)
    processes._tidy(tmp_path)
    assert left.exists()


@pytest.fixture
def placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Member, socket.socket]]:
    """A member, in this process, and the end of its line that whoever started it has."""
    monkeypatch.setenv(SHARED_METRICS, str(tmp_path))
    above, line = socket.socketpair()
    listener = socket.create_server(("127.0.0.1", 0))
    place = Member(f"{listener.detach()},{line.detach()},other,{tmp_path}")
    with place.listener, place._line:
        with above:
            yield place, above
            place.stopping()  # else the end of the line were an order to this process
        for thread in threading.enumerate():
            if thread.name == "orders":
                thread.join()


def test_a_member_says_that_it_goes_on_until_it_is_told_to_stop(
    placed: tuple[Member, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "BEAT_SECONDS", 0.01)
    place, above = placed

    async def serve() -> None:
        place.ready()
        await asyncio.sleep(0.2)
        place.stopping()
        await asyncio.sleep(0.05)

    asyncio.run(serve())
    said = above.recv(1024)
    assert len(said) > 3
    assert said == b"." * (len(said) - 1) + b"-"


def test_a_member_does_not_wait_for_who_does_not_listen(placed: tuple[Member, socket.socket]) -> None:
    for _ in range(10_000):
        placed[0]._say(b".")


def test_room_for_counting_is_taken_before_anything_is_counted(
    tmp_path: Path, placed: tuple[Member, socket.socket]
) -> None:
    del placed
    sizes = {path.name: path.stat() for path in tmp_path.glob("*.db")}
    assert sizes.keys() == {f"{name}_{os.getpid()}.db" for name in member.RESERVED}
    for name, size in member.RESERVED.items():
        found = sizes[f"{name}_{os.getpid()}.db"]
        assert found.st_size == size
        assert 512 * found.st_blocks >= size


def test_a_member_without_room_for_counting_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Failure, match=r"no room for counting in .*: No space left on device"):
        member._reserve(tmp_path)


def test_without_room_in_memory_they_count_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory").mkdir()
    monkeypatch.setattr(processes, "MEMORY", tmp_path / "memory")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with processes._counting_folder(2) as folder:
        assert folder.parent == tmp_path / "memory"
    with processes._counting_folder(2**30) as folder:
        assert folder.parent == tmp_path


def test_every_file_that_is_counted_in_has_its_room(tmp_path: Path) -> None:
    code = """if True:
        import os, pathlib, sys
        from service.cli import member
        os.environ[member.SHARED_METRICS] = sys.argv[1]
        member._reserve(pathlib.Path(sys.argv[1]))
        before = {path.name for path in pathlib.Path(sys.argv[1]).iterdir()}
        import service.app, service.metrics
        assert service.metrics.SHARED
        service.metrics.CALLS.labels("detect", "0").inc()
        service.metrics.registries()[0].collect()
        assert {path.name for path in pathlib.Path(sys.argv[1]).iterdir()} == before, "another file"
        print(*sorted(member.used(path) for path in pathlib.Path(sys.argv[1]).iterdir()))
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert min(map(int, done.stdout.split())) > 8
