"""``sftp://``: files over SSH, to a host whose key is known."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import logging
import os
import posixpath
import socket
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field

from fcflow.errors import (
    ConfigError,
    Fault,
    MissingExtraError,
    TransportLoginError,
    TransportRefusedError,
    TransportTimeoutError,
    TransportUnavailableError,
    TransportUnsupportedError,
    TransportUntrustedError,
)
from fcflow.transports._address import Address, address_of
from fcflow.transports._deadline import Deadline
from fcflow.transports._faults import Failure, guarded, guarded_blocks, of_os_error, without_frames
from fcflow.transports._folder import CONNECTION_OPTIONS, FEED_OPTIONS, Entry, FolderTransport, OneByOne, Ways
from fcflow.transports._names import joined
from fcflow.transports.base import Endpoint, Finding, Transport, TransportType

if TYPE_CHECKING:
    import paramiko

__all__ = ["TYPE", "build"]

_BLOCK = 32 * 1024
_AHEAD = 64
_IDLE_S = 10.0
_LOG = "fcflow.transports.ssh"

# Paramiko reports every lost connection as an error; without a handler Python would print it.
logging.getLogger(_LOG).addHandler(logging.NullHandler())


@define(eq=False)
class _SftpServer(OneByOne):
    """`FileServer` over one SSH connection, which is replaced when it is dead."""

    endpoint: Endpoint
    address: Address
    _ssh: paramiko.SSHClient | None = field(default=None, init=False, repr=False)
    _sftp: paramiko.SFTPClient | None = field(default=None, init=False, repr=False)
    _watched: socket.socket | None = field(default=None, init=False, repr=False)
    _owner: int = field(default=0, init=False)
    _used_at: float = field(default=0.0, init=False)
    _known_secrets: tuple[str | None, ...] = field(default=(), init=False, repr=False)
    _deadline: Deadline = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._deadline = Deadline(self._abort)

    @property
    def where(self) -> str:
        return str(self.address)

    # ------------------------------------------------------------------ the connection

    @contextlib.contextmanager
    def within(self, timeout_s: float) -> Iterator[None]:
        with self._deadline.over(timeout_s):
            self._drop_if_dead()
            yield
        self._used_at = time.monotonic()

    def _drop_if_dead(self) -> None:
        if self._sftp is None:
            return
        if self._owner != os.getpid():
            # The connection belongs to the process that we were forked from.
            self._ssh = self._sftp = None
        elif not self._is_alive():
            self._drop()
        elif time.monotonic() - self._used_at > _IDLE_S:
            try:
                self._sftp.stat(".")
            except Exception:  # noqa: BLE001 - whatever it is, the connection is of no more use
                self._drop()

    def _is_alive(self) -> bool:
        transport = None if self._ssh is None else self._ssh.get_transport()
        channel = None if self._sftp is None else self._sftp.get_channel()
        if transport is None or not transport.is_active() or channel is None or channel.closed:
            return False
        return self._watched is None or not _has_ended(self._watched)

    def _open(self) -> paramiko.SFTPClient:
        if self._sftp is None:
            try:
                self._ssh, self._owner = self._new_client(), os.getpid()
                self._sftp = self._connected(self._ssh)
                self._sftp.get_channel().settimeout(self.endpoint.limits.timeout_s)  # type: ignore[union-attr]  # open
            except BaseException:
                self._drop()
                raise
        return self._sftp

    def _new_client(self) -> paramiko.SSHClient:
        client: paramiko.SSHClient = _paramiko().SSHClient()
        client.set_log_channel(_LOG)
        pinned = _pinned(self.endpoint, self.where)
        if not pinned:
            _load_known(client, self.endpoint, self.where)
        client.set_missing_host_key_policy(_policy(self.where, pinned))
        return client

    def _connected(self, client: paramiko.SSHClient) -> paramiko.SFTPClient:
        address = (self.address.host, self.address.port)
        self._watched = socket.create_connection(address, self.endpoint.limits.timeout_s)
        without_frames(self._log_in, client)
        return client.open_sftp()

    def _log_in(self, client: paramiko.SSHClient) -> None:
        patience = self.endpoint.limits.timeout_s
        client.connect(
            self.address.host,
            self.address.port,
            username=self.address.user,
            allow_agent=self.endpoint.option("agent", False),
            look_for_keys=False,
            timeout=patience,
            banner_timeout=patience,
            auth_timeout=patience,
            channel_timeout=patience,
            sock=self._watched,
            disabled_algorithms=_other_algorithms(_pinned(self.endpoint, self.where)),
            **self._credentials(),
        )

    def _credentials(self) -> dict[str, Any]:
        password, key, phrase = (self.endpoint.secret(name) for name in ("password", "key", "passphrase"))
        self._known_secrets = (password, key, phrase)
        key_file = self.endpoint.option("key_file")
        if key is None and key_file is not None:
            key = _key_text(self.endpoint.base / Path(key_file).expanduser(), self.where)
        found: dict[str, Any] = {} if password is None else {"password": password}
        return found if key is None else {**found, "pkey": _private_key(key, phrase, self.where)}

    def _abort(self) -> None:
        with contextlib.suppress(OSError):
            if self._watched is not None:
                self._watched.shutdown(socket.SHUT_RDWR)

    def _drop(self) -> None:
        client, self._ssh, self._sftp = self._ssh, None, None
        if client is not None:
            with contextlib.suppress(Exception):
                client.close()
        if self._watched is not None:
            self._watched.close()
            self._watched = None

    # ------------------------------------------------------------------ errors

    def secrets(self) -> Iterable[str | None]:
        return self._known_secrets

    def broken(self, error: Exception) -> None:
        """An answer of the server leaves the connection in step; anything else ends it."""
        if self._deadline.passed or not isinstance(error, OSError) or not self._is_alive():
            self._drop()

    def failure(self, error: Exception) -> Failure:
        if self._deadline.passed:
            return TransportTimeoutError, "no answer in time"
        library = _paramiko()
        if isinstance(error, library.BadHostKeyException):
            return TransportUntrustedError, _changed(error.expected_key, error.key)
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
    def write(self, path: str, content: bytes) -> None:
        with self._open().open(self._path(path), "wb") as file:
            file.set_pipelined(True)
            for start in range(0, len(content), _BLOCK):
                file.write(content[start : start + _BLOCK])

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
        transport = None if self._ssh is None else self._ssh.get_transport()
        if transport is not None:
            key = transport.get_remote_server_key()
            message = f"{self.where}: host key {key.get_name()} {_fingerprint(key)}"
            yield Finding(level="ok", message=message)

    def close(self) -> None:
        if self._owner == os.getpid():
            self._drop()
        self._ssh = self._sftp = None


def _has_ended(connection: socket.socket) -> bool:
    """Whether the other side is gone, which the library's own thread may not have seen yet."""
    try:
        return connection.recv(1, socket.MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0)) == b""
    except (BlockingIOError, TimeoutError):
        return False
    except OSError:
        return True


