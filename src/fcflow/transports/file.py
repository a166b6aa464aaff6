"""``file://`` and plain paths, and folders of any other fsspec file system."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs

from fcflow.errors import ConfigError, Fault
from fcflow.transports._folder import CONNECTION_OPTIONS, FEED_OPTIONS, FileServer, FolderTransport, Ways
from fcflow.transports._local import LocalServer
from fcflow.transports._store import OBJECT_STORES, StoreServer
from fcflow.transports.base import Endpoint, Transport, TransportType

__all__ = ["TYPE", "build", "serving"]

_LOCAL = ("file", "local")
_RENAMING = ("dbfs", "hdfs", "smb", "webdav", "webhdfs")
_SECRETS = ("account_key", "client_secret", "connection_string", "key", "password", "sas_token", "secret", "token")


def build(endpoint: Endpoint) -> Transport:
    """A transport to the folder that the URL names; a path without a scheme is below ``endpoint.base``."""
    scheme = endpoint.connection.scheme
    ways = Ways.of(endpoint.option)
    if scheme in OBJECT_STORES:
        ways = attrs.evolve(ways, rename=False, atomic=True)
    server = _local(endpoint) if scheme in _LOCAL else _store(endpoint)
    return FolderTransport(server=server, limits=endpoint.limits, ways=ways)


def _local(endpoint: Endpoint) -> FileServer:
    url = endpoint.connection.url
    path = unquote(url.partition("://")[2]) if "://" in url else url
    return LocalServer(endpoint.base / Path(path), create=endpoint.option("create", False))


def _store(endpoint: Endpoint) -> FileServer:
    url = endpoint.connection.url
    if urlsplit(url).password:
        fault = Fault("holds a password", path="$.url", expected="the password as a secret of the connection")
        raise ConfigError(f"connection {endpoint.connection.name} of {endpoint.partner}", [fault])

    def options() -> Mapping[str, Any]:
        secrets = {name: endpoint.secret(name) for name in endpoint.connection.secrets}
        return {**endpoint.option("storage_options", {}), **secrets}

    return StoreServer(url, options, create=endpoint.option("create", False))


def serving(*schemes: str) -> TransportType:
    """
    A transport type for other fsspec protocols, which a plugin may offer.

    Example:
        >>> serving("acme").schemes
        ('acme',)
    """
    return attrs.evolve(TYPE, schemes=schemes)


_OPTIONS: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **CONNECTION_OPTIONS,
        "create": {
            "type": "boolean",
            "default": False,
            "description": "Make a missing folder when a file is sent to it; else that is an error.",
        },
        "storage_options": {
            "type": "object",
            "description": "Handed to the fsspec file system as they are, with the connection's secrets besides. "
            "Not for local folders.",
        },
    },
}

TYPE = TransportType(
    schemes=(*_LOCAL, *sorted(OBJECT_STORES), *_RENAMING),
    summary="A folder of this machine, or of any fsspec file system",
    options_schema=_OPTIONS,
    feed_options_schema=FEED_OPTIONS,
    secrets=_SECRETS,
    build=build,
)
