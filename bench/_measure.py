"""What every benchmark shares: the machine, medians and spread, Markdown tables."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path


def machine() -> str:
    """One line on the machine and the interpreter."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{_processor()}, {cores} cores, {_memory()}, {platform.system()} {platform.release()}, {python}"


def _processor() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal"):
            return f"{int(line.split()[1]) / 2**20:.0f} GiB"
    return "memory unknown"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def versions(*packages: str) -> str:
    """``fcflow 0.1.0, requests 2.32.3``."""
    return ", ".join(f"{name} {version(name)}" for name in packages)


def show_head(*packages: str) -> None:
    """Print the lines that every benchmark begins with."""
    print(f"machine: {machine()}")
    print(f"versions: {versions(*packages)}")
    print(f"load before: {_load()}", flush=True)


def _load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"


def spread(values: Sequence[float], scale: float = 1.0, digits: int = 1) -> str:
    """``12.3 (11.9-14.0)``: the median, and the least and greatest beside it."""
    low, middle, high = (
        f"{value * scale:.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )
    return f"{middle} ({low}-{high})"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    marks = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in [head, marks, *rows])


def is_quick() -> bool:
    """Whether ``--quick`` was asked for."""
    return "--quick" in sys.argv[1:]
