"""Lower precisions for recognition networks: offered where processor and accuracy allow them, judged by evidence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.bfloat16 import emulated, rounded
from models.manifest import available_packs, load_pack
from service.inference import providers, session
from service.inference.processor import computes_bfloat16, computes_int8, instructions
from service.inference.providers import (
    BFLOAT16,
    LOWER,
    lower_precisions,
    openvino_advice,
    openvino_capabilities,
    openvino_installed,
    runs_openvino,
)
from service.inference.runtimes import FILE, Evidence, MeasuredRuntimes, compared, runtime_for
from service.inference.session import (
    OPENVINO,
    OPENVINO_BF16,
    OPENVINO_INT8,
    DeviceUnavailable,
    Precisions,
    Session,
    load_session,
)
from service.parts import load_models
from service.settings import Settings
from tests.unit.inference.small_graphs import linear_graph

CPU = "CPUExecutionProvider"
REDUCIBLE = Precisions(bfloat16=True)
RANGED = Precisions(bfloat16=True, ranges=Path("ranges.npz"))
FP32 = [CPU, OPENVINO] if openvino_installed() else [CPU]
ZEN_4 = "processor\t: 0\nflags\t\t: fpu smep smap avx2 avx512f avx512_bf16 avx512_vnni rdpid\n"
ZEN_3 = "processor\t: 0\nflags\t\t: fpu smep smap avx2 fma rdpid\n"
ICE_LAKE = "flags\t\t: fpu smep avx2 avx512f avx512_vnni rdpid\n"
GRAVITON_3 = "processor\t: 0\nFeatures\t: fp asimd crc32 sve bf16 i8mm\n"


def both() -> frozenset[str]:
    """What a processor computes that has instructions for every lower precision."""
    return frozenset(LOWER)


def neither() -> frozenset[str]:
    """What one computes without such instructions."""
    return frozenset()


def test_they_are_candidates_for_networks_that_keep_their_accuracy_alone(tmp_path: Path) -> None:
    runtime = runtime_for("auto", tmp_path, able=both)
    assert isinstance(runtime, MeasuredRuntimes)
    assert runtime.candidates() == tuple(FP32)
    assert runtime.candidates(REDUCIBLE) == (CPU, OPENVINO_BF16)
    assert runtime.candidates(RANGED) == (CPU, OPENVINO_BF16, OPENVINO_INT8)


@pytest.mark.parametrize("precision", LOWER)
def test_one_that_is_asked_for_is_the_only_one(tmp_path: Path, precision: str) -> None:
    runtime = runtime_for("auto", tmp_path, precision, able=both)
    assert isinstance(runtime, MeasuredRuntimes)
    assert runtime.candidates(RANGED) == (CPU, LOWER[precision])


@pytest.mark.skipif(not openvino_installed(), reason="the extra openvino is not installed")
def test_openvino_alone_chooses_between_its_precisions(tmp_path: Path) -> None:
    runtime = runtime_for("openvino", tmp_path, able=both)
    assert isinstance(runtime, MeasuredRuntimes)
    assert runtime.candidates(RANGED) == (OPENVINO, OPENVINO_BF16, OPENVINO_INT8)
    assert runtime_for("openvino", tmp_path, able=neither) == [OPENVINO]


@pytest.mark.parametrize(("precision", "able"), [("fp32", both), ("auto", neither), ("fp32", neither)])
def test_they_are_no_candidates_unless_wanted_and_possible(tmp_path: Path, precision: str, able: Any) -> None:
    runtime = runtime_for("auto", tmp_path, precision, able=able)
    if isinstance(runtime, MeasuredRuntimes):
        assert runtime.candidates(RANGED) == tuple(FP32)
    else:
        assert runtime == [CPU]


@pytest.mark.parametrize(
    ("precision", "device", "able"),
    [
        ("bf16", "auto", lambda: {"int8"}),
        ("int8", "auto", lambda: {"bf16"}),
        ("bf16", "auto", neither),
        ("int8", "cpu", both),
    ],
)
def test_asked_for_where_it_cannot_be_it_is_refused_with_the_way_out(
    tmp_path: Path, precision: str, device: str, able: Any
) -> None:
    with pytest.raises(DeviceUnavailable, match=rf"{precision} needs .*AIPFACE_PRECISION=auto"):
        runtime_for(device, tmp_path, precision, able=able)


@pytest.mark.parametrize(("pack", "precision"), [("buffalo_l", "bf16"), ("buffalo_l", "int8"), ("light", "int8")])
def test_packs_that_did_not_pass_the_gate_are_refused(tmp_path: Path, pack: str, precision: Any) -> None:
    settings = Settings(home=tmp_path, pack=pack, precision=precision, offline=True)
    with pytest.raises(DeviceUnavailable, match=f"{precision} is not offered for the pack {pack}"):
        load_models(settings)


def test_only_packs_that_passed_the_gate_are_offered() -> None:
    """Decisions 24 and 29 have their figures; ``extended`` has the recognisers of ``core``."""
    embedders = {pack: load_pack(pack).embedder for pack in available_packs()}
    assert {pack for pack, embedder in embedders.items() if embedder.bfloat16} == {"core", "extended", "light"}
    ranged = {pack for pack, embedder in embedders.items() if any(part.ranges for part in embedder.parts)}
    assert ranged == {"core", "extended"}


@pytest.mark.parametrize(
    ("runtime", "cosine", "winner"),
    [
        (OPENVINO_BF16, 0.9996, OPENVINO_BF16),
        (OPENVINO_BF16, 0.99, CPU),
        (OPENVINO_BF16, float("nan"), CPU),
        (OPENVINO_INT8, 0.998, OPENVINO_INT8),
        (OPENVINO_INT8, 0.98, CPU),
        (OPENVINO, 0.99999, OPENVINO),
        (OPENVINO, 0.9996, CPU),
    ],
)
def test_what_differs_too_much_does_not_win(runtime: str, cosine: float, winner: str) -> None:
    evidence = Evidence("small", CPU, {CPU: 8.4, runtime: 3.6}, {CPU: 1.0, runtime: cosine})
    assert evidence.winner == winner
    assert evidence.refused == (() if winner == runtime else (runtime,))


def test_noise_does_not_win() -> None:
    assert Evidence("small", CPU, {CPU: 8.4, OPENVINO_BF16: 8.1}, {CPU: 1.0, OPENVINO_BF16: 1.0}).winner == CPU


@pytest.mark.parametrize(("eight", "winner"), [(3.2, OPENVINO_INT8), (3.4, OPENVINO_BF16), (9.0, OPENVINO_BF16)])
def test_fewer_bits_win_only_where_they_are_clearly_faster(eight: float, winner: str) -> None:
    names = (CPU, OPENVINO, OPENVINO_BF16, OPENVINO_INT8)
    milliseconds = dict(zip(names, (8.4, 6.2, 3.6, eight), strict=True))
    assert Evidence("small", CPU, milliseconds, dict.fromkeys(names, 1.0)).winner == winner


def test_networks_are_compared_by_what_they_answer(tmp_path: Path) -> None:
    matrix = np.random.default_rng(2).normal(size=(3 * 8 * 8, 16)).astype(np.float32)
    plain = linear_graph(tmp_path / "plain.onnx", 1, 8, matrix)
    other = linear_graph(tmp_path / "other.onnx", 1, 8, matrix + 2)
    files = {CPU: plain, OPENVINO_BF16: emulated(plain, tmp_path / "rounded.onnx"), OPENVINO: other}
    evidence = compared("small", {name: load_session(file, [CPU]) for name, file in files.items()})
    assert evidence.agreement[CPU] == 1
    assert 0.9999 < evidence.agreement[OPENVINO_BF16] <= 1
    assert evidence.refused == (OPENVINO,)
    assert all(value >= 0 for value in evidence.milliseconds.values())


class Store:
    """Evidence about one network, as an earlier start on this machine may have left it."""

    def __init__(self, folder: Path) -> None:
        self.network = linear_graph(folder / "small.onnx", 1, 8, np.ones((3 * 8 * 8, 4), np.float32))
        self.path = folder / FILE
        MeasuredRuntimes(self.path, [CPU]).providers(self.network)

    def entry(self) -> dict[str, Any]:
        """What is told of the network."""
        (entry,) = json.loads(self.path.read_text())["networks"].values()
        assert isinstance(entry, dict)
        return entry

    def tell(self, **told: Mapping[str, float]) -> None:
        """Change what is told of it."""
        content = json.loads(self.path.read_text())
        for entry in content["networks"].values():
            entry.update(told)
        self.path.write_text(json.dumps(content))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_remembered_evidence_decides_without_a_new_measurement(store: Store) -> None:
    store.tell(milliseconds={CPU: 8.4, OPENVINO_BF16: 3.6}, agreement={CPU: 1.0, OPENVINO_BF16: 0.9996})
    runtimes = MeasuredRuntimes(store.path, [CPU], [OPENVINO_BF16])
    assert runtimes.providers(store.network, REDUCIBLE) == [OPENVINO_BF16]
    assert store.entry()["runtime"] == OPENVINO_BF16
    assert store.entry()["milliseconds"] == {CPU: 8.4, OPENVINO_BF16: 3.6}


def test_a_network_that_may_not_be_reduced_is_measured_without_it(store: Store) -> None:
    store.tell(milliseconds={CPU: 8.4, OPENVINO_BF16: 3.6}, agreement={CPU: 1.0, OPENVINO_BF16: 0.9996})
    assert MeasuredRuntimes(store.path, [CPU], [OPENVINO_BF16]).providers(store.network) == [CPU]
    assert set(store.entry()["milliseconds"]) == {CPU}


def test_what_is_demanded_is_taken_though_it_be_slower(store: Store) -> None:
    store.tell(milliseconds={CPU: 3.6, OPENVINO_BF16: 8.4}, agreement={CPU: 1.0, OPENVINO_BF16: 0.9996})
    demanding = MeasuredRuntimes(store.path, [CPU], [OPENVINO_BF16], demanded=OPENVINO_BF16)
    assert demanding.providers(store.network, REDUCIBLE) == [OPENVINO_BF16]
    free = MeasuredRuntimes(store.path, [CPU], [OPENVINO_BF16])
    assert free.providers(store.network, REDUCIBLE) == [CPU]


def test_what_is_demanded_and_differs_is_an_error(store: Store) -> None:
    store.tell(milliseconds={CPU: 8.4, OPENVINO_BF16: 3.6}, agreement={CPU: 1.0, OPENVINO_BF16: 0.97})
    demanding = MeasuredRuntimes(store.path, [CPU], [OPENVINO_BF16], demanded=OPENVINO_BF16)
    with pytest.raises(DeviceUnavailable, match=r"OpenVINO bf16 computes small too differently .*0\.97"):
        demanding.providers(store.network, REDUCIBLE)
    free = MeasuredRuntimes(store.path, [CPU], [OPENVINO_BF16])
    assert free.providers(store.network, REDUCIBLE) == [CPU]
    assert store.entry()["runtime"] == CPU


def test_another_generation_of_the_same_processor_measures_anew(store: Store) -> None:
    content = json.loads(store.path.read_text())
    content["machine"]["instructions"] += " avx1024"
    for entry in content["networks"].values():
        entry["milliseconds"] = {CPU: 4711.0}
    store.path.write_text(json.dumps(content))
    MeasuredRuntimes(store.path, [CPU]).providers(store.network)
    assert store.entry()["milliseconds"][CPU] < 4711


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of runtimes that do not load; the others are the processor under their name."""
    names: list[str] = []
    load = session._loaded

    def loaded(path: Path, wanted: Sequence[Any]) -> Session:
        name = wanted[0] if isinstance(wanted[0], str) else wanted[0][0]
        if name in names:
            raise DeviceUnavailable(f"{name} does not load")
        return load(path, [CPU])

    monkeypatch.setattr(session, "_loaded", loaded)
    return names


