"""How hard the experiments press: a little in ``make test``, long and with figures in ``make torture``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.torture.figures import Figures


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the long form was asked for (``--torture``)."""
    return bool(request.config.getoption("--torture"))


@pytest.fixture(scope="session")
def figures(long: bool, request: pytest.FixtureRequest) -> Iterator[Figures]:
    """Where experiments write what they counted; printed at the end of the long form."""
    collected = Figures()
    yield collected
    if long:
        reporter = request.config.pluginmanager.get_plugin("terminalreporter")
        assert reporter is not None
        reporter.write_line("")
        for line in collected.lines:
            reporter.write_line(line)
