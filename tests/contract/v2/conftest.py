"""The same service as the other contract tests, called with forms."""

from __future__ import annotations

import pytest

from tests.contract.v2.forms import Forms
from tests.contract.wire import Wire
from tests.fixtures.pictures import Pictures

Photos = dict[str, dict[str, str]]


@pytest.fixture
def forms(wire: Wire) -> Forms:
    """A caller with a fresh app, so with an empty library, of its own."""
    return Forms(wire)


@pytest.fixture(scope="session")
def photos(pictures: Pictures) -> Photos:
    """The form field that hands over a photograph, by its name."""
    names = ("astronaut.png", "obama.jpg", "obama2.jpg", "biden.jpg", "t1.jpg")
    return {name.partition(".")[0]: {"image": pictures.base64(name)} for name in names}