def test_what_does_not_load_is_tried_at_every_start_and_not_measured(
    store: Store, failing: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    failing.append(OPENVINO_BF16)
    assert MeasuredRuntimes(store.path, [CPU], [OPENVINO_BF16]).providers(store.network, REDUCIBLE) == [CPU]
    store.tell(milliseconds={CPU: 4711.0})
    assert MeasuredRuntimes(store.path, [CPU], [OPENVINO_BF16]).providers(store.network, REDUCIBLE) == [CPU]
    assert caplog.messages.count("runtime left out") == 2
    assert store.entry()["milliseconds"] == {CPU: 4711.0}
    failing.clear()
    MeasuredRuntimes(store.path, [CPU], [OPENVINO_BF16]).providers(store.network, REDUCIBLE)
    assert set(store.entry()["milliseconds"]) == {CPU, OPENVINO_BF16}
    assert store.entry()["milliseconds"][CPU] < 4711


def test_what_was_chosen_and_loads_no_more_is_left_out(
    store: Store, failing: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    store.tell(milliseconds={CPU: 8.4, OPENVINO_BF16: 3.6}, agreement={CPU: 1.0, OPENVINO_BF16: 0.9996})
    failing.append(OPENVINO_BF16)
    demanding = MeasuredRuntimes(store.path, [CPU], [OPENVINO_BF16], demanded=OPENVINO_BF16)
    with pytest.raises(DeviceUnavailable, match="does not load"):
        load_session(store.network, demanding, REDUCIBLE)
    free = MeasuredRuntimes(store.path, [CPU], [OPENVINO_BF16])
    assert load_session(store.network, free, REDUCIBLE).providers == (CPU,)
    assert "runtime fails, measured anew" in caplog.messages
    assert (store.entry()["runtime"], set(store.entry()["milliseconds"])) == (CPU, {CPU})
    failing.append(CPU)
    with pytest.raises(DeviceUnavailable, match="CPU"):
        load_session(store.network, free, REDUCIBLE)


@pytest.mark.parametrize("damaged", [True, False])
def test_without_readable_ranges_there_are_no_eight_bits(
    store: Store, tmp_path: Path, damaged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ranges = tmp_path / "ranges.npz"
    if damaged:
        ranges.write_bytes(b"x" * 100)
    precisions = Precisions(ranges=ranges)
    free = MeasuredRuntimes(store.path, [CPU], [OPENVINO_INT8])
    assert free.providers(store.network, precisions) == [CPU]
    assert "runtime left out" in caplog.messages
    demanding = MeasuredRuntimes(store.path, [CPU], [OPENVINO_INT8], demanded=OPENVINO_INT8)
    with pytest.raises(DeviceUnavailable, match="cannot be read"):
        demanding.providers(store.network, precisions)


@pytest.mark.parametrize(
    ("text", "expected", "bfloat16", "int8"),
    [
        (ZEN_4, ("avx2", "avx512_bf16", "avx512_vnni", "avx512f"), True, True),
        (ZEN_3, ("avx2", "fma"), False, False),
        (ICE_LAKE, ("avx2", "avx512_vnni", "avx512f"), False, True),
        (GRAVITON_3, ("asimd", "bf16", "i8mm", "sve"), True, False),
        ("nothing of the kind\n", (), False, False),
    ],
)
def test_instructions_are_those_that_kernels_are_chosen_by(
    tmp_path: Path, text: str, expected: tuple[str, ...], bfloat16: bool, int8: bool
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert instructions(file) == expected
    assert computes_bfloat16(file) is bfloat16
    assert computes_int8(file) is int8
    assert bool(openvino_advice(file)) is ((bfloat16 or int8) and not openvino_installed())


@pytest.mark.parametrize(
    ("text", "expected"),
    [(ZEN_3, True), (GRAVITON_3, True), ("nothing\n", True), ("flags : fpu sse4_1 sse4_2 avx\n", False)],
)
def test_a_processor_too_old_for_openvino_never_loads_it(tmp_path: Path, text: str, expected: bool) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert runs_openvino(file) is (expected and openvino_installed())


def test_a_kernel_that_tells_nothing(tmp_path: Path) -> None:
    assert instructions(tmp_path / "absent") == ()


def test_capabilities_are_asked_of_openvino() -> None:
    assert ("FP32" in openvino_capabilities()) is providers.openvino_installed()
    assert lower_precisions() <= set(LOWER)
    assert not lower_precisions() or openvino_installed()


@pytest.mark.skipif(not openvino_installed(), reason="the extra openvino is not installed")
def test_openvino_computes_what_it_is_asked_for_or_nothing(model_dir: Path) -> None:
    network = load_pack("core").files["fr_landmark"].path(model_dir)
    if BFLOAT16 not in openvino_capabilities():
        with pytest.raises(DeviceUnavailable, match="bf16"):
            load_session(network, [OPENVINO_BF16])
        return
    session = load_session(network, [OPENVINO_BF16])
    assert session.providers == (OPENVINO_BF16,)
    both = compared("fr_landmark", {CPU: load_session(network, [CPU]), OPENVINO_BF16: session})
    assert both.refused == ()


def test_rounding_keeps_eight_significant_bits() -> None:
    values = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-7, -3.14159265, 255, 257.5, 0], np.float32)
    expected = np.array([1, 1, 1 + 2**-6, 1 + 2**-7, -3.140625, 255, 258, 0], np.float32)
    np.testing.assert_array_equal(rounded(values), expected)


def test_emulation_rounds_weights_and_activations(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    matrix = random.normal(size=(3 * 8 * 8, 16)).astype(np.float32)
    batch = random.uniform(0, 255, (1, 3, 8, 8)).astype(np.float32)
    plain = linear_graph(tmp_path / "plain.onnx", 1, 8, matrix)
    (answered,) = load_session(emulated(plain, tmp_path / "rounded.onnx"), [CPU]).run(batch)
    np.testing.assert_allclose(answered, rounded(batch).reshape(1, -1) @ rounded(matrix), rtol=1e-4)
