"""Trying again what may go away by itself, within one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential, wait_random

from fcflow.errors import TransientError
from fcflow.model import PartnerLimits

__all__ = ["attempt"]

T = TypeVar("T")

_LONGEST_S = 60


def attempt(call: Callable[[], T], limits: PartnerLimits) -> T:
    """
    Call *call*; after an error that may go away, wait (longer each time) and call again.

    Example:
        >>> attempt(lambda: 3, PartnerLimits())
        3
    """
    wait = wait_exponential(multiplier=limits.backoff_s, max=_LONGEST_S) + wait_random(0, limits.backoff_s)
    again = Retrying(
        stop=stop_after_attempt(limits.tries),
        wait=wait,
        retry=retry_if_exception_type(TransientError),
        reraise=True,
    )
    return again(call)
