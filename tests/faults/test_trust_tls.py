"""Row 32: a server that TLS does not vouch for gets no login and no order, by whatever way in."""

from __future__ import annotations

import contextlib
import io
import re
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, field, frozen

from fcflow.errors import TransportError, TransportLoginError, TransportUntrustedError
from fcflow.model import Connection, PartnerLimits
from fcflow.testing import files, mail, servers
from fcflow.testing.files import delivery, feed, opened, place_on
from fcflow.testing.servers import Certificate, RunningServer
from fcflow.transports import ftp, http, imap, smtp
from fcflow.transports.base import Endpoint, Query, Transport

PASSWORD = "pass-never-sent"
ORDER = b"A1;secret-order\r\n"


@frozen(kw_only=True)
class Way:
    """
    A way in, and what its server says in clear before TLS.

    Args:
        hello: Its first word, behind TLS where there is nothing to talk about before.

        talk: From what a client says to what it is answered; the last answer is followed by TLS.
    """

    scheme: str
    build: Callable[[Endpoint], Transport]
    hello: bytes = b""
    talk: Sequence[tuple[bytes, bytes]] = ()
    options: dict[str, Any] = field(factory=dict)

    def try_it(self, transport: Transport) -> None:
        """What a run does first."""
        if self.scheme.startswith("imap"):
            list(transport.list(mail.status(), Query()))
        else:
            sent = mail.delivery(ORDER) if self.scheme.startswith("smtp") else delivery(ORDER)
            transport.send(sent)


_EHLO = (rb"EHLO .*", b"250-hello\r\n250 STARTTLS\r\n")
_CAPABILITY = (rb"(\S+) CAPABILITY", b"* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN\r\n%s OK fine\r\n")
WAYS = {
    "ftps explicit": Way(scheme="ftps", build=ftp.build, hello=b"220 hi\r\n", talk=[(rb"AUTH TLS", b"234 go\r\n")]),
    "ftps implicit": Way(scheme="ftps", build=ftp.build, hello=b"220 hi\r\n", options={"implicit": True}),
    "https": Way(scheme="https", build=http.build),
    "smtp": Way(
        scheme="smtp",
        build=smtp.build,
        hello=b"220 hi\r\n",
        talk=[_EHLO, (rb"STARTTLS", b"220 go\r\n")],
        options=mail.ADDRESSES,
    ),
    "smtps": Way(scheme="smtps", build=smtp.build, hello=b"220 hi\r\n", options=mail.ADDRESSES),
    "imap": Way(
        scheme="imap", build=imap.build, hello=b"* OK hi\r\n", talk=[_CAPABILITY, (rb"(\S+) STARTTLS", b"%s OK go\r\n")]
    ),
    "imaps": Way(scheme="imaps", build=imap.build, hello=b"* OK hi\r\n"),
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


class Played:
    """A server of one *way* in, up to and with its TLS; *clear* is what it heard before, *heard* what behind it."""

    def __init__(self, way: Way, context: ssl.SSLContext, slipped_in: bytes = b"", answer: bytes = b"") -> None:
        self.clear: list[bytes] = []
        self.heard = b""
        self._way, self._context, self._slipped_in, self._answer = way, context, slipped_in, answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.settimeout(3)
                with connection, contextlib.suppress(OSError):
                    self._speak(connection)

    def _speak(self, connection: socket.socket) -> None:
        connection.sendall(self._way.hello if self._way.talk else b"")
        answer = b""
        for expected, said in self._way.talk:
            connection.sendall(answer)
            line = connection.recv(4096)
            self.clear.append(line)
            match = re.match(expected, line, re.IGNORECASE)
            if match is None:
                return
            answer = said % match.groups() if match.groups() else said
        connection.sendall(answer + (self._slipped_in if answer else b""))
        with self._context.wrap_socket(connection, server_side=True) as secure:
            secure.sendall(b"" if self._way.talk else self._way.hello)
            while block := secure.recv(65536):
                self.heard += block
                secure.sendall(self._answer)


@contextlib.contextmanager
def playing(way: Way, context: ssl.SSLContext, **how: bytes) -> Iterator[Played]:
    with contextlib.closing(Played(way, context, **how)) as server:
        yield server


@contextlib.contextmanager
def connecting(way: Way, port: int, ca: Path | None, **options: Any) -> Iterator[Transport]:
    if ca is not None:
        options["ca_file"] = str(ca)
    connection = Connection(
        url=f"{way.scheme}://shop@127.0.0.1:{port}/",
        secrets={"password": {"env": "X"}},
        options={**way.options, **options},
    )
    transport = way.build(
        Endpoint(
            partner="leeds",
            connection=connection,
            limits=PartnerLimits(timeout_s=5),
            base=Path("/"),
            resolve=lambda reference: PASSWORD,
        )
    )
    with contextlib.closing(transport):
        yield transport


def presenting(identity: Certificate) -> ssl.SSLContext:
    """What a server with this certificate speaks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.chain, identity.key)
    return context


def self_signed(folder: Path) -> Certificate:
    """By nobody but itself, for the right host."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir()
    found = Certificate(ca=folder / "c.pem", chain=folder / "c.pem", key=folder / "k.pem", both=folder / "k.pem")
    found.chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    found.key.write_bytes(key.private_bytes(*plain))
    return found


def nothing_was_said(server: Played) -> None:
    """Before TLS only what asks for it, and behind it not a byte."""
    asking = re.compile(rb"AUTH TLS\r\n|EHLO \S+\r\n|STARTTLS\r\n|\S+ (CAPABILITY|STARTTLS)\r\n", re.IGNORECASE)
    assert all(asking.fullmatch(line) for line in server.clear)
    assert server.heard == b""


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, identity: Certificate) -> dict[str, tuple[Certificate, Path | None]]:
    """What is wrong to the certificate that is shown, and the authority that is trusted."""
    folder = tmp_path_factory.mktemp("tls")
    expired = servers.certificate(folder / "expired", expired=True)
    elsewhere = servers.certificate(folder / "elsewhere", "other.example", "127.0.0.9")
    return {
        "expired": (expired, expired.ca),
        "for another host": (elsewhere, elsewhere.ca),
        "self-signed": (self_signed(folder / "self"), identity.ca),
        "of another authority": (servers.certificate(folder / "foreign"), identity.ca),
        "of an authority that the system does not know": (identity, None),
    }


