"""What strangers test their plugins with: contracts, faults, real servers on loopback, vectors. Needs pytest."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fcflow.testing.formats import FormatContract
    from fcflow.testing.rules import EffectContract, FieldContract, OperatorContract
    from fcflow.testing.transports import (
        FolderHarness,
        MemoryHarness,
        ReceivingContract,
        SendingContract,
        TransportContract,
        TransportHarness,
    )

__all__ = [
    "EffectContract",
    "FieldContract",
    "FolderHarness",
    "FormatContract",
    "MemoryHarness",
    "OperatorContract",
    "ReceivingContract",
    "SendingContract",
    "TransportContract",
    "TransportHarness",
]

_IN = {"EffectContract": "rules", "FieldContract": "rules", "OperatorContract": "rules", "FormatContract": "formats"}


def __getattr__(name: str) -> Any:
    # Vectors and oracles are of use without pytest, so the contracts are loaded when they are asked for.
    if name in __all__:
        return getattr(import_module(f"fcflow.testing.{_IN.get(name, 'transports')}"), name)
    raise AttributeError(name)
