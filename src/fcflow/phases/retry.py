"""Trying again what may go away by itself, within one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import Future, Retrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_random

from fcflow.errors import TransientError
from fcflow.model import PartnerLimits

__all__ = ["LONGEST_S", "attempt"]

T = TypeVar("T")

LONGEST_S = 60
"""A partner who asks for more time than this is left to the next run."""


def attempt(call: Callable[[], T], limits: PartnerLimits) -> T:
    """
    Call *call*; after an error that may go away, wait (longer each time) and call again.

    A partner who says how long to wait is waited for as long; where that is more than a minute, the error is let out
    and the next run tries again.

    Example:
        >>> attempt(lambda: 3, PartnerLimits())
        3
    """
    backing_off = wait_exponential(multiplier=limits.backoff_s, max=LONGEST_S) + wait_random(0, limits.backoff_s)
    again = Retrying(
        stop=stop_after_attempt(limits.tries),
        wait=lambda state: max(backing_off(state), _asked_for(state.outcome)),
        retry=retry_if_exception(_may_go_away),
        reraise=True,
    )
    return again(call)


def _may_go_away(error: BaseException) -> bool:
    return isinstance(error, TransientError) and (error.retry_after_s or 0) <= LONGEST_S


def _asked_for(outcome: Future | None) -> float:
    error = None if outcome is None else outcome.exception()
    return (error.retry_after_s or 0) if isinstance(error, TransientError) else 0
