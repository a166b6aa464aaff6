"""
Fixtures for the tests of a configuration, as a plugin of pytest: ``pytest_plugins = ["fcflow.testing.plugin"]``.

``rehearsal`` is the configuration that the setting ``fcflow_config`` names, played in memory; ``golden`` holds what it
wrote against the files in ``golden/``, in a folder of the test's own name beside the test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fcflow.testing.golden import Golden
from fcflow.testing.rehearsal import Rehearsal

__all__ = ["fcflow_config", "golden", "rehearsal"]

_WRITTEN = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option and the setting."""
    group = parser.getgroup("fcflow")
    group.addoption("--fcflow-update", action="store_true", help="write the golden files anew instead of comparing")
    parser.addini("fcflow_config", "path of the configuration to rehearse, from the root of the tests", default="")


def pytest_configure(config: pytest.Config) -> None:
    """What was written is told at the end."""
    config.stash[_WRITTEN] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Never silently."""
    if config.stash[_WRITTEN]:
        terminalreporter.section("golden files written")
        for line in config.stash[_WRITTEN]:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def fcflow_config(request: pytest.FixtureRequest) -> Path:
    """Path of the configuration; a conftest of your own may say something else."""
    said = request.config.getini("fcflow_config")
    if not said:
        pytest.fail("say in the settings of pytest which configuration to rehearse: fcflow_config = fcflow.json")
    return Path(request.config.rootpath, said)


@pytest.fixture
def rehearsal(fcflow_config: Path) -> Iterator[Rehearsal]:
    """The configuration with its partners played; a new one for every test."""
    with Rehearsal(fcflow_config) as played:
        yield played


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Iterator[Golden]:
    """The golden files of this test."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", request.node.name).strip("-")
    update = bool(request.config.getoption("--fcflow-update"))
    files = Golden(request.path.parent / "golden" / name, update=update)
    yield files
    request.config.stash[_WRITTEN].extend(str(files.folder / each) for each in files.written)
