"""``sftp://``: files over SSH, to a host whose key is known."""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import define, field

from fcflow.errors import (
    ConfigError,
    Fault,
    TransportLoginError,
    TransportRefusedError,
    TransportTimeoutError,
    TransportUnavailableError,
    TransportUnsupportedError,
    TransportUntrustedError,
)
from fcflow.transports._address import Address, address_of
from fcflow.transports._deadline import Deadline
from fcflow.transports._faults import Failure, guarded, guarded_blocks, of_os_error
from fcflow.transports._folder import CONNECTION_OPTIONS, FEED_OPTIONS, Entry, FolderTransport, OneByOne, Ways
from fcflow.transports._names import joined
from fcflow.transports._sshlink import SSH_OPTIONS, SSH_SECRETS, SshLink, changed_key, fingerprint, load_paramiko
from fcflow.transports.base import Endpoint, Finding, Transport, TransportType

if TYPE_CHECKING:
    import paramiko

__all__ = ["TYPE", "build"]

_BLOCK = 32 * 1024
_AHEAD = 64
_AT_ONCE = 32 * _BLOCK
_IDLE_S = 10.0


@define(eq=False)
class _SftpServer(OneByOne):
    """`FileServer` over one channel of an SSH connection; both are replaced when they are dead."""

    endpoint: Endpoint
    address: Address
    _link: SshLink = field(repr=False)
    _sftp: paramiko.SFTPClient | None = field(default=None, init=False, repr=False)
    _used_at: float = field(default=0.0, init=False)
    _deadline: Deadline = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._deadline = Deadline(self._abort)

    @property
    def where(self) -> str:
        return str(self.address)

    def sibling(self) -> _SftpServer:
        """Another channel of the same connection."""
        return _SftpServer(self.endpoint, self.address, self._link)

    # ------------------------------------------------------------------ the connection

    @contextlib.contextmanager
    def within(self, timeout_s: float) -> Iterator[None]:
        with self._deadline.over(timeout_s):
            self._drop_if_dead()
            yield
        self._used_at = time.monotonic()

    def _drop_if_dead(self) -> None:
        if self._link.owner != os.getpid():
            # The connection belongs to the process that we were forked from.
            self._sftp, self._link = None, SshLink(self.endpoint, self.address)
        elif self._sftp is None:
            return
        elif not self._is_alive():
            self._drop()
        elif time.monotonic() - self._used_at > _IDLE_S:
            try:
                self._sftp.stat(".")
            except Exception:  # noqa: BLE001 - whatever it is, the connection is of no more use
                self._drop()

    def _is_alive(self) -> bool:
        channel = None if self._sftp is None else self._sftp.get_channel()
        return channel is not None and not channel.closed and self._link.is_alive

    def _open(self) -> paramiko.SFTPClient:
        if self._sftp is None:
            try:
                self._sftp = self._link.channel()
            except load_paramiko().ChannelException:
                # The server allows no more channels on that connection: this one gets its own.
                self._link = SshLink(self.endpoint, self.address)
                self._sftp = self._link.channel()
        return self._sftp

    def _abort(self) -> None:
        self._link.cut()

    def _drop(self) -> None:
        channel, self._sftp = self._sftp, None
        if channel is not None:
            self._link.release(channel)

    # ------------------------------------------------------------------ errors

    def secrets(self) -> Iterable[str | None]:
        return self._link.known_secrets

    def broken(self, error: Exception) -> None:
        """An answer of the server leaves the connection in step; anything else ends it."""
        if self._deadline.passed or not isinstance(error, OSError) or not self._is_alive():
            self._drop()

    def failure(self, error: Exception) -> Failure:
        if self._deadline.passed:
            return TransportTimeoutError, "no answer in time"
        library = load_paramiko()
        if isinstance(error, library.BadHostKeyException):
            return TransportUntrustedError, changed_key(error.expected_key, error.key)
        if isinstance(error, library.AuthenticationException) or "No authentication methods" in str(error):
            return TransportLoginError, f"login refused: {error}"
        if isinstance(error, library.ssh_exception.IncompatiblePeer):
            return TransportUntrustedError, f"no algorithm in common that is safe: {error}"
        if isinstance(error, library.ssh_exception.NoValidConnectionsError | library.SSHException | EOFError):
            return TransportUnavailableError, str(error) or "the server closed the connection"
        return self._of_os_error(error) if isinstance(error, OSError) else _of_other(error)

    def _of_os_error(self, error: OSError) -> Failure:
        if self._sftp is None or not self._is_alive():
            kind, text = of_os_error(error)
            return (kind if kind is TransportTimeoutError else TransportUnavailableError), text
        if error.errno is None and not isinstance(error, TimeoutError):
            # Paramiko gives an answer of the server without a number of its own.
            unsupported = "unsupported" in str(error).lower()
            return (TransportUnsupportedError if unsupported else TransportRefusedError), str(error)
        return of_os_error(error)

    # ------------------------------------------------------------------ calls

    def _path(self, path: str) -> str:
        return joined(self.address.base, path) or "."

    @guarded
    def entries(self, folder: str) -> Sequence[Entry]:
        found = self._open().listdir_attr(self._path(folder))
        return [_entry(item.filename, item) for item in found if item.filename not in (".", "..")]

    @guarded
    def stat(self, path: str, *, sure: bool = False) -> Entry | None:
        try:
            return _entry(posixpath.basename(path), self._open().lstat(self._path(path)))
        except FileNotFoundError:
            if sure:
                # In a folder that is there nothing is missing but the file; else this raises.
                self._open().stat(self._path(posixpath.dirname(path)))
            return None

    @guarded
    def stats(self, *paths: str) -> Sequence[Entry | None]:
        commands, sftp = load_paramiko().sftp, self._several()
        answers = sftp.at_once(*((commands.CMD_LSTAT, self._bytes(path)) for path in paths))
        return [self._sight(sftp, path, answer) for path, answer in zip(paths, answers, strict=True)]

    def _sight(self, sftp: Any, path: str, answer: Any) -> Entry | None:
        try:
            return _entry(posixpath.basename(path), sftp.said(answer))
        except FileNotFoundError:
            return None

    def _several(self) -> Any:
        """The channel as it was made: it takes several requests at once."""
        return self._open()

    def _bytes(self, path: str) -> bytes:
        return self._path(path).encode("utf-8", "surrogateescape")

    @guarded
    def write(self, path: str, content: bytes) -> None:
        if len(content) <= _AT_ONCE:
            self._write_at_once(path, content)
            return
        with self._open().open(self._path(path), "wb") as file:
            file.set_pipelined(True)
            for start in range(0, len(content), _BLOCK):
                file.write(content[start : start + _BLOCK])

    def _write_at_once(self, path: str, content: bytes) -> None:
        """Opened, and then written and closed without waiting in between."""
        library, sftp = load_paramiko(), self._several()
        commands, flags = library.sftp, library.sftp.SFTP_FLAG_WRITE | library.sftp.SFTP_FLAG_CREATE
        opened = sftp._request(
            commands.CMD_OPEN, self._bytes(path), flags | commands.SFTP_FLAG_TRUNC, library.SFTPAttributes()
        )
        handle = opened[1].get_binary()
        writes = [
            (commands.CMD_WRITE, handle, commands.int64(start), content[start : start + _BLOCK])
            for start in range(0, len(content), _BLOCK)
        ]
        for answer in sftp.at_once(*writes, (commands.CMD_CLOSE, handle)):
            sftp.said(answer)

    @guarded
    def rename(self, old: str, new: str) -> None:
        """By plain rename, which refuses to replace a file; by posix-rename where that is all the server knows."""
        sftp = self._open()
        try:
            sftp.rename(self._path(old), self._path(new))
        except OSError as error:
            if error.errno is not None or "unsupported" not in str(error).lower():
                raise
            sftp.posix_rename(self._path(old), self._path(new))

    @guarded
    def rename_and_look(self, old: str, new: str) -> Entry | None:
        commands, sftp = load_paramiko().sftp, self._several()
        look = (commands.CMD_LSTAT, self._bytes(new))
        renamed, seen = sftp.at_once((commands.CMD_RENAME, self._bytes(old), self._bytes(new)), look)
        try:
            sftp.said(renamed)
        except OSError as error:
            if error.errno is not None or "unsupported" not in str(error).lower():
                raise
            sftp.posix_rename(self._path(old), self._path(new))
            (seen,) = sftp.at_once(look)
        try:
            return self._sight(sftp, new, seen)
        except Exception:  # noqa: BLE001 - the file has its name; only the look failed
            self._drop()
            return None

    @guarded_blocks
    def read(self, path: str, size: int | None) -> Iterator[bytes]:
        with self._open().open(self._path(path), "rb") as file:
            if size is not None and size > _BLOCK:
                file.prefetch(size, _AHEAD)
            while block := file.read(_BLOCK):
                yield block

    @guarded
    def remove(self, path: str) -> None:
        self._open().remove(self._path(path))

    @guarded
    def make_folder(self, path: str) -> None:
        if not path or self.stat(path) is not None:
            return
        self.make_folder(posixpath.dirname(path))
        self._open().mkdir(self._path(path))

    def findings(self) -> Iterable[Finding]:
        transport = self._link.transport
        if transport is not None:
            key = transport.get_remote_server_key()
            message = f"{self.where}: host key {key.get_name()} {fingerprint(key)}"
            yield Finding(level="ok", message=message)

    def close(self) -> None:
        if self._link.owner == os.getpid():
            self._drop()
        self._sftp = None


