"""
Orders to the warehouses and drop shippers that ship them, and their answers back.

Every name below is imported when it is first asked for, so that ``import fcflow`` costs next to nothing.

Example:
    >>> import fcflow
    >>> fcflow.OrderLine(sku="MUG", quantity=2).quantity
    2
"""

from importlib import import_module

from fcflow._version import __version__

TYPE_CHECKING = False  # known to type checkers by its name; importing it would load typing

if TYPE_CHECKING:
    from fcflow.audit import AuditEvent, AuditType
    from fcflow.config import Config, load_config
    from fcflow.errors import (
        AllocationError,
        ConfigError,
        DocumentError,
        EncodeError,
        Fault,
        FcflowError,
        FormatError,
        LayoutError,
        LeaseLostError,
        LifecycleError,
        MissingExtraError,
        OrderError,
        PluginError,
        RuleError,
        SecretError,
        StoreBusyError,
        StoreError,
        StoreVersionError,
        TransientError,
        TransportCorruptError,
        TransportError,
        TransportLoginError,
        TransportNotFoundError,
        TransportRefusedError,
        TransportTimeoutError,
        TransportTooLargeError,
        TransportUnavailableError,
        TransportUnclearError,
        TransportUnsupportedError,
        TransportUntrustedError,
    )
    from fcflow.formats import Layout, load_layout
    from fcflow.hookspecs import hookimpl, hookspec
    from fcflow.model import (
        Address,
        Connection,
        Decision,
        Effect,
        Explanation,
        Feed,
        FeedKind,
        FulfilmentLine,
        FulfilmentOrder,
        FulfilmentState,
        Location,
        LocationKind,
        MeasuredView,
        Order,
        OrderLine,
        OrderState,
        Partner,
        PartnerLimits,
        Payment,
        Problem,
        Record,
        RuleVerdict,
        Shipment,
        ShippingLine,
        ShippingOrder,
        Status,
        StatusLine,
        StatusUpdate,
        StockLevel,
        StockPolicy,
        View,
        WorkingCalendar,
    )
    from fcflow.reports import Plan, PushAnswer, RunReport
    from fcflow.rules import RuleSet, load_rules
    from fcflow.store import Store
    from fcflow.synchronizer import Synchronizer
    from fcflow.transports import Transport, TransportType

__all__ = [
    "Address",
    "AllocationError",
    "AuditEvent",
    "AuditType",
    "Config",
    "ConfigError",
    "Connection",
    "Decision",
    "DocumentError",
    "Effect",
    "EncodeError",
    "Explanation",
    "Fault",
    "FcflowError",
    "Feed",
    "FeedKind",
    "FormatError",
    "FulfilmentLine",
    "FulfilmentOrder",
    "FulfilmentState",
    "Layout",
    "LayoutError",
    "LeaseLostError",
    "LifecycleError",
    "Location",
    "LocationKind",
    "MeasuredView",
    "MissingExtraError",
    "Order",
    "OrderError",
    "OrderLine",
    "OrderState",
    "Partner",
    "PartnerLimits",
    "Payment",
    "Plan",
    "PluginError",
    "Problem",
    "PushAnswer",
    "Record",
    "RuleError",
    "RuleSet",
    "RuleVerdict",
    "RunReport",
    "SecretError",
    "Shipment",
    "ShippingLine",
    "ShippingOrder",
    "Status",
    "StatusLine",
    "StatusUpdate",
    "StockLevel",
    "StockPolicy",
    "Store",
    "StoreBusyError",
    "StoreError",
    "StoreVersionError",
    "Synchronizer",
    "TransientError",
    "Transport",
    "TransportCorruptError",
    "TransportError",
    "TransportLoginError",
    "TransportNotFoundError",
    "TransportRefusedError",
    "TransportTimeoutError",
    "TransportTooLargeError",
    "TransportType",
    "TransportUnavailableError",
    "TransportUnclearError",
    "TransportUnsupportedError",
    "TransportUntrustedError",
    "View",
    "WorkingCalendar",
    "__version__",
    "hookimpl",
    "hookspec",
    "load_config",
    "load_layout",
    "load_rules",
]

if not TYPE_CHECKING:  # a type checker that sees __getattr__ would take any misspelt name for a public one
    # Errors live in `errors`, every name that is neither one of them nor in this table in `model`.
    _HOMES = {
        "AuditEvent": "audit",
        "AuditType": "audit",
        "Config": "config",
        "Fault": "errors",
        "Layout": "formats",
        "Plan": "reports",
        "RuleSet": "rules",
        "PushAnswer": "reports",
        "RunReport": "reports",
        "Store": "store",
        "Synchronizer": "synchronizer",
        "Transport": "transports",
        "TransportType": "transports",
        "hookimpl": "hookspecs",
        "hookspec": "hookspecs",
        "load_config": "config",
        "load_layout": "formats",
        "load_rules": "rules",
    }

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = _HOMES.get(name) or ("errors" if name.endswith("Error") else "model")
        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)
