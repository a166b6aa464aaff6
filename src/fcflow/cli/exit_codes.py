"""What the exit code of ``fcflow`` says; stable, for scripts."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from fcflow.errors import (
    AllocationError,
    DocumentError,
    FormatError,
    LifecycleError,
    MissingExtraError,
    PluginError,
    SecretError,
    StoreError,
    TransportError,
)
from fcflow.reports import RunReport

__all__ = ["ExitCode", "code_of_error", "code_of_run"]


class ExitCode(IntEnum):
    """
    Exit codes; the comment of each is what the reference page prints.

    Example:
        >>> int(ExitCode.REFUSED)
        6
    """

    FINE = 0
    NEEDS_PERSON = 1
    USAGE = 2
    INVALID = 3
    PARTNER = 4
    STORE = 5
    REFUSED = 6


MEANINGS = {
    ExitCode.FINE: "everything that was asked for was done",
    ExitCode.NEEDS_PERSON: "done in part, or something awaits a person: the output says what",
    ExitCode.USAGE: "the command line itself is wrong, or the extra `cli` is not installed",
    ExitCode.INVALID: "a document is not valid (configuration, rules, layout, orders), or a plugin, secret or extra "
    "that it names is missing; nothing was changed",
    ExitCode.PARTNER: "no partner of the run could be reached, or a partner refused all that was sent",
    ExitCode.STORE: "the store cannot be opened, read or written",
    ExitCode.REFUSED: "the change that was asked for is not allowed in the present state; nothing was changed",
}

_BY_CLASS: tuple[tuple[type[Exception], ExitCode], ...] = (
    (DocumentError, ExitCode.INVALID),
    (FormatError, ExitCode.INVALID),
    (SecretError, ExitCode.INVALID),
    (PluginError, ExitCode.INVALID),
    (MissingExtraError, ExitCode.INVALID),
    (AllocationError, ExitCode.INVALID),
    (TransportError, ExitCode.PARTNER),
    (StoreError, ExitCode.STORE),
    (LifecycleError, ExitCode.REFUSED),
)


def code_of_error(error: Exception) -> ExitCode:
    """
    The exit code for an error of fcflow.

    Example:
        >>> code_of_error(LifecycleError("order A1 cannot move")).name
        'REFUSED'
    """
    return next((code for kind, code in _BY_CLASS if isinstance(error, kind)), ExitCode.NEEDS_PERSON)


def code_of_run(report: RunReport) -> ExitCode:
    """The exit code for a run: fine, done in part, or no partner could be served."""
    if report.failures and all(partner.failures for partner in report.partners.values()):
        return _worst(failure.code for _, failure in report.failures)
    if not report.ok or report.problems or report.needs_person:
        return ExitCode.NEEDS_PERSON
    return ExitCode.FINE


def _worst(codes: Iterable[str]) -> ExitCode:
    return ExitCode.STORE if all(code.startswith("store.") for code in codes) else ExitCode.PARTNER
