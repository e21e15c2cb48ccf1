"""The command line's manners: help, sentences instead of tracebacks, exit statuses. Its deeds are in tests/e2e."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from models.archives import sha256_of
from models.convert.pipeline import CONVERTER_VERSION
from models.manifest import load_pack
from models.record import Entry, save_record
from service.cli import counting
from service.cli.failures import FAILED, MISUSED, Failure, exit_status, sentence
from service.cli.progress import ProgressLines
from service.cli.serve import public_address, reserved
from service.errors import DatabaseUnavailable, NoMatch
from service.settings import SettingsError
from tests.fixtures.places import ROOT
from tests.fixtures.server import Home


@pytest.fixture
def bare(tmp_path: Path) -> Home:
    """A home for commands that need neither weights nor a database."""
    return Home(tmp_path, {"MODEL_DIR": str(tmp_path / "models")})


def test_version_and_help(bare: Home) -> None:
    assert bare.run("version").stdout.strip()
    for words in ([], ["app"], ["models"], ["db"], ["feedback"]):
        assert "Usage" in bare.run(*words, "--help").stdout


def test_a_malformed_setting_is_one_sentence(bare: Home) -> None:
    done = Home(bare.folder, {"PORT": "eighty"}).run("settings")
    assert done.returncode == MISUSED
    assert done.stderr.startswith("aipface: setting port (AIPFACE_PORT): ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_unknown_variable_is_a_warning(bare: Home) -> None:
    done = Home(bare.folder, {"PROT": "1"}).run("settings", "--json")
    assert done.returncode == 0
    assert "AIPFACE_PROT" in done.stderr
    json.loads(done.stdout)


def test_settings_mask_secrets(bare: Home) -> None:
    done = Home(bare.folder, {"DATABASE_URL": "postgresql://u:hidden@h/d", "SECRET_KEY": "hidden"}).run("settings")
    assert "database_url = ****" in done.stdout
    assert "hidden" not in done.stdout + done.stderr


def test_packs_are_listed(bare: Home) -> None:
    listed = {pack["name"]: pack for pack in json.loads(bare.run("models", "list", "--json").stdout)}
    assert {"core", "extended", "buffalo_l", "buffalo_s"} <= set(listed)
    assert listed["core"]["state"] == "not fetched"
    assert listed["buffalo_l"]["commercial"] is False


def test_a_pack_with_a_changed_file_is_not_listed_as_fetched(bare: Home) -> None:
    def state() -> object:
        listed = bare.run("models", "list", "--json", variables={"AIPFACE_MODEL_DIR": str(folder)}).stdout
        return next(pack["state"] for pack in json.loads(listed) if pack["name"] == "core")

    folder, files = bare.folder / "weights", load_pack("core").files.values()
    record = {}
    for file in files:
        path = file.path(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the network {file.name}")
        record[file.name] = Entry(file.sha256, sha256_of(path), file.convert, CONVERTER_VERSION)
    assert state() == "outdated"  # nothing tells what they are
    save_record(path.parent, record)
    assert state() == "fetched"
    path.write_text(f"the netwerk {file.name}")
    assert state() == "damaged"
    path.unlink()
    assert state() == "partly here"


def test_an_unknown_pack_is_one_sentence(bare: Home) -> None:
    done = bare.run("models", "fetch", "--pack", "nothing")
    assert done.returncode == FAILED
    assert "there is no pack called 'nothing'" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_weights_are_told(bare: Home) -> None:
    done = bare.run("models", "verify")
    assert done.returncode == FAILED
    assert "missing" in done.stdout
    assert "aipface models fetch --pack core" in done.stderr


def test_an_unreachable_database_is_one_sentence(bare: Home) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    home = Home(bare.folder, {"DATABASE_URL": f"postgresql://u:hidden@127.0.0.1:{port}/d"})
    done = home.run("app", "list")
    assert done.returncode == FAILED
    assert "Traceback" not in done.stderr
    assert "hidden" not in done.stderr


def test_wrong_permissions_are_told(bare: Home) -> None:
    done = bare.run("app", "create", "x", "--permissions", "fly")
    assert done.returncode == MISUSED
    assert "there is no permission 'fly'" in done.stderr


def test_quick_commands_do_not_load_the_runtime(tmp_path: Path) -> None:
    probe = "import sys, service.cli.main; print([m for m in ('onnxruntime', 'fastapi', 'cv2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_libraries_compute_in_the_thread_that_asks(tmp_path: Path) -> None:
    # Their own threads would turn for tens of milliseconds after each search.
    probe = """
