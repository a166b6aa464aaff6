"""A deadline over several calls of a library that only knows a time limit for each read."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

from attrs import define, field

__all__ = ["Deadline"]

_REST_S = 30.0


@define(eq=False)
class Deadline:
    """
    Ends what is under way when the time is over.

    Args:
        abort: Makes the blocked call fail; called from another thread, and must not block itself.

        passed: Whether the last deadline was missed.
    """

    abort: Callable[[], None]
    passed: bool = field(default=False, init=False)

    @contextlib.contextmanager
    def over(self, timeout_s: float) -> Iterator[None]:
        """Everything inside has *timeout_s* together."""
        self.passed = False
        _watch.add(self, time.monotonic() + timeout_s)
        try:
            yield
        finally:
            _watch.remove(self)

    def miss(self) -> None:
        """The time is over."""
        self.passed = True
        self.abort()


class _Watch:
    """One thread that looks after all deadlines of this process; it ends when there has been none for a while."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Deadline, float] = {}
        self._wakes = 0.0
        self._runs = False

    def add(self, deadline: Deadline, due: float) -> None:
        with self._changed:
            self._due[deadline] = due
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name="fcflow-deadlines", daemon=True).start()
            elif due < self._wakes:
                self._changed.notify()

    def remove(self, deadline: Deadline) -> None:
        """Behind this nothing is aborted any more: it waits for an abort that is under way."""
        with self._changed:
            self._due.pop(deadline, None)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for deadline in [each for each, due in self._due.items() if due <= now]:
                    del self._due[deadline]
                    with contextlib.suppress(Exception):  # whatever it is, the others still have theirs
                        deadline.miss()
                self._wakes = min(self._due.values(), default=now + _REST_S)
                rested = not self._changed.wait(self._wakes - now)
                if rested and not self._due and time.monotonic() >= self._wakes:
                    self._runs = False
                    return


_watch = _Watch()


def _after_fork() -> None:
    """The thread stayed in the parent, and its lock may be held for ever here."""
    global _watch  # one a process
    _watch = _Watch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
