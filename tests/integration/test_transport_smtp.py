"""SMTP: what a message looks like, and what goes wrong with servers, networks and certificates."""

from __future__ import annotations

import base64
import contextlib
import io
import logging
import smtplib
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import attrs
import pytest

from fcflow.errors import (
    ConfigError,
    TransportError,
    TransportLoginError,
    TransportRefusedError,
    TransportTimeoutError,
    TransportUnavailableError,
    TransportUnclearError,
    TransportUnsupportedError,
    TransportUntrustedError,
)
from fcflow.model import Connection, PartnerLimits
from fcflow.testing import servers
from fcflow.testing.faults import Channel, FaultProxy
from fcflow.testing.mail import delivery, files_of, opened, orders
from fcflow.testing.servers import Certificate, PostOffice, RunningServer
from fcflow.transports import smtp
from fcflow.transports.base import Endpoint, Presence

CANARY = "canary-7f3a"


@pytest.fixture
def office() -> PostOffice:
    return PostOffice()


@pytest.fixture
def start(office: PostOffice, identity: Certificate) -> Iterator[Callable[..., RunningServer]]:
    with contextlib.ExitStack() as stack:

        def started(**switches: Any) -> RunningServer:
            switches.setdefault("identity", identity)
            return stack.enter_context(servers.aiosmtpd_server(office, **switches))

        yield started


@pytest.fixture
def server(start: Callable[..., RunningServer]) -> RunningServer:
    return start()


@contextlib.contextmanager
def way(server: RunningServer, **options: Any) -> Iterator[Any]:
    timeout_s = options.pop("timeout_s", 10)
    transport = opened(server, limits=PartnerLimits(timeout_s=timeout_s), **options)
    with contextlib.closing(transport):
        yield transport


# ---------------------------------------------------------------------- the message


def test_the_partner_gets_a_message_with_the_file(server: RunningServer, office: PostOffice) -> None:
    """
    From whom, to whom, about what, and the file byte for byte under its name and type.
    """
    said = {"subject": "{count} orders: {fulfilment_ids}", "text": "See {name}"}
    content = bytes(range(256)) * 100 + b"\n.\n..\r\n.\r\n"
    with way(server, cc=["Lager <lager@acme.example>"], **said) as transport:
        receipt = transport.send(
            delivery(content, fulfilment_ids=["A1", "A2"], content_type="text/csv; charset=cp1252")
        )

    [message] = office.messages
    assert (message["From"], message["To"]) == ("Shop <orders@shop.example>", "desk@acme.example")
    assert (message["Cc"], message["Subject"]) == ("Lager <lager@acme.example>", "2 orders: A1, A2")
    assert message["X-Fcflow-Delivery"] == "key-1"
    assert message["Auto-Submitted"] == "auto-generated"
    text, file = list(message.iter_parts())
    assert text.get_content().splitlines() == ["See orders-1.csv"]
    assert (file.get_content_type(), file.get_param("charset"), file.get_filename()) == (
        "text/csv",
        "cp1252",
        "orders-1.csv",
    )
    assert file.is_attachment()
    assert files_of(message) == {"orders-1.csv": content}
    assert office.envelopes == [("orders@shop.example", ("desk@acme.example", "lager@acme.example"))]
    assert receipt.answer == "250 queued as 1"


def test_a_repeat_is_recognised_by_its_message_id(server: RunningServer, office: PostOffice) -> None:
    """
    The same at every attempt, in every process; another key has another.
    """
    for key in ("key-1", "key-1", "key-2"):
        with way(server) as transport:
            transport.send(delivery(key=key))

    one, again, other = [message["Message-ID"] for message in office.messages]
    assert one == again != other
    assert one.endswith("@shop.example>")


