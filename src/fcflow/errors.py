"""
Every error that fcflow raises, in one tree.

::

    FcflowError
    ├── DocumentError              many faults of one document (an ExceptionGroup of Fault)
    │   ├── ConfigError            the configuration
    │   ├── RuleError              a rule set
    │   ├── LayoutError            a layout (also a FormatError)
    │   └── OrderError             orders handed over by the host
    ├── Fault                      one fault: where, what was found, what was expected
    ├── FormatError                a payload that cannot be read or written as a whole
    │   └── EncodeError            an order that does not fit its layout
    ├── AllocationError            a strategy or a view that cannot be used
    ├── TransportError
    │   ├── TransportUnavailableError   no answer: refused connection, 5xx, closed link   (transient)
    │   ├── TransportTimeoutError       a deadline passed before anything was published   (transient)
    │   ├── TransportCorruptError       size or hash differs from what was sent or listed (transient)
    │   ├── TransportRefusedError       the partner answered, and the answer is no
    │   ├── TransportLoginError         wrong user, password or key
    │   ├── TransportUntrustedError     host key or certificate not accepted
    │   ├── TransportNotFoundError      the folder or file is not there
    │   ├── TransportTooLargeError      over the byte cap
    │   ├── TransportUnsupportedError   the partner's server cannot do this
    │   └── TransportUnclearError       the answer was lost: it may or may not have been published
    ├── LifecycleError             a change that the state does not allow
    ├── StoreError
    │   ├── StoreBusyError         locked by another writer                               (transient)
    │   ├── StoreVersionError      the schema is newer or older than this fcflow
    │   └── LeaseLostError         another synchronizer took over
    ├── SecretError                a reference that cannot be resolved
    ├── PluginError                a plugin that breaks its contract
    └── MissingExtraError          an optional dependency is not installed

*Where* is the class, *what next* a mix-in: only `TransientError` is retried within a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

__all__ = [
    "AllocationError",
    "ConfigError",
    "DocumentError",
    "EncodeError",
    "Fault",
    "FcflowError",
    "FormatError",
    "LayoutError",
    "LeaseLostError",
    "LifecycleError",
    "MissingExtraError",
    "OrderError",
    "PluginError",
    "RuleError",
    "SecretError",
    "StoreBusyError",
    "StoreError",
    "StoreVersionError",
    "TransientError",
    "TransportCorruptError",
    "TransportError",
    "TransportLoginError",
    "TransportNotFoundError",
    "TransportRefusedError",
    "TransportTimeoutError",
    "TransportTooLargeError",
    "TransportUnavailableError",
    "TransportUnclearError",
    "TransportUnsupportedError",
    "TransportUntrustedError",
]


class FcflowError(Exception):
    """The root of the tree; ``code`` is stable, documented, and what the audit trail stores."""

    code = "fcflow.error"


class TransientError(Exception):
    """
    Mixed into errors that may go away by themselves: retried with back-off within a run.

    ``retry_after_s`` is how long the partner asked us to wait, or ``None``.
    """

    retry_after_s: float | None = None


class Fault(FcflowError):
    """
    One fault of a document or a record.

    Args:
        message: What is wrong, in one clause without a full stop.

        path: Where, as a JSON path (``$.rules[3].when``); empty where only a line is known.

        line: 1-based line in the text, or ``None``.

        column: 1-based column in the text, or ``None``.

        found: The offending value as it stood, or ``None``.

        expected: What would have been right, or ``None``.

    Example:
        >>> str(Fault("unknown field", path="$.when.field", found="ship_to.contry", expected="ship_to.country"))
        "$.when.field: unknown field: expected ship_to.country, got 'ship_to.contry'"
    """

    code = "document.fault"

    def __init__(
        self,
        message: str,
        *,
        path: str = "",
        line: int | None = None,
        column: int | None = None,
        found: object = None,
        expected: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.line = line
        self.column = column
        self.found = found
        self.expected = expected

    def __str__(self) -> str:
        places = [f"line {self.line}"] if self.line is not None else []
        places += [f"column {self.column}"] if self.column is not None else []
        where = ", ".join(places) + (f" ({self.path})" if places and self.path else self.path)
        parts = [f"expected {self.expected}"] if self.expected is not None else []
        parts += [f"got {self.found!r}"] if self.found is not None else []
        return ": ".join(part for part in (where, self.message, ", ".join(parts)) if part)

    def __reduce__(self) -> tuple[Any, ...]:
        places = {name: getattr(self, name) for name in ("path", "line", "column", "found", "expected")}
        return _rebuild_fault, (self.message, places)


def _rebuild_fault(message: str, places: dict[str, Any]) -> Fault:
    return Fault(message, **places)


class DocumentError(FcflowError, ExceptionGroup[Fault]):
    """
    All faults of one document at once.

    Example:
        >>> error = DocumentError("rules.json", [Fault("not an object", path="$")])
        >>> print(error)
        rules.json: 1 fault
          $: not an object
        >>> error.faults[0].path
        '$'
    """

    code = "document.invalid"

    def __new__(cls, source: str, faults: Sequence[Fault]) -> Self:
        return super().__new__(cls, source, list(faults))

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        super().__init__(source, list(faults))
        self.source = source

    @property
    def faults(self) -> Sequence[Fault]:
        """The faults, in the order in which they stand in the document."""
        return [error for error in self.exceptions if isinstance(error, Fault)]

    def derive(self, excs: Sequence[Any], /) -> Self:  # type: ignore[override]  # generic in the base, Fault here
        return type(self)(self.source, excs)

    def __str__(self) -> str:
        count = len(self.exceptions)
        head = f"{self.source}: {count} fault{'' if count == 1 else 's'}"
        return "\n".join([head, *(f"  {fault}" for fault in self.exceptions)])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, list(self.exceptions))


class ConfigError(DocumentError):
    """The configuration is not valid."""

    code = "config.invalid"


class RuleError(DocumentError):
    """A rule set is not valid, or one of its examples fails."""

    code = "rules.invalid"


class OrderError(DocumentError):
    """Orders handed over by the host are not valid."""

    code = "order.invalid"


class FormatError(FcflowError):
    """A payload cannot be read or written as a whole."""

    code = "format.unreadable"


class LayoutError(DocumentError, FormatError):
    """A layout is not valid."""

    code = "layout.invalid"


class EncodeError(FormatError):
    """An order does not fit its layout; says which order and which field."""

    code = "format.unwritable"


class AllocationError(FcflowError):
    """A strategy broke its contract, or a view is missing what a rule asks for."""

    code = "allocation.error"


class TransportError(FcflowError):
    """Something between us and a partner's server."""

    code = "transport.error"


