"""The embedded PostgreSQL: sharing, stopping, surviving."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from service.errors import DatabaseUnavailable
from service.storage import postmaster
from service.storage.embedded import EmbeddedPostgres
from service.storage.listener import Listener
from service.storage.urls import driver_address

PATIENCE = 30.0

# A process of ours as it would run: starts its share, says so, stops it on SIGINT or when told to.
# A test run in the background inherits SIGINT ignored; a program at a terminal does not.
PROGRAM = """
import signal
import sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from service.storage.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
url = server.start()
try:
    print(url, flush=True)
    sys.stdin.readline()
except KeyboardInterrupt:
    print("interrupted", server.running(), flush=True)
server.stop()
print("stopped", server.running(), flush=True)
"""


@pytest.fixture(scope="module")
def used_home() -> Iterator[Path]:
    yield from _home()


@pytest.fixture
def home(used_home: Path) -> Path:
    """A home whose database other tests have used; its server is down."""
    assert postmaster.running(used_home / "postgres") is None
    return used_home


@pytest.fixture
def new_home() -> Iterator[Path]:
    yield from _home()


def _home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="aipface-test-"))
    yield folder
    EmbeddedPostgres(folder)._stop_server()
    shutil.rmtree(folder)


def _process(home: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(home)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("postgresql")
    return process


def _end(process: subprocess.Popen[str]) -> list[str]:
    output, _ = process.communicate("\n", timeout=PATIENCE)
    return output.splitlines()


def _pid(home: Path) -> int:
    found = postmaster.running(home / "postgres")
    assert found is not None
    return found.pid


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="environments of others are read in /proc")
def test_the_server_does_not_know_our_settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The master key would lie in its memory, and in the environment of whatever is started there."""
    monkeypatch.setenv("AIPFACE_SECRET_KEY", "of the master")
    monkeypatch.setenv("aipface_secret_key", "of the master")  # as good as the other
    monkeypatch.setenv("FOR_EVERYBODY", "1")
    server = EmbeddedPostgres(home)
    server.start()
    known = Path(f"/proc/{_pid(home)}/environ").read_bytes()
    server.stop()
    assert b"FOR_EVERYBODY=1" in known
    assert b"of the master" not in known


def test_data_outlive_the_server(home: Path) -> None:
    server = EmbeddedPostgres(home)
    with psycopg.connect(driver_address(server.start())) as connection:
        connection.execute("CREATE TABLE kept_at_stop (n int)")
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert connection.execute("SHOW data_checksums").fetchone() == ("on",)
    pid = _pid(home)
    server.stop()
    server.stop()
    assert not server.running()
    assert not postmaster.alive(pid, home / "postgres")
    with psycopg.connect(driver_address(server.start())) as connection:
        assert connection.execute("SELECT count(*) FROM kept_at_stop").fetchone() == (0,)
    assert (home / "postgres").stat().st_mode & 0o077 == 0
    server.stop()


@pytest.mark.parametrize("name", ["long" * 30, "com,ma"])
def test_a_long_path_and_one_that_reads_as_two_get_their_socket_elsewhere(new_home: Path, name: str) -> None:
    server = EmbeddedPostgres(new_home / name)
    url = server.start()
    try:
        with psycopg.connect(driver_address(url)) as connection:
            folder = connection.execute("SHOW unix_socket_directories").fetchone()
    finally:
        server.stop()
    assert folder is not None
    socket_folder = Path(str(folder[0]))
    assert not socket_folder.is_relative_to(new_home)
    assert socket_folder.stat().st_mode & 0o077 == 0
    socket_folder.rmdir()


def test_two_processes_share_one_server_and_the_last_one_stops_it(home: Path) -> None:
    first, second = _process(home), _process(home)
    pid = _pid(home)
    assert _end(first) == ["stopped True"]
    assert _pid(home) == pid
    assert _end(second) == ["stopped False"]


def test_instances_within_one_process_share_it_too(home: Path) -> None:
    first, second = EmbeddedPostgres(home), EmbeddedPostgres(home)
    assert first.start() == second.start()
    first.stop()
    assert second.running()
    second.stop()
    assert not second.running()


def test_a_killed_process_leaves_no_claim(home: Path) -> None:
    process = _process(home)
    pid = _pid(home)
    process.kill()
    process.communicate()
    assert _pid(home) == pid
    server = EmbeddedPostgres(home)
    server.start()
    assert _pid(home) == pid
    server.stop()
    assert not server.running()


def test_ctrl_c_reaches_us_and_not_the_server(home: Path) -> None:
    process = _process(home)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    assert output.splitlines() == ["interrupted True", "stopped False"]


def test_a_process_that_forgets_to_stop_stops_at_its_end(home: Path) -> None:
    program = PROGRAM.partition("try:")[0]  # ends without a stop
    subprocess.run([sys.executable, "-c", program, str(home)], check=True, capture_output=True, timeout=PATIENCE)
    assert not EmbeddedPostgres(home).running()


