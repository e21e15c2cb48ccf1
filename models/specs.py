"""The immutable nouns of a pack: sources, files, and how each model is fed.

Preprocessing always means ``(pixel - mean) / scale`` on pixels 0..255, planes in the colour order named, as float32
of shape (n, planes, height, width).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from models.errors import ManifestError

Colour = Literal["rgb", "bgr", "gray"]
Dimension = int | str
"""A fixed size, or the name of a free one."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where files come from.

    ``kind``: ``pypi`` (a wheel of ``package`` at ``version``), ``npm`` (the package's archive), ``url`` (an archive, or
    with ``archive`` false the file itself), ``dir`` (only a folder that the operator names). ``sha256`` and ``size``
    (bytes) are those of the archive; ``None`` for ``dir``.
    """

    name: str
    kind: Literal["pypi", "npm", "url", "dir"]
    package: str = ""
    version: str = ""
    url: str = ""
    archive: bool = True
    sha256: str | None = None
    size: int | None = None
    homepage: str = ""

    @property
    def label(self) -> str:
        """How messages and progress bars call it."""
        return f"{self.package} {self.version}" if self.package else self.url or self.name


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One weight file: ``<model_dir>/<pack>/<name>.onnx`` once fetched.

    ``member``: its path inside the source's archive, or its name in the operator's folder; ``sha256``: of the file as
    downloaded; ``convert``: steps that turn it into what is served; ``input_shape``/``output_shapes``: the signature
    afterwards, in order, with names for free dimensions.
    """

    name: str
    pack: str
    source: Source
    member: str
    sha256: str
    licence: str
    convert: tuple[str, ...]
    input_shape: tuple[Dimension, ...]
    output_shapes: tuple[tuple[Dimension, ...], ...]
    card: str | None = None
    companions: tuple[tuple[str, str], ...] = ()
    """Further members of the archive that the conversion reads (weight shards), each with its SHA-256."""

    def path(self, model_dir: Path) -> Path:
        """Where the file lies below ``model_dir``."""
        return model_dir / self.pack / f"{self.name}.onnx"


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """``(pixel - mean) / scale``; ``mean`` and ``scale`` have one entry or one per plane, in ``colour`` order."""

    colour: Colour
    mean: tuple[float, ...]
    scale: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """``kind`` names the decoder: ``yunet`` (12 outputs) or ``scrfd`` (9 outputs, 2 anchors)."""

    kind: Literal["yunet", "scrfd"]
    file: str
    preprocessing: Preprocessing


@dataclass(frozen=True, slots=True)
class LandmarkSpec:
    """68 points from the detector's box enlarged ``margin`` times; x, y are answered in 0..1 of that box."""

    file: str
    preprocessing: Preprocessing
    margin: float


@dataclass(frozen=True, slots=True)
class Analysis:
    """A model fed with one crop per face: ``margin`` times the side of the box that ``crop`` names.

    ``crop``: ``detector`` (the detector's box), ``outline`` (smallest box around the 68 points) or ``eye`` (an eye's
    width, turned level).
    """

    file: str
    crop: Literal["detector", "outline", "eye"]
    margin: float
    preprocessing: Preprocessing


@dataclass(frozen=True, slots=True)
class EmbedderPart:
    """One recognition model on the 112×112 crop; its output is brought to unit length, then times ``weight``.

    ``ranges``: npz of what its activations range over, where it may be computed in 8 bits, since accuracy and
    thresholds were found to hold; ``None`` where not.
    """

    file: str
    dimension: int
    colour: Literal["rgb", "bgr"]
    mean: float
    scale: float
    weight: float
    ranges: Path | None = None


@dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """Parts are concatenated and brought to unit length; a projection is applied, then unit length again.

    ``projection``: npz with ``projection`` of shape (sum of the parts' dimensions, ``dimension``), or ``None``.
    ``alignment``: where the five points come from: ``outline`` (means of the 68 points) or ``detector``.
    ``pack``: the pack that defines this embedder, which names its embeddings.
    ``bfloat16``: whether the parts may be computed in that precision, since accuracy and thresholds were found to hold.
    """

    pack: str
    parts: tuple[EmbedderPart, ...]
    projection: Path | None
    dimension: int
    alignment: Literal["outline", "detector"]
    bfloat16: bool = False


@dataclass(frozen=True)
class PackManifest:
    """A pack, with everything it inherits. Not slotted: the model id is computed once and kept."""

    name: str
    title: str
    licence: str
    commercial: bool
    extends: str | None
    files: Mapping[str, ModelFile]
    detector: DetectorSpec
    landmarks: LandmarkSpec | None
    embedder: EmbedderSpec
    analyses: Mapping[str, Analysis]
    calibration: Path | None
    """Table from similarity to score, of this embedder."""
    liveness: Path | None
    """Table from the anti-spoofing networks' log-odds to the served score."""
    folder: Path
    """Where the manifest lies, and the fingerprints beside it."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """The distinct sources of all files, in order of first use."""
        return tuple(dict.fromkeys(file.source for file in self.files.values()))

    @cached_property
    def model_id(self) -> str:
        """``<pack>-<dimension>-<12 hex>``; embeddings compare only when their model ids are equal.

        The digest covers everything that moves an embedding: weights, preprocessing, mixture, projection, alignment.
        Raises :class:`ManifestError` when the projection's file is missing.
        """
        digest = hashlib.sha256(f"alignment {self.embedder.alignment}\n".encode())
        for part in self.embedder.parts:
            feed = f"{part.colour} {part.mean!r} {part.scale!r} {part.weight!r}"
            digest.update(f"part {self.files[part.file].sha256} {feed}\n".encode())
        if self.embedder.projection is not None:
            try:
                content = self.embedder.projection.read_bytes()
            except OSError as error:
                raise ManifestError(f"pack {self.name}: the projection cannot be read: {error}") from None
            digest.update(f"projection {hashlib.sha256(content).hexdigest()}\n".encode())
        return f"{self.embedder.pack}-{self.embedder.dimension}-{digest.hexdigest()[:12]}"