class TransportUnavailableError(TransportError, TransientError):
    """The partner did not answer: refused connection, closed link, 5xx."""

    code = "transport.unavailable"


class TransportTimeoutError(TransportError, TransientError):
    """A deadline passed before anything was published."""

    code = "transport.timeout"


class TransportCorruptError(TransportError, TransientError):
    """Size or hash differs from what was sent or listed; nothing was published or taken."""

    code = "transport.corrupt"


class TransportRefusedError(TransportError):
    """The partner answered, and the answer is no; the answer's text is the message."""

    code = "transport.refused"


class TransportLoginError(TransportError):
    """Wrong user, password or key."""

    code = "transport.login"


class TransportUntrustedError(TransportError):
    """The host key or certificate was not accepted; no byte of ours was sent."""

    code = "transport.untrusted"


class TransportNotFoundError(TransportError):
    """The folder or file is not there."""

    code = "transport.not_found"


class TransportTooLargeError(TransportError):
    """The partner's file or answer is over the byte cap."""

    code = "transport.too_large"


class TransportUnsupportedError(TransportError):
    """The partner's server cannot do what was asked."""

    code = "transport.unsupported"


class TransportUnclearError(TransportError):
    """The answer was lost after publishing began: look before sending again."""

    code = "transport.unclear"


class LifecycleError(FcflowError):
    """A change that the state of an order does not allow."""

    code = "lifecycle.refused"


class StoreError(FcflowError):
    """The store cannot be read or written."""

    code = "store.error"


class StoreBusyError(StoreError, TransientError):
    """Another writer holds the store."""

    code = "store.busy"


class StoreVersionError(StoreError):
    """The store's schema does not fit this version of fcflow."""

    code = "store.version"


class LeaseLostError(StoreError):
    """Another synchronizer took over this partner; nothing more is written."""

    code = "store.lease_lost"


class SecretError(FcflowError):
    """A secret reference cannot be resolved; never shows a secret."""

    code = "secret.unresolved"


class PluginError(FcflowError):
    """A plugin breaks its contract."""

    code = "plugin.invalid"


class MissingExtraError(FcflowError, ImportError):
    """
    An optional dependency is not installed.

    Example:
        >>> print(MissingExtraError("sftp", "paramiko"))
        paramiko is not installed; run: pip install 'fcflow[sftp]'
    """

    code = "extra.missing"

    def __init__(self, extra: str, module: str) -> None:
        super().__init__(f"{module} is not installed; run: pip install 'fcflow[{extra}]'")
        self.extra = extra
