"""
What it costs to import fcflow, in fresh interpreters.

The programs take turns, so that whatever else the machine does falls on all of them alike. Ratios are of what an import
adds to an interpreter that does nothing.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from _measure import is_quick, show_head, spread, table

PROGRAMS = {
    "nothing": "pass",
    "`import fcflow`": "import fcflow",
    "`from fcflow import Order`": "from fcflow import Order",
    "`from fcflow import Synchronizer`": "from fcflow import Synchronizer",
    "`import requests`": "import requests",
}


def seconds(program: str) -> float:
    """Wall-clock seconds of one interpreter from start to end."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", program], check=True)
    return time.perf_counter() - begin


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each program, once a round; a first round that fills the caches does not count."""
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for turn in range(rounds + 1):
        for name, program in PROGRAMS.items():
            took = seconds(program)
            if turn:
                taken[name].append(took)
    return taken


def rows_of(taken: dict[str, list[float]]) -> list[tuple[str, str, str, str]]:
    """Per program: milliseconds, what it adds to nothing, and that as a part of what requests adds."""
    middle = {name: statistics.median(values) for name, values in taken.items()}
    bare = middle["nothing"]
    requests = middle["`import requests`"] - bare
    return [
        (name, spread(values, 1000), f"{(middle[name] - bare) * 1000:.1f}", f"{(middle[name] - bare) / requests:.2f}")
        for name, values in taken.items()
    ]


def main() -> None:
    rounds = 5 if is_quick() else 25
    show_head("fcflow", "requests", "attrs", "sqlalchemy")
    print(f"{rounds} fresh interpreters each; median (least-greatest)\n")
    head = ("program", "whole process, ms", "added to nothing, ms", "as a part of requests")
    print(table(head, rows_of(measure(rounds))))


if __name__ == "__main__":
    main()