def test_no_line_is_longer_than_it_may_be(server: RunningServer, office: PostOffice) -> None:
    """
    Whatever the file, the names and the texts are; all of it in ASCII.
    """
    many = [f"Überlange Abteilung Nummer {n} <desk-{n}@acme.example>" for n in range(60)]
    with way(server, to=many, subject="ä" * 190, text="y" * 5000) as transport:
        transport.send(delivery(b"x" * 100_000, name="ö" * 100 + ".csv"))

    assert max(map(len, office.raw[0].split(b"\r\n"))) <= 998
    assert office.raw[0].isascii()
    assert files_of(office.messages[0]) == {"ö" * 100 + ".csv": b"x" * 100_000}
    assert len(office.envelopes[0][1]) == 60
    assert office.messages[0]["Subject"] == "ä" * 190


@pytest.mark.parametrize(
    "name", ["Müller, Söhne & Co. (Lager)", 'The "Best", Ltd', "O'Neil; <x>", "株式会社", "a" * 150]
)
def test_a_name_stays_a_name(server: RunningServer, office: PostOffice, name: str) -> None:
    """
    Commas, quotes and letters of any alphabet never make a second address.
    """
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    with way(server, to=f"{quoted} <desk@acme.example>") as transport:
        transport.send(delivery())

    [address] = office.messages[0]["To"].addresses
    assert (address.display_name, address.addr_spec) == (name, "desk@acme.example")
    assert office.envelopes[0][1] == ("desk@acme.example",)


def test_other_alphabets_reach_their_mailboxes(server: RunningServer, office: PostOffice) -> None:
    """
    A domain is written in ASCII; a name before the @ needs a server that knows SMTPUTF8.
    """
    with way(server, to=["büro@bücher.example", "desk@bücher.example"]) as transport:
        transport.send(delivery())

    assert office.envelopes[0][1] == ("büro@xn--bcher-kva.example", "desk@xn--bcher-kva.example")
    assert "To: büro@xn--bcher-kva.example, desk@xn--bcher-kva.example" in office.raw[0].decode()


def test_a_server_without_utf8_is_told_nothing_it_cannot_read(
    start: Callable[..., RunningServer], office: PostOffice
) -> None:
    """
    The error says which extension is missing, and nothing is sent.
    """
    with (
        way(start(utf8=False), to="büro@acme.example") as transport,
        pytest.raises(TransportUnsupportedError, match="SMTPUTF8"),
    ):
        transport.send(delivery())
    assert office.messages == []


@pytest.mark.parametrize(
    "address",
    ["desk", "desk@", "@acme.example", "a@b@c", "desk@acme.example\r\nBcc: x@y", "a b@c.example", "x@-.example"],
)
@pytest.mark.parametrize("option", ["from", "to", "cc"])
def test_what_is_no_address_is_a_fault_of_the_configuration(option: str, address: str) -> None:
    """
    Before anything is connected, with the name of the option.
    """
    options = {"from": "orders@shop.example", "to": "desk@acme.example", option: address}
    connection = Connection(url="smtp://127.0.0.1", options=options)
    with pytest.raises(ConfigError) as caught:
        smtp.build(Endpoint(partner="acme", connection=connection, resolve=str))
    assert [fault.path for fault in caught.value.faults] == [f"$.options.{option}"]


def test_nothing_of_an_order_makes_a_header(server: RunningServer, office: PostOffice) -> None:
    """
    Ends of lines in what fills a subject are blanks; a key with them is refused.
    """
    evil = "A1\r\nBcc: victim@example.com\r\n\r\nbody"
    with way(server, subject="Orders {fulfilment_ids}", text="{fulfilment_ids}") as transport:
        transport.send(delivery(fulfilment_ids=[evil]))
        with pytest.raises(TransportUnsupportedError):
            transport.send(delivery(key="k\r\nBcc: victim@example.com"))

    [message] = office.messages
    assert message["Bcc"] is None
    assert message["Subject"] == "Orders A1 Bcc: victim@example.com body"
    assert office.envelopes[0][1] == ("desk@acme.example",)


