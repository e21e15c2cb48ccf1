"""Lists what the product is made of: ``docs/licences.md`` and a CycloneDX bill of materials, ``docs/sbom.cdx.json``.

python deploy/inventory.py           write both
python deploy/inventory.py --check   exit status 1 when they name other versions than the lock, or unknown licences

Packages and versions are those of ``requirements.lock``, which has the hashes of their files; licences are what the
installed packages say of themselves; weights are those of the packs.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.manifest import load_pack
from models.specs import PackManifest
from service import __version__

ROOT = Path(__file__).resolve().parents[1]
LICENCES, BILL = ROOT / "docs" / "licences.md", ROOT / "docs" / "sbom.cdx.json"
PACKS = ("core", "light", "extended", "buffalo_l", "buffalo_s")

_PIN = re.compile(r"^(?P<name>[\w.-]+)(\[[^\]]*\])?==(?P<version>[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\\n]+?))?\s*\\?$")

SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "Apache Software License; MIT License": "Apache-2.0 AND MIT",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""Trove classifiers and free texts of the locked packages, as SPDX expressions."""

ELSEWHERE = {
    "colorama": "BSD-3-Clause",
    "coloredlogs": "MIT",
    "exceptiongroup": "MIT",
    "humanfriendly": "MIT",
    "pyreadline3": "BSD-3-Clause",
    "tomli": "MIT",
}
"""Packages of older Pythons or other systems, which are not installed where this usually runs."""

ALLOWED = re.compile(
    r"(?:MIT|MIT-0|BSD-[23]-Clause|0BSD|Apache-2\.0|ISC|PSF-2\.0|MPL-2\.0|LGPL-3\.0-only|Zlib|CC0-1\.0|[()]|AND|OR|\s)+"
)
"""What may be used and handed on with the product as it is: unchanged, from the registry, as a library."""


@dataclass(frozen=True)
class Package:
    """One pinned version of a package; ``marker`` says where it is used."""

    name: str
    version: str
    marker: str
    licence: str


def locked() -> Iterator[Package]:
    """The packages of the lock, in its order."""
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text(encoding="utf-8").strip())
    for block in blocks:
        found = _PIN.match(block.splitlines()[0])
        if found is not None:
            name = found["name"]
            yield Package(name, found["version"], (found["marker"] or "").strip(), licence(name))


def licence(name: str) -> str:
    """The SPDX expression of an installed package's licence; ``unknown`` where it names none."""
    try:
        described = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ELSEWHERE.get(name, "unknown")
    classifiers = [text for text in described.get_all("Classifier", []) if text.startswith("License :: ")]
    named = "; ".join(text.rpartition(" :: ")[2] for text in classifiers)
    text = str(described.get("License-Expression") or named or described.get("License") or "unknown")
    return SPDX.get(text, text)


def licences(packages: list[Package], packs: list[PackManifest]) -> str:
    """The table for people."""
    rows = [f"| {each.name} | {each.version} | {each.licence} | {each.marker} |" for each in packages]
    weights = [f"| {pack.name} | {pack.licence} | {'yes' if pack.commercial else 'no'} |" for pack in packs]
    return "\n".join(
        [
            "# Licences of what the product is made of",
            "",
            "Made by `python deploy/inventory.py` of `requirements.lock`; for machines there is a bill of materials,",
            "[sbom.cdx.json](sbom.cdx.json) (CycloneDX 1.5). The product itself is under Apache-2.0.",
            "",
            "Packages are used unchanged, as libraries. A package's licence is not that of everything in its wheel:",
            "`opencv-python-headless` brings FFmpeg along (LGPL-2.1-or-later), and `av`, which reads videos, an FFmpeg",
            "with x264 and x265 (GPL-2.0-or-later). Running them is free; whoever hands on the *installed* product, as",
            "an image or in a device, hands those on too and has to keep their terms, or to build `av` without them.",
            "",
            "| package | version | licence | where |",
            "|---|---|---|---|",
            *rows,
            "",
            "Weights are fetched at the first start and are no part of the product:",
            "",
            "| pack | licence | commercial use |",
            "|---|---|---|",
            *weights,
            "",
        ]
    )


def bill(packages: list[Package], packs: list[PackManifest]) -> str:
    """CycloneDX 1.5 (https://cyclonedx.org/docs/1.5/json/)."""
    components: list[dict[str, object]] = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{each.name}@{each.version}",
            "name": each.name,
            "version": each.version,
            "purl": f"pkg:pypi/{each.name}@{each.version}",
            "licenses": [{"expression": each.licence}],
            "properties": [{"name": "aipface:marker", "value": each.marker}] if each.marker else [],
        }
        for each in packages
    ]
    components += [
        {
            "type": "machine-learning-model",
            "bom-ref": f"weights:{pack.name}/{name}",
            "name": f"{pack.name}/{name}",
            "version": file.source.version or file.sha256[:12],
            "hashes": [{"alg": "SHA-256", "content": file.sha256}],
            "licenses": [{"license": {"name": pack.licence}}],
        }
        for pack in packs
        for name, file in sorted(pack.files.items())
        if file.pack == pack.name
    ]
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "aipface-server",
                "name": "aipface-server",
                "version": __version__,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": components,
    }
    # Of its own content, so that the same product has the same number.
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return json.dumps({**content, "serialNumber": f"urn:uuid:{number}"}, indent=1) + "\n"


def main(arguments: list[str]) -> int:
    """Write or check both; returns the exit status."""
    packages, packs = list(locked()), [load_pack(name) for name in PACKS]
    refused = [each for each in packages if not ALLOWED.fullmatch(each.licence)]
    for each in refused:
        sys.stderr.write(f"{each.name} {each.version}: the licence {each.licence!r} is not one that was looked at\n")
    wanted = {LICENCES: licences(packages, packs), BILL: bill(packages, packs)}
    if "--check" not in arguments:
        for path, text in wanted.items():
            path.write_text(text, encoding="utf-8")
        return 1 if refused else 0
    stale = [path for path, text in wanted.items() if not path.exists() or named(path) != named_in(text)]
    for path in stale:
        sys.stderr.write(f"{path.relative_to(ROOT)} is not current: python deploy/inventory.py\n")
    return 1 if refused or stale else 0


def named(path: Path) -> set[tuple[str, ...]]:
    """What a written file names."""
    return named_in(path.read_text(encoding="utf-8"))


def named_in(text: str) -> set[tuple[str, ...]]:
    """Names and versions, without the licences: a package's own words change with the Python that it runs under."""
    if text.startswith("{"):
        return {(each["name"], each["version"]) for each in json.loads(text)["components"]}
    return {tuple(line.split(" | ")[:2]) for line in text.splitlines() if line.startswith("| ")}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
