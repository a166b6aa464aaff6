"""``memory://name``: a partner inside this process, for tests and examples."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from attrs import define, field, frozen

from fcflow.errors import (
    ConfigError,
    Fault,
    TransportError,
    TransportNotFoundError,
    TransportRefusedError,
    TransportUnavailableError,
)
from fcflow.transports._folder import CONNECTION_OPTIONS, FEED_OPTIONS, Entry, FolderTransport, OneByOne, Ways
from fcflow.transports._names import joined, safe_folder
from fcflow.transports.base import Endpoint, Finding, Transport, TransportType

__all__ = ["TYPE", "MemoryPartner", "build"]


@frozen
class _File:
    content: bytes
    modified_at: datetime


@define
class _Switch:
    """One fault: the *nth* call from now of *call* fails, before or after it took effect."""

    call: str
    nth: int
    when: str
    error: TransportError


def _utc_now() -> datetime:
    return datetime.now(UTC)


@define(eq=False)
class MemoryPartner:
    """
    The partner's side of ``memory://name``: folders of files that every connection of this name shares.

    May be used from several threads. Folders come into being with their files.

    Args:
        down: While it is true, every call fails as if nobody answered.

        calls: How often each primitive call was made.

    Example:
        >>> partner = MemoryPartner.named("doctest")
        >>> partner.put("out/status.csv", b"A1;shipped")
        >>> partner.files("out")
        {'status.csv': b'A1;shipped'}
        >>> partner.clear()
    """

    name: str
    down: bool = False
    calls: Counter[str] = field(factory=Counter)
    _files: dict[str, _File] = field(factory=dict)
    _switches: list[_Switch] = field(factory=list)
    lock: threading.RLock = field(factory=threading.RLock, repr=False)

    @classmethod
    def named(cls, name: str) -> MemoryPartner:
        """The partner of that name; it is made at the first asking."""
        with _registry_lock:
            return _partners.setdefault(name, cls(name))

    def put(self, path: str, content: bytes, modified_at: datetime | None = None) -> None:
        """Lay a file there, as the partner does."""
        with self.lock:
            self._files[joined(safe_folder(path))] = _File(content, modified_at or _utc_now())

    def get(self, path: str) -> bytes:
        """The content of the file at *path*; raises `KeyError` where there is none."""
        with self.lock:
            return self._files[safe_folder(path)].content

    def take(self, path: str) -> bytes:
        """Collect and delete, as partners do."""
        with self.lock:
            return self._files.pop(safe_folder(path)).content

    def files(self, folder: str = "") -> dict[str, bytes]:
        """The files right in *folder*, by name."""
        with self.lock:
            return {
                entry.name: self._files[joined(safe_folder(folder), entry.name)].content for entry in self.in_(folder)
            }

    def in_(self, folder: str) -> Sequence[Entry]:
        """The files right in *folder*."""
        prefix = f"{safe_folder(folder)}/" if safe_folder(folder) else ""
        with self.lock:
            return [
                Entry(name=path[len(prefix) :], size=len(file.content), modified_at=file.modified_at, precision_s=0)
                for path, file in sorted(self._files.items())
                if path.startswith(prefix) and "/" not in path[len(prefix) :]
            ]

    def fail(self, call: str, nth: int = 1, *, when: str = "before", error: TransportError | None = None) -> None:
        """
        Let the *nth* coming call of *call* fail once, ``before`` or ``after`` it took effect.

        Args:
            call: ``entries``, ``stat``, ``write``, ``rename``, ``read``, ``remove``, or ``*`` for any of them.
        """
        fault = error or TransportUnavailableError(f"memory://{self.name}: the connection was cut")
        self._switches.append(_Switch(call, nth, when, fault))

    def clear(self) -> None:
        """Forget all files, faults and counts."""
        with self.lock:
            self._files.clear()
            self._switches.clear()
            self.calls.clear()
            self.down = False

    @contextlib.contextmanager
    def called(self, call: str) -> Iterator[dict[str, _File]]:
        """Around one primitive call: counts it and lets the faults that are due happen."""
        with self.lock:
            self.calls[call] += 1
            if self.down:
                raise TransportUnavailableError(f"memory://{self.name}: nobody answers")
            due = self._due(call)
            self._raise(due, "before")
            yield self._files
            self._raise(due, "after")

    def _due(self, call: str) -> list[_Switch]:
        due = []
        for switch in list(self._switches):
            if switch.call in ("*", call):
                switch.nth -= 1
                if switch.nth == 0:
                    self._switches.remove(switch)
                    due.append(switch)
        return due

    @staticmethod
    def _raise(due: Iterable[_Switch], when: str) -> None:
        for switch in due:
            if switch.when == when:
                raise switch.error


_partners: dict[str, MemoryPartner] = {}
_registry_lock = threading.Lock()


@define(eq=False)
class _MemoryServer(OneByOne):
    """`FileServer` over a `MemoryPartner`."""

    partner: MemoryPartner
    base: str = ""

    @property
    def where(self) -> str:
        return joined(f"memory://{self.partner.name}", self.base)

    def within(self, timeout_s: float) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def _path(self, path: str) -> str:
        return joined(self.base, path)

    def entries(self, folder: str) -> Sequence[Entry]:
        with self.partner.called("entries"):
            return self.partner.in_(self._path(folder))

    def stat(self, path: str, *, sure: bool = False) -> Entry | None:
        with self.partner.called("stat") as files:
            file = files.get(self._path(path))
        if file is None:
            return None
        return Entry(name=path, size=len(file.content), modified_at=file.modified_at, precision_s=0)

    def write(self, path: str, content: bytes) -> None:
        with self.partner.called("write") as files:
            files[self._path(path)] = _File(bytes(content), _utc_now())

    def rename(self, old: str, new: str) -> None:
        with self.partner.called("rename") as files:
            if self._path(new) in files:
                raise TransportRefusedError(f"{self.where} {new}: a file of that name is there")
            files[self._path(new)] = self._existing(files, old)
            del files[self._path(old)]

    def read(self, path: str, size: int | None) -> Iterator[bytes]:
        with self.partner.called("read") as files:
            content = self._existing(files, path).content
        return iter([content] if content else [])

    def remove(self, path: str) -> None:
        with self.partner.called("remove") as files:
            self._existing(files, path)
            del files[self._path(path)]

    def _existing(self, files: Mapping[str, _File], path: str) -> _File:
        try:
            return files[self._path(path)]
        except KeyError:
            raise TransportNotFoundError(f"{self.where} {path}: no such file") from None

    def make_folder(self, path: str) -> None:
        """Folders come into being with their files."""

    def findings(self) -> Iterable[Finding]:
        return ()

    def close(self) -> None:
        """Nothing to let go of."""


def build(endpoint: Endpoint) -> Transport:
    """A transport to the `MemoryPartner` that the URL names: ``memory://name/base``."""
    name, _, base = endpoint.connection.url.partition("://")[2].partition("/")
    if not name:
        fault = Fault("names no partner", path="$.url", found=endpoint.connection.url, expected="memory://name")
        raise ConfigError(f"connection {endpoint.connection.name} of {endpoint.partner}", [fault])
    server = _MemoryServer(MemoryPartner.named(name), safe_folder(base))
    return FolderTransport(server=server, limits=endpoint.limits, ways=Ways.of(endpoint.option))


_OPTIONS: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": dict(CONNECTION_OPTIONS),
}

TYPE = TransportType(
    schemes=("memory",),
    summary="A partner inside this process, for tests and examples",
    options_schema=_OPTIONS,
    feed_options_schema=FEED_OPTIONS,
    build=build,
)