@pytest.mark.parametrize(
    "kind", ["", "text", "multipart/mixed", "message/rfc822", 'text/csv; x="a\r\nBcc: b"', "a/b\r\nX: y"]
)
def test_an_odd_content_type_still_carries_the_file(server: RunningServer, office: PostOffice, kind: str) -> None:
    """
    As plain bytes, and without a header of its own.
    """
    with way(server) as transport:
        transport.send(delivery(content_type=kind))

    assert files_of(office.messages[0]) == {"orders-1.csv": b"A1;1\r\n"}
    assert not {"Bcc", "X"} & set(list(office.messages[0].iter_attachments())[0].keys())  # noqa: RUF015


def test_a_feed_may_write_to_somebody_else(server: RunningServer, office: PostOffice) -> None:
    """
    Options of the orders feed win; those of a feed that only replies are of another transport.
    """
    with way(server) as transport:
        transport.send(delivery(feed=orders(options={"to": "night@acme.example", "subject": "N"})))
        transport.send(delivery(feed=orders(kind="status", options={"from": ["x"], "subject": "*"})))

    assert [to for _, to in office.envelopes] == [("night@acme.example",), ("desk@acme.example",)]
    assert [message["Subject"] for message in office.messages] == ["N", "orders-1.csv"]


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("code", "error"),
    [("550 no such user", TransportRefusedError), ("450 try later", TransportUnavailableError)],
)
def test_one_refused_recipient_is_enough(
    server: RunningServer, office: PostOffice, code: str, error: type[TransportError]
) -> None:
    """
    Nobody gets the message, leave to publish is not asked for, and the connection goes on.
    """
    asked: list[int] = []
    with way(server, to=["desk@acme.example", "gone@acme.example"]) as transport:
        office.replies["gone@acme.example"] = code
        with pytest.raises(error, match=r"gone@acme\.example"):
            transport.send(delivery(publishing=lambda: asked.append(1)))
        assert (asked, office.messages) == ([], [])
        assert "RSET" in office.commands

        office.replies.clear()
        transport.send(delivery())
    assert (len(office.messages), office.logins) == (1, 1)


@pytest.mark.parametrize(
    ("command", "answer", "error"),
    [
        ("MAIL", "550 not from you", TransportRefusedError),
        ("MAIL", "451 later", TransportUnavailableError),
        ("MAIL", "552 too large", TransportRefusedError),
        ("DATA", "554 no", TransportRefusedError),
        ("DATA", "421 closing", TransportUnavailableError),
        ("END", "554 spam", TransportRefusedError),
        ("END", "452 full", TransportUnavailableError),
        ("END", "354 what", TransportUnclearError),
        ("EHLO", "421 busy", TransportUnavailableError),
        ("AUTH", "454 later", TransportUnavailableError),
        ("AUTH", "535 wrong", TransportLoginError),
        ("STARTTLS", "454 no certificate today", TransportUntrustedError),
    ],
)
def test_an_answer_is_what_it_says(
    server: RunningServer, office: PostOffice, command: str, answer: str, error: type[TransportError]
) -> None:
    """
    Refused, later, wrong login, untrusted; only after the end of the data may it be unclear. Then the next one works.
    """
    office.replies[command] = answer
    if command == "EHLO":
        office.replies["HELO"] = answer
    with way(server) as transport:
        with pytest.raises(error, match=answer.split()[-1]) as caught:
            transport.send(delivery())
        assert type(caught.value) is error
        assert office.messages == []

        office.replies.clear()
        transport.send(delivery())
    assert len(office.messages) == 1


def test_too_large_a_message_is_refused_before_it_is_sent(
    start: Callable[..., RunningServer], office: PostOffice
) -> None:
    """
    The server says how much it takes; the message is larger than the file.
    """
    with way(start(size=10_000)) as transport:
        with pytest.raises(TransportRefusedError, match="10000"):
            transport.send(delivery(b"x" * 9_000))
        transport.send(delivery(b"x" * 5_000))
    assert len(office.messages) == 1


