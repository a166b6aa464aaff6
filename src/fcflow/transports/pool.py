"""Transports between two uses, so that one run logs in once to each server."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator

from attrs import define, field

from fcflow.transports.base import Transport

__all__ = ["TransportPool"]


@define(eq=False)
class TransportPool:
    """
    Keeps transports that nobody uses now. A transport replaces a dead connection by itself, so none is checked here.

    What was put in by another process, from which this one was forked, is forgotten.

    Example:
        >>> from fcflow.transports import memory
        >>> from fcflow.transports.base import Endpoint
        >>> from fcflow.model import Connection
        >>> endpoint = Endpoint(partner="leeds", connection=Connection(url="memory://pool"), resolve=str)
        >>> pool = TransportPool()
        >>> with pool.lent("leeds", lambda: memory.build(endpoint)) as first:
        ...     pass
        >>> with pool.lent("leeds", lambda: memory.build(endpoint)) as second:
        ...     second is first
        True
        >>> pool.drain()
    """

    _idle: dict[Hashable, list[Transport]] = field(factory=lambda: defaultdict(list), init=False, repr=False)
    _owner: int = field(factory=os.getpid, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    @contextlib.contextmanager
    def lent(self, key: Hashable, build: Callable[[], Transport]) -> Iterator[Transport]:
        """
        A transport for *key*, built where none is idle; it comes back at the end, and is closed after an error.

        Raises:
            FcflowError: From *build*.
        """
        transport = self._taken(key) or build()
        try:
            yield transport
        except BaseException:
            transport.close()
            raise
        with self._lock:
            self._idle[key].append(transport)

    def _taken(self, key: Hashable) -> Transport | None:
        if self._owner != os.getpid():
            self._idle, self._owner, self._lock = defaultdict(list), os.getpid(), threading.Lock()
        with self._lock:
            idle = self._idle[key]
            return idle.pop() if idle else None

    def drain(self) -> None:
        """Close whatever nobody uses now."""
        if self._owner != os.getpid():
            return
        with self._lock:
            idle = [transport for transports in self._idle.values() for transport in transports]
            self._idle.clear()
        for transport in idle:
            transport.close()
