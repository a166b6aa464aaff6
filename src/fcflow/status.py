"""
What a partner's word means: the words are theirs, the `Status` is ours.

Which parcel a word speaks of, and how far an order got by it, is `fcflow.lifecycle`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from fcflow.model import Status

__all__ = ["ANCESTOR_WORDS", "resolve_status", "status_key"]

ANCESTOR_WORDS: Mapping[str, Status] = MappingProxyType(
    {
        "shipped": Status.SHIPPED,
        "complete": Status.SHIPPED,
        "cancelled": Status.CANCELLED,
        "canceled": Status.CANCELLED,
        "error": Status.ERROR,
    }
)
"""The words of Linnworks' fulfilment centres, by `status_key`; every partner may use them."""

_OUR_WORDS = {status.value: status for status in Status}


def status_key(word: str) -> str:
    """
    The form in which two spellings of one word are equal: any case, any run of blanks, underscores and hyphens.

    Example:
        >>> status_key("  Part - Shipped ")
        'part_shipped'
    """
    return re.sub(r"[\s_\-]+", "_", word.strip().casefold()).strip("_")


def resolve_status(raw: str | None, words: Mapping[str, str] = MappingProxyType({})) -> Status | None:
    """
    Find what a partner's word stands for.

    Args:
        raw: The word as the partner wrote it; ``None`` where the message had none.

        words: The partner's own words, in any case, to a `Status` value. They win over the words that are built in: the
            ancestor's ``SHIPPED COMPLETE CANCELLED ERROR`` (also ``CANCELED``), then our own.

    Returns:
        ``None`` where the word is blank or not known: such a word is recorded and reported, and changes nothing.

    Example:
        >>> resolve_status(" Complete ")
        <Status.SHIPPED: 'shipped'>
        >>> resolve_status("versandt", {"Versandt": "shipped"})
        <Status.SHIPPED: 'shipped'>
        >>> resolve_status("PROCESSING") is None
        True
    """
    if raw is None or not (key := status_key(raw)):
        return None
    for word, meaning in words.items():
        if status_key(word) == key:
            return _built_in(status_key(meaning))
    return _built_in(key)


def _built_in(key: str) -> Status | None:
    return ANCESTOR_WORDS.get(key) or _OUR_WORDS.get(key)