def test_a_login_that_the_server_does_not_offer_is_no_login(start: Callable[..., RunningServer]) -> None:
    """
    The error says what it offers.
    """
    with way(start(mechanisms=())) as transport, pytest.raises(TransportLoginError, match="none"):
        transport.send(delivery())


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_the_one_way_that_is_offered_is_taken(
    start: Callable[..., RunningServer], office: PostOffice, mechanism: str
) -> None:
    """
    Once: each try of a wrong password counts.
    """
    server = start(mechanisms=(mechanism,))
    with way(server) as transport:
        transport.send(delivery())
    with way(server, password="wrong-ü") as transport, pytest.raises(TransportLoginError):
        transport.send(delivery())
    assert (len(office.messages), office.logins) == (1, 2)


def test_without_a_secret_nobody_logs_in(server: RunningServer, office: PostOffice) -> None:
    """
    Which some servers do not like.
    """
    with way(server, secret="") as transport, pytest.raises(TransportLoginError, match="530"):
        transport.send(delivery())
    assert office.logins == 0


# ---------------------------------------------------------------------- TLS


@pytest.mark.fault(row=32, invariants="I9 I10")
def test_a_server_without_starttls_is_told_nothing(start: Callable[..., RunningServer], office: PostOffice) -> None:
    """
    Whether it never had TLS or somebody between took it out of its answer.
    """
    server = attrs.evolve(start(tls=None, identity=None), certificate=None)
    with way(server) as transport, pytest.raises(TransportUntrustedError, match="nothing is sent in clear"):
        transport.send(delivery())
    assert (office.messages, office.logins) == ([], 0)


def test_in_clear_only_where_it_is_asked_for(start: Callable[..., RunningServer], office: PostOffice) -> None:
    """
    And the check says so.
    """
    with way(attrs.evolve(start(tls=None, identity=None), certificate=None), tls="none") as transport:
        transport.send(delivery())
        assert [finding.code for finding in transport.check()] == ["", "transport.in_clear"]
    assert len(office.messages) == 1


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("fault", ["unknown authority", "another name", "expired"])
@pytest.mark.fault(row=32, invariants="I10")
def test_a_certificate_that_is_not_accepted_ends_it(
    start: Callable[..., RunningServer], office: PostOffice, tmp_path: Any, tls: str, fault: str
) -> None:
    """
    No login, no message, no second try without TLS.
    """
    made = {
        "unknown authority": lambda: servers.certificate(tmp_path / "one"),
        "another name": lambda: servers.certificate(tmp_path / "two", "other.example"),
        "expired": lambda: servers.certificate(tmp_path / "three", expired=True),
    }[fault]()
    options = {"ca_file": None} if fault == "unknown authority" else {}
    with (
        way(start(tls=tls, identity=made), **options) as transport,
        pytest.raises(TransportUntrustedError, match="certificate not accepted"),
    ):
        transport.send(delivery())
    assert (office.messages, office.logins) == ([], 0)


def test_the_name_of_the_certificate_can_be_said(
    start: Callable[..., RunningServer], office: PostOffice, tmp_path: Any
) -> None:
    """
    Where a server is reached by an address or an alias.
    """
    server = start(identity=servers.certificate(tmp_path / "tls", "mail.acme.example"))
    with way(server, server_name="mail.acme.example") as transport:
        transport.send(delivery())
    assert len(office.messages) == 1


# ---------------------------------------------------------------------- the network


def test_a_lost_answer_to_the_message_is_unclear(start: Callable[..., RunningServer], office: PostOffice) -> None:
    """
    The server has the message and nobody heard it; it cannot be asked.
    """
    server = attrs.evolve(start(tls=None, identity=None), certificate=None)
    with FaultProxy(("127.0.0.1", server.port)) as proxy, way(server, port=proxy.port, tls="none") as transport:
        proxy.swallow_reply(b"250 queued")
        with pytest.raises(TransportUnclearError):
            transport.send(delivery())
        assert len(office.messages) == 1
        assert transport.look_up(delivery()) is Presence.UNKNOWN


