"""The ways in to partners: bytes out, bytes back. One module a family; `base` has the protocol."""

from fcflow.transports.base import (
    Capabilities,
    Delivery,
    Endpoint,
    Fetched,
    Finding,
    Offer,
    OpenFulfilment,
    Outcome,
    Presence,
    Query,
    Receipt,
    Transport,
    TransportType,
)
from fcflow.transports.pool import TransportPool

__all__ = [
    "Capabilities",
    "Delivery",
    "Endpoint",
    "Fetched",
    "Finding",
    "Offer",
    "OpenFulfilment",
    "Outcome",
    "Presence",
    "Query",
    "Receipt",
    "Transport",
    "TransportPool",
    "TransportType",
]
