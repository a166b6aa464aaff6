"""Connections of the network: straight to the server, or through the proxy that the options of a connection name."""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from attrs import define, field

from fcflow.errors import MissingExtraError
from fcflow.transports.base import Endpoint

__all__ = ["PROXY_OPTIONS", "PROXY_SECRETS", "Dialler"]

_LONGEST_HEAD = 16 * 1024

PROXY_SECRETS = ("proxy_password",)

PROXY_OPTIONS: Mapping[str, Any] = {
    "proxy": {
        "type": "string",
        "pattern": r"^(socks5|socks5h|socks4|http)://([^:@/]+@)?[^:@/]+:[0-9]+$",
        "description": "Proxy that every connection to this partner goes through, such as socks5h://user@host:1080 or "
        "http://host:3128 (by CONNECT). Its password is the secret proxy_password. The environment is never asked.",
    },
}


@define(eq=False)
class Dialler:
    """
    Opens the connections of one endpoint.

    Args:
        secret: The proxy's password, once it was used.

    Raises:
        MissingExtraError: The endpoint names a SOCKS proxy, and python-socks is not installed.
    """

    endpoint: Endpoint
    secret: str | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not self.is_straight and not self._speaks_http:
            _socks()

    @property
    def is_straight(self) -> bool:
        """Whether no proxy stands between."""
        return self.endpoint.option("proxy") is None

    def __call__(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """
        A connected socket.

        Raises:
            OSError: Nobody is there, or the proxy refuses.
        """
        if self.is_straight:
            return socket.create_connection((host, port), timeout_s)
        self.secret = self.endpoint.secret(*PROXY_SECRETS)
        parts = urlsplit(self.endpoint.option("proxy"))
        through = self._by_connect if self._speaks_http else self._by_socks
        connected = through(parts, host, port, timeout_s)
        connected.settimeout(timeout_s)
        return connected

    @property
    def _speaks_http(self) -> bool:
        return str(self.endpoint.option("proxy")).startswith("http:")

    def _by_socks(self, proxy: SplitResult, host: str, port: int, timeout_s: float) -> socket.socket:
        library = _socks()
        kind = library.ProxyType.SOCKS4 if proxy.scheme == "socks4" else library.ProxyType.SOCKS5
        way = library.sync.Proxy.create(
            kind, proxy.hostname, proxy.port, proxy.username, self.secret, rdns=proxy.scheme == "socks5h"
        )
        try:
            return way.connect(host, port, timeout=timeout_s)  # type: ignore[no-any-return]
        except library.ProxyError as error:
            raise _refused(proxy, str(error)) from None

    def _by_connect(self, proxy: SplitResult, host: str, port: int, timeout_s: float) -> socket.socket:
        # Libraries read the answer in blocks, and with it the greeting of a server that speaks first.
        connected = socket.create_connection((proxy.hostname, proxy.port), timeout_s)
        try:
            connected.sendall(_connect_request(f"{host}:{port}", proxy.username, self.secret))
            head = _head(connected)
            if re.match(rb"HTTP/1\.[01] 2\d\d", head) is None:
                raise _refused(proxy, head.partition(b"\r\n")[0].decode("latin-1"))
        except BaseException:
            connected.close()
            raise
        return connected


def _connect_request(place: str, user: str | None, secret: str | None) -> bytes:
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if user is not None:
        login = base64.b64encode(f"{unquote(user)}:{secret or ''}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {login}")
    return "\r\n".join([*lines, "", ""]).encode()


def _head(connected: socket.socket) -> bytes:
    """The answer up to its empty line, and not a byte more."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        byte = connected.recv(1)
        if not byte or len(head) > _LONGEST_HEAD:
            raise ConnectionError("the proxy gave no answer to CONNECT")
        head += byte
    return bytes(head)


def _refused(proxy: SplitResult, text: str) -> ConnectionError:
    return ConnectionError(f"the proxy {proxy.hostname}:{proxy.port} says: {text[:200]}")


def _socks() -> Any:
    try:
        import python_socks
        import python_socks.sync
    except ImportError:
        raise MissingExtraError("proxy", "python-socks") from None
    return python_socks
