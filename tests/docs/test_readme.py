"""
The README and the pages of ``docs`` tell the truth: their Python runs, their JSON parses, their links lead somewhere.

The convention, for whoever writes a page:

* the ``python`` blocks of a page run in order, in one namespace, in an empty folder; a block with ``>>>`` is a doctest;
* ``<!-- not run: reason -->`` on the line before a block leaves it out;
* ``<!-- run by: tests/... -->`` anywhere in a page hands its Python blocks to that test file, which names the page.
"""

from __future__ import annotations

import doctest
import json
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS

NOT_RUN = re.compile(r"<!--\s*not run:\s*(\S.*?)\s*-->")
RUN_BY = re.compile(r"<!--\s*run by:\s*(\S+)\s*-->")
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*$")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(<?([^)\s>]+)>?\)")
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|work|tmp|Users|mnt|opt)/\w+")


class Block(NamedTuple):
    """A fenced block: its language, its text, the 1-based line on which the text begins, whether it is to be run."""

    language: str
    text: str
    line: int
    runs: bool


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    lines = text.splitlines()
    start: int | None = None
    for number, line in enumerate(lines):
        fence = FENCE.match(line)
        if start is None and fence:
            start, indent, language = number, len(fence["indent"]), fence["language"]
        elif start is not None and line.strip() == "```":
            body = "\n".join(row[indent:] for row in lines[start + 1 : number]) + "\n"
            said = next((row for row in reversed(lines[:start]) if row.strip()), "")
            found.append(Block(language, body, start + 2, not NOT_RUN.search(said)))
            start = None
    assert start is None, f"the block that begins in line {start} has no end"
    return found


def prose_of(text: str) -> str:
    """A page without its blocks and its code in backticks."""
    without_blocks = re.sub(r"(?ms)^ *```.*?^ *```\s*$", "", text)
    return re.sub(r"`[^`\n]*`", "", without_blocks)


def anchors_of(text: str) -> set[str]:
    """What a link to a heading of the page may say after ``#``."""
    headings = re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^ *```.*?^ *```\s*$", "", text))
    return {slug_of(heading) for heading in headings}


def slug_of(heading: str) -> str:
    """A heading as the usual renderers turn it into an anchor."""
    plain = unicodedata.normalize("NFC", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def run_block(block: Block, page: str, namespace: dict[str, object]) -> None:
    """Run one Python block, as a doctest where it has prompts; line numbers are those of the page."""
    if ">>>" not in block.text:
        code = compile("\n" * (block.line - 1) + block.text, page, "exec", dont_inherit=True)
        exec(code, namespace)
        return
    test = doctest.DocTestParser().get_doctest(block.text, {}, page, page, block.line - 1)
    test.globs = namespace
    doctest.DebugRunner(optionflags=FLAGS).run(test, clear_globs=False)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_of_a_page_runs(page, tmp_path, monkeypatch):
    """
    The Python blocks of a page run in order, in one namespace, in an empty folder.
    """
    text = page.read_text(encoding="utf-8")
    elsewhere = RUN_BY.search(prose_of(text))
    if elsewhere:
        assert page.name in (ROOT / elsewhere[1]).read_text(encoding="utf-8")
        return
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(text):
        if block.language in ("python", "pycon") and block.runs:
            run_block(block, named(page), namespace)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_json_of_a_page_parses(page):
    """
    A JSON block is JSON.
    """
    for block in blocks_of(page.read_text(encoding="utf-8")):
        if block.language == "json" and block.runs:
            json.loads(block.text)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_relative_links_lead_somewhere(page):
    """
    A relative link names a file of the checkout and, after ``#``, one of its headings.
    """
    for target in LINK.findall(prose_of(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), f"{named(page)} links to {target}"
        if anchor:
            assert anchor in anchors_of(goal.read_text(encoding="utf-8")), f"{named(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_machine_shows_in_a_page(page):
    """
    No page holds an absolute path of somebody's machine.
    """
    assert MACHINE_PATH.findall(page.read_text(encoding="utf-8")) == []


def test_every_page_is_on_the_map():
    """
    Every page of ``docs`` can be reached from the map in one step.
    """
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target).resolve() for target in LINK.findall(index.read_text(encoding="utf-8"))}
    pages = {page for page in PAGES if page.is_relative_to(ROOT / "docs")} - {index}

    assert {named(page) for page in pages - linked} == set()


def test_readme_is_one_screen_with_two_commands():
    """
    The README stays short, and names the two commands that exist.
    """
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()

    assert len(lines) <= 80
    for command in ("./scripts/demo", "./scripts/test"):
        assert any(command in line for line in lines)
        assert (ROOT / command).is_file()


def test_a_wrong_page_is_caught(tmp_path, monkeypatch):
    """
    The runner fails on what is wrong: an assertion with its line, an output that differs, a block without an end.
    """
    monkeypatch.chdir(tmp_path)
    wrong = blocks_of("a\n\n```python\nx = 1\nassert x == 2\n```\n")[0]
    with pytest.raises(AssertionError) as caught:
        run_block(wrong, "page.md", {})
    assert caught.traceback[-1].lineno + 1 == 5

    with pytest.raises(doctest.DocTestFailure):
        run_block(blocks_of("```python\n>>> 1 + 1\n3\n```\n")[0], "page.md", {})
    with pytest.raises(AssertionError, match="has no end"):
        blocks_of("```python\nx = 1\n")
    assert not blocks_of("<!-- not run: needs a partner -->\n```python\nx\n```\n")[0].runs
