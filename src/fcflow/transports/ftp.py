"""``ftp://`` and ``ftps://``: FTP in clear, and FTP over verified TLS."""

from __future__ import annotations

import contextlib
import ftplib
import os
import posixpath
import re
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from attrs import define, field

from fcflow.errors import (
    ConfigError,
    Fault,
    TransportLoginError,
    TransportNotFoundError,
    TransportRefusedError,
    TransportTimeoutError,
    TransportUnavailableError,
    TransportUnsupportedError,
    TransportUntrustedError,
)
from fcflow.transports._address import Address, address_of
from fcflow.transports._deadline import Deadline
from fcflow.transports._dial import PROXY_OPTIONS, PROXY_SECRETS, Dialler
from fcflow.transports._faults import Failure, guarded, guarded_blocks, without_frames
from fcflow.transports._folder import CONNECTION_OPTIONS, FEED_OPTIONS, Entry, FolderTransport, Ways
from fcflow.transports._ftpclient import FtpAnswerError, FtpClient, FtpUntrustedError
from fcflow.transports._listing import fact_entry, list_entries, mlsd_entries
from fcflow.transports._names import joined
from fcflow.transports._tls import TLS_OPTIONS, of_network, of_tls, one_line, tls_context
from fcflow.transports.base import Endpoint, Finding, Transport, TransportType

__all__ = ["FTPS_TYPE", "TYPE", "build"]

_IDLE_S = 10.0
_MISSING = re.compile(r"no such|not found|not exist|n't exist|cannot find|can't find|couldn't find", re.IGNORECASE)
_SHA256 = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{64}(?![0-9A-Fa-f])")
_NOT_KNOWN = ("500", "502", "504")
_LOGIN = ("430", "530", "532", "535")