def _entry(name: str, found: paramiko.SFTPAttributes) -> Entry:
    when = None if found.st_mtime is None else datetime.fromtimestamp(found.st_mtime, UTC)
    # Servers that send no mode send files.
    is_file = found.st_mode is None or stat.S_ISREG(found.st_mode)
    return Entry(name=name, size=found.st_size, modified_at=when, is_file=is_file)


def _of_other(error: Exception) -> Failure:
    return TransportUnavailableError, f"{type(error).__name__}: {error}"


def build(endpoint: Endpoint) -> Transport:
    """A transport to the server that the URL names; nothing is connected yet."""
    load_paramiko()
    address = address_of(endpoint, 22)
    if address.user is None:
        fault = Fault("names no user", path="$.url", found=endpoint.connection.url, expected="sftp://user@host/folder")
        raise ConfigError(f"connection {endpoint.connection.name} of {endpoint.partner}", [fault])
    server = _SftpServer(endpoint, address, SshLink(endpoint, address))
    return FolderTransport(server=server, limits=endpoint.limits, ways=Ways.of(endpoint.option))


_OPTIONS: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **CONNECTION_OPTIONS,
        **SSH_OPTIONS,
    },
}

TYPE = TransportType(
    schemes=("sftp",),
    summary="A folder on an SFTP server",
    options_schema=_OPTIONS,
    feed_options_schema=FEED_OPTIONS,
    secrets=SSH_SECRETS,
    extra="sftp",
    build=build,
)
