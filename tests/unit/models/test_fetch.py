"""Fetching: from a folder, from a server, by package managers that fail; nothing half done, nothing done twice."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from models.archives import extract_member, sha256_of
from models.convert.fingerprint import fingerprints_path, measure, run, save_fingerprints
from models.errors import FetchError, LicenceError
from models.fetch import FileState, ensure, verify
from models.record import RECORD_NAME
from tests.unit.models.graphs import pattern
from tests.unit.models.small_packs import SmallPack

ROOT = Path(__file__).resolve().parents[3]


class Server(http.server.ThreadingHTTPServer):
    """Serves ``content``; counts requests; stops in the middle of an answer while ``stalls`` is set."""

    content = b""
    requests = 0
    stalls = False
    cut = False


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        content = self.server.content
        if not self.path.endswith(".zip"):
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        if self.server.cut or self.server.stalls:
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            while self.server.stalls:
                time.sleep(0.05)
            return
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Tests speak for themselves."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=functools.partial(running.serve_forever, poll_interval=0.05))
        thread.start()
        yield running
        running.stalls = False
        running.shutdown()
        thread.join()


def publish(pack: SmallPack, server: Server) -> None:
    """Serve the pack's files as one zip, as InsightFace publishes its packs."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as container:
        for path in sorted(pack.folder.iterdir()):
            container.write(path, path.name)
    server.content = buffer.getvalue()
    address = f"http://127.0.0.1:{server.server_port}/small.zip"
    digest = hashlib.sha256(server.content).hexdigest()
    pack.write(f'kind = "url"\nurl = "{address}"\nsha256 = "{digest}"\nsize = {len(server.content)}')


def states(pack: SmallPack, model_dir: Path) -> set[FileState]:
    return {status.state for status in verify(pack.manifest, model_dir)}


class Heard:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def update(self, task: str, done: int, total: int) -> None:
        self.calls.append((task, done, total))


def test_from_a_folder_then_nothing_more(small_pack: SmallPack, tmp_path: Path) -> None:
    model_dir = tmp_path / "models"
    assert states(small_pack, model_dir) == {FileState.MISSING}
    paths = ensure(small_pack.manifest, model_dir, sources=small_pack.folder)
    assert paths == {name: model_dir / "small" / f"{name}.onnx" for name in ("finder", "embedder")}
    assert states(small_pack, model_dir) == {FileState.READY}
    assert len(run(paths["finder"], pattern(1, 3, 64, 96))) == 9
    assert run(paths["embedder"], pattern(3, 3, 112, 112))[0].shape == (3, 512)
    assert sorted(path.name for path in model_dir.iterdir()) == [".lock", "small"], "no working folder is left"

    before = {path: path.stat().st_mtime_ns for path in paths.values()}
    assert ensure(small_pack.manifest, model_dir, offline=True) == paths
    assert {path: path.stat().st_mtime_ns for path in paths.values()} == before


def test_a_subfolder_named_after_the_pack_will_do(small_pack: SmallPack, tmp_path: Path) -> None:
    small_pack.folder.rename(tmp_path / "small")
    assert len(ensure(small_pack.manifest, tmp_path / "models", sources=tmp_path)) == 2


@pytest.mark.parametrize("place", [".", "small"])
def test_what_another_machine_fetched_is_taken_as_it_is(
    small_pack: SmallPack, tmp_path: Path, server: Server, place: str
) -> None:
    publish(small_pack, server)
    manifest, elsewhere, here = small_pack.manifest, tmp_path / "elsewhere", tmp_path / "here"
    ensure(manifest, elsewhere)
    asked = server.requests
    fetch = functools.partial(ensure, manifest, offline=True, sources=elsewhere / place)
    paths = fetch(here)
    assert states(small_pack, here) == {FileState.READY}
    assert server.requests == asked
    records = [(folder / "small" / RECORD_NAME).read_bytes() for folder in (here, elsewhere)]
    assert records[0] == records[1]

    carried = elsewhere / "small" / "embedder.onnx"
    carried.write_bytes(carried.read_bytes()[:-1])
    paths["embedder"].unlink()
    with pytest.raises(FetchError, match=rf"lacks embedder .*; {carried} is not what the {RECORD_NAME} beside it"):
        fetch(here)
    (elsewhere / "small" / RECORD_NAME).unlink()
    with pytest.raises(FetchError, match="lacks embedder and fetching is off"):
        fetch(tmp_path / "third")
    assert FileState.READY in states(small_pack, tmp_path / "third"), "what is not converted needs no record"


def test_what_another_machine_serves_must_answer_as_the_fingerprint_says(small_pack: SmallPack, tmp_path: Path) -> None:
    manifest, elsewhere = small_pack.manifest, tmp_path / "elsewhere"
    served = ensure(manifest, elsewhere, sources=small_pack.folder)["embedder"]
    recorded = measure(served, (2, 3, 112, 112), 0.0, 1.5)
    save_fingerprints(fingerprints_path(small_pack.manifests, "small"), {"embedder": replace(recorded, high=1.0)})
    with pytest.raises(FetchError, match=r"embedder do not convert on this machine: .* off its fingerprint"):
        ensure(manifest, tmp_path / "here", sources=elsewhere)


