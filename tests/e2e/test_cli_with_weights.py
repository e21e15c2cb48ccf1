"""Commands that look at pictures: ``inspect`` and ``calibrate``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.manifest import load_pack
from service.cli.failures import FAILED, MISUSED
from tests.fixtures.pictures import Pictures
from tests.fixtures.server import Home

FEW_PIXELS = {"AIPFACE_MAX_PICTURE_PIXELS": "40000"}

pytestmark = pytest.mark.usefixtures("model_dir")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, {})


def test_inspect_draws_every_face(home: Home, pictures: Pictures) -> None:
    sheet = home.folder / "sheet.png"
    done = home.run("inspect", str(pictures.path("sample1.jpg")), "-o", str(sheet))
    assert done.returncode == 0, done.stderr
    assert "3 faces" in done.stderr
    drawn = cv2.imread(str(sheet))
    assert drawn is not None
    assert drawn.shape[0] > 3 * 400
    assert drawn.std() > 10


def test_inspect_says_what_is_wrong(home: Home) -> None:
    faceless = home.folder / "plain.png"
    cv2.imwrite(str(faceless), np.full((200, 200, 3), 120, np.uint8))
    nothing = home.folder / "absent.png"
    broken = home.folder / "broken.jpg"
    broken.write_bytes(b"no picture")
    large = home.folder / "large.png"
    cv2.imwrite(str(large), np.full((201, 200, 3), 120, np.uint8))
    out = str(home.folder / "sheet.png")
    for picture, status, words in (
        (faceless, FAILED, "no face"),
        (nothing, MISUSED, "cannot be read"),
        (broken, FAILED, ""),
        (large, FAILED, "200x201 pixels are more than 40000"),
    ):
        done = home.run("inspect", str(picture), "-o", out, variables=FEW_PIXELS)
        assert done.returncode == status
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    assert home.run("inspect", str(faceless), "-o", "sheet.gif").returncode == MISUSED


def test_calibrate_needs_people(home: Home, pictures: Pictures) -> None:
    folder = home.folder / "people"
    for person, names in {"obama": ("obama.jpg", "obama2.jpg"), "biden": ("biden.jpg",)}.items():
        (folder / person).mkdir(parents=True)
        for name in names:
            shutil.copy(pictures.path(name), folder / person / name)
    (folder / "biden" / "broken.jpg").write_bytes(b"no picture")
    cv2.imwrite(str(folder / "biden" / "large.png"), np.zeros((2000, 2000), np.uint8))
    done = home.run("calibrate", str(folder), "--write", variables={"AIPFACE_MAX_PICTURE_PIXELS": "3999999"})
    assert done.returncode == FAILED
    assert "too few" in done.stderr
    assert "left out biden/broken.jpg" in done.stderr
    assert "left out biden/large.png: 2000x2000 pixels are more than 3999999" in done.stderr
    assert not (home.folder / "calibration").exists()
    assert home.run("calibrate", str(home.folder / "absent")).returncode == MISUSED


def test_a_table_of_ones_own_is_used_until_it_is_undone(home: Home, pictures: Pictures) -> None:
    pack = load_pack("core")
    assert pack.calibration is not None
    content = json.loads(pack.calibration.read_text(encoding="utf-8"))
    own = home.folder / "calibration" / f"{pack.model_id}.json"
    own.parent.mkdir()
    own.write_text(json.dumps({**content, "model_id": "core-192-000000000000"}), encoding="utf-8")
    refused = home.run("inspect", str(pictures.path("obama.jpg")), "-o", str(home.folder / "sheet.png"))
    assert refused.returncode == FAILED
    assert "was fitted on" in refused.stderr
    assert home.run("calibrate", str(home.folder), "--undo").returncode == 0
    assert not own.exists()
    assert home.run("calibrate", str(home.folder), "--undo").returncode == FAILED