def _paramiko() -> Any:
    try:
        import paramiko
    except ImportError:
        raise MissingExtraError("sftp", "paramiko") from None
    return paramiko


def _entry(name: str, found: paramiko.SFTPAttributes) -> Entry:
    when = None if found.st_mtime is None else datetime.fromtimestamp(found.st_mtime, UTC)
    # Servers that send no mode send files.
    is_file = found.st_mode is None or stat.S_ISREG(found.st_mode)
    return Entry(name=name, size=found.st_size, modified_at=when, is_file=is_file)


def _of_other(error: Exception) -> Failure:
    return TransportUnavailableError, f"{type(error).__name__}: {error}"


# ---------------------------------------------------------------------- whom to trust


def _pinned(endpoint: Endpoint, where: str) -> Sequence[paramiko.PKey]:
    option = endpoint.option("host_key", ())
    return [_public_key(line, where) for line in ([option] if isinstance(option, str) else option)]


def _other_algorithms(pinned: Sequence[paramiko.PKey]) -> dict[str, Sequence[str]] | None:
    """So that a server with several host keys shows the one that is pinned."""
    if not pinned:
        return None
    wanted = {key.get_name() for key in pinned}
    wanted |= {"rsa-sha2-512", "rsa-sha2-256"} if "ssh-rsa" in wanted else set()
    return {"keys": [name for name in _paramiko().Transport._preferred_keys if name not in wanted]}


