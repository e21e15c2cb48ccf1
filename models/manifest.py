"""Packs of weights as TOML manifests: reading them, and complaining clearly of what is wrong in them.

A pack is a file in ``packs/``. It may extend another one: it then inherits that pack's files and, where it does not
say otherwise, its detector, landmarks, embedder, analyses and liveness table. The score table comes with the embedder:
a pack with an embedder of its own names its own, or has none.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

from models.convert.browser import BROWSER_STEPS
from models.errors import ManifestError
from models.specs import (
    Analysis,
    Colour,
    DetectorSpec,
    Dimension,
    EmbedderPart,
    EmbedderSpec,
    LandmarkSpec,
    ModelFile,
    PackManifest,
    Preprocessing,
    Source,
)
from models.toml_table import TomlTable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "PACKS",
    "Analysis",
    "DetectorSpec",
    "Dimension",
    "EmbedderPart",
    "EmbedderSpec",
    "LandmarkSpec",
    "ManifestError",
    "ModelFile",
    "PackManifest",
    "Preprocessing",
    "Source",
    "available_packs",
    "load_pack",
]

ROOT = Path(__file__).resolve().parent
PACKS = ROOT / "packs"
PACK_NAME = re.compile(r"[a-z0-9_]{1,64}")
SOURCE_KINDS = ("pypi", "npm", "url", "dir")
CONVERSIONS = ("dequantize", "dynamic", *BROWSER_STEPS)


def available_packs(directory: Path = PACKS) -> list[str]:
    """Names of the packs that have a manifest, sorted."""
    return sorted(path.stem for path in directory.glob("*.toml"))


def load_pack(name: str, directory: Path = PACKS) -> PackManifest:
    """The pack called ``name``; raises :class:`ManifestError` with a sentence that says which key is wrong."""
    return _load(name, directory, above=())


def _load(name: str, directory: Path, above: tuple[str, ...]) -> PackManifest:
    if name in above:
        raise ManifestError(f"packs extend each other in a circle: {' -> '.join((*above, name))}")
    path = directory / f"{name}.toml"
    if not PACK_NAME.fullmatch(name) or not path.is_file():
        known = ", ".join(available_packs(directory)) or "none"
        raise ManifestError(f"there is no pack called {name!r}; known packs: {known}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ManifestError(f"{path.name}: {error}") from None
    table = TomlTable(content, path.name)
    base_name = table.optional_text("extends")
    base = None if base_name is None else _load(base_name, directory, (*above, name))
    pack = _read_pack(name, directory, table, base)
    table.finish()
    _check(pack, path.name)
    return pack


def _read_pack(name: str, folder: Path, table: TomlTable, base: PackManifest | None) -> PackManifest:
    own = {key: _read_source(key, item) for key, item in table.tables("sources")}
    files = _inherited(table, base)
    for key, item in table.tables("files"):
        if key in files:
            raise item.error(key, "is the name of an inherited file already")
        files[key] = _read_file(name, key, item, own)
    detector, landmarks = table.optional_table("detector"), table.optional_table("landmarks")
    embedder, calibration = table.optional_table("embedder"), table.relative_path("calibration")
    if base is None and (detector is None or embedder is None):
        raise table.error("detector and embedder", "must be there unless the pack extends another one")
    liveness = table.relative_path("liveness")
    analyses = dict(base.analyses) if base else {}
    analyses.update((key, _read_analysis(item)) for key, item in table.tables("analyses"))
    inherits_embedder = embedder is None
    return PackManifest(
        name=name,
        title=table.text("title"),
        licence=table.text("licence"),
        commercial=table.flag("commercial") and (base is None or base.commercial),
        extends=None if base is None else base.name,
        files=files,
        detector=_read_detector(detector) if detector else cast("PackManifest", base).detector,
        landmarks=_read_landmarks(landmarks) if landmarks else base.landmarks if base else None,
        embedder=_read_embedder(name, embedder) if embedder else cast("PackManifest", base).embedder,
        analyses=analyses,
        folder=folder,
        liveness=ROOT / liveness if liveness else base.liveness if base else None,
        calibration=ROOT / calibration if calibration else base.calibration if base and inherits_embedder else None,
    )


def _inherited(table: TomlTable, base: PackManifest | None) -> dict[str, ModelFile]:
    """Files of the base: all of them, or those that ``inherit`` lists."""
    names = table.texts("inherit")
    if base is None:
        if names is not None:
            raise table.error("inherit", "needs extends")
        return {}
    unknown = sorted(set(names or ()) - set(base.files))
    if unknown:
        raise table.error("inherit", f"names files that {base.name} does not have: {', '.join(unknown)}")
    return {key: file for key, file in base.files.items() if names is None or key in names}


def _read_source(name: str, table: TomlTable) -> Source:
    kind = table.choice("kind", SOURCE_KINDS)
    source = Source(
        name, cast("Literal['pypi', 'npm', 'url', 'dir']", kind), homepage=table.optional_text("homepage") or ""
    )
    if kind in ("pypi", "npm"):
        source = replace(source, package=table.text("package"), version=table.text("version"))
    if kind == "url":
        url, form = table.text("url"), table.choice("form", ("archive", "file"), "archive")
        if not url.startswith(("https://", "http://")):
            raise table.error("url", "must begin with https:// or http://")
        source = replace(source, url=url, archive=form == "archive")
    if kind != "dir":
        source = replace(source, sha256=table.sha256("sha256"), size=table.count("size"))
    table.finish()
    return source


def _read_file(pack: str, name: str, table: TomlTable, sources: Mapping[str, Source]) -> ModelFile:
    if not name.isidentifier():
        raise table.error(name, "must be letters, digits and underscores, for it names a file")
    key = table.text("source")
    if key not in sources:
        raise table.error("source", f"names {key!r}, which is not among [sources]")
    member = table.relative_path("member")
    if member is None:
        raise table.error("member", "is missing")
    convert = table.texts("convert") or ()
    unknown = sorted(set(convert) - set(CONVERSIONS))
    if unknown:
        raise table.error("convert", f"names unknown steps: {', '.join(unknown)}; known: {', '.join(CONVERSIONS)}")
    file = ModelFile(
        name=name,
        pack=pack,
        source=sources[key],
        member=member,
        sha256=table.sha256("sha256"),
        licence=table.text("licence"),
        convert=convert,
        input_shape=table.shape("input"),
        output_shapes=table.shapes("outputs"),
        card=table.relative_path("card"),
        companions=table.digests("companions"),
    )
    table.finish()
    return file


def _read_preprocessing(table: TomlTable) -> Preprocessing:
    colour = table.choice("colour", ("rgb", "bgr", "gray"))
    mean, scale = table.numbers("mean"), table.numbers("scale")
    planes = 1 if colour == "gray" else 3
    for key, values in (("mean", mean), ("scale", scale)):
        if len(values) not in (1, planes):
            raise table.error(key, f"must have 1 or {planes} entries")
    if not all(scale):
        raise table.error("scale", "must not be zero")
    return Preprocessing(cast("Colour", colour), mean, scale)


def _read_detector(table: TomlTable) -> DetectorSpec:
    kind = cast("Literal['yunet', 'scrfd']", table.choice("kind", ("yunet", "scrfd")))
    spec = DetectorSpec(kind, table.text("file"), _read_preprocessing(table))
    table.finish()
    return spec


def _positive(table: TomlTable, key: str, default: float | None = None) -> float:
    value = table.number(key, default)
    if value <= 0:
        raise table.error(key, "must be above zero")
    return value


def _read_landmarks(table: TomlTable) -> LandmarkSpec:
    spec = LandmarkSpec(table.text("file"), _read_preprocessing(table), _positive(table, "margin"))
    table.finish()
    return spec


def _read_analysis(table: TomlTable) -> Analysis:
    crop = cast("Literal['detector', 'outline', 'eye']", table.choice("crop", ("detector", "outline", "eye")))
    spec = Analysis(table.text("file"), crop, _positive(table, "margin"), _read_preprocessing(table))
    table.finish()
    return spec


def _read_embedder(pack: str, table: TomlTable) -> EmbedderSpec:
    parts = tuple(_read_part(item) for item in table.table_list("parts"))
    total = sum(part.dimension for part in parts)
    projection = table.relative_path("projection")
    dimension = table.count("dimension")
    if projection is None and dimension != total:
        raise table.error("dimension", f"must be {total}, the sum of the parts, without a projection")
    if dimension > total:
        raise table.error("dimension", f"must not exceed {total}, the sum of the parts")
    alignment = cast("Literal['outline', 'detector']", table.choice("alignment", ("outline", "detector")))
    bfloat16 = table.flag("bfloat16", default=False)
    table.finish()
    return EmbedderSpec(pack, parts, None if projection is None else ROOT / projection, dimension, alignment, bfloat16)


def _read_part(table: TomlTable) -> EmbedderPart:
    part = EmbedderPart(
        file=table.text("file"),
        dimension=table.count("dimension"),
        colour=cast("Literal['rgb', 'bgr']", table.choice("colour", ("rgb", "bgr"))),
        mean=table.number("mean"),
        scale=_positive(table, "scale"),
        weight=_positive(table, "weight", 1.0),
        ranges=None if (ranges := table.relative_path("ranges")) is None else ROOT / ranges,
    )
    table.finish()
    return part


def _check(pack: PackManifest, place: str) -> None:
    """What single tables cannot see: named files exist and have the signature that their role needs."""
    roles = [("detector", pack.detector.file), *(("analyses", item.file) for item in pack.analyses.values())]
    roles += [("embedder", part.file) for part in pack.embedder.parts]
    if pack.landmarks is not None:
        roles.append(("landmarks", pack.landmarks.file))
    for role, name in roles:
        if name not in pack.files:
            raise ManifestError(f"{place}: {role} names the file {name!r}, which the pack does not have")
    outputs = {"yunet": 12, "scrfd": 9}[pack.detector.kind]
    if len(pack.files[pack.detector.file].output_shapes) != outputs:
        raise ManifestError(f"{place}: a {pack.detector.kind} detector has {outputs} outputs")
    for part in pack.embedder.parts:
        if [shape[-1] for shape in pack.files[part.file].output_shapes] != [part.dimension]:
            raise ManifestError(
                f"{place}: the file {part.file} does not give {part.dimension} numbers as the embedder says"
            )
    if pack.landmarks is not None and pack.embedder.alignment == "outline":
        return
    if pack.embedder.alignment == "outline":
        raise ManifestError(f"{place}: alignment by outline needs landmarks")
