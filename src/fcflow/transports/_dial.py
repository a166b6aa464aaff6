"""Connections of the network: straight to the server, or through the proxy that the options of a connection name."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import define, field

from fcflow.errors import MissingExtraError
from fcflow.transports.base import Endpoint

__all__ = ["PROXY_OPTIONS", "PROXY_SECRETS", "Dialler"]

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
        MissingExtraError: The endpoint names a proxy, and python-socks is not installed.
    """

    endpoint: Endpoint
    secret: str | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not self.is_straight:
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
        return self._through(_socks(), host, port, timeout_s)

    def _through(self, library: Any, host: str, port: int, timeout_s: float) -> socket.socket:
        parts = urlsplit(self.endpoint.option("proxy"))
        kind = {"http": library.ProxyType.HTTP, "socks4": library.ProxyType.SOCKS4}.get(
            parts.scheme, library.ProxyType.SOCKS5
        )
        self.secret = self.endpoint.secret(*PROXY_SECRETS)
        proxy = library.sync.Proxy.create(
            kind, parts.hostname, parts.port, parts.username, self.secret, rdns=parts.scheme in ("socks5h", "http")
        )
        try:
            connected: socket.socket = proxy.connect(host, port, timeout=timeout_s)
        except library.ProxyError as error:
            raise ConnectionError(f"the proxy {parts.hostname}:{parts.port} says: {error}") from None
        connected.settimeout(timeout_s)
        return connected


def _socks() -> Any:
    try:
        import python_socks
        import python_socks.sync
    except ImportError:
        raise MissingExtraError("proxy", "python-socks") from None
    return python_socks
