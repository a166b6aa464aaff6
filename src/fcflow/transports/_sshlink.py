"""One SSH connection to a host whose key is known; several channels for files share it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from fcflow.errors import MissingExtraError, TransportLoginError, TransportUntrustedError
from fcflow.transports._address import Address
from fcflow.transports._dial import PROXY_OPTIONS, PROXY_SECRETS, Dialler
from fcflow.transports._faults import without_frames
from fcflow.transports._session import has_something
from fcflow.transports.base import Endpoint

if TYPE_CHECKING:
    import paramiko

__all__ = ["SSH_OPTIONS", "SSH_SECRETS", "SshLink", "changed_key", "fingerprint", "load_paramiko"]

_LOG = "fcflow.transports.ssh"
_log = logging.getLogger("fcflow.transports")

_WEAK = {
    "keys": ("ssh-rsa", "ssh-dss"),
    "kex": ("diffie-hellman-group1-sha1", "diffie-hellman-group14-sha1", "diffie-hellman-group-exchange-sha1"),
    "ciphers": ("3des-cbc", "blowfish-cbc", "aes128-cbc", "aes192-cbc", "aes256-cbc", "arcfour128", "arcfour256"),
    "macs": ("hmac-md5", "hmac-md5-96", "hmac-sha1-96"),
}
"""Algorithms that the library knows, in one of its versions or another, and OpenSSH does not agree to by itself."""

# Paramiko reports every lost connection as an error; without a handler Python would print it.
logging.getLogger(_LOG).addHandler(logging.NullHandler())

SSH_SECRETS = ("password", "key", "passphrase", "jump_password", "jump_key", "jump_passphrase", *PROXY_SECRETS)

_KEYS: Mapping[str, Any] = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
}

SSH_OPTIONS: Mapping[str, Any] = {
    "user": {"type": "string", "description": "Login name, where the URL has none."},
    "host_key": {
        **_KEYS,
        "description": "The partner's public host key, or several while it changes: 'ssh-ed25519 AAAA...'. No "
        "other key is accepted then.",
    },
    "known_hosts": {
        "type": "string",
        "description": "File of known hosts, relative to the configuration; else ~/.ssh/known_hosts.",
    },
    "first_use": {
        "type": "boolean",
        "default": False,
        "description": "Accept the key of a host that is not known yet and keep it in the file of known hosts, with a "
        "warning. Whoever sits in between at that moment is believed; a key that changes later is refused.",
    },
    "key_file": {
        "type": "string",
        "description": "File of the private key, relative to the configuration; or give it as the secret key.",
    },
    "certificate_file": {
        "type": "string",
        "description": "File of the certificate that an authority of the partner's signed for that key, such as "
        "id_ed25519-cert.pub; relative to the configuration.",
    },
    "agent": {"type": "boolean", "default": False, "description": "Offer the keys of the SSH agent."},
    "jump": {
        "type": "string",
        "pattern": r"^[^@\s]+@[^@:\s]+(:[0-9]+)?$",
        "description": "Host to go through, user@host:port, as ProxyJump of OpenSSH. It is logged in to with the "
        "secrets jump_password or jump_key, else with the same key or agent; never with the partner's password.",
    },
    "jump_host_key": {**_KEYS, "description": "Its public host key, as host_key; else it is among the known hosts."},
    **PROXY_OPTIONS,
}


@frozen(kw_only=True)
class _Hop:
    """
    A host on the way, and how it is logged in to.

    Args:
        pins: The option with its host keys.

        secrets: Names of the secrets that are its password, key and passphrase.
    """

    host: str
    port: int
    user: str
    where: str
    pins: str
    secrets: tuple[str, str, str]


@define(eq=False)
class SshLink:
    """
    The connection of one process to one endpoint; opened when it is needed, replaced when it is dead.

    Args:
        owner: The process that it belongs to.

        known_secrets: What it was logged in with.
    """

    endpoint: Endpoint
    address: Address
    owner: int = field(factory=os.getpid)
    known_secrets: tuple[str | None, ...] = field(default=(), init=False, repr=False)
    _dial: Dialler = field(init=False, repr=False)
    _clients: list[paramiko.SSHClient] = field(factory=list, init=False, repr=False)
    _socket: socket.socket | None = field(default=None, init=False, repr=False)
    _lock: threading.RLock = field(factory=threading.RLock, init=False, repr=False)
    _users: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._dial = Dialler(self.endpoint)

    @property
    def is_alive(self) -> bool:
        """Whether the other side is there, as far as it is known."""
        transport = self.transport
        if transport is None or not transport.is_active():
            return False
        return self._socket is None or not _has_ended(self._socket)

    @property
    def transport(self) -> paramiko.Transport | None:
        """The connection itself, or ``None``."""
        clients = self._clients
        return clients[-1].get_transport() if clients else None

    def channel(self) -> paramiko.SFTPClient:
        """A new channel for files; whoever asks says `release` at the end."""
        with self._lock:
            if not self.is_alive:
                self._hang_up()
                self.known_secrets = ()
                self._connect()
            try:
                opened = _files_over(self.transport)
            except BaseException:
                if self._users <= 0:
                    self._hang_up()
                raise
            opened.get_channel().settimeout(self.endpoint.limits.timeout_s)  # type: ignore[union-attr]  # it is open
            self._users += 1
            return opened

    def release(self, channel: paramiko.SFTPClient) -> None:
        """Let go of a channel; the connection goes with the last one, or once it is dead."""
        with self._lock:
            self._users -= 1
            with contextlib.suppress(Exception):
                channel.close()
            if self._users <= 0 or not self.is_alive:
                self._hang_up()

    def cut(self) -> None:
        """Make whatever is blocked fail; from another thread."""
        with contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)

    # ------------------------------------------------------------------ connecting

    def _connect(self) -> None:
        try:
            hops = self._hops()
            self._socket = self._dial(hops[0].host, hops[0].port, self.endpoint.limits.timeout_s)
            # A small request must not wait until the answer to the one before it is acknowledged.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            way: Any = self._socket
            for hop, beyond in zip(hops, [*hops[1:], None], strict=True):
                client = self._new_client(hop)
                self._clients.append(client)
                without_frames(self._log_in, client, hop, way)
                if beyond is not None:
                    way = _tunnel(client, beyond)
        except BaseException:
            self._hang_up()
            raise

    def _hops(self) -> Sequence[_Hop]:
        address = self.address
        last = _Hop(
            host=address.host,
            port=address.port,
            user=address.user or "",
            where=str(address),
            pins="host_key",
            secrets=("password", "key", "passphrase"),
        )
        jump = self.endpoint.option("jump")
        return [last] if jump is None else [_jump(jump), last]

    def _new_client(self, hop: _Hop) -> paramiko.SSHClient:
        client: paramiko.SSHClient = load_paramiko().SSHClient()
        client.set_log_channel(_LOG)
        pinned = self._pinned(hop)
        known = None if pinned else self._load_known(client, hop)
        client.set_missing_host_key_policy(_policy(hop.where, pinned, known))
        return client

    def _log_in(self, client: paramiko.SSHClient, hop: _Hop, way: Any) -> None:
        patience = self.endpoint.limits.timeout_s
        client.connect(
            hop.host,
            hop.port,
            username=hop.user,
            allow_agent=self.endpoint.option("agent", False),
            look_for_keys=False,
            timeout=patience,
            banner_timeout=patience,
            auth_timeout=patience,
            channel_timeout=patience,
            sock=way,
            disabled_algorithms=_WEAK,
            transport_factory=_preferring(self._pinned(hop)),
            **self._credentials(hop),
        )

    def _credentials(self, hop: _Hop) -> dict[str, Any]:
        password, key, phrase = (self.endpoint.secret(name) for name in hop.secrets)
        is_last = hop.pins == "host_key"
        # A jump host without a login of its own gets the partner's key, never the partner's password.
        is_ours = is_last or (password is None and key is None)
        if is_ours and not is_last:
            key, phrase = self.endpoint.secret("key"), self.endpoint.secret("passphrase")
        if is_ours and key is None:
            key = self._key_of_file()
        self.known_secrets = (*self.known_secrets, password, key, phrase, self._dial.secret)
        found: dict[str, Any] = {} if password is None else {"password": password}
        if key is not None:
            made = _private_key(key, phrase, hop.where)
            found["pkey"] = self._certified(made, hop.where) if is_ours else made
        return found

    def _key_of_file(self) -> str | None:
        name = self.endpoint.option("key_file")
        return None if name is None else _read(self._below(name), f"{self.address}: key_file")

    def _certified(self, key: paramiko.PKey, where: str) -> paramiko.PKey:
        name = self.endpoint.option("certificate_file")
        if name is not None:
            certificate = _read(self._below(name), f"{where}: certificate_file")
            try:
                key.load_certificate(certificate)
            except (ValueError, IndexError, load_paramiko().SSHException) as error:
                message = f"{where}: certificate_file {name} does not certify this key: {type(error).__name__}"
                raise TransportLoginError(message) from None
        return key

    def _below(self, name: str) -> Path:
        return self.endpoint.base / Path(name).expanduser()

    def _hang_up(self) -> None:
        for client in reversed(self._clients):
            with contextlib.suppress(Exception):
                client.close()
        self._clients.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # ------------------------------------------------------------------ whom to trust

    def _pinned(self, hop: _Hop) -> Sequence[paramiko.PKey]:
        option = self.endpoint.option(hop.pins, ())
        return [_public_key(line, hop) for line in ([option] if isinstance(option, str) else option)]

    def _load_known(self, client: paramiko.SSHClient, hop: _Hop) -> Path | None:
        """The keys of the file of the options, else those of the user; the file where new keys are kept."""
        given = self.endpoint.option("known_hosts")
        adds = self.endpoint.option("first_use", False)
        path = Path("~/.ssh/known_hosts").expanduser() if given is None else self._below(given)
        if (given is None or adds) and not path.exists():
            return path if adds else None
        try:
            client.load_host_keys(str(path))
        except Exception as error:  # the library has several for a line that is none
            message = f"{hop.where}: {path} cannot be read: {type(error).__name__}"
            raise TransportUntrustedError(message) from error
        return path if adds else None


def load_paramiko() -> Any:
    """
    The library.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import paramiko
    except ImportError:
        raise MissingExtraError("sftp", "paramiko") from None
    return paramiko


