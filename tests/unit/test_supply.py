"""What the product is made of is listed, and every licence was looked at."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys

from tests.fixtures.places import ROOT

INVENTORY = ROOT / "deploy" / "inventory.py"


def test_the_lists_are_current() -> None:
    """Mend it with: python deploy/inventory.py."""
    done = subprocess.run([sys.executable, str(INVENTORY), "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_licence_of_the_bill_was_looked_at() -> None:
    script = runpy.run_path(str(INVENTORY))
    bill = json.loads((ROOT / "docs" / "sbom.cdx.json").read_text(encoding="utf-8"))
    libraries = [each for each in bill["components"] if each["type"] == "library"]
    assert len(libraries) > 50
    for each in libraries:
        assert script["ALLOWED"].fullmatch(each["licenses"][0]["expression"]), each["name"]
    assert not script["ALLOWED"].fullmatch("GPL-3.0-only")
    weights = [each for each in bill["components"] if each["type"] == "machine-learning-model"]
    assert {len(each["hashes"][0]["content"]) for each in weights} == {64}
