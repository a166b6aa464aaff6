"""What strangers test their plugins with: contracts, faults, real servers on loopback, vectors. Needs pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fcflow.testing.transports import FolderHarness, MemoryHarness, TransportContract, TransportHarness

__all__ = ["FolderHarness", "MemoryHarness", "TransportContract", "TransportHarness"]


def __getattr__(name: str) -> Any:
    # Vectors and oracles are of use without pytest, so the contracts are loaded when they are asked for.
    if name in __all__:
        from fcflow.testing import transports

        return getattr(transports, name)
    raise AttributeError(name)