def test_a_killed_server_comes_back(home: Path) -> None:
    server = EmbeddedPostgres(home)
    url = server.start()
    with psycopg.connect(driver_address(url)) as connection:
        connection.execute("CREATE TABLE kept (n int)")
    os.kill(_pid(home), signal.SIGKILL)
    _wait(lambda: not server.running())
    assert server.start() == url
    with psycopg.connect(driver_address(url)) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    server.stop()
    assert not server.running()


def test_a_listener_can_bring_the_server_back(home: Path) -> None:
    server = EmbeddedPostgres(home)
    connected = threading.Semaphore(0)
    listener = Listener(
        server.start(), on_change=print, on_app=print, on_connect=connected.release, on_lost=server.start
    )
    listener.start()
    assert connected.acquire(timeout=PATIENCE)
    os.kill(_pid(home), signal.SIGKILL)
    assert connected.acquire(timeout=PATIENCE)
    listener.stop()
    assert server.running()
    server.stop()
    assert not server.running()


def test_the_lock_file_of_a_dead_server_does_not_fool_us(home: Path) -> None:
    server = EmbeddedPostgres(home)
    server.start()
    lock_file = home / "postgres" / "postmaster.pid"
    lines = lock_file.read_text().splitlines()
    server.stop()
    # As in a new container, where the old server's number now is some process of ours.
    lock_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert not server.running()
    server.start()
    assert server.running()
    server.stop()


def test_a_program_is_waited_for_when_a_signal_ends_us(tmp_path: Path) -> None:
    """``pg_ctl`` above all: the server that it has begun to start would be found by nobody."""

    def unwind(*_: object) -> None:
        raise SystemExit

    done = tmp_path / "done"
    script = f"sleep 0.5; kill -USR1 {os.getpid()}; sleep 0.5; touch {done}"
    before = signal.signal(signal.SIGUSR1, unwind)
    try:
        with pytest.raises(SystemExit):
            postmaster.run(["/bin/sh", "-c", script], None, PATIENCE)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert done.exists()


def test_a_folder_with_other_files_is_refused(new_home: Path) -> None:
    (new_home / "postgres").mkdir()
    (new_home / "postgres" / "letter.txt").touch()
    with pytest.raises(DatabaseUnavailable, match="holds files"):
        EmbeddedPostgres(new_home).start()
    assert (new_home / "postgres" / "letter.txt").exists()


@pytest.mark.parametrize("there", ["half", "PG_VERSION"])
def test_an_interrupted_setting_up_is_begun_anew(new_home: Path, there: str) -> None:
    (new_home / "postgres").mkdir()
    (new_home / "postgres" / there).touch()
    (new_home / "postgres.unfinished").touch()
    server = EmbeddedPostgres(new_home)
    server.start()
    server.stop()
    assert not (new_home / "postgres.unfinished").exists()


def test_a_process_that_is_killed_while_it_sets_up(new_home: Path) -> None:
    """Its ``initdb`` may live on; the next start waits for it, and begins anew."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(new_home)], stdin=subprocess.PIPE)
    _wait((new_home / "postgres" / "PG_VERSION").exists)
    assert (new_home / "postgres.unfinished").exists()
    process.kill()
    process.communicate()
    server = EmbeddedPostgres(new_home)
    with psycopg.connect(driver_address(server.start())) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    server.stop()


def test_what_has_been_used_is_never_wiped(home: Path) -> None:
    server = EmbeddedPostgres(home)
    with psycopg.connect(driver_address(server.start())) as connection:
        connection.execute("CREATE TABLE kept_beside_a_marker (n int)")
    server.stop()
    (home / "postgres.unfinished").touch()
    with psycopg.connect(driver_address(server.start())) as connection:
        assert connection.execute("SELECT count(*) FROM kept_beside_a_marker").fetchone() == (0,)
    server.stop()
    assert not (home / "postgres.unfinished").exists()


def test_a_server_that_cannot_start_says_why(home: Path) -> None:
    server = EmbeddedPostgres(home, settings={"shared_buffers": "nonsense"})
    with pytest.raises(DatabaseUnavailable, match="shared_buffers"):
        server.start()
    assert not server.running()


@pytest.mark.parametrize("name", ["$HOME", "`touch x`", 'a "b"', "two\nlines", "two\\\\backslashes"])
def test_a_path_that_the_servers_shell_would_act_on_is_refused_before_anything_is_made(
    new_home: Path, name: str
) -> None:
    with pytest.raises(DatabaseUnavailable, match="cannot work in"):
        EmbeddedPostgres(new_home / name).start()
    assert not (new_home / name / "postgres").exists()


def test_data_of_an_unknown_release(new_home: Path) -> None:
    (new_home / "postgres").mkdir()
    (new_home / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(DatabaseUnavailable, match="PostgreSQL 9"):
        EmbeddedPostgres(new_home).start()


def test_what_nobody_has_a_share_in_any_more_is_swept(home: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        EmbeddedPostgres(home).sweep()
        assert EmbeddedPostgres(home).running(), "somebody has a share"
        process.kill()
    assert EmbeddedPostgres(home).running()
    EmbeddedPostgres(home).sweep()
    assert not EmbeddedPostgres(home).running()
    EmbeddedPostgres(home).sweep()