@pytest.mark.parametrize("when", ["before", "after"])
def test_whatever_is_cut_nothing_is_lost_or_hidden(
    start: Callable[..., RunningServer], office: PostOffice, when: str
) -> None:
    """
    Cut at each line that leaves: an error before publishing means no message, and after it the outcome is unclear.
    """
    server = attrs.evolve(start(tls=None, identity=None), certificate=None)
    outcomes: set[str] = set()
    with FaultProxy(("127.0.0.1", server.port)) as proxy:
        for nth in range(1, 60):
            office.messages.clear()
            asked: list[int] = []
            proxy.break_command(nth, when)
            with way(server, port=proxy.port, tls="none") as transport:
                try:
                    transport.send(delivery(publishing=partial(asked.append, 1)))
                    outcomes.add("sent")
                except TransportUnclearError:
                    assert asked
                    outcomes.add("unclear")
                except TransportError:
                    assert (asked, office.messages) == ([], [])
                    outcomes.add("not sent")
                else:
                    assert len(office.messages) == 1
                    break
    assert outcomes == {"not sent", "unclear", "sent"}


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("how", ["fin", "rst", "stall"])
@pytest.mark.parametrize("at", ["up", "down"])
def test_cut_anywhere_the_error_is_ours(
    start: Callable[..., RunningServer], office: PostOffice, tls: str, how: str, at: str
) -> None:
    """
    After so many bytes each way, in the midst of greeting, handshake, login and data.
    """
    server = start(tls=tls)
    with FaultProxy(("127.0.0.1", server.port)) as proxy:
        for count in (0, 3, 40, 200, 700, 1500, 2500, 20_000):
            office.messages.clear()
            asked: list[int] = []
            proxy.control = Channel(**{f"cut_{at}_after": count}, how=how)
            with way(server, port=proxy.port, timeout_s=0.5 if how == "stall" else 10) as transport:
                began = time.monotonic()
                with contextlib.suppress(TransportUnclearError):
                    try:
                        transport.send(delivery(b"x" * 50_000, publishing=partial(asked.append, 1)))
                    except TransportUnclearError:
                        assert asked
                        raise
                    except TransportError:
                        assert (asked, office.messages) == ([], [])
                    else:
                        assert len(office.messages) == 1
                assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "channel",
    [
        Channel(silent=True),
        Channel(banner=b"\x00\xff\xfe\r\n"),
        Channel(banner=b"220-" + b"x" * 9000 + b"\r\n"),
        Channel(banner=b"220-a\r\n" * 500),
        Channel(banner=b"2"),
        Channel(banner=b"hello\r\n"),
        Channel(banner=b"-22 x\r\n"),
        Channel(banner=b"421 too many\r\n"),
        Channel(banner=b"554 go away\r\n"),
    ],
    ids=["silent", "garbage", "endless line", "endless", "slow", "no code", "negative", "421", "554"],
)
def test_whatever_the_server_says_first_the_error_is_ours(server: RunningServer, channel: Channel) -> None:
    """
    And it comes within the deadline.
    """
    with FaultProxy(("127.0.0.1", server.port)) as proxy, way(server, port=proxy.port, timeout_s=0.5) as transport:
        proxy.control = channel
        with pytest.raises((TransportUnavailableError, TransportTimeoutError)):
            transport.send(delivery())


@contextlib.contextmanager
def scripted(*lines: bytes) -> Iterator[int]:
    """A server that says each line when something comes, whatever it is; the first at once. Gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                held, _ = listener.accept()
                with held:
                    for line in lines:
                        held.sendall(line)
                        if not held.recv(65536):
                            return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.close()
        thread.join(5)


@pytest.mark.fault(row=32, invariants="I10")
def test_what_is_said_before_tls_is_not_believed_after_it(server: RunningServer) -> None:
    """
    Answers that were slipped in behind the one to STARTTLS count for nothing.
    """
    slipped = b"220 go\r\n250-x\r\n250 AUTH PLAIN\r\n235 welcome\r\n"
    with (
        scripted(b"220 hello\r\n", b"250-x\r\n250 STARTTLS\r\n", slipped, b"") as port,
        way(server, port=port, timeout_s=2) as transport,
        pytest.raises(TransportError) as caught,
    ):
        transport.send(delivery())
    assert not isinstance(caught.value, TransportUnclearError)


@pytest.mark.parametrize("last", [b"250", b"25", b"", b"250 OK", b"\xff\xff\r\n", b"250-more\r\n", b"999 x\r\n"])
def test_half_an_answer_is_none(server: RunningServer, last: bytes) -> None:
    """
    To the end of the data: only a whole line with a code says that the message was taken.
    """
    script: Sequence[bytes] = [b"220 hi\r\n", b"250 x\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"]
    with (
        _told(*script, end=last) as port,
        way(attrs.evolve(server, certificate=None), port=port, tls="none", secret="", timeout_s=2) as transport,
        pytest.raises(TransportUnclearError),
    ):
        transport.send(delivery())


@contextlib.contextmanager
def _told(*lines: bytes, end: bytes) -> Iterator[int]:
    """A server that answers commands with *lines* and the end of the data with *end*, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                held, _ = listener.accept()
                with held, held.makefile("rb") as stream:
                    for line in lines:
                        held.sendall(line)
                        if line is not lines[-1]:
                            stream.readline()
                    while stream.readline() not in (b".\r\n", b""):
                        pass
                    held.sendall(end)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)


