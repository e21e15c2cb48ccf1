"""A pack of small graphs with SCRFD's and ArcFace's signatures, whose files lie in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.archives import sha256_of
from models.manifest import PackManifest, load_pack
from tests.unit.models.graphs import arcface, save, scrfd

MANIFEST = """
title = "Small graphs"
licence = "none"
commercial = {commercial}

[sources.origin]
{source}

[files.finder]
source = "origin"
member = "det_10g.onnx"
sha256 = "{finder}"
licence = "none"
input = ["batch", 3, "height", "width"]
outputs = [
  ["cells_8", 1], ["cells_16", 1], ["cells_32", 1],
  ["cells_8", 4], ["cells_16", 4], ["cells_32", 4],
  ["cells_8", 10], ["cells_16", 10], ["cells_32", 10],
]

[files.embedder]
source = "origin"
member = "w600k_r50.onnx"
sha256 = "{embedder}"
licence = "none"
convert = ["dynamic"]
input = ["batch", 3, 112, 112]
outputs = [["batch", 512]]

[detector]
kind = "scrfd"
file = "finder"
colour = "rgb"
mean = 127.5
scale = 128

[embedder]
alignment = "detector"
dimension = 512

[[embedder.parts]]
file = "embedder"
dimension = 512
colour = "rgb"
mean = 127.5
scale = 127.5
"""


@dataclass(frozen=True)
class SmallPack:
    """``folder`` holds the files as published, ``manifests`` the manifest ``small.toml``."""

    folder: Path
    manifests: Path

    @property
    def manifest(self) -> PackManifest:
        return load_pack("small", self.manifests)

    def write(self, source: str = 'kind = "dir"', *, commercial: bool = True) -> None:
        """(Re)write the manifest for the files as they now are."""
        finder, embedder = (sha256_of(self.folder / name) for name in ("det_10g.onnx", "w600k_r50.onnx"))
        text = MANIFEST.format(commercial=str(commercial).lower(), source=source, finder=finder, embedder=embedder)
        (self.manifests / "small.toml").write_text(text, encoding="utf-8")


def make_small_pack(folder: Path) -> SmallPack:
    pack = SmallPack(folder / "published", folder / "manifests")
    pack.manifests.mkdir(parents=True)
    save(scrfd(), pack.folder / "det_10g.onnx")
    save(arcface(), pack.folder / "w600k_r50.onnx")
    pack.write()
    return pack
