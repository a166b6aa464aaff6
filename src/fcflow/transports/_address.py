"""What the URL of a connection to a file server says."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from attrs import frozen

from fcflow.errors import ConfigError, Fault, TransportRefusedError
from fcflow.transports._names import safe_folder
from fcflow.transports.base import Endpoint

__all__ = ["Address", "address_of"]


@frozen(kw_only=True)
class Address:
    """
    Where a file server is.

    Args:
        user: Or ``None`` where neither URL nor options name one.

        base: The folder that feeds are below: absolute with a leading slash, else below the login's own folder.
    """

    scheme: str
    host: str
    port: int
    user: str | None
    base: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        login = "" if self.user is None else f"{self.user}@"
        return f"{self.scheme}://{login}{host}:{self.port}"


def address_of(endpoint: Endpoint, port: int) -> Address:
    """
    The address in the URL of *endpoint*; *port* is the scheme's own.

    ``sftp://host`` and ``sftp://host/`` mean the folder of the login, ``sftp://host/~/in`` a folder below it, and
    ``sftp://host/srv/in`` the absolute one.

    Raises:
        ConfigError: The URL names no host, holds a password, or its path holds ``..``.

    Example:
        >>> from fcflow.model import Connection
        >>> connection = Connection(url="sftp://leeds@ftp.example.com/~/in")
        >>> address_of(Endpoint(partner="leeds", connection=connection, resolve=str), 22)
        Address(scheme='sftp', host='ftp.example.com', port=22, user='leeds', base='in')
    """
    connection = endpoint.connection
    try:
        parts = urlsplit(connection.url)
        host, given = parts.hostname, parts.port
        base = _base(unquote(parts.path))
    except (ValueError, TransportRefusedError) as error:
        raise _config_error(endpoint, str(error)) from None
    if parts.password is not None:
        raise _config_error(endpoint, "the URL holds a password; it belongs to the secrets of the connection")
    if not host or parts.query or parts.fragment:
        raise _config_error(endpoint, f"expected {parts.scheme}://user@host:port/folder, got {connection.url!r}")
    user = unquote(parts.username) if parts.username else endpoint.option("user")
    return Address(scheme=parts.scheme, host=host, port=given or port, user=user, base=base)


def _base(path: str) -> str:
    if path == "/~" or path.startswith("/~/"):
        return safe_folder(path[2:])
    inner = safe_folder(path)
    return f"/{inner}" if inner else ""


def _config_error(endpoint: Endpoint, message: str) -> ConfigError:
    source = f"connection {endpoint.connection.name} of {endpoint.partner}"
    return ConfigError(source, [Fault(message, path="$.url")])
