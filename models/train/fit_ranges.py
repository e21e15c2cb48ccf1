"""Read off, on pictures of faces, what the activations of a pack's recognition networks range over.

    python -m models.train.fit_ranges --pack core --pictures lfw-dev --model-dir MODELS --write

That is all that computing in 8 bits needs besides the weights (``service/inference/eight_bits.py``). For each tensor
that is rounded, and each of its channels, the least and the greatest value of every picture are noted, and of these the
0.5 and 99.5 % quantiles kept: what the rare picture has beyond them is cut off. ``--pictures`` as for
``fit_projection``; as many as are wanted are taken at even distances. Writes ``models/heads/<network>-ranges.npz``.
``python -m benchmarks.accuracy_gate --judge int8`` says whether accuracy holds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from models.fetch import ensure
from models.manifest import ROOT, EmbedderPart, load_pack
from service.inference.eight_bits import Ranges, rounded_inputs
from service.inference.engine import Engine
from service.inference.preprocessing import planes
from service.inference.session import CPU
from service.values import Image

OUTSIDE = 0.005
"""Share of the pictures that may reach beyond a range on either side."""


def crops(engine: Engine, paths: Sequence[Path]) -> Iterator[Image]:
    """The aligned crop of the largest face of each picture, as the server cuts it."""
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is not None:
            pixels = np.asarray(image, np.uint8)
            yield from (engine.align(pixels, face.points) for face in engine.detect(pixels, 1))


def read_ranges(network: Path, part: EmbedderPart, faces: Sequence[Image]) -> Ranges:
    """Of the network at ``network``, fed with ``faces`` as ``part`` says."""
    model = onnx.load(network)
    names = rounded_inputs(model.graph)
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names if name not in known
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=[CPU])
    (fed,) = session.get_inputs()
    extremes: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for face in faces:
        for name, (values, *_) in zip(names, session.run(names, {fed.name: planes([face], part)}), strict=True):
            rows = values.reshape(len(values), -1) if values.ndim > 1 else values.reshape(1, -1)
            extremes[name].append(np.stack([rows.min(axis=1), rows.max(axis=1)]))
    bounds = {}
    for name, noted in extremes.items():
        lowest, highest = np.moveaxis(np.stack(noted), 1, 0)
        bounds[name] = np.stack(
            [np.quantile(lowest, OUTSIDE, axis=0), np.quantile(highest, 1 - OUTSIDE, axis=0)]
        ).astype(np.float32)
    return Ranges(bounds, planes(faces, part).mean(axis=0))


def main() -> None:
    """Read them; written only when told to."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--pack", default="core", help="whose recognition networks")
    options.add_argument("--pictures", type=Path, required=True, help="folder of pictures, named as LFW names them")
    options.add_argument("--count", type=int, default=400, help="how many of them (400)")
    options.add_argument("--model-dir", type=Path, required=True, help="where the weights are kept")
    options.add_argument("--write", action="store_true", help="write models/heads/<network>-ranges.npz")
    chosen = options.parse_args()
    pack = load_pack(chosen.pack)
    files = ensure(pack, chosen.model_dir)
    paths = sorted(chosen.pictures.rglob("*.jpg"))
    taken = paths[:: max(1, len(paths) // chosen.count)][: chosen.count]
    faces = list(crops(Engine(pack, files, [CPU]), taken))
    for part in pack.embedder.parts:
        ranges = read_ranges(files[part.file], part, faces)
        spans = [float(np.ptp(bounds)) for bounds in ranges.bounds.values()]
        print(f"{part.file}: {len(faces)} faces, {len(spans)} tensors, spans {min(spans):.2f} to {max(spans):.2f}")
        if chosen.write:
            ranges.save(ROOT / "heads" / f"{part.file}-ranges.npz")


if __name__ == "__main__":
    main()
