"""The folder of snapshots: one process writes to it, and tidies up what others have left."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from service.search.folder import SnapshotFolder, purge


def test_one_process_writes_and_tidies_up(tmp_path: Path) -> None:
    root = tmp_path / "index"
    ours, same, old = (SnapshotFolder(root, model, 24) for model in ("new", "new", "../old model"))
    assert not ours.claim()
    everything = {"app-1.snapshot", "app-1.99.part", "notes.txt"}
    for folder in (ours, old):
        folder.make()
        for name in everything:
            (folder.path / name).write_text("")
    assert {path.name for path in root.iterdir()} == {"24-new", "24-.._old_model"}
    holder = os.open(old.path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)
    assert ours.claim()
    assert ours.claimed()
    assert not same.claim()
    assert {path.name for path in ours.path.iterdir()} == {"app-1.snapshot", "notes.txt", "lock"}
    assert {path.name for path in old.path.iterdir()} == {*everything, "lock"}
    ours.release()
    os.close(holder)
    assert same.claim()
    assert [path.name for path in old.path.iterdir()] == ["notes.txt"]
    purge(root)
    assert ours.apps() == [1]
    same.release()
    purge(root)
    assert ours.apps() == []
    purge(tmp_path / "nowhere")
