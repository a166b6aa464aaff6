"""
The command line: everything the library does, one module a command group, no logic of its own.

``fcflow`` needs the extra ``cli``; without it `main` says which ``pip install`` line mends that.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fcflow.errors import MissingExtraError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command; the entry point of the program ``fcflow``.

    Args:
        argv: Arguments without the program's name; ``None`` takes those of the process.

    Returns:
        The exit code: see `fcflow.cli.exit_codes`.
    """
    try:
        import rich  # noqa: F401  # only whether it is there
        import typer  # noqa: F401  # only whether it is there
    except ImportError as error:
        print(MissingExtraError("cli", error.name or "typer"), file=sys.stderr)  # noqa: T201  # nothing of the extra can be used
        return 2
    from fcflow.cli.app import run

    return run(sys.argv[1:] if argv is None else list(argv))