def test_one_connection_serves_a_run(server: RunningServer, office: PostOffice) -> None:
    """
    Ten messages log in once.
    """
    with way(server) as transport:
        for number in range(10):
            transport.send(delivery(key=f"key-{number}"))
    assert (len(office.messages), office.logins) == (10, 1)


def test_a_refused_publishing_leaves_the_next_message_alone(server: RunningServer, office: PostOffice) -> None:
    """
    What was handed over without its end is not in front of the next one.
    """

    def refuse() -> None:
        raise KeyError("lease lost")

    with way(server) as transport:
        with pytest.raises(KeyError):
            transport.send(delivery(b"first", publishing=refuse))
        transport.send(delivery(b"second"))
    assert [files_of(message) for message in office.messages] == [{"orders-1.csv": b"second"}]


# ---------------------------------------------------------------------- secrets


@pytest.mark.parametrize("secret", ["password", "token"])
@pytest.mark.parametrize("form", ["plain", "coded"])
def test_a_server_that_repeats_the_secret_does_not_show_it(
    server: RunningServer, office: PostOffice, caplog: Any, capsys: Any, monkeypatch: Any, secret: str, form: str
) -> None:
    """
    Neither the error, nor its causes, nor the variables of its frames, nor the log or the library's debugging.
    """
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(smtplib.SMTP, "debuglevel", 2)
    said = {
        ("password", "coded"): base64.b64encode(f"\0shop\0{CANARY}".encode()).decode(),
        ("token", "coded"): base64.b64encode(f"user=shop\x01auth=Bearer {CANARY}\x01\x01".encode()).decode(),
    }.get((secret, form), CANARY)
    office.replies["AUTH"] = f"535 {said} is wrong"
    with (
        way(server, password=CANARY, secret=secret) as transport,
        pytest.raises(TransportLoginError, match=r"535 \*\*\* is wrong") as caught,
    ):
        transport.send(delivery())

    assert caught.value.__traceback__ is not None
    below = caught.value.__traceback__.tb_next
    shown = traceback.TracebackException(type(caught.value), caught.value, below, capture_locals=True)
    everything = "".join([*shown.format(), caplog.text, repr(transport), *capsys.readouterr()])
    assert CANARY not in everything
    assert said not in everything


def test_looking_and_fetching_are_refused(server: RunningServer) -> None:
    """
    A failed look is an error, and here every look fails.
    """
    with way(server) as transport:
        with pytest.raises(TransportUnsupportedError, match="only sends"):
            transport.list(orders(kind="status"), None)
        with pytest.raises(TransportUnsupportedError):
            transport.fetch(None, io.BytesIO())
        assert transport.settle(None, None) is None


def test_the_check_says_what_the_server_takes(server: RunningServer, office: PostOffice) -> None:
    """
    It logs in and begins no message.
    """
    with way(server) as transport:
        [finding] = transport.check()
    assert "33554432 bytes" in finding.message
    assert not {"DATA", "MAIL"} & set(office.commands)