def _load_known(client: paramiko.SSHClient, endpoint: Endpoint, where: str) -> None:
    """The keys of the file of the options, else those of the user."""
    given = endpoint.option("known_hosts")
    path = Path("~/.ssh/known_hosts").expanduser() if given is None else endpoint.base / Path(given).expanduser()
    if given is None and not path.exists():
        return
    try:
        client.load_host_keys(str(path))
    except (OSError, ValueError, _paramiko().SSHException) as error:
        raise TransportUntrustedError(f"{where}: {path} cannot be read: {type(error).__name__}") from error


def _public_key(line: str, where: str) -> paramiko.PKey:
    parts = line.split()
    try:
        key: paramiko.PKey = _paramiko().PKey.from_type_string(parts[0], base64.b64decode(parts[1]))
    except (IndexError, ValueError, _paramiko().SSHException) as error:
        message = f"{where}: option host_key: expected 'ssh-ed25519 AAAA...', got {line[:40]!r}"
        raise TransportUntrustedError(message) from error
    return key


def _fingerprint(key: paramiko.PKey) -> str:
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


def _policy(where: str, pinned: Sequence[paramiko.PKey]) -> Any:
    """Accepts pinned keys; refuses all others and says how to make them known."""
    library = _paramiko()

    class _Policy(library.MissingHostKeyPolicy):  # type: ignore[name-defined,misc]  # known at run time only
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            if pinned and key not in pinned:
                raise TransportUntrustedError(f"{where}: {_changed(pinned[0], key)}")
            if not pinned:
                raise TransportUntrustedError(f"{where}: unknown host key {_how_to_pin(key)}")

    return _Policy()


def _changed(expected: paramiko.PKey, got: paramiko.PKey) -> str:
    return f"the host key is not {_fingerprint(expected)} as expected, which may be an attack; it is {_how_to_pin(got)}"


def _how_to_pin(key: paramiko.PKey) -> str:
    line = f"{key.get_name()} {key.get_base64()}"
    return f"{_fingerprint(key)}; ask the partner whether it is theirs, then set option host_key to '{line}'"


def _key_text(path: Path, where: str) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise TransportLoginError(f"{where}: key_file {path} cannot be read: {type(error).__name__}") from None


def _private_key(text: str, phrase: str | None, where: str) -> paramiko.PKey:
    library = _paramiko()
    for kind in (library.Ed25519Key, library.ECDSAKey, library.RSAKey):
        try:
            key: paramiko.PKey = kind.from_private_key(io.StringIO(text), password=phrase)
        except library.PasswordRequiredException:
            raise TransportLoginError(f"{where}: the private key needs the secret passphrase") from None
        except (library.SSHException, ValueError, IndexError):
            continue
        return key
    raise TransportLoginError(
        f"{where}: the private key is not one of Ed25519, ECDSA or RSA, or its passphrase is wrong"
    )


def build(endpoint: Endpoint) -> Transport:
    """A transport to the server that the URL names; nothing is connected yet."""
    _paramiko()
    address = address_of(endpoint, 22)
    if address.user is None:
        fault = Fault("names no user", path="$.url", found=endpoint.connection.url, expected="sftp://user@host/folder")
        raise ConfigError(f"connection {endpoint.connection.name} of {endpoint.partner}", [fault])
    server = _SftpServer(endpoint, address)
    return FolderTransport(server=server, limits=endpoint.limits, ways=Ways.of(endpoint.option))


_OPTIONS: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **CONNECTION_OPTIONS,
        "user": {"type": "string", "description": "Login name, where the URL has none."},
        "host_key": {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
            "description": "The partner's public host key, or several while it changes: 'ssh-ed25519 AAAA...'. No "
            "other key is accepted then.",
        },
        "known_hosts": {
            "type": "string",
            "description": "File of known hosts, relative to the configuration; else ~/.ssh/known_hosts.",
        },
        "key_file": {
            "type": "string",
            "description": "File of the private key, relative to the configuration; or give it as the secret key.",
        },
        "agent": {"type": "boolean", "default": False, "description": "Offer the keys of the SSH agent."},
    },
}

TYPE = TransportType(
    schemes=("sftp",),
    summary="A folder on an SFTP server",
    options_schema=_OPTIONS,
    feed_options_schema=FEED_OPTIONS,
    secrets=("password", "key", "passphrase"),
    extra="sftp",
    build=build,
)