def test_the_folder_is_not_named_or_lacks_the_file_or_has_another(small_pack: SmallPack, tmp_path: Path) -> None:
    model_dir = tmp_path / "models"
    with pytest.raises(FetchError, match=r"needs det_10g\.onnx from a folder; name the folder in model_sources"):
        ensure(small_pack.manifest, model_dir)
    with pytest.raises(FetchError, match=r"has no det_10g\.onnx, which the pack small needs; put it there"):
        ensure(small_pack.manifest, model_dir, sources=tmp_path)
    manifest = small_pack.manifest
    (small_pack.folder / "w600k_r50.onnx").write_bytes(b"something else")
    with pytest.raises(FetchError, match=r"w600k_r50\.onnx is not the file that the pack small means"):
        ensure(manifest, model_dir, sources=small_pack.folder)
    assert {status.file.name: status.state for status in verify(manifest, model_dir)} == {
        "finder": FileState.READY,  # what was fetched before the failure stays
        "embedder": FileState.MISSING,
    }


def test_a_changed_or_lost_file_is_noticed_and_fetched_again(small_pack: SmallPack, tmp_path: Path) -> None:
    model_dir = tmp_path / "models"
    paths = ensure(small_pack.manifest, model_dir, sources=small_pack.folder)
    good = sha256_of(paths["embedder"])
    paths["embedder"].write_bytes(paths["embedder"].read_bytes()[:-1])
    assert states(small_pack, model_dir) == {FileState.READY, FileState.CHANGED}
    with pytest.raises(FetchError):
        ensure(small_pack.manifest, model_dir, offline=True)
    ensure(small_pack.manifest, model_dir, sources=small_pack.folder)
    assert sha256_of(paths["embedder"]) == good
    (model_dir / "small" / RECORD_NAME).write_text("{", encoding="utf-8")
    assert states(small_pack, model_dir) == {FileState.OUTDATED}
    ensure(small_pack.manifest, model_dir, sources=small_pack.folder)
    assert states(small_pack, model_dir) == {FileState.READY}


def test_non_commercial_packs_need_the_operators_word(small_pack: SmallPack, tmp_path: Path) -> None:
    small_pack.write(commercial=False)
    ready = functools.partial(ensure, small_pack.manifest, tmp_path / "models", sources=small_pack.folder)
    with pytest.raises(LicenceError, match=r"not for commercial use .* set accept_noncommercial"):
        ready()
    assert ready(accept_noncommercial=True)
    with pytest.raises(LicenceError):
        ready()


def test_from_a_server_with_progress(small_pack: SmallPack, tmp_path: Path, server: Server) -> None:
    publish(small_pack, server)
    heard = Heard()
    ensure(small_pack.manifest, tmp_path / "models", progress=heard)
    assert states(small_pack, tmp_path / "models") == {FileState.READY}
    assert server.requests == 1, "one archive holds both files"
    assert heard.calls[-1][1:] == (len(server.content), len(server.content))
    ensure(small_pack.manifest, tmp_path / "models", progress=heard)
    assert server.requests == 1


def test_offline_asks_no_server_but_takes_the_archive_from_a_folder(
    small_pack: SmallPack, tmp_path: Path, server: Server
) -> None:
    publish(small_pack, server)
    with pytest.raises(FetchError, match=r"lacks finder and fetching is off \(offline\)"):
        ensure(small_pack.manifest, tmp_path / "models", offline=True)
    assert server.requests == 0
    folder = tmp_path / "carried"
    folder.mkdir()
    (folder / "small.zip").write_bytes(server.content)
    ensure(small_pack.manifest, tmp_path / "models", offline=True, sources=folder)
    assert states(small_pack, tmp_path / "models") == {FileState.READY}


def test_offline_a_changed_file_is_not_called_lacking(small_pack: SmallPack, tmp_path: Path, server: Server) -> None:
    publish(small_pack, server)
    manifest, model_dir = small_pack.manifest, tmp_path / "models"
    path = ensure(manifest, model_dir)["embedder"]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FetchError, match=f"^the file {path} was changed or is damaged and fetching is off"):
        ensure(manifest, model_dir, offline=True)
    (model_dir / "small" / RECORD_NAME).unlink()
    lost = rf"^the file .*finder.onnx is of another release, or {RECORD_NAME} beside it is lost and fetching is off"
    with pytest.raises(FetchError, match=lost):
        ensure(manifest, model_dir, offline=True)


def test_a_server_that_serves_something_else(small_pack: SmallPack, tmp_path: Path, server: Server) -> None:
    publish(small_pack, server)
    served = server.content
    attempt = functools.partial(ensure, small_pack.manifest, tmp_path / "models")
    server.content = served[:-1] + b"?"
    with pytest.raises(FetchError, match="is not what the manifest says"):
        attempt()
    server.content = served + b"more"
    with pytest.raises(FetchError, match="is larger than the"):
        attempt()
    server.content, server.cut = served, True
    with pytest.raises(FetchError, match="broke off after"):
        attempt()
    assert states(small_pack, tmp_path / "models") == {FileState.MISSING}
    assert [path.name for path in (tmp_path / "models").iterdir()] == [".lock"]