@define(eq=False)
class _FtpServer:
    """`FileServer` over one control connection, which is replaced when it is dead."""

    endpoint: Endpoint
    address: Address
    _client: FtpClient | None = field(default=None, init=False, repr=False)
    _owner: int = field(default=0, init=False)
    _used_at: float = field(default=0.0, init=False)
    _home: str | None = field(default=None, init=False)
    _must_list: bool = field(default=False, init=False)
    _pipelines: bool = field(init=False)
    _hash_is_chosen: bool = field(default=False, init=False)
    _secret: str | None = field(default=None, init=False, repr=False)
    _deadline: Deadline = field(init=False, repr=False)
    _dial: Dialler = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._deadline = Deadline(self._abort)
        self._dial = Dialler(self.endpoint)
        self._pipelines = self._option("pipelining", True)

    @property
    def where(self) -> str:
        return str(self.address)

    @property
    def is_protected(self) -> bool:
        return self.address.scheme == "ftps"

    # ------------------------------------------------------------------ the connection

    @contextlib.contextmanager
    def within(self, timeout_s: float) -> Iterator[None]:
        with self._deadline.over(timeout_s):
            self._drop_if_dead()
            yield
        self._used_at = time.monotonic()

    def _drop_if_dead(self) -> None:
        client = self._client
        if client is None:
            return
        if self._owner != os.getpid():
            # The connection belongs to the process that we were forked from.
            self._client = None
        elif client.is_stale:
            self._drop()
        elif time.monotonic() - self._used_at > _IDLE_S:
            try:
                client.voidcmd("NOOP")
            except (OSError, EOFError, ftplib.Error):
                self._drop()

    def _open(self) -> FtpClient:
        if self._client is not None and self._client.owes_an_answer:
            # A file was left in the middle: what the server says next is about that one.
            self._drop()
        if self._client is None:
            client = self._new_client()
            self._client, self._owner = client, os.getpid()
            try:
                client.open(self.address.host, self.address.port, implicit=self._option("implicit", False))
                self._log_in(client)
            except BaseException:
                self._drop()
                raise
        return self._client

    def _new_client(self) -> FtpClient:
        return FtpClient(
            context=tls_context(self.endpoint) if self.is_protected else None,
            server_name=self._option("server_name", self.address.host),
            encoding=self._option("name_encoding", "utf-8"),
            passive="active" if self._option("active", False) else self._option("passive", "auto"),
            timeout_s=self.endpoint.limits.timeout_s,
            dial=self._dial,
        )

    def _log_in(self, client: FtpClient) -> None:
        self._secret = self.endpoint.secret("password")
        user = self.address.user or "anonymous"
        without_frames(client.login, user, "anonymous@" if self._secret is None else self._secret)
        if self.is_protected:
            client.protect()
        client.prepare()
        self._home = None
        self._hash_is_chosen = False

    def _option(self, name: str, default: Any) -> Any:
        return self.endpoint.option(name, default)

    def _abort(self) -> None:
        client = self._client
        if client is not None:
            client.cut()

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(OSError):
                client.close()

    # ------------------------------------------------------------------ errors

    def secrets(self) -> Iterable[str | None]:
        return (self._secret, self._dial.secret)

    def broken(self, error: Exception) -> None:
        """Only a connection whose last answer was read to its end is still in step."""
        if not isinstance(error, ftplib.error_perm) or str(error)[:3] in _LOGIN:
            self._drop()

    def failure(self, error: Exception) -> Failure:
        if self._deadline.passed:
            return TransportTimeoutError, "no answer in time"
        if isinstance(error, ftplib.error_perm | ftplib.error_temp):
            return _of_reply(str(error))
        if isinstance(error, FtpUntrustedError):
            return TransportUntrustedError, str(error)
        if isinstance(error, ssl.SSLError):
            return of_tls(error)
        if isinstance(error, OSError):
            return of_network(error)
        if isinstance(error, EOFError):
            return TransportUnavailableError, "the server closed the connection"
        if isinstance(error, ftplib.Error):
            return TransportUnavailableError, f"an answer that is not FTP: {one_line(str(error))}"
        if isinstance(error, ValueError):
            return TransportRefusedError, one_line(str(error))
        return TransportUnavailableError, f"{type(error).__name__}: {one_line(str(error))}"

    # ------------------------------------------------------------------ calls

    def _path(self, path: str) -> str:
        whole = joined(self.address.base, path)
        return f"./{whole}" if whole.startswith("-") else whole

    @guarded
    def entries(self, folder: str) -> Sequence[Entry]:
        client = self._open()
        if self._option("listing", "auto") != "list" and self._knows_facts(client):
            return mlsd_entries(self._lines("MLSD", folder), self.where)
        lines = self._lines("LIST", folder)
        if not lines and not self._is_folder(client, folder):
            # Some servers answer LIST of a missing folder as if it were empty.
            raise TransportNotFoundError(f"{self.where} {folder}: no such folder")
        return list_entries(lines, self.where, ZoneInfo(self._option("zone", "UTC")), datetime.now(UTC))

    def _knows_facts(self, client: FtpClient) -> bool:
        return "MLST" in client.features or "MLSD" in client.features or self._option("listing", "auto") == "mlsd"

    def _lines(self, command: str, folder: str) -> Sequence[str]:
        empty = self._option("empty_reply", None)
        try:
            return self._open().listing(f"{command} {self._path(folder)}".rstrip())
        except (ftplib.error_perm, ftplib.error_temp) as error:
            if empty is None or not str(error).startswith(empty):
                raise
            return []

    def _is_folder(self, client: FtpClient, folder: str) -> bool:
        if self._home is None:
            self._home = client.pwd()
        try:
            client.voidcmd(f"CWD {self._path(folder) or self._home}")
        except ftplib.error_perm as error:
            if not str(error).startswith("550"):
                raise
            return False
        client.voidcmd(f"CWD {self._home}")
        return True

    @guarded
    def stat(self, path: str, *, sure: bool = False) -> Entry | None:
        found = self._looked([path])[0]
        if found is not None or not (sure or self._must_list):
            return found
        found = self._listed(path)
        # A file that is there and has no size: from now on only listings are believed.
        self._must_list = self._must_list or found is not None
        return found

    @guarded
    def stats(self, *paths: str) -> Sequence[Entry | None]:
        if self._must_list:
            return [self.stat(path) for path in paths]
        found = self._looked(paths)
        return [self.stat(path) for path in paths] if self._must_list else found

    def _looked(self, paths: Sequence[str]) -> Sequence[Entry | None]:
        """What the server says of each path itself; a 550 may also mean that we may not ask."""
        client = self._open()
        answers = self._exchange(client, *(self._look(client, path) for path in paths))
        return [self._sight(path, answer) for path, answer in zip(paths, answers, strict=True)]

    @staticmethod
    def _knows_one(client: FtpClient) -> bool:
        return "MLST" in client.features

    def _look(self, client: FtpClient, path: str) -> str:
        return f"{'MLST' if self._knows_one(client) else 'SIZE'} {self._path(path)}"

    def _sight(self, path: str, answer: str | Exception) -> Entry | None:
        if isinstance(answer, str):
            return self._facts(answer) if answer.startswith("250") else self._size(path, answer)
        code = str(answer)[:3]
        if not isinstance(answer, ftplib.error_perm) or code not in ("550", *_NOT_KNOWN):
            raise answer
        self._must_list = self._must_list or code in _NOT_KNOWN
        return None

    def _exchange(self, client: FtpClient, *commands: str) -> Sequence[str | Exception]:
        """Answers to commands that leave together, or one after the other where this server does not bear that."""
        if not self._pipelines:
            return [answer for command in commands for answer in client.exchange(command)]
        answers = client.exchange(*commands)
        if self._deadline.passed and isinstance(answers[-1], OSError | EOFError):
            # Perhaps it threw away what came early: the next attempt waits for each answer.
            self._pipelines = len(commands) == 1
        return answers

    def _facts(self, answer: str) -> Entry | None:
        lines = answer.splitlines()
        if len(lines) < 2:
            raise FtpAnswerError(lines[0])
        return fact_entry(lines[1].lstrip(), self.where)

    def _size(self, path: str, answer: str) -> Entry:
        match = re.fullmatch(r"213\s+(\d+)\s*", answer)
        if match is None:
            raise FtpAnswerError(answer)
        return Entry(name=posixpath.basename(path), size=int(match[1]))

    @guarded
    def sha256(self, path: str) -> str | None:
        """By HASH or XSHA256, where FEAT offers one of them; a refusal is as good as none."""
        client = self._open()
        command = self._hash_command(client)
        if command is None:
            return None
        (answer,) = client.exchange(f"{command} {self._path(path)}")
        if isinstance(answer, Exception) and not isinstance(answer, ftplib.error_perm | ftplib.error_temp):
            raise answer
        match = _SHA256.search(answer) if isinstance(answer, str) else None
        return None if match is None else match[0].lower()

    def _hash_command(self, client: FtpClient) -> str | None:
        """What to ask with; where HASH has to be told which hash, it is told once."""
        offered = client.features.get("HASH", "").upper()
        if "SHA-256" in offered and "SHA-256*" not in offered and not self._hash_is_chosen:
            (answer,) = client.exchange("OPTS HASH SHA-256")
            if isinstance(answer, ftplib.error_perm):
                offered = client.features["HASH"] = ""
            self._hash_is_chosen = True
        if "SHA-256" in offered:
            return "HASH"
        return "XSHA256" if "XSHA256" in client.features else None

    def _listed(self, path: str) -> Entry | None:
        folder, name = posixpath.split(path)
        return next((entry for entry in self.entries(folder) if entry.name == name), None)

    @guarded
    def write(self, path: str, content: bytes) -> None:
        self._open().store(self._path(path), content)

    @guarded
    def rename(self, old: str, new: str) -> None:
        self._rename(old, new)

    @guarded
    def rename_and_look(self, old: str, new: str) -> Entry | None:
        (answer,) = self._rename(old, new, self._look(self._open(), new))
        try:
            return self._sight(new, answer)
        except (OSError, EOFError, ValueError, ftplib.Error):
            # The file has its name; only the look failed.
            self._drop()
            return None

    def _rename(self, old: str, new: str, *more: str) -> Sequence[str | Exception]:
        """Rename, and say *more*; the answers to that."""
        commands = (f"RNFR {self._path(old)}", f"RNTO {self._path(new)}", *more)
        first, second, *others = self._exchange(self._open(), *commands)
        for answer, code in ((first, "3"), (second, "25")):
            if isinstance(answer, ftplib.error_perm):
                self._raise_if_gone(old, answer)
            if isinstance(answer, Exception):
                raise answer
            if not answer.startswith(code):
                raise FtpAnswerError(answer)
        return others

    @guarded_blocks
    def read(self, path: str, size: int | None) -> Iterator[bytes]:
        return self._open().blocks(f"RETR {self._path(path)}")

    @guarded
    def remove(self, path: str) -> None:
        client = self._open()
        try:
            client.voidcmd(f"DELE {self._path(path)}")
        except ftplib.error_perm as error:
            self._raise_if_gone(path, error)
            raise

    def _raise_if_gone(self, path: str, error: Exception) -> None:
        if str(error).startswith("550") and self.stat(path, sure=True) is None:
            raise TransportNotFoundError(f"{self.where} {path}: no such file") from error

    @guarded
    def make_folder(self, path: str) -> None:
        client = self._open()
        if self._is_folder(client, path):
            return
        parent = posixpath.dirname(path)
        if parent:
            self.make_folder(parent)
        client.voidcmd(f"MKD {self._path(path)}")

    def findings(self) -> Iterable[Finding]:
        if not self.is_protected:
            message = f"{self.where}: password and orders cross the network in clear; ask for ftps or sftp"
            yield Finding(level="warning", message=message, code="transport.in_clear")
        client = self._client
        if client is not None and "MLST" not in client.features:
            message = f"{self.where}: no MLST, so times come from LIST and are read in the zone of the options"
            yield Finding(level="ok", message=message)

    def close(self) -> None:
        client, self._client = self._client, None
        if client is None or self._owner != os.getpid():
            return
        with contextlib.suppress(OSError, EOFError, ftplib.Error):
            if client.sock is not None:
                client.sock.settimeout(2.0)
                client.quit()
        with contextlib.suppress(OSError):
            client.close()


