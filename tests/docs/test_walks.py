"""The tutorial and the how-to guides: every command and every program in them is really run, in order."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from fcflow.audit import AuditType

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [
    "tutorials/first-partner.md",
    "how-to/move-an-order.md",
    "how-to/read-the-audit-trail.md",
    "how-to/change-rules-safely.md",
]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@frozen
class Step:
    """One command with the output that the page shows, or one program."""

    line: int
    kind: str
    text: str
    expected: str = ""


def steps(text: str) -> Iterator[Step]:
    for block in re.finditer(r"^```(console|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        first = text[: block.start()].count("\n") + 2
        if block[1] == "python":
            yield Step(first, "python", block[2])
        else:
            yield from _commands(first, block[2])


def _commands(first: int, block: str) -> Iterator[Step]:
    command: list[str] = []
    expected: list[str] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            if command:
                yield Step(first, "console", "\n".join(command), "\n".join(expected))
            command, expected = [line[2:]], []
        elif line.startswith("> ") and not expected:
            command.append(line[2:])
        else:
            expected.append(line)
    yield Step(first, "console", "\n".join(command), "\n".join(expected))


class Walk:
    """A shell that remembers its folder and the last exit code from one step to the next."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.code = 0
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path, "FCFLOW_ACTOR": "ada", "FCFLOW_PLUGINS": ""}

    def run(self, step: Step) -> str:
        if step.kind == "python":
            return self._run([sys.executable, "-c", step.text])
        state = self.folder / "..walk"
        script = f'(exit {self.code})\n{step.text}\ncode=$?\n(pwd; echo $code) > "{state}"\nexit 0\n'
        said = self._run(["bash", "-c", script])
        folder, code = state.read_text().split("\n")[:2]
        state.unlink()
        self.folder, self.code = Path(folder), int(code)
        return said

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


def _unruled(text: str) -> str:
    """Without the rule under the head of a table, whose length depends on what stands below."""
    return re.sub(r"^ *─+ *$", "", text, flags=re.MULTILINE) + "\n"


@pytest.mark.parametrize("page", PAGES)
def test_the_page_does_what_it_says(page: str, tmp_path: Path) -> None:
    """
    Each command prints what the page shows, and each program runs, from an empty folder on.
    """
    walk = Walk(tmp_path)
    written = list(steps((DOCS / page).read_text(encoding="utf-8")))
    assert len(written) > 5

    for step in written:
        said = walk.run(step)
        if step.kind == "console" and step.expected:
            matches = doctest.OutputChecker().check_output(_unruled(step.expected), _unruled(said), FLAGS)
            assert matches, f"{page}, block at line {step.line}: $ {step.text}\n{said}"


def test_every_type_of_event_is_explained() -> None:
    """
    The guide to the audit trail names every type of event.
    """
    page = (DOCS / "how-to/read-the-audit-trail.md").read_text(encoding="utf-8")

    assert {kind.value for kind in AuditType} <= set(re.findall(r"`([A-Z_]+)`", page))
