"""A transport of one's own, begun with ``fcflow transport new``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fcflow.cli import main

EXAMPLE = Path(__file__).parents[2] / "examples" / "fcflow-null"


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs the command in the test's folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main(["transport", "new", *arguments])


def test_its_tests_run_at_once(new: Callable[..., int], tmp_path: Path) -> None:
    """
    The package that is written keeps the whole contract before a line of it is changed.
    """
    assert new("acme") == 0

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "fcflow-acme")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "acme://" in (tmp_path / "fcflow-acme/src/fcflow_acme/__init__.py").read_text()


def test_it_is_the_example(new: Callable[..., int], tmp_path: Path) -> None:
    """
    What is written, and what the how-to explains, are one.
    """
    assert new("null") == 0

    written = tmp_path / "fcflow-null"
    for path in (path for path in written.rglob("*") if path.is_file()):
        assert path.read_text() == (EXAMPLE / path.relative_to(written)).read_text(), path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Acme", "expected small letters and digits, got 'Acme'"),
        ("../x", "expected small letters and digits"),
        ("sftp", "sftp:// is served already"),
        ("twice", "there is already"),
    ],
)
def test_a_name_that_cannot_be_is_refused(
    new: Callable[..., int], capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    """
    Nothing is written over, and no scheme is taken twice.
    """
    new("twice")
    capsys.readouterr()

    assert new(name) != 0
    assert said in " ".join(capsys.readouterr().err.split())