def _of_reply(text: str) -> Failure:
    code, line = text[:3], one_line(text)
    if code in _LOGIN:
        return TransportLoginError, line
    if code in _NOT_KNOWN:
        return TransportUnsupportedError, line
    if code.startswith("4") or code == "503":
        return TransportUnavailableError, line
    if code == "550" and _MISSING.search(text):
        return TransportNotFoundError, line
    return TransportRefusedError, line


def _refuse_active_by_proxy(endpoint: Endpoint) -> None:
    if endpoint.option("active", False) and endpoint.option("proxy") is not None:
        fault = Fault("the server cannot connect to us through a proxy", path="$.options.active", found=True)
        raise ConfigError(f"connection {endpoint.connection.name} of {endpoint.partner}", [fault])


def build(endpoint: Endpoint) -> Transport:
    """A transport to the server that the URL names; nothing is connected yet."""
    implicit = endpoint.connection.scheme == "ftps" and endpoint.option("implicit", False)
    _refuse_active_by_proxy(endpoint)
    server = _FtpServer(endpoint, address_of(endpoint, 990 if implicit else 21))
    return FolderTransport(server=server, limits=endpoint.limits, ways=Ways.of(endpoint.option))


_FTP_OPTIONS: Mapping[str, Any] = {
    **CONNECTION_OPTIONS,
    **PROXY_OPTIONS,
    "user": {"type": "string", "description": "Login name, where the URL has none; else anonymous."},
    "passive": {
        "enum": ["auto", "epsv", "pasv"],
        "default": "auto",
        "description": "How data channels are asked for: EPSV and, where that is refused, PASV. The address in the "
        "answer to PASV is never used.",
    },
    "active": {
        "type": "boolean",
        "default": False,
        "description": "The server connects to us for data channels, as some old ones must.",
    },
    "listing": {
        "enum": ["auto", "mlsd", "list"],
        "default": "auto",
        "description": "How folders are listed: MLSD where the server offers it, else LIST in the style of Unix or "
        "DOS.",
    },
    "zone": {
        "type": "string",
        "default": "UTC",
        "description": "IANA time zone of the server's clock; used with LIST only.",
    },
    "pipelining": {
        "type": "boolean",
        "default": True,
        "description": "Send commands that belong together without waiting in between. A server that loses some is "
        "found out by its silence and spared from then on; false spares it from the start.",
    },
    "empty_reply": {
        "type": "string",
        "minLength": 3,
        "description": "Beginning of the answer by which this server says that a folder is empty, such as "
        "'550 No files'. Without it every refused listing is an error.",
    },
    "name_encoding": {
        "type": "string",
        "default": "utf-8",
        "description": "Encoding of file names, such as cp1252.",
    },
}

_FTPS_OPTIONS: Mapping[str, Any] = {
    **_FTP_OPTIONS,
    "implicit": {
        "type": "boolean",
        "default": False,
        "description": "TLS from the first byte (port 990 unless the URL says otherwise) rather than by AUTH TLS.",
    },
    **TLS_OPTIONS,
}


def _schema(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


TYPE = TransportType(
    schemes=("ftp",),
    summary="A folder on an FTP server, in clear",
    options_schema=_schema(_FTP_OPTIONS),
    feed_options_schema=FEED_OPTIONS,
    secrets=("password", *PROXY_SECRETS),
    build=build,
)

FTPS_TYPE = TransportType(
    schemes=("ftps",),
    summary="A folder on an FTP server, over verified TLS",
    options_schema=_schema(_FTPS_OPTIONS),
    feed_options_schema=FEED_OPTIONS,
    secrets=("password", *PROXY_SECRETS),
    build=build,
)
