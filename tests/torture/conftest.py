"""How hard the experiments press: a little in ``make test``, long and with figures in ``make torture``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.server import Server, temporary_home
from tests.torture.caller import Caller
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


@pytest.fixture(scope="session")
def abused(model_dir: Path) -> Iterator[Server]:
    """A server of the experiments' own: its memory and log are theirs, and nobody else is locked out of it."""
    del model_dir
    with (
        temporary_home() as home,
        home.serving(HEADER_TIMEOUT="2", BODY_TIMEOUT="3", LOGIN_FAILURES="1000000") as running,
    ):
        yield running


@pytest.fixture(scope="session")
def abuser(abused: Server) -> Caller:
    """An app with every permission."""
    return Caller(abused.base_url, abused.home.create_app("hostile")).log_in()


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
