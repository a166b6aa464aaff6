"""The functional acknowledgement of what a partner sent, in the partner's own kind of envelope."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

from fcflow.errors import FormatError
from fcflow.formats import edifact, x12
from fcflow.formats.codec import Batch
from fcflow.formats.layout import Layout

__all__ = ["ACKNOWLEDGED", "acknowledge"]

ACKNOWLEDGED: dict[str, Callable[[BytesIO, Batch], bytes]] = {
    "x12": x12.acknowledgement,
    "edifact": edifact.acknowledgement,
}
"""Codecs whose payloads can be acknowledged."""


def acknowledge(layout: Layout, payload: bytes, batch: Batch) -> bytes:
    """
    What is sent back for *payload*; nothing where it asks for no answer.

    Args:
        layout: The one that reads it.

        batch: Number and instant of the answer.

    Raises:
        FormatError: Its codec has no acknowledgements, or its envelope does not hold: there is nobody to answer.
    """
    codec = layout.document["codec"]["type"]
    if codec not in ACKNOWLEDGED:
        raise FormatError(f"expected a layout of {' or '.join(ACKNOWLEDGED)} to acknowledge, got {codec}")
    return ACKNOWLEDGED[codec](BytesIO(payload), batch)