def _files_over(transport: paramiko.Transport | None) -> paramiko.SFTPClient:
    """Like the library's own, but a name that is no UTF-8 does not hide the rest of its folder."""
    library = load_paramiko()

    def tolerant(message: Any) -> Any:
        message.get_text = lambda: message.get_string().decode("utf-8", "surrogateescape")
        return message

    class _Files(library.SFTPClient):  # type: ignore[name-defined,misc]  # known at run time only
        def _request(self, kind: int, *args: Any) -> tuple[int, Any]:
            answer, message = super()._request(kind, *args)
            return answer, tolerant(message)

        def _convert_status(self, message: Any) -> None:
            super()._convert_status(tolerant(message))

        def at_once(self, *requests: tuple[Any, ...]) -> Sequence[Any]:
            """The answers to *requests*, or the error that came instead; all leave before the first is waited for."""
            waiting = _Waiting()
            numbers = [self._async_request(waiting, *request) for request in requests]
            lost: Exception | None = None
            try:
                while len(waiting.answers) < len(numbers):
                    self._read_response()
            except (OSError, EOFError, library.SSHException) as error:
                lost = error
            return [waiting.answers.get(number, lost) for number in numbers]

        def said(self, answer: Any) -> Any:
            """What an answer holds: nothing, or attributes; a refusal is raised, as the library does."""
            if isinstance(answer, Exception):
                raise answer
            kind, message = answer
            if kind == library.sftp.CMD_STATUS:
                return self._convert_status(message)
            return library.SFTPAttributes._from_msg(tolerant(message))

    files: paramiko.SFTPClient = _Files.from_transport(transport)
    return files


