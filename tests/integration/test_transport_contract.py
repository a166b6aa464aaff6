"""The contract of transports on real servers."""

from __future__ import annotations

import contextlib
import io
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fcflow.errors import TransportNotFoundError
from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.testing import (
    FolderHarness,
    ReceivingContract,
    SendingContract,
    TransportContract,
    TransportHarness,
    servers,
)
from fcflow.testing.faults import Channel, FaultProxy
from fcflow.testing.mail import ImapHarness, SmtpHarness
from fcflow.testing.servers import Certificate, PostOffice, RunningServer
from fcflow.transports import file, ftp, sftp
from fcflow.transports.base import Endpoint, Query, Transport

BUILD: dict[str, Callable[[Endpoint], Transport]] = {"ftp": ftp.build, "ftps": ftp.build, "sftp": sftp.build}


def connect(
    server: RunningServer, folder: str = "", limits: PartnerLimits | None = None, port: int = 0, **options: Any
) -> Transport:
    """A transport to *server*, through the proxy on *port* where one is given."""
    if server.certificate is not None:
        options.setdefault("ca_file", str(server.certificate.ca))
    if server.host_key is not None:
        options.setdefault("host_key", server.host_key)
    connection = Connection(
        url=f"{server.scheme}://{server.user}@127.0.0.1:{port or server.port}{server.base}{folder}",
        secrets={"password": {"env": "X"}},
        options=options,
    )
    return BUILD[server.scheme](
        Endpoint(
            partner="leeds",
            connection=connection,
            limits=limits or PartnerLimits(timeout_s=20),
            base=Path("/"),
            resolve=lambda reference: server.password,
        )
    )


@contextlib.contextmanager
def unreachable(proxy: FaultProxy) -> Iterator[None]:
    proxy.control = Channel(refuse=True)
    proxy.cut_all()
    yield
    proxy.heal()


class _OnServer(TransportContract):
    options: dict[str, Any] = {}  # noqa: RUF012 - constant, shown by the classes below
    hidden: tuple[str, ...] = ()
    """Hostile names that the server itself does not show."""

    @pytest.fixture
    def harness(self, server: RunningServer) -> Iterator[FolderHarness]:
        with FaultProxy(("127.0.0.1", server.port)) as proxy:
            harness = FolderHarness(
                server.root,
                lambda folder, limits: connect(server, folder, limits, proxy.port, **self.options),
                lambda: unreachable(proxy),
                owner=server.owner,
                secret=server.password,
            )
            harness.hostile_names = tuple(name for name in harness.hostile_names if name not in self.hidden)
            yield harness


@pytest.mark.parametrize("server", ["pyftpdlib"], indirect=True)
class TestFtp(_OnServer):
    """Plain FTP with MLSD."""


@pytest.mark.parametrize("server", ["pyftpdlib-unix"], indirect=True)
class TestFtpListedAsUnix(_OnServer):
    """LIST only, in the style of Unix."""


@pytest.mark.parametrize("server", ["pyftpdlib-dos"], indirect=True)
class TestFtpListedAsDos(_OnServer):
    """LIST only, in the style of Windows."""


@pytest.mark.parametrize("server", ["pyftpdlib-explicit"], indirect=True)
class TestFtpsExplicit(_OnServer):
    """TLS by AUTH TLS."""


@pytest.mark.parametrize("server", ["pyftpdlib-implicit"], indirect=True)
class TestFtpsImplicit(_OnServer):
    """TLS from the first byte."""

    options = {"implicit": True}  # noqa: RUF012


@pytest.mark.real_server
@pytest.mark.parametrize("server", ["vsftpd"], indirect=True)
class TestVsftpd(_OnServer):
    """A server without MLST."""


@pytest.mark.real_server
@pytest.mark.parametrize("server", ["vsftpd-reuse"], indirect=True)
class TestVsftpdWithSessionReuse(_OnServer):
    """A server that refuses data channels which do not take up the TLS session."""


@pytest.mark.real_server
@pytest.mark.parametrize("server", ["vsftpd-explicit"], indirect=True)
class TestVsftpdExplicit(_OnServer):
    """The same server where it lets data channels begin a TLS session of their own."""


@pytest.mark.real_server
@pytest.mark.parametrize("server", ["vsftpd-implicit"], indirect=True)
class TestVsftpdImplicit(_OnServer):
    """TLS from the first byte, session reuse required."""

    options = {"implicit": True}  # noqa: RUF012


@pytest.mark.real_server
@pytest.mark.parametrize("server", ["proftpd"], indirect=True)
class TestProftpd(_OnServer):
    """A server that refuses REST before STOR and SIZE in ASCII mode."""


@pytest.mark.real_server
@pytest.mark.parametrize("server", ["proftpd-explicit"], indirect=True)
class TestProftpdExplicit(_OnServer):
    """Session reuse required, as it comes."""


@pytest.mark.real_server
@pytest.mark.parametrize("server", ["proftpd-implicit"], indirect=True)
class TestProftpdImplicit(_OnServer):
    """TLS from the first byte, session reuse required."""

    options = {"implicit": True}  # noqa: RUF012


@pytest.mark.real_server
@pytest.mark.parametrize("server", ["pure-ftpd"], indirect=True)
class TestPureFtpd(_OnServer):
    """Plain FTP with MLSD."""

    hidden = ("esc\x1b[2Jape.csv",)


@pytest.mark.real_server
@pytest.mark.parametrize("server", ["pure-ftpd-explicit"], indirect=True)
class TestPureFtpdExplicit(_OnServer):
    """A server that insists on TLS for commands and data."""

    hidden = ("esc\x1b[2Jape.csv",)


