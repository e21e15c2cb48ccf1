"""Which files ``aipface calibrate`` reads."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from service.cli.calibrate import _embed
from service.parts import Models


def test_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    """Not even a device that would end at once: others never do."""
    (tmp_path / "device.jpg").symlink_to("/dev/null")
    (tmp_path / "folder.jpg").mkdir()
    unused = cast(Models, None)
    for name in ("device.jpg", "folder.jpg"):
        assert _embed(unused, tmp_path / name, 2**20) == "is no plain file"
    (tmp_path / "nowhere.jpg").symlink_to("absent")
    assert "No such file" in str(_embed(unused, tmp_path / "nowhere.jpg", 2**20))
