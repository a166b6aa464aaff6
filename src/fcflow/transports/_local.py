"""A folder of this machine as a `FileServer`."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from attrs import define

from fcflow.errors import TransportNotFoundError, TransportRefusedError
from fcflow.transports._faults import Failure, guarded, guarded_blocks, of_os_error
from fcflow.transports._folder import Entry, OneByOne
from fcflow.transports.base import Finding

__all__ = ["LocalServer"]

_BLOCK = 1024 * 1024
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
_OWN_FILE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


@define(eq=False)
class LocalServer(OneByOne):
    """
    Files below *root*; links that lead out of it are not followed.

    Args:
        create: Make a missing folder when a file is written to it.
    """

    root: Path
    create: bool = False

    @property
    def where(self) -> str:
        """The folder."""
        return str(self.root)

    def secrets(self) -> Iterable[str]:
        """There are none."""
        return ()

    def failure(self, error: Exception) -> Failure:
        """What an error means."""
        return of_os_error(error) if isinstance(error, OSError) else (TransportRefusedError, str(error))

    def broken(self, error: Exception) -> None:
        """There is no connection to break."""

    def within(self, timeout_s: float) -> AbstractContextManager[None]:
        """No deadline: a system call on a local disk cannot be given one."""
        return contextlib.nullcontext()

    def _path(self, path: str) -> Path:
        """Of a file, which is not followed if it is a link."""
        folder, _, name = path.rpartition("/")
        return self._folder(folder) / name

    def _folder(self, path: str) -> Path:
        whole = self.root / path
        root = os.path.realpath(self.root)
        if os.path.commonpath([os.path.realpath(whole), root]) != root:
            raise TransportRefusedError(f"{self.where} {path}: a link leads out of the folder")
        return whole

    @guarded
    def entries(self, folder: str) -> Sequence[Entry]:
        """Everything in *folder*."""
        with os.scandir(self._folder(folder)) as found:
            entries = [_entry_of(item) for item in found]
        return [entry for entry in entries if entry is not None]

    @guarded
    def stat(self, path: str, *, sure: bool = False) -> Entry | None:
        """What is at *path*."""
        whole = self._path(path)
        try:
            return _entry(os.path.basename(path), os.lstat(whole))
        except FileNotFoundError:
            # In a folder that is there nothing is missing but the file; else this raises.
            os.stat(whole.parent if not self.create else self.root.parent)
            return None

    @guarded
    def write(self, path: str, content: bytes) -> None:
        """Write and flush to the disk."""
        if self.create:
            self._path(path).parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _OWN_FILE, 0o666)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    @guarded
    def rename(self, old: str, new: str) -> None:
        """Give the file another name; a file that has it already is never replaced."""
        source, target = self._path(old), self._path(new)
        try:
            os.link(source, target, follow_symlinks=False)
            os.unlink(source)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            _rename_if_free(source, target)
        _flush_folder(target.parent)

    @guarded_blocks
    def read(self, path: str, size: int | None) -> Iterator[bytes]:
        """The content in blocks."""
        with open(os.open(self._path(path), os.O_RDONLY | _OWN_FILE), "rb") as file:
            while block := file.read(_BLOCK):
                yield block

    @guarded
    def remove(self, path: str) -> None:
        """Remove the file."""
        os.unlink(self._path(path))

    @guarded
    def make_folder(self, path: str) -> None:
        """Make the folder, and those above it below the root."""
        if not self.root.is_dir():
            raise TransportNotFoundError(f"{self.where}: no such folder")
        self._folder(path).mkdir(parents=True, exist_ok=True)

    def findings(self) -> Iterable[Finding]:
        """Whether the folder can be written to."""
        if not os.access(self.root, os.W_OK):
            yield Finding(level="warning", message=f"{self.where}: not writable", code="transport.read_only")

    def close(self) -> None:
        """Nothing to let go of."""


def _entry_of(item: os.DirEntry[str]) -> Entry | None:
    try:
        return _entry(item.name, item.stat(follow_symlinks=False))
    except FileNotFoundError:
        return None


def _entry(name: str, found: os.stat_result) -> Entry:
    when = datetime.fromtimestamp(found.st_mtime, UTC)
    return Entry(name=name, size=found.st_size, modified_at=when, precision_s=0.01, is_file=stat.S_ISREG(found.st_mode))


def _rename_if_free(source: Path, target: Path) -> None:
    """For file systems without hard links."""
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    os.rename(source, target)


def _flush_folder(folder: Path) -> None:
    """So that the name survives a power cut; not every system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
