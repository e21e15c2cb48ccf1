"""Decoding of both detectors' outputs, on small graphs whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.manifest import DetectorSpec, Preprocessing
from service.inference.detector import MOST_CANDIDATES, STRIDES, Scrfd, YuNet, certainty, pad_to_granule, suppress
from service.inference.session import Session, load_session
from tests.unit.inference.small_graphs import Array, constant_graph

SIDE = 64
YUNET = DetectorSpec("yunet", "detector", Preprocessing("bgr", (0.0,), (1.0,)))
SCRFD = DetectorSpec("scrfd", "detector", Preprocessing("rgb", (127.5,), (128.0,)))


def session(path: Path) -> Session:
    return load_session(path, ["CPUExecutionProvider"])


def yunet_outputs() -> dict[str, Array]:
    """Silence, but for one face at stride 16, in column 2 and row 1 of the grid."""
    outputs = {}
    for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in STRIDES:
            outputs[f"{kind}_{stride}"] = np.zeros((1, (SIDE // stride) ** 2, width), np.float32)
    cell = 1 * (SIDE // 16) + 2
    outputs["cls_16"][0, cell], outputs["obj_16"][0, cell] = 0.9, 0.4
    outputs["bbox_16"][0, cell] = [0.5, 0.25, np.log(2), np.log(3)]
    outputs["kps_16"][0, cell] = np.arange(10) / 10
    return outputs


def test_a_clear_face_is_certain() -> None:
    assert certainty(0.908, YuNet.sure) == pytest.approx(1, abs=0.005)
    assert certainty(YuNet.sure, YuNet.sure) == certainty(0.957, YuNet.sure) == certainty(0.7, Scrfd.sure) == 1
    steps = [certainty(confidence / 100, YuNet.sure) for confidence in range(92)]
    assert steps == sorted(set(steps))
    assert steps[79] < 0.79
    assert steps[86] > 0.86


def test_yunet_is_decoded(tmp_path: Path) -> None:
    path = constant_graph(tmp_path / "yunet.onnx", [1, 3, "height", "width"], yunet_outputs())
    (found,) = YuNet(session(path), YUNET, 0.5).detect(np.zeros((SIDE, SIDE, 3), np.uint8))
    assert found.confidence == pytest.approx(np.sqrt(0.9 * 0.4))
    # Centre (2.5, 1.25) and size (2, 3), in strides of 16.
    np.testing.assert_allclose(found.box, (40 - 16, 20 - 24, 32, 48), atol=1e-4)
    np.testing.assert_allclose(found.points[0], ((2 + 0.0) * 16, (1 + 0.1) * 16), atol=1e-4)
    np.testing.assert_allclose(found.points[4], ((2 + 0.8) * 16, (1 + 0.9) * 16), atol=1e-4)
    assert found.centre == pytest.approx((40, 20))
    assert YuNet(session(path), YUNET, 0.7).detect(np.zeros((SIDE, SIDE, 3), np.uint8)) == []


def scrfd_outputs(*, batched: bool) -> dict[str, Array]:
    """Two anchors at every cell; one face at stride 8, column 3 and row 5, second anchor, and a weaker double."""
    outputs: dict[str, Array] = {}
    for kind, width in (("score", 1), ("bbox", 4), ("kps", 10)):
        for stride in STRIDES:
            outputs[f"{kind}_{stride}"] = np.zeros((2 * (SIDE // stride) ** 2, width), np.float32)
    cell = 5 * (SIDE // 8) + 3
    outputs["score_8"][2 * cell + 1], outputs["score_8"][2 * cell] = 0.8, 0.6
    for anchor in (2 * cell, 2 * cell + 1):
        outputs["bbox_8"][anchor] = [1, 2, 3, 4]
        outputs["kps_8"][anchor] = [0.5, -0.5] * 5
    return {name: array[np.newaxis] if batched else array for name, array in outputs.items()}


@pytest.mark.parametrize("batched", [True, False])
def test_scrfd_is_decoded(tmp_path: Path, *, batched: bool) -> None:
    outputs = scrfd_outputs(batched=batched)
    path = constant_graph(tmp_path / "scrfd.onnx", [1, 3, "height", "width"], outputs)
    (found,) = Scrfd(session(path), SCRFD, 0.5).detect(np.zeros((SIDE, SIDE, 3), np.uint8))
    assert found.confidence == pytest.approx(0.8)
    # Prior (3, 5), distances (1, 2, 3, 4) to the left, top, right and bottom, in strides of 8.
    np.testing.assert_allclose(found.box, (16, 24, 32, 48), atol=1e-4)
    np.testing.assert_allclose(found.points, [[28, 36]] * 5, atol=1e-4)


def test_scrfd_without_points_is_refused(tmp_path: Path) -> None:
    outputs = dict(list(scrfd_outputs(batched=False).items())[:6])
    path = constant_graph(tmp_path / "scrfd.onnx", [1, 3, "height", "width"], outputs)
    with pytest.raises(ValueError, match="9 outputs"):
        Scrfd(session(path), SCRFD, 0.5)


def test_pictures_are_padded_to_the_right_and_below() -> None:
    padded = pad_to_granule(np.full((33, 64, 3), 7, np.uint8))
    assert padded.shape == (64, 64, 3)
    assert padded[:33].min() == 7
    assert padded[33:].max() == 0


def test_overlapping_candidates_are_removed_in_a_stable_order() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [40, 0, 10, 10], [41, 0, 10, 10]], np.float32)
    scores = np.array([0.7, 0.9, 0.8, 0.8], np.float32)
    kept = suppress([(boxes, scores, np.zeros((4, 5, 2), np.float32))])
    assert [detection.box[0] for detection in kept] == [1, 40]
    assert suppress([]) == []


def test_a_picture_full_of_candidates_tells_the_best_of_them() -> None:
    """Suppression compares each that is kept with all others: of thousands it would take a tenth of a second."""
    count = 10 * MOST_CANDIDATES
    scores = (np.random.default_rng(1).permutation(count) / count).astype(np.float32)
    boxes = np.stack([np.arange(count) * 10.0, *np.broadcast_to([[0.0], [5.0], [5.0]], (3, count))], axis=1)
    kept = suppress([(boxes.astype(np.float32), scores, np.zeros((count, 5, 2), np.float32))])
    assert [one.confidence for one in kept] == pytest.approx(sorted(scores.tolist(), reverse=True)[:MOST_CANDIDATES])
