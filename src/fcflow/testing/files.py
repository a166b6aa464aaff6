"""Our end of a file server for tests: a transport to it, a folder of its own, feeds and a small delivery."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field

from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.testing.faults import FaultProxy
from fcflow.testing.servers import HOST, RunningServer
from fcflow.transports import ftp, sftp
from fcflow.transports.base import Delivery, Endpoint, Transport

__all__ = ["Place", "delivery", "feed", "opened", "place_on"]


@define
class Place:
    """
    A folder of *server* that one test has to itself, with ``in`` and ``out`` below it.

    Args:
        name: As a client names it, below the server's base.

        root: Where it lies on this machine.
    """

    server: RunningServer
    name: str
    root: Path = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.root = self.server.folder(self.name)
        for part in ("in", "out"):
            self.server.folder(f"{self.name}/{part}")

    def arrived(self) -> Mapping[str, bytes]:
        """What lies in ``in``, by name, temporary names too."""
        return {path.name: path.read_bytes() for path in (self.root / "in").iterdir()}

    def answer(self, name: str, content: bytes) -> None:
        """Lay a file into ``out``."""
        (self.root / "out" / name).write_bytes(content)


def place_on(server: RunningServer) -> Place:
    """A fresh `Place`."""
    return Place(server, f"place-{secrets.token_hex(6)}")


@contextlib.contextmanager
def opened(
    server: RunningServer,
    folder: str = "",
    *,
    at: FaultProxy | None = None,
    port: int = 0,
    timeout_s: float = 10,
    known: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[Transport]:
    """
    A transport to *server*; the authority of its certificate and its host key are trusted.

    Args:
        at: The proxy to go through.

        port: To connect to, where it is not the server's.

        known: The secrets, by their names; the server's password where it is left out.

        options: Of the connection; ``None`` leaves one out.
    """
    if server.certificate is not None:
        options.setdefault("ca_file", str(server.certificate.ca))
    if server.host_key is not None:
        options.setdefault("host_key", server.host_key)
    secret = {"password": server.password} if known is None else known
    host, there = (HOST, port or server.port) if at is None else (at.host, at.port)
    connection = Connection(
        url=f"{server.scheme}://{server.user}@{host}:{there}{server.base}{folder}",
        secrets={name: {"env": name} for name in secret},
        options={name: value for name, value in options.items() if value is not None},
    )
    transport = (sftp.build if server.scheme == "sftp" else ftp.build)(
        Endpoint(
            partner="leeds",
            connection=connection,
            limits=PartnerLimits(timeout_s=timeout_s),
            base=Path("/"),
            resolve=lambda reference: secret[reference["env"]],
        )
    )
    with contextlib.closing(transport):
        yield transport


def feed(kind: str = "orders", **changes: Any) -> Feed:
    """Orders go to ``in``, everything else comes from ``out``."""
    path = "in" if kind == "orders" else "out"
    return Feed(**{"kind": kind, "partner": "leeds", "layout": "canonical", "path": path, **changes})


def delivery(content: bytes = b"A1;1\r\n", **changes: Any) -> Delivery:
    """A small delivery."""
    return Delivery(**{"key": "k-1", "feed": feed(), "name": "orders-1.csv", "content": content, **changes})
