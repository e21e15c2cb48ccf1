"""Record the fingerprints of a pack's converted files: ``python -m models.train.record_fingerprints core FOLDER``.

``FOLDER`` holds ``<pack>/<file>.onnx``. Run it once when a pack gets a new file, and compare the converted graph with
the published one by other means first: a fingerprint only keeps what it was shown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from models.convert.fingerprint import fingerprints_path, measure, probe_shape, save_fingerprints
from models.manifest import load_pack
from models.specs import PackManifest

PIXELS = (0.0, 255.0)


def value_range(pack: PackManifest, name: str) -> tuple[float, float]:
    """Smallest and largest value that preprocessing feeds to the file ``name``; 0..255 when nothing is fed to it."""
    feeds = [item.preprocessing for item in (pack.detector, pack.landmarks) if item and item.file == name]
    feeds += [item.preprocessing for item in pack.analyses.values() if item.file == name]
    pairs = [pair for feed in feeds for pair in zip(feed.mean, feed.scale, strict=True)]
    pairs += [(part.mean, part.scale) for part in pack.embedder.parts if part.file == name]
    low, high = PIXELS
    ends = [((low - mean) / scale, (high - mean) / scale) for mean, scale in pairs] or [PIXELS]
    return round(min(end[0] for end in ends), 4), round(max(end[1] for end in ends), 4)


def main() -> None:
    """Write ``<pack>.fingerprints.json`` beside the manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    pack = load_pack(arguments.pack)
    prints = {
        name: measure(file.path(arguments.folder), probe_shape(file.input_shape), *value_range(pack, name))
        for name, file in pack.files.items()
        if file.pack == pack.name and file.path(arguments.folder).is_file()
    }
    save_fingerprints(fingerprints_path(pack.folder, pack.name), prints)


if __name__ == "__main__":
    main()
