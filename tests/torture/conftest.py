"""How hard the experiments press: a little in ``make test``, long and with figures in ``make torture``."""

from __future__ import annotations

import pytest

from tests.torture.figures import Figures

FIGURES = pytest.StashKey[Figures]()


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the long form was asked for (``--torture``)."""
    return bool(request.config.getoption("--torture"))


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Figures:
    """Where experiments write what they counted."""
    return request.config.stash.setdefault(FIGURES, Figures())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The counts, at the end of the long form."""
    if config.getoption("--torture") and FIGURES in config.stash:
        terminalreporter.section("figures")
        for line in config.stash[FIGURES].lines:
            terminalreporter.write_line(line)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long form may take as long as it takes: each experiment bounds itself."""
    if config.getoption("--torture"):
        for item in items:
            item.add_marker(pytest.mark.timeout(0))
