"""A deadline over several calls of a library that only knows a time limit for each read."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from attrs import define, field

__all__ = ["Deadline"]


@define(eq=False)
class Deadline:
    """
    Ends what is under way when the time is over.

    Args:
        abort: Makes the blocked call fail; called from another thread.

        passed: Whether the last deadline was missed.
    """

    abort: Callable[[], None]
    passed: bool = field(default=False, init=False)

    @contextlib.contextmanager
    def over(self, timeout_s: float) -> Iterator[None]:
        """Everything inside has *timeout_s* together."""
        self.passed = False
        timer = threading.Timer(timeout_s, self._pass)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _pass(self) -> None:
        self.passed = True
        self.abort()
