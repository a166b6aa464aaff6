"""Run the benchmarks one after the other; with ``--write`` put their tables into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

BENCH = Path(__file__).parent
PAGE = BENCH.parent / "docs" / "benchmarks.md"


def arguments() -> argparse.Namespace:
    names = sorted(path.stem.removeprefix("bench_") for path in BENCH.glob("bench_*.py"))
    parser = argparse.ArgumentParser(description=__doc__, prog="scripts/bench")
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of: {', '.join(names)}; all where none is given")
    parser.add_argument("--quick", action="store_true", help="small and rough")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(names))
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}, expected one of: {', '.join(names)}")
    given.names = given.names or names
    return given


def run(name: str, quick: bool) -> str:
    """The output of one benchmark, shown while it runs."""
    command = [sys.executable, "-u", str(BENCH / f"bench_{name}.py"), *(["--quick"] if quick else [])]
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            said.append(line)
    if process.returncode:
        sys.exit(f"bench_{name}.py ended with {process.returncode}")
    return "".join(said)


def result_of(output: str) -> str:
    """What a page shows of an output: its prose as a list, its tables as they are."""
    shown = []
    for line in output.strip().splitlines():
        is_prose = bool(line.strip()) and not line.startswith(("|", "- ", "#"))
        shown.append(f"- {line.strip()}" if is_prose else line.rstrip())
    return re.sub(r"(?m)^(- .*)\n(\|)", r"\1\n\n\2", re.sub(r"(?m)^(\|.*)\n(- )", r"\1\n\n\2", "\n".join(shown)))


def put(page: str, name: str, result: str) -> str:
    """The page with *result* between the marks of *name*; the marks must be there."""
    day = datetime.now(UTC).date().isoformat()
    marks = re.compile(rf"(<!-- bench: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not marks.search(page):
        sys.exit(f"docs/benchmarks.md: expected the mark <!-- bench: {name} -->")
    return marks.sub(lambda mark: f"{mark[1]}\nMeasured on {day}.\n\n{result}\n\n{mark[2]}", page)


def main() -> None:
    given = arguments()
    for name in given.names:
        print(f"== {name}", flush=True)
        output = run(name, given.quick)
        print()
        if given.write:
            PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), name, result_of(output)), encoding="utf-8")


if __name__ == "__main__":
    main()
