"""Reading manifests: the packs that we ship, and complaints about what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from models.convert.fingerprint import fingerprints_path, load_fingerprints, probe_shape
from models.errors import ManifestError
from models.manifest import PACKS, ROOT, available_packs, load_pack
from tests.unit.models.small_packs import SmallPack


def test_every_shipped_pack_loads_and_names_its_embeddings() -> None:
    assert available_packs() == ["buffalo_l", "buffalo_s", "core", "extended", "light"]
    for name in available_packs():
        pack = load_pack(name)
        assert pack.name == name
        assert re.fullmatch(r"[a-z_]+-\d+-[0-9a-f]{12}", pack.model_id)


def test_core_is_the_measured_mixture() -> None:
    core = load_pack("core")
    parts = {part.file: (part.dimension, part.colour, part.weight) for part in core.embedder.parts}
    assert parts == {"sface": (128, "rgb", 1.0), "fr_feature": (512, "bgr", 0.7)}
    assert (core.embedder.dimension, core.embedder.alignment, core.commercial) == (192, "outline", True)
    assert {source.kind for source in core.sources} == {"pypi", "npm"}


def test_packages_are_named_never_addressed() -> None:
    for path in PACKS.glob("*.toml"):
        addresses = re.findall(r"https?://[^/\"]+", path.read_text(encoding="utf-8"))
        assert set(addresses) <= {"https://github.com"}


def test_every_converted_file_has_a_fingerprint_and_every_named_card_is_there() -> None:
    for name in available_packs():
        pack = load_pack(name)
        recorded = load_fingerprints(fingerprints_path(PACKS, name))
        own = [file for file in pack.files.values() if file.pack == name]
        for file in own:
            assert file.card is None or (ROOT / "cards" / file.card).is_file(), file.card
            if file.convert:
                assert recorded[file.name].input_shape == probe_shape(file.input_shape)


def test_extended_embeds_as_core_does() -> None:
    core, extended = load_pack("core"), load_pack("extended")
    assert extended.model_id == core.model_id
    assert set(core.files) < set(extended.files)
    assert extended.files["sface"].path(Path("models")) == Path("models/core/sface.onnx")


@pytest.mark.parametrize("name", ["buffalo_l", "buffalo_s"])
def test_buffalo_packs_are_not_commercial_and_bring_their_own_detector_and_embedder(name: str) -> None:
    pack = load_pack(name)
    assert not pack.commercial
    assert "non-commercial" in pack.licence
    assert pack.detector.kind == "scrfd"
    assert pack.landmarks == load_pack("core").landmarks
    assert pack.calibration is None
    assert "sface" not in pack.files
    assert pack.model_id.startswith(f"{name}-512-")


def test_buffalo_l_has_the_published_hashes() -> None:
    pack = load_pack("buffalo_l")
    assert pack.files["w600k_r50"].sha256.startswith("4c06341c33c2ca1f")
    assert pack.files["det_10g"].sha256.startswith("5838f7fe053675b1")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('title = "Small graphs"', "", "small.toml: title is missing"),
        ("commercial = true", 'commercial = "yes"', "small.toml: commercial must be true or false"),
        ("commercial = true", "commercial = true\ncolour = 1", "small.toml: unknown key colour"),
        ('kind = "dir"', 'kind = "ftp"', "[sources.origin]: kind must be one of pypi, npm, url, dir, not 'ftp'"),
        ('kind = "dir"', 'kind = "npm"', "[sources.origin]: package is missing"),
        ('source = "origin"', 'source = "nowhere"', "source names 'nowhere', which is not among [sources]"),
        ('member = "det_10g.onnx"', 'member = "../x.onnx"', "member must be a relative path without '..'"),
        ('sha256 = "', 'sha256 = "zz', "[files.finder]: sha256 must be 64 lowercase hexadecimal digits"),
        ('convert = ["dynamic"]', 'convert = ["magic"]', "convert names unknown steps: magic"),
        ('["batch", 3, 112, 112]', '["batch", 0, 112, 112]', "input must be a shape"),
        ('kind = "scrfd"', 'kind = "yunet"', "a yunet detector has 12 outputs"),
        ('file = "finder"', 'file = "loser"', "detector names the file 'loser'"),
        ("mean = 127.5", "mean = [1, 2]", "[detector]: mean must have 1 or 3 entries"),
        ("scale = 128", "scale = 0", "[detector]: scale must not be zero"),
        ("dimension = 512\n\n", "dimension = 100\n\n", "dimension must be 512, the sum of the parts"),
        ('file = "embedder"\ndimension = 512', 'file = "embedder"\ndimension = 500', "dimension must be 500, the sum"),
        ('alignment = "detector"', 'alignment = "outline"', "alignment by outline needs landmarks"),
        ('title = "Small graphs"', 'title = "Small graphs', "small.toml: "),
        ("commercial = true", 'commercial = true\nextends = "gone"', "there is no pack called 'gone'"),
        ("commercial = true", 'commercial = true\nextends = "small"', "in a circle: small -> small"),
    ],
)
def test_a_bad_manifest_is_told_clearly(small_pack: SmallPack, old: str, new: str, complaint: str) -> None:
    path = small_pack.manifests / "small.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ManifestError) as failure:
        load_pack("small", small_pack.manifests)
    assert complaint in str(failure.value)
    assert "\n" not in str(failure.value).strip()


@pytest.mark.parametrize("name", ["nothing", "../core", "", "CORE"])
def test_an_unknown_pack_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ManifestError, match=r"known packs: buffalo_l, buffalo_s, core, extended, light"):
        load_pack(name)


def test_the_model_id_follows_everything_that_moves_an_embedding(small_pack: SmallPack) -> None:
    path = small_pack.manifests / "small.toml"
    text = path.read_text(encoding="utf-8")
    before = small_pack.manifest.model_id
    path.write_text(text.replace('title = "Small graphs"', 'title = "Other words"'), encoding="utf-8")
    assert small_pack.manifest.model_id == before
    for old, new in (("scale = 127.5", "scale = 128"), (small_pack.manifest.files["embedder"].sha256, "0" * 64)):
        path.write_text(text.replace(old, new), encoding="utf-8")
        assert small_pack.manifest.model_id != before


def test_a_pack_may_inherit_some_files_only(small_pack: SmallPack) -> None:
    child = 'title = "Child"\nlicence = "none"\ncommercial = true\nextends = "small"\n'
    path = small_pack.manifests / "child.toml"
    path.write_text(child, encoding="utf-8")
    pack = load_pack("child", small_pack.manifests)
    assert pack.model_id == small_pack.manifest.model_id
    assert pack.embedder.pack == "small"
    path.write_text(child + 'inherit = ["finder"]\n', encoding="utf-8")
    with pytest.raises(ManifestError, match="embedder names the file 'embedder'"):
        load_pack("child", small_pack.manifests)
    path.write_text(child + 'inherit = ["finger"]\n', encoding="utf-8")
    with pytest.raises(ManifestError, match="files that small does not have: finger"):
        load_pack("child", small_pack.manifests)


def test_a_child_of_a_non_commercial_pack_is_not_commercial(small_pack: SmallPack) -> None:
    small_pack.write(commercial=False)
    child = 'title = "Child"\nlicence = "none"\ncommercial = true\nextends = "small"\n'
    (small_pack.manifests / "child.toml").write_text(child, encoding="utf-8")
    assert not load_pack("child", small_pack.manifests).commercial


def test_damaged_fingerprints_are_told(tmp_path: Path) -> None:
    path = tmp_path / "small.fingerprints.json"
    assert load_fingerprints(path) == {}
    path.write_text(json.dumps({"finder": {"input_shape": [1]}}), encoding="utf-8")
    with pytest.raises(ManifestError, match=r"small\.fingerprints\.json cannot be read"):
        load_fingerprints(path)