class _Waiting:
    """Where the library puts answers that somebody else reads."""

    def __init__(self) -> None:
        self.answers: dict[int, tuple[int, Any]] = {}

    def _async_response(self, kind: int, message: Any, number: int) -> None:
        self.answers[number] = kind, message


def _jump(text: str) -> _Hop:
    user, _, place = text.rpartition("@")
    match = re.fullmatch(r"(.+?)(?::(\d+))?", place)
    assert match is not None
    host, port = match[1], int(match[2] or 22)
    return _Hop(
        host=host,
        port=port,
        user=user,
        where=f"jump host {user}@{host}:{port}",
        pins="jump_host_key",
        secrets=("jump_password", "jump_key", "jump_passphrase"),
    )


def _tunnel(client: paramiko.SSHClient, beyond: _Hop) -> paramiko.Channel:
    transport = client.get_transport()
    assert transport is not None
    return transport.open_channel("direct-tcpip", (beyond.host, beyond.port), ("127.0.0.1", 0))


def _has_ended(connection: socket.socket) -> bool:
    """Whether the other side is gone, which the library's own thread may not have seen yet."""
    try:
        # Asked first, as receiving from a socket with a time limit waits for it whatever the flags say.
        return has_something(connection) and connection.recv(1, socket.MSG_PEEK) == b""
    except (BlockingIOError, TimeoutError):
        return False
    except OSError:
        return True