BAD = [
    "expired",
    "for another host",
    "self-signed",
    "of another authority",
    "of an authority that the system does not know",
]


@pytest.mark.fault(row=32, invariants="I7 I10")
@every_way
@pytest.mark.parametrize("fault", BAD)
def test_a_certificate_that_is_not_good_ends_it(bad: Any, way: Way, fault: str) -> None:
    """
    As untrusted, at once, without a login; the check says so too.
    """
    identity, trusted = bad[fault]
    with playing(way, presenting(identity)) as server, connecting(way, server.port, trusted) as transport:
        began = time.monotonic()
        with pytest.raises(TransportUntrustedError, match="certificate"):
            way.try_it(transport)
        assert [finding.code for finding in transport.check()] == ["transport.untrusted"]
        assert time.monotonic() - began < 3
        nothing_was_said(server)


@pytest.mark.fault(row=32, invariants="I10")
@every_way
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_an_old_protocol_is_not_spoken(identity: Certificate, way: Way, version: str) -> None:
    """
    Even with the right certificate, and where the server knows nothing newer.
    """
    context = presenting(identity)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion[version]
    with playing(way, context) as server, connecting(way, server.port, identity.ca) as transport:
        with pytest.raises(TransportUntrustedError):
            way.try_it(transport)
        nothing_was_said(server)


@pytest.mark.fault(row=32, invariants="I10")
@every_way
def test_the_right_certificate_is_spoken_to(identity: Certificate, way: Way) -> None:
    """
    So that the tests above are about certificates and protocols, and not about servers that nobody could speak to.
    """
    answer = b"HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n" if way.scheme == "https" else b"500 no\r\n"
    with (
        playing(way, presenting(identity), answer=answer) as server,
        connecting(way, server.port, identity.ca) as transport,
    ):
        with pytest.raises(TransportError) as caught:
            way.try_it(transport)
        assert not isinstance(caught.value, TransportUntrustedError)
        assert server.heard


STARTED = {name: way for name, way in WAYS.items() if way.talk}


@pytest.mark.fault(row=32, invariants="I10")
@pytest.mark.parametrize("way", STARTED.values(), ids=STARTED)
@pytest.mark.parametrize("answer", [b"500 what?\r\n", b"421 later\r\n", b"534 no\r\n"])
def test_a_refusal_of_tls_is_no_reason_to_go_on_in_clear(identity: Certificate, way: Way, answer: bytes) -> None:
    """
    Whoever refuses it, the server or somebody between.
    """
    tagged = b"%s NO " + answer if way.scheme == "imap" else answer
    refusing = evolve(way, talk=[*way.talk[:-1], (way.talk[-1][0], tagged), (rb"nothing more", b"")])
    with (
        playing(refusing, presenting(identity)) as server,
        connecting(refusing, server.port, identity.ca) as transport,
    ):
        with pytest.raises(TransportError):
            way.try_it(transport)
        assert PASSWORD.encode() not in b"".join(server.clear)
        assert ORDER not in b"".join(server.clear)
        assert not [
            line for line in server.clear if re.match(rb"USER|PASS|AUTH PLAIN|AUTH LOGIN|MAIL|\S+ LOGIN", line, re.I)
        ]


