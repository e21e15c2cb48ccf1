"""Which runtime computes a network: by setting, by measurement, and never silently another one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnxruntime
import pytest

from models.manifest import load_pack
from service.inference import runtimes
from service.inference.providers import DEVICES, openvino_installed, providers_for
from service.inference.runtimes import FILE, MeasuredRuntimes, chosen, runtime_for
from service.inference.session import OPENVINO, DeviceUnavailable, load_session
from service.inference.stack_place import PAGE, StackPlace, stack_pointer
from tests.fixtures.places import ROOT

R = TypeVar("R")

CPU = "CPUExecutionProvider"
NEEDS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider", "openvino": OPENVINO}

openvino_only = pytest.mark.skipif(not openvino_installed(), reason="the extra openvino is not installed")


@pytest.fixture
def network(model_dir: Path) -> Path:
    return load_pack("core").files["fr_landmark"].path(model_dir)


def test_processor_is_the_default() -> None:
    assert providers_for("auto") == providers_for("cpu") == [CPU]


@pytest.mark.parametrize("device", [device for device in DEVICES if device in NEEDS])
def test_device_that_is_not_there_is_refused_with_the_way_out(device: str, tmp_path: Path) -> None:
    if NEEDS[device] in onnxruntime.get_available_providers() or (device == "openvino" and openvino_installed()):
        pytest.skip("it is there")
    with pytest.raises(DeviceUnavailable, match=f"{NEEDS[device]}.*AIPFACE_DEVICE=cpu"):
        runtime_for(device, tmp_path)


def test_provider_that_does_not_start_is_no_silent_processor(network: Path) -> None:
    # Known to this ONNX Runtime by name or not: what matters is that nothing else takes its place.
    with (
        pytest.warns(UserWarning, match="not in available provider names"),
        pytest.raises(DeviceUnavailable, match="CUDA"),
    ):
        load_session(network, ["CUDAExecutionProvider"])


def test_measurement_is_remembered_with_its_evidence(network: Path, tmp_path: Path) -> None:
    store = tmp_path / FILE
    assert MeasuredRuntimes(store, [CPU]).providers(network) == [CPU]
    (entry,) = json.loads(store.read_text())["networks"].values()
    assert entry["runtime"] == CPU
    assert entry["milliseconds"][CPU] > 0
    assert chosen(store) == {CPU: 1}
    before = store.stat().st_mtime_ns
    assert MeasuredRuntimes(store, [CPU]).providers(network) == [CPU]
    assert store.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["machine", "networks", "text", "runtime", "evidence"])
def test_measurement_of_something_else_is_not_believed(network: Path, tmp_path: Path, damage: str) -> None:
    store = tmp_path / FILE
    MeasuredRuntimes(store, [CPU]).providers(network)
    content = json.loads(store.read_text())
    if damage in {"runtime", "evidence"}:
        for entry in content["networks"].values():
            entry["runtime"] = "abacus"
            if damage == "evidence":
                entry["agreement"] = {"abacus": "perfect"}
    else:
        content[damage] = "another"
    store.write_text("{" if damage == "text" else json.dumps(content))
    assert MeasuredRuntimes(store, [CPU]).providers(network) == [CPU]
    assert chosen(store) == {CPU: 1}


def test_home_that_cannot_be_written_costs_only_the_memory(network: Path, tmp_path: Path) -> None:
    assert MeasuredRuntimes(tmp_path / "absent" / FILE, [CPU]).providers(network) == [CPU]


def test_agreement_tells_other_answers() -> None:
    one = np.array([[1.0, 2.0]], np.float32)
    assert runtimes._agreement([one], [one]) == pytest.approx(1)
    assert runtimes._agreement([one], [one[:, ::-1]]) < 0.9
    assert runtimes._agreement([one], [one[0]]) == 0


@openvino_only
def test_openvino_gives_the_same_numbers(network: Path) -> None:
    pixels = np.random.default_rng(1).uniform(0, 1, (3, 1, 64, 64)).astype(np.float32)
    plain, other = (load_session(network, [name]) for name in (CPU, OPENVINO))
    assert other.providers == (OPENVINO,)
    assert other.output_names == plain.output_names
    for expected, answered in zip(plain.run(pixels), other.run(pixels), strict=True):
        np.testing.assert_allclose(answered, expected, atol=1e-3)


@openvino_only
@pytest.mark.parametrize("name", ["fr_landmark", "yunet"])
def test_openvino_answers_many_at_once_as_one_after_the_other(model_dir: Path, name: str) -> None:
    """``yunet`` takes pictures of any size, so that what computes it has to change its shape from run to run."""
    session = load_session(load_pack("core").files[name].path(model_dir), [OPENVINO])
    random, shapes = np.random.default_rng(1), [(1, 64, 64)] if name == "fr_landmark" else [(3, 64, 96), (3, 160, 64)]
    batches = [random.uniform(0, 255, (1, *shapes[n % len(shapes)])).astype(np.float32) for n in range(24)]
    expected = [session.run(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        answered = list(pool.map(session.run, batches * 4))
    for one, other in zip(expected * 4, answered, strict=True):
        for wanted, got in zip(one, other, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@openvino_only
@pytest.mark.skipif(stack_pointer() is None, reason="the system does not tell where the stack ends")
def test_openvino_computes_at_the_place_that_was_found_for_a_network_of_one_size(model_dir: Path) -> None:
    from service.inference.openvino_session import OpenVinoSession  # noqa: PLC0415 (it is not always installed)

    files = load_pack("core").files
    session = OpenVinoSession(files["fr_landmark"].path(model_dir))
    places = []

    class Noted(StackPlace):
        def __call__(self, function: Callable[[], R]) -> R:
            pointer = super().__call__(stack_pointer)
            assert pointer is not None
            places.append(pointer % PAGE)
            return super().__call__(function)

    assert session.place is not None
    session.place = Noted(1024)
    batch = np.zeros((1, 1, 64, 64), np.float32)
    run: Callable[[], object] = partial(session.run, batch)
    for _ in range(4):
        run()
        run = partial(run)
    assert places == 4 * [1024]
    assert OpenVinoSession(files["yunet"].path(model_dir)).place is None


@openvino_only
def test_openvino_reports_to_nobody(network: Path, tmp_path: Path) -> None:
    """By itself it tells Google Analytics that it was imported, and keeps an identity in the user's home for that."""
    program = f"""
import socket, sys
from pathlib import Path
from service.inference.providers import openvino_capabilities
from service.inference.session import OPENVINO, load_session
asked = []
sys.addaudithook(lambda event, _: asked.append(event) if event.startswith("socket.") else None)
openvino_capabilities()
load_session(Path({str(network)!r}), [OPENVINO])
assert not asked, asked
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
"""
    variables = {name: value for name, value in os.environ.items() if name != "CI"}  # where it holds back
    subprocess.run([sys.executable, "-c", program], env=variables | {"HOME": str(tmp_path)}, cwd=ROOT, check=True)
    assert list(tmp_path.iterdir()) == []


def test_openvino_is_imported_quietly_alone() -> None:
    loud = re.compile(r"^\s*(import openvino|from openvino)\b", re.MULTILINE)
    sources = [file for folder in ("service", "models", "benchmarks") for file in (ROOT / folder).rglob("*.py")]
    found = [file.name for file in sources if loud.search(file.read_text(encoding="utf-8"))]
    assert found == ["quiet_openvino.py"]


@openvino_only
def test_auto_measures_every_network(network: Path, tmp_path: Path) -> None:
    runtime = runtime_for("auto", tmp_path)
    assert isinstance(runtime, MeasuredRuntimes)
    assert runtime.providers(network)[0] in {CPU, OPENVINO}
    (entry,) = json.loads((tmp_path / FILE).read_text())["networks"].values()
    assert set(entry["milliseconds"]) == {CPU, OPENVINO}