def _preferring(pinned: Sequence[paramiko.PKey]) -> Callable[..., paramiko.Transport]:
    """So that of several host keys the server shows the one that is pinned; where it has none such, any."""
    wanted = {key.get_name() for key in pinned}
    wanted |= {"rsa-sha2-512", "rsa-sha2-256"} if "ssh-rsa" in wanted else set()

    def made(sock: Any, **how: Any) -> paramiko.Transport:
        transport: paramiko.Transport = _asking_once(load_paramiko())(sock, **how)
        options = transport.get_security_options()
        options.key_types = sorted(options.key_types, key=lambda name: name not in wanted)
        return transport

    return made


def _asking_once(library: Any) -> Any:
    """
    The library's own asks for the service again before its second try, which some servers take for an attack. The one
    of its that does not waits for ever where the connection ends before the answer, or the answer comes at once.
    """

    class _Logins(library.auth_handler.AuthOnlyHandler):  # type: ignore[misc]  # known at run time only
        def send_auth_request(self, username: str, method: str, finish_message: Any = None) -> Any:
            self.auth_method, self.username = method, username
            message = library.Message()
            message.add_byte(library.common.cMSG_USERAUTH_REQUEST)
            for text in (username, "ssh-connection", method):
                message.add_string(text)
            finish_message(message)
            # Before the request leaves: afterwards the answer may be here already.
            self.auth_event = threading.Event()
            with self.transport.lock:
                self.transport._send_message(message)
            return self.wait_for_response(self.auth_event)

    class _Asking(library.ServiceRequestingTransport):  # type: ignore[misc]  # known at run time only
        def get_auth_handler(self) -> Any:
            return _Logins(self)

        def ensure_session(self) -> None:
            if self.is_active() and self.initial_kex_done and not self._service_userauth_accepted:
                message = library.Message()
                message.add_byte(library.common.cMSG_SERVICE_REQUEST)
                message.add_string("ssh-userauth")
                self._send_message(message)
                while self.is_active() and not self._service_userauth_accepted:
                    time.sleep(0.005)
                if not self._service_userauth_accepted:
                    raise self.get_exception() or EOFError
                self.auth_handler = self.get_auth_handler()
            super().ensure_session()

    return _Asking


def _public_key(line: str, hop: _Hop) -> paramiko.PKey:
    parts = line.split()
    try:
        key: paramiko.PKey = load_paramiko().PKey.from_type_string(parts[0], base64.b64decode(parts[1]))
    except Exception as error:  # the library has several for a key that is none
        message = f"{hop.where}: option {hop.pins}: expected 'ssh-ed25519 AAAA...', got {line[:40]!r}"
        raise TransportUntrustedError(message) from error
    return key


def fingerprint(key: paramiko.PKey) -> str:
    """As ``ssh-keygen -l`` shows it."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


def _policy(where: str, pinned: Sequence[paramiko.PKey], known: Path | None) -> Any:
    """
    Accepts pinned keys; refuses all others and says how to make them known.

    Args:
        known: Where the key of a host is kept that was never seen before, or ``None`` to refuse it.
    """
    library = load_paramiko()

    class _Policy(library.MissingHostKeyPolicy):  # type: ignore[name-defined,misc]  # known at run time only
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            if pinned and key not in pinned:
                raise TransportUntrustedError(f"{where}: {changed_key(pinned[0], key)}")
            if not pinned and known is None:
                raise TransportUntrustedError(f"{where}: unknown host key {_how_to_pin(key)}")
            if not pinned and known is not None:
                _keep(known, hostname, key, where)

    return _Policy()


def _keep(known: Path, hostname: str, key: paramiko.PKey, where: str) -> None:
    try:
        known.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(known, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w") as file:
            file.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")
    except OSError as error:
        message = f"{where}: the host key cannot be kept in {known}: {error.strerror}; {_how_to_pin(key)}"
        raise TransportUntrustedError(message) from error
    _log.warning("%s: host key %s accepted at first use and kept in %s", where, fingerprint(key), known)


def changed_key(expected: paramiko.PKey, got: paramiko.PKey) -> str:
    """What to say of a host that shows another key."""
    return f"the host key is not {fingerprint(expected)} as expected, which may be an attack; it is {_how_to_pin(got)}"


def _how_to_pin(key: paramiko.PKey) -> str:
    line = f"{key.get_name()} {key.get_base64()}"
    return f"{fingerprint(key)}; ask the partner whether it is theirs, then set option host_key to '{line}'"


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise TransportLoginError(f"{what} {path} cannot be read: {type(error).__name__}") from None


def _private_key(text: str, phrase: str | None, where: str) -> paramiko.PKey:
    library = load_paramiko()
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