@pytest.mark.fault(row=32, invariants="I10")
def test_what_is_slipped_in_before_the_handshake_of_ftps_counts_for_nothing(identity: Certificate) -> None:
    """
    Answers to a login that was not made yet: the server's own, behind TLS, is the one that is heard.
    """
    way = WAYS["ftps explicit"]
    slipped_in = b"230 welcome\r\n230 welcome\r\n200 fine\r\n" * 5
    with (
        playing(way, presenting(identity), slipped_in=slipped_in, answer=b"530 nobody logs in here\r\n") as server,
        connecting(way, server.port, identity.ca) as transport,
    ):
        with pytest.raises(TransportError) as caught:
            way.try_it(transport)
        assert isinstance(caught.value, TransportLoginError | TransportUntrustedError)
        assert ORDER not in server.heard


# ---------------------------------------------------------------------- data channels of FTP


@pytest.mark.fault(row=32, invariants="I10")
@pytest.mark.parametrize("server", ["pyftpdlib-explicit", "pyftpdlib-implicit"], indirect=True)
def test_a_data_channel_to_somebody_else_is_not_used(
    server: RunningServer, bad: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Its certificate is looked at like that of the control connection.
    """
    place, raw = place_on(server), Way(scheme="https", build=http.build)
    implicit = {"implicit": True} if b"implicit" in bytes(server.root) else {}
    for fault in ("self-signed", "for another host", "expired"):
        with (
            opened(server, place.name, **implicit) as transport,
            playing(raw, presenting(bad[fault][0])) as other,
        ):
            client = transport.server._open()  # type: ignore[attr-defined]
            monkeypatch.setattr(client, "makepasv", lambda port=other.port: ("127.0.0.1", port))
            with pytest.raises(TransportUntrustedError):
                transport.send(delivery(ORDER))
            assert (other.heard, place.arrived().get("orders-1.csv")) == (b"", None)


@pytest.mark.fault(row=32, invariants="I9 I10")
def test_a_data_channel_that_is_left_in_clear_carries_nothing(identity: Certificate, tmp_path: Path) -> None:
    """
    The server agrees to protect it and does not: no file is read from it and no order written to it.
    """
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "out" / "s.csv").write_bytes(b"x")
    with servers.pyftpdlib_server(
        tmp_path,
        tls="explicit",
        identity=identity,
        replies={"PROT": "200 of course"},
        attributes={"tls_data_required": False},
    ) as server:
        with opened(server, timeout_s=2) as transport, pytest.raises(TransportUntrustedError):
            list(transport.list(feed("status"), Query()))
        with opened(server, timeout_s=0.5) as transport, pytest.raises(TransportError):
            transport.send(delivery(ORDER))
    assert not [path for path in (tmp_path / "in").iterdir() if ORDER in path.read_bytes()]


@pytest.mark.fault(row=32, invariants="I10")
@pytest.mark.parametrize("command", ["PBSZ", "PROT"])
@pytest.mark.parametrize("reply", ["536 no", "431 not now", "502 what?"])
def test_a_server_that_will_not_protect_data_gets_none(
    identity: Certificate, tmp_path: Path, command: str, reply: str
) -> None:
    """
    Neither does it get to know what a listing would have asked for.
    """
    (tmp_path / "in").mkdir()
    replies = {command: reply}
    with (
        servers.pyftpdlib_server(tmp_path, tls="explicit", identity=identity, replies=replies) as server,
        opened(server) as transport,
    ):
        with pytest.raises(TransportUntrustedError):
            transport.send(delivery(ORDER))
        with pytest.raises(TransportUntrustedError):
            transport.fetch(_offer(), io.BytesIO())
    assert list((tmp_path / "in").iterdir()) == []


def _offer() -> Any:
    from fcflow.transports.base import Offer

    token = '{"folder": "out", "name": "s.csv", "size": 1, "modified_at": null}'
    return Offer(feed=files.feed("status"), name="s.csv", size=1, token=token)


@pytest.mark.real_server
@pytest.mark.fault(row=32, invariants="I10")
@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
def test_vsftpd_with_a_certificate_that_is_not_good_sees_no_login(
    scratch: Path, system_user: Any, bad: Any, implicit: bool
) -> None:
    """
    The same with a server of the world; its log stays without a login.
    """
    for number, fault in enumerate(("expired", "for another host", "self-signed")):
        folder = scratch / f"trust-{implicit}-{number}"
        folder.mkdir()
        with servers.vsftpd(folder, system_user, identity=bad[fault][0], implicit=implicit) as server:
            with (
                opened(server, implicit=implicit, ca_file=str(bad[fault][1])) as transport,
                pytest.raises(TransportUntrustedError, match="certificate"),
            ):
                transport.send(delivery(ORDER))
            transfer = folder / "vsftpd.xfer"
            assert "LOGIN" not in (transfer.read_text() if transfer.exists() else "")
