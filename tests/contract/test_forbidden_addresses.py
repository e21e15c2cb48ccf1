"""The tricks of ``tests/integration/images/tricks.py`` through the API: a documented code for every one."""

from __future__ import annotations

from tests.contract.wire import Wire
from tests.integration.images.tricks import ADDRESSES

DOWNLOAD_FAILED = 222204
IMAGE_MALFORMED = 222013


def test_every_trick_is_told_as_a_failed_download(wire: Wire) -> None:
    """Text without ``://`` and text with a NUL are no addresses at all: a malformed parameter."""
    for trick, url in ADDRESSES.items():
        # By this name the operator permits the machine: see the settings in ``conftest.py``.
        if "localhost" in trick or trick in ("mathematical letters", "soft hyphens"):
            continue
        address = url.format(port=9)
        expected = DOWNLOAD_FAILED if "://" in address and "\0" not in address else IMAGE_MALFORMED
        assert wire.code("detect", {"image": address, "image_type": "URL"}) == expected, trick
