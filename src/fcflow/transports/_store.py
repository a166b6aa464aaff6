"""Any fsspec file system as a `FileServer`, by calls whose failure can be told apart."""

from __future__ import annotations

import contextlib
import posixpath
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from attrs import define, field

from fcflow.errors import (
    TransportTimeoutError,
    TransportUnavailableError,
    TransportUnsupportedError,
)
from fcflow.transports._faults import Failure, guarded, guarded_blocks, of_os_error
from fcflow.transports._folder import Entry, OneByOne
from fcflow.transports._names import joined
from fcflow.transports.base import Finding

__all__ = ["OBJECT_STORES", "StoreServer"]

OBJECT_STORES = frozenset({"abfs", "adl", "az", "gcs", "gs", "oci", "oss", "s3", "s3a", "tos"})
"""Protocols whose puts are atomic and whose folders are only a way of speaking."""

_BLOCK = 1024 * 1024
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
_MARKS = ("ETag", "etag", "md5", "checksum")
_T = TypeVar("_T")


@define(eq=False)
class StoreServer(OneByOne):
    """
    An fsspec file system.

    Args:
        url: As fsspec reads it; the base folder is part of it.

        options: What the file system takes besides, secrets among them; called at the first use.
    """

    url: str
    options: Callable[[], Mapping[str, Any]] = field(repr=False)
    create: bool = False
    _fs: Any = field(default=None, init=False, repr=False)
    _root: str = field(default="", init=False)
    _secrets: tuple[str, ...] = field(default=(), init=False, repr=False)
    _ends_at: float = field(default=float("inf"), init=False)

    @property
    def where(self) -> str:
        """The URL, which holds no secret."""
        return self.url

    @property
    def is_object_store(self) -> bool:
        """Whether folders exist only with their files."""
        return self.url.partition("://")[0].lower() in OBJECT_STORES

    def secrets(self) -> Iterable[str]:
        """What must not be shown."""
        return self._secrets

    def failure(self, error: Exception) -> Failure:
        """What an error means; file systems raise errors of their own besides those of the operating system."""
        if isinstance(error, OSError):
            return of_os_error(error)
        if isinstance(error, ImportError):
            return TransportUnsupportedError, str(error)
        if isinstance(error, NotImplementedError):
            return TransportUnsupportedError, "the file system cannot do this"
        return TransportUnavailableError, f"{type(error).__name__}: {error}"

    def broken(self, error: Exception) -> None:
        """A new instance at the next call; fsspec caches dead connections within one."""
        if not isinstance(error, FileNotFoundError | PermissionError | FileExistsError):
            self._fs = None

    @contextlib.contextmanager
    def within(self, timeout_s: float) -> Iterator[None]:
        """A deadline over all calls inside."""
        self._ends_at = time.monotonic() + timeout_s
        try:
            yield
        finally:
            self._ends_at = float("inf")

    def _open(self) -> Any:
        if self._fs is None:
            import fsspec

            options = dict(self.options())
            self._secrets = tuple(value for value in options.values() if isinstance(value, str) and len(value) > 3)
            self._fs, root = fsspec.core.url_to_fs(
                self.url, skip_instance_cache=True, use_listings_cache=False, **options
            )
            self._root = root.rstrip("/") if root != "/" else root
        return self._fs

    def _path(self, path: str) -> str:
        return joined(self._root, path)

    def _call(self, name: str, *paths: str, **kwargs: Any) -> Any:
        """A call of the file system on paths below the root, within the deadline."""
        return self._in_time(lambda: getattr(self._open(), name)(*(self._path(path) for path in paths), **kwargs))

    def _in_time(self, call: Callable[[], _T]) -> _T:
        answers: queue.SimpleQueue[tuple[_T | None, Exception | None]] = queue.SimpleQueue()
        worker = threading.Thread(target=_answer, args=(call, answers), daemon=True)
        worker.start()
        left = self._ends_at - time.monotonic()
        try:
            answer, error = answers.get(timeout=None if left == float("inf") else max(left, 0))
        except queue.Empty:
            self._fs = None
            raise TransportTimeoutError(f"{self.where}: no answer in time") from None
        if error is not None:
            raise error
        return answer  # type: ignore[return-value]  # it is there when no error is

    @guarded
    def entries(self, folder: str) -> Sequence[Entry]:
        """Everything in *folder*; in an object store a folder without files is an empty one."""
        try:
            found = self._call("ls", folder, detail=True)
        except FileNotFoundError:
            if not self.is_object_store:
                raise
            self._in_time(lambda: self._open().info(self._root.strip("/").partition("/")[0]))
            return []
        own = self._path(folder).strip("/")
        return [_entry(info) for info in found if info["name"].strip("/") != own]

    @guarded
    def stat(self, path: str, *, sure: bool = False) -> Entry | None:
        """What is at *path*."""
        try:
            return _entry(self._call("info", path))
        except FileNotFoundError:
            if sure:
                # A store that is gone altogether must not look like a file that is not there.
                self.entries(posixpath.dirname(path))
            return None

    @guarded
    def write(self, path: str, content: bytes) -> None:
        """Write in one call."""
        if self.create and not self.is_object_store:
            self._call("makedirs", posixpath.dirname(path), exist_ok=True)
        # File systems call their second argument by different names.
        self._in_time(lambda: self._open().pipe_file(self._path(path), content))

    @guarded
    def rename(self, old: str, new: str) -> None:
        """Move; an object store copies and then removes, so the copy is compared before."""
        if not self.is_object_store:
            self._call("mv", old, new)
            return
        self._call("cp_file", old, new)
        before, after = self._call("info", old), self._call("info", new)
        if before["size"] != after["size"]:
            raise TransportUnavailableError(f"{self.where} {new}: the copy has {after['size']} bytes")
        self._call("rm_file", old)

    @guarded_blocks
    def read(self, path: str, size: int | None) -> Iterator[bytes]:
        """The content in blocks."""
        file = self._call("open", path, mode="rb")
        try:
            while block := self._in_time(lambda: file.read(_BLOCK)):
                yield block
        finally:
            file.close()

    @guarded
    def remove(self, path: str) -> None:
        """Remove the file."""
        self._call("rm_file", path)

    @guarded
    def make_folder(self, path: str) -> None:
        """Make the folder, where folders are things."""
        if not self.is_object_store:
            self._call("makedirs", path, exist_ok=True)

    def findings(self) -> Iterable[Finding]:
        """Nothing more than that it was reached."""
        return ()

    def close(self) -> None:
        """Drop the instance."""
        self._fs = None


def _answer(call: Callable[[], _T], answers: queue.SimpleQueue[tuple[_T | None, Exception | None]]) -> None:
    try:
        answers.put((call(), None))
    except Exception as error:  # noqa: BLE001 - handed over to the caller's thread
        answers.put((None, error))


def _entry(info: Mapping[str, Any]) -> Entry:
    mark = next((str(info[key]) for key in _MARKS if info.get(key)), None)
    is_file = info.get("type") == "file" and not info.get("islink", False)
    name = posixpath.basename(str(info["name"]).rstrip("/"))
    return Entry(name=name, size=info.get("size"), modified_at=_time(info), is_file=is_file, mark=mark)


def _time(info: Mapping[str, Any]) -> datetime | None:
    value = next((info[key] for key in _TIMES if info.get(key) is not None), None)
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        return None
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