@pytest.mark.real_server
@pytest.mark.parametrize("server", ["proftpd-sftp"], indirect=True)
class TestProftpdSftp(_OnServer):
    """A third SFTP server."""


@pytest.mark.real_server
@pytest.mark.parametrize("server", ["openssh"], indirect=True)
class TestOpenSsh(_OnServer):
    """In a chroot."""


@pytest.mark.parametrize("server", ["asyncssh"], indirect=True)
class TestAsyncSsh(_OnServer):
    """Another SFTP server."""


class TestSmtp(SendingContract):
    """By STARTTLS."""

    tls = "starttls"

    @pytest.fixture
    def harness(self, identity: Certificate) -> Iterator[SmtpHarness]:
        office = PostOffice()
        with (
            servers.aiosmtpd_server(office, tls=self.tls, identity=identity) as server,
            FaultProxy(("127.0.0.1", server.port)) as proxy,
        ):
            yield SmtpHarness(server, office, proxy)


class TestSmtps(TestSmtp):
    """TLS from the first byte."""

    tls = "implicit"


class _OnDovecot(ReceivingContract):
    @pytest.fixture
    def harness(self, server: RunningServer) -> Iterator[ImapHarness]:
        with FaultProxy(("127.0.0.1", server.port)) as proxy:
            harness = ImapHarness(server, proxy)
            yield harness
            harness.box.close()

    # A message never changes; what replaces it is another one, and fetching the old one finds it gone.
    test_what_changed_after_it_was_offered_is_not_taken = None  # type: ignore[assignment]

    def test_what_was_replaced_after_it_was_offered_is_gone(self, harness: ImapHarness, transport: Transport) -> None:
        """The token names the old message, never the new one."""
        harness.answer("status.csv", b"A1")
        [offer] = transport.list(harness.feed("status"), Query())
        harness.answer("status.csv", b"A1;A2")

        with pytest.raises(TransportNotFoundError):
            transport.fetch(offer, io.BytesIO())


@pytest.mark.real_server
@pytest.mark.parametrize("server", ["dovecot"], indirect=True)
class TestImaps(_OnDovecot):
    """TLS from the first byte."""


@pytest.mark.real_server
@pytest.mark.parametrize("server", ["dovecot-starttls"], indirect=True)
class TestImap(_OnDovecot):
    """By STARTTLS."""


class BucketHarness(TransportHarness):
    """The partner's side of a bucket; the base is a prefix of its own."""

    def __init__(self, server: RunningServer, proxy: FaultProxy) -> None:
        self.server, self.proxy = server, proxy
        self.client, self.base = servers.bucket_client(server), f"t-{secrets.token_hex(6)}"
        self.secret = server.password

    def open(self, limits: PartnerLimits | None = None) -> Transport:
        known = {"key": self.server.user, "secret": self.server.password}
        options = {
            "endpoint_url": f"http://127.0.0.1:{self.proxy.port}",
            "client_kwargs": {"region_name": "us-east-1"},
            "config_kwargs": {"retries": {"max_attempts": 1}, "connect_timeout": 3, "read_timeout": 10},
        }
        connection = Connection(
            url=f"s3://leeds/{self.base}",
            secrets={name: {"env": name} for name in known},
            options={"storage_options": options},
        )
        return file.build(
            Endpoint(
                partner="leeds",
                connection=connection,
                limits=limits or PartnerLimits(timeout_s=20),
                resolve=lambda reference: known[reference["env"]],
            )
        )

    def feed(self, kind: str, **changes: Any) -> Feed:
        path = {"orders": "in", "status": "out", "stock": "out"}[kind]
        return Feed(**{"kind": kind, "partner": "leeds", "layout": "canonical", "path": path, **changes})

    def _files(self, folder: str) -> dict[str, bytes]:
        prefix = f"{self.base}/{folder.strip('/')}/"
        found = self.client.list_objects_v2(Bucket="leeds", Prefix=prefix, Delimiter="/").get("Contents", [])
        bodies = {each["Key"]: self.client.get_object(Bucket="leeds", Key=each["Key"])["Body"] for each in found}
        return {key.removeprefix(prefix): body.read() for key, body in bodies.items()}

    def _put(self, path: str, content: bytes) -> None:
        self.client.put_object(Bucket="leeds", Key=f"{self.base}/{path}", Body=content)

    def arrived(self) -> Mapping[str, bytes]:
        return self._files("in")

    def place(self, name: str, content: bytes) -> None:
        self._put(f"in/{name}", content)

    def collect(self, name: str) -> None:
        self.client.delete_object(Bucket="leeds", Key=f"{self.base}/in/{name}")

    def answer(self, name: str, content: bytes) -> None:
        self._put(f"out/{name}", content)

    def answers(self, folder: str = "") -> Mapping[str, bytes]:
        return self._files(f"out/{folder}")

    def down(self) -> contextlib.AbstractContextManager[None]:
        return unreachable(self.proxy)


@pytest.mark.parametrize("server", ["s3"], indirect=True)
class TestS3(TransportContract):
    """An object store: a put is whole or not at all, and folders are a way of speaking."""

    # Nothing is put together under a temporary name, so nothing can be left there.
    test_half_a_delivery_is_partly_there = None  # type: ignore[assignment]

    @pytest.fixture
    def harness(self, server: RunningServer) -> Iterator[BucketHarness]:
        with FaultProxy(("127.0.0.1", server.port)) as proxy:
            yield BucketHarness(server, proxy)