def test_a_server_that_does_not_answer(small_pack: SmallPack, tmp_path: Path, server: Server) -> None:
    publish(small_pack, server)
    text = (small_pack.manifests / "small.toml").read_text(encoding="utf-8")
    (small_pack.manifests / "small.toml").write_text(text.replace("/small.zip", "/gone"), encoding="utf-8")
    with pytest.raises(FetchError, match="answers 404; check the network, or download it elsewhere"):
        ensure(small_pack.manifest, tmp_path / "models")
    server.shutdown()
    server.server_close()
    with pytest.raises(FetchError, match="cannot be reached"):
        ensure(small_pack.manifest, tmp_path / "models")


def test_a_killed_fetch_leaves_nothing_and_the_next_one_works(
    small_pack: SmallPack, tmp_path: Path, server: Server
) -> None:
    publish(small_pack, server)
    server.stalls = True
    model_dir = tmp_path / "models"
    code = (
        "import sys; from pathlib import Path; from models.fetch import ensure; from models.manifest import load_pack;"
        "ensure(load_pack('small', Path(sys.argv[1])), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(small_pack.manifests), str(model_dir)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        deadline = time.monotonic() + 60
        while server.requests == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert any(path.name.startswith(".fetch-") for path in model_dir.iterdir())
    assert states(small_pack, model_dir) == {FileState.MISSING}
    server.stalls = False
    ensure(small_pack.manifest, model_dir)
    assert states(small_pack, model_dir) == {FileState.READY}
    assert sorted(path.name for path in model_dir.iterdir()) == [".lock", "small"]


def test_two_fetch_at_once_and_one_downloads(small_pack: SmallPack, tmp_path: Path, server: Server) -> None:
    publish(small_pack, server)
    failures: list[BaseException] = []

    def fetch() -> None:
        try:
            ensure(small_pack.manifest, tmp_path / "models")
        except BaseException as error:  # noqa: BLE001 (shown by the assertion below)
            failures.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert server.requests == 1


def test_a_conversion_that_answers_otherwise_is_refused(small_pack: SmallPack, tmp_path: Path) -> None:
    recorded = measure(small_pack.folder / "w600k_r50.onnx", (2, 3, 112, 112), 0.0, 1.0)
    path = fingerprints_path(small_pack.manifests, "small")
    save_fingerprints(path, {"embedder": recorded})
    ensure(small_pack.manifest, tmp_path / "good", sources=small_pack.folder)
    other = measure(small_pack.folder / "w600k_r50.onnx", (2, 3, 112, 112), 0.0, 1.5)
    save_fingerprints(path, {"embedder": replace(other, high=1.0)})
    with pytest.raises(FetchError, match=r"embedder do not convert on this machine: .* off its fingerprint"):
        ensure(small_pack.manifest, tmp_path / "bad", sources=small_pack.folder)
    assert not (tmp_path / "bad" / "small" / "embedder.onnx").exists()


def test_a_folder_that_cannot_be(small_pack: SmallPack, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FetchError, match="cannot be used"):
        ensure(small_pack.manifest, tmp_path / "file" / "models", sources=small_pack.folder)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_folder_that_cannot_be_written(small_pack: SmallPack, tmp_path: Path) -> None:
    model_dir = tmp_path / "models"
    model_dir.mkdir(mode=0o555)
    with pytest.raises(FetchError, match=r"cannot be written .* set model_dir to a folder that can"):
        ensure(small_pack.manifest, model_dir, sources=small_pack.folder)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk(small_pack: SmallPack, tmp_path: Path) -> None:
    model_dir = tmp_path / "models"
    (model_dir / "small").mkdir(parents=True)
    # The record's draft is written through a link to the device that is always full.
    (model_dir / "small" / f".{RECORD_NAME}.{os.getpid()}").symlink_to("/dev/full")
    with pytest.raises(FetchError, match="is full; make room or set model_dir to another disk"):
        ensure(small_pack.manifest, model_dir, sources=small_pack.folder)
    assert FileState.READY not in states(small_pack, model_dir)


def test_members_of_archives(tmp_path: Path) -> None:
    archive, target = tmp_path / "package.tgz", tmp_path / "out"
    with tarfile.open(archive, "w:gz") as container:
        for name, content in (("package/a", b"A"), ("../../escape", b"B")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            container.addfile(entry, io.BytesIO(content))
        folder = tarfile.TarInfo("package/folder")
        folder.type = tarfile.DIRTYPE
        container.addfile(folder)
    extract_member(archive, "package/a", target)
    assert target.read_bytes() == b"A"
    extract_member(archive, "../../escape", target)
    assert target.read_bytes() == b"B", "a member goes where we say, not where it says"
    for name in ("package/b", "package/folder"):
        with pytest.raises(FetchError, match="has no file"):
            extract_member(archive, name, target)
    archive.write_bytes(archive.read_bytes()[:40])
    with pytest.raises(FetchError, match="is damaged"):
        extract_member(archive, "package/a", target)