import threading, service.cli.main, numpy, faiss, os
numpy.ones((2000, 512), numpy.float32) @ numpy.ones(512, numpy.float32)
asked = threading.Thread(target=lambda: print(faiss.omp_get_max_threads(), len(os.listdir("/proc/self/task")) - 1))
asked.start()
"""
    unset = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", probe]
    done = subprocess.run(command, cwd=tmp_path, env=unset, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]


def test_opencv_decodes_no_more_pixels_than_the_settings_allow() -> None:
    # Whatever a picture's header told: OpenCV's own limit is 2^30.
    probe = """
import service.cli.main
from service.cli.common import effective_settings
effective_settings()
import cv2, numpy
for rows in (8000, 8001):
    content = cv2.imencode(".png", numpy.zeros((rows, 8000), numpy.uint8))[1]
    try:
        print(cv2.imdecode(content, cv2.IMREAD_UNCHANGED).shape[0])
    except cv2.error:
        print("refused")
"""
    unset = {name: value for name, value in os.environ.items() if not name.startswith(("AIPFACE_", "OPENCV_"))}
    command = [sys.executable, "-c", probe]
    done = subprocess.run(command, cwd=ROOT, env=unset, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["8000", "refused"]


def test_failures_have_a_sentence_and_a_status() -> None:
    assert exit_status(SettingsError("x")) == MISUSED
    assert exit_status(Failure("x")) == FAILED
    assert exit_status(DatabaseUnavailable("x")) == FAILED
    assert exit_status(ZeroDivisionError("a bug")) is None
    assert sentence(NoMatch()) == "no match"
    assert sentence(Failure("two\nlines")) == "two lines"


def test_a_port_is_reserved_before_it_answers() -> None:
    with reserved("127.0.0.1", 0) as listener:
        address = public_address(listener)
        assert address == f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(listener.getsockname())


def test_a_taken_port_and_a_foreign_address_are_told() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(Failure, match=f"port {port} of 127.0.0.1 is in use"), reserved("127.0.0.1", port):
            pass
    with pytest.raises(Failure, match="not an address of this machine"), reserved("192.0.2.1", 0):
        pass


def test_progress_in_a_log_is_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ProgressLines()
    for done in range(101):
        lines.update("weights 1.0", done * 2**20, 100 * 2**20)
    assert capsys.readouterr().err.splitlines() == [
        "fetching weights 1.0: 0.0 of 100.0 MiB",
        "fetched weights 1.0: 100.0 of 100.0 MiB",
    ]


def test_what_comes_up_meanwhile_is_counted_in(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 4))  # seconds, four a look
    monkeypatch.setattr(counting, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with counting.counted("faces", 4) as advance:
        for _ in range(7):
            advance("1 refused")
    assert capsys.readouterr().err.splitlines() == [
        "3 of 4 faces, 0.2 a second, 00:00:05 left, 1 refused",
        "6 of 6 faces, 0.2 a second, 00:00:00 left, 1 refused",
        "7 of 7 faces, 0.2 a second, 00:00:00 left, 1 refused",
    ]
    with counting.counted("faces", 100_000) as advance:
        for _ in range(4):
            advance("")
    assert capsys.readouterr().err.splitlines() == [
        "3 of 100000 faces, 0.2 a second, 148:08:37 left",
        "4 of 4 faces, 0.2 a second, 00:00:00 left",
    ]
