"""IMAP: which attachments are taken, how messages are put away, and what goes wrong with servers and messages."""

from __future__ import annotations

import base64
import contextlib
import imaplib
import io
import logging
import re
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from fcflow.errors import (
    ConfigError,
    TransportCorruptError,
    TransportError,
    TransportLoginError,
    TransportNotFoundError,
    TransportRefusedError,
    TransportTimeoutError,
    TransportTooLargeError,
    TransportUnavailableError,
    TransportUnsupportedError,
    TransportUntrustedError,
)
from fcflow.model import Connection, PartnerLimits
from fcflow.testing import servers
from fcflow.testing.faults import Channel, FaultProxy
from fcflow.testing.mail import Mailbox, delivery, opened, orders, status, written
from fcflow.testing.servers import RunningServer
from fcflow.transports import _imapserver, imap
from fcflow.transports.base import Endpoint, Offer, Outcome, Query

pytestmark = [pytest.mark.real_server, pytest.mark.parametrize("server", ["dovecot"], indirect=True)]

CANARY = "canary-7f3a"


@pytest.fixture
def box(server: RunningServer) -> Iterator[Mailbox]:
    box = Mailbox(server)
    yield box
    box.close()


@contextlib.contextmanager
def way(server: RunningServer, box: Mailbox | None, **options: Any) -> Iterator[Any]:
    limits = options.pop("limits", {"timeout_s": 10})
    transport = opened(server, user="" if box is None else box.user, limits=PartnerLimits(**limits), **options)
    with contextlib.closing(transport):
        yield transport


def offers(transport: Any, **changes: Any) -> list[Offer]:
    return list(transport.list(status(**changes), Query()))


def names(transport: Any, **changes: Any) -> list[str]:
    return [offer.name for offer in offers(transport, **changes)]


def fetched(transport: Any, offer: Offer) -> bytes:
    sink = io.BytesIO()
    transport.fetch(offer, sink)
    return sink.getvalue()


# ---------------------------------------------------------------------- which ones


def test_only_named_attachments_that_match_are_offered(server: RunningServer, box: Mailbox) -> None:
    """
    In the order in which their messages arrived; texts, pictures and mails without files stay where they are.
    """
    box.send(**{"b.csv": b"2", "logo.png": b"x"})
    box.put(written({}))
    box.send(**{"a.csv": b"1"})
    with way(server, box) as transport:
        found = offers(transport, match="*.csv")
        assert [(offer.name, fetched(transport, offer)) for offer in found] == [("b.csv", b"2"), ("a.csv", b"1")]
        assert [offer.modified_at for offer in found] == sorted(offer.modified_at for offer in found)
        assert len({offer.etag for offer in found}) == 2
        validity, uid, part = found[0].etag.split("/")
        assert f'"validity": {validity}, "uid": {uid}, "part": "{part}"' in found[0].token


def test_looking_and_taking_mark_nothing(server: RunningServer, box: Mailbox) -> None:
    """
    A message that a person has not read stays unread.
    """
    box.send(**{"a.csv": b"1"})
    with way(server, box) as transport:
        [offer] = offers(transport)
        fetched(transport, offer)
        transport.check()
    assert [flags for _, flags, _ in box.messages()] == [frozenset()]


@pytest.mark.parametrize(
    ("allowed", "taken"),
    [
        ("desk@acme.example", ["1", "4"]),
        (["DESK@acme.example", "other@acme.example"], ["1", "2", "4"]),
        ("@acme.example", ["1", "2", "4"]),
        (["büro@acme.example", "desk@acme.example"], ["1", "4"]),
        (["a@a.a", "b@b.b", "@evil.example"], ["3", "5"]),
    ],
)
def test_only_messages_of_those_who_may_are_taken(
    server: RunningServer, box: Mailbox, allowed: Any, taken: list[str]
) -> None:
    """
    By the address, not by the name before it; of several senders all must be allowed.
    """
    for name, sender in {
        "1": "desk@acme.example",
        "2": "other@acme.example",
        "3": '"desk@acme.example" <x@evil.example>',
        "4": "Acme <Desk@ACME.example>",
        "5": "x@evil.example, y@evil.example",
        "6": "desk@acme.example, x@evil.example",
        "7": "desk@acme.example.evil.example",
        "8": "xdesk@notacme.example",
    }.items():
        message = written({name: b"1"})
        del message["From"]
        message["From"] = sender
        box.put(message)
    box.put(b"Subject: nobody\r\nContent-Disposition: attachment; filename=9\r\n\r\nx")
    with way(server, box) as transport:
        assert names(transport, options={"from": allowed}) == taken


def test_only_messages_about_it_are_taken(server: RunningServer, box: Mailbox) -> None:
    """
    By a pattern over the subject as people read it, in any case.
    """
    for number, subject in enumerate(["Stock of today", "Your bestand übersicht", "Hello", "stock " + "x" * 200]):
        box.put(written({f"{number}.csv": b"1"}, subject=subject))
    with way(server, box) as transport:
        assert names(transport, options={"subject": "STOCK*"}) == ["0.csv", "3.csv"]
        assert names(transport, options={"subject": "*ÜBERSICHT"}) == ["1.csv"]


def test_old_messages_can_be_left_out(server: RunningServer, box: Mailbox) -> None:
    """
    By when they arrived, not by what they say.
    """
    box.put(written({"old.csv": b"1"}), at='"01-Jan-2020 10:00:00 +0000"')
    box.put(written({"new.csv": b"1"}))
    with way(server, box) as transport:
        assert names(transport, options={"max_age_days": 3}) == ["new.csv"]
        assert names(transport) == ["old.csv", "new.csv"]


def test_messages_that_somebody_deleted_are_not_there(server: RunningServer, box: Mailbox) -> None:
    """
    Marked, but not expunged yet.
    """
    box.put(written({"a.csv": b"1"}), flags="(\\Deleted)")
    with way(server, box) as transport:
        assert names(transport) == []


def test_what_does_not_match_keeps_nothing_from_being_seen(server: RunningServer, box: Mailbox) -> None:
    """
    A bound is on what is offered, not on what lies there.
    """
    for number in range(230):
        box.put(b"From: spam@x.example\r\nSubject: buy %d\r\n\r\nnow" % number)
    box.send(**{"a.csv": b"1"})
    with way(server, box, limits={"timeout_s": 20, "max_files": 2}) as transport:
        assert names(transport) == ["a.csv"]


def test_the_inbox_is_where_nothing_else_is_said(server: RunningServer, box: Mailbox) -> None:
    """
    Otherwise a folder, below that of the URL; names may hold blanks and letters of any alphabet.
    """
    box.put(written({"inbox.csv": b"1"}), "INBOX")
    box.make("Auftr&AOQ-ge")
    box.make("Auftr&AOQ-ge/von &- nach")
    box.put(written({"deep.csv": b"1"}), "Auftr&AOQ-ge/von &- nach")
    with way(server, box) as transport:
        assert names(transport, path="") == ["inbox.csv"]
        assert names(transport, path="Aufträge/von & nach") == ["deep.csv"]
    with way(server, box, folder="/Auftr%C3%A4ge") as transport:
        [offer] = offers(transport, path="von & nach")
        transport.settle(offer, Outcome.APPLIED)
    assert box.files("Auftr&AOQ-ge/von &- nach/archive") == {"deep.csv": b"1"}


def test_a_folder_that_is_not_there_is_an_error(server: RunningServer, box: Mailbox) -> None:
    """
    Never nothing; and the next look works.
    """
    with way(server, box) as transport:
        with pytest.raises(TransportNotFoundError, match="nowhere"):
            names(transport, path="nowhere")
        assert names(transport) == []


def test_orders_are_neither_sent_nor_listed(server: RunningServer, box: Mailbox) -> None:
    """
    Both say so.
    """
    with way(server, box) as transport:
        with pytest.raises(TransportUnsupportedError, match="only receives"):
            transport.send(delivery())
        with pytest.raises(TransportUnsupportedError):
            transport.list(orders(), Query())


# ---------------------------------------------------------------------- names and contents


def raw(*parts: str, boundary: str = "b") -> bytes:
    """A message of parts as they are."""
    head = f"From: desk@acme.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary={boundary}\r\n\r\n"
    return (head + "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n").encode()


def part(disposition: str, body: str = "MQ==", encoding: str = "base64", kind: str = "text/csv") -> str:
    lines = [f"Content-Type: {kind}", f"Content-Transfer-Encoding: {encoding}"]
    lines += [f"Content-Disposition: {disposition}"] if disposition else []
    return "\r\n".join([*lines, "", body])


@pytest.mark.parametrize(
    ("disposition", "kind", "name"),
    [
        ('attachment; filename="plain.csv"', "text/csv", "plain.csv"),
        ("", 'text/csv; name="by type.csv"', "by type.csv"),
        ("inline; filename=inline.csv", "text/csv", "inline.csv"),
        ("attachment; filename==?utf-8?b?w6QuY3N2?=", "text/csv", "ä.csv"),
        ('attachment; filename="=?iso-8859-1?q?=E4?= =?iso-8859-1?q?=F6.csv?="', "text/csv", "äö.csv"),
        ("attachment; filename*=utf-8''%C3%A4%20x.csv", "text/csv", "ä x.csv"),
        ("attachment; filename*0*=utf-8''%C3%A4; filename*1*=%C3%B6; filename*2=.csv", "text/csv", "äö.csv"),
        ("attachment; filename*0=long; filename*1=er.csv", "text/csv", "longer.csv"),
        ("attachment; filename*=unknown-9''x.csv", "text/csv", "x.csv"),
        ('attachment; filename="quote\\"d.csv"', "text/csv", 'quote"d.csv'),
        ('attachment; filename="{5}.csv"', "text/csv", "{5}.csv"),
        ("attachment; filename=rohä.csv", "text/csv", "rohä.csv"),
    ],
)
def test_a_name_is_read_however_it_is_written(
    server: RunningServer, box: Mailbox, disposition: str, kind: str, name: str
) -> None:
    """
    Plain, in encoded words, in pieces and other alphabets, in the type only.
    """
    box.put(raw(part(disposition, kind=kind)))
    with way(server, box) as transport:
        [offer] = offers(transport, match="*.csv")
        assert offer.name == name
        assert fetched(transport, offer) == b"1"


@pytest.mark.parametrize(
    "name",
    ["..%2F..%2Fx.csv", "%2Fetc%2Fx.csv", "a%00b.csv", "a%0D%0Ab.csv", "a%5Cb.csv", "C%3Ax.csv", "a" * 300 + ".csv"],
)
@pytest.mark.fault(row=24, invariants="I8")
def test_a_hostile_name_is_not_offered(server: RunningServer, box: Mailbox, name: str, caplog: Any) -> None:
    """
    Nor does it stop the others; a warning names it once.
    """
    box.put(raw(part(f"attachment; filename*=utf-8''{name}"), part("attachment; filename=good.csv")))
    with way(server, box) as transport:
        assert names(transport) == ["good.csv"]
        assert names(transport) == ["good.csv"]
    assert len(caplog.records) == 1


def test_parts_of_parts_are_found(server: RunningServer, box: Mailbox) -> None:
    """
    Also where mail programs nest them; a message inside the message is not opened: it may be our own, returned.
    """
    inner = (
        raw(part("attachment; filename=deep.csv", "Mg=="), boundary="c").decode().partition("MIME-Version: 1.0\r\n")[2]
    )
    returned = (
        "Content-Type: message/rfc822; name=old.csv\r\n\r\n"
        + raw(part("attachment; filename=returned.csv"), boundary="d").decode()
    )
    box.put(raw(inner, part("attachment; filename=flat.csv"), returned))
    with way(server, box) as transport:
        found = offers(transport)
        assert {offer.name: fetched(transport, offer) for offer in found} == {"deep.csv": b"2", "flat.csv": b"1"}


def test_a_message_that_is_the_file(server: RunningServer, box: Mailbox) -> None:
    """
    Without any parts, as some machines send them.
    """
    box.put(b"From: desk@acme.example\r\nContent-Type: text/csv; name=a.csv\r\n\r\nA1;1\r\n")
    with way(server, box) as transport:
        [offer] = offers(transport)
        assert fetched(transport, offer) == b"A1;1\r\n"


@pytest.mark.parametrize(
    ("encoding", "body", "content"),
    [
        ("base64", "QTE7MQ0K", b"A1;1\r\n"),
        ("BASE64", "QTE7\r\n  MQ0K\r\n", b"A1;1\r\n"),
        ("quoted-printable", "M=C3=BCg=\r\n;1=0D=0A", "Müg;1\r\n".encode()),
        ("7bit", "A1;1", b"A1;1"),
        ("8bit", "Müg;1", "Müg;1".encode()),
        ("base64", "", b""),
    ],
)
def test_contents_are_decoded(server: RunningServer, box: Mailbox, encoding: str, body: str, content: bytes) -> None:
    """
    Byte for byte.
    """
    box.put(raw(part("attachment; filename=a.csv", body, encoding)))
    with way(server, box) as transport:
        [offer] = offers(transport)
        assert fetched(transport, offer) == content


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("base64", "QTE7MQ0"),
        ("base64", "QTE7!MQ0K"),
        ("base64", "QTE=QTE7"),
        ("base64", "Q"),
        ("base64", "Q===" + "\r\n" + "QTE7"),
        ("quoted-printable", "a=ZZb"),
        ("quoted-printable", "a=C"),
    ],
)
def test_a_content_that_was_cut_or_mangled_is_not_taken(
    server: RunningServer, box: Mailbox, encoding: str, body: str
) -> None:
    """
    A lenient reader would take half a file for a whole one.
    """
    box.put(raw(part("attachment; filename=a.csv", body, encoding)))
    with way(server, box) as transport:
        [offer] = offers(transport)
        with pytest.raises(TransportCorruptError):
            fetched(transport, offer)


def test_an_encoding_that_nobody_knows_is_not_offered(server: RunningServer, box: Mailbox, caplog: Any) -> None:
    """
    And said.
    """
    box.put(raw(part("attachment; filename=a.csv", encoding="x-uuencode"), part("attachment; filename=b.csv")))
    with way(server, box) as transport:
        assert names(transport) == ["b.csv"]
    assert "x-uuencode" in caplog.text


def test_large_attachments_come_in_pieces(server: RunningServer, box: Mailbox) -> None:
    """
    Of whatever size, at and around the ends of pieces.
    """
    sizes = [imap.PIECE // 4 * 3, imap.PIECE - 1, imap.PIECE, imap.PIECE + 1, 3 * imap.PIECE]
    for size in sizes:
        body = (b"0123456789abcdef" * (size // 16 + 1))[:size].decode()
        box.put(raw(part(f"attachment; filename={size}.csv", body, "7bit")))
    box.send(**{"5000000.csv": bytes(range(256)) * 19_532})
    with way(server, box, limits={"timeout_s": 60}) as transport:
        for offer in offers(transport):
            fetch = transport.fetch(offer, io.BytesIO())
            assert fetch.size in (int(offer.name.removesuffix(".csv")), 256 * 19_532)


def test_too_large_an_attachment_is_not_even_asked_for(server: RunningServer, box: Mailbox) -> None:
    """
    The structure says enough.
    """
    box.send(**{"a.csv": b"x" * 3_000_000})
    with (
        FaultProxy(("127.0.0.1", server.port)) as proxy,
        way(server, box, port=proxy.port, limits={"timeout_s": 10, "max_bytes": 1000}) as transport,
    ):
        [offer] = offers(transport)
        before = len(proxy.commands)
        with pytest.raises(TransportTooLargeError):
            fetched(transport, offer)
        assert len(proxy.commands) == before


def test_a_monstrous_message_stops_none_of_the_others(server: RunningServer, box: Mailbox, caplog: Any) -> None:
    """
    Thousands of parts, deep nesting, endless headers: each is skipped with a word, or read.
    """
    box.put(raw(*[part(f"attachment; filename={n}.txt") for n in range(800)]))
    nested = "x"
    for depth in range(60):
        nested = raw(nested, boundary=f"b{depth}").decode().partition("MIME-Version: 1.0\r\n")[2]
    box.put(("From: a@b.example\r\nMIME-Version: 1.0\r\n" + nested).encode())
    box.put(b"From: " + b"(" * 50_000 + b"\r\nSubject: " + b"=?utf-8?q?" * 20_000 + b"\r\n\r\nx")
    box.put(
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment; filename*0=a; "
        b"filename*=b; filename*1*=c%\r\n\r\nx\r\n--b--\r\n"
    )
    box.put(b"\xff\xfe\x00\r\n\r\n")
    box.send(**{"good.csv": b"1"})
    with way(server, box) as transport:
        assert names(transport, match="*.csv") == ["good.csv"]
    assert "parts" in caplog.text


def test_a_message_that_says_too_much_of_itself_is_skipped(
    server: RunningServer, box: Mailbox, monkeypatch: Any, caplog: Any
) -> None:
    """
    The lot it came in is looked at one by one.
    """
    monkeypatch.setattr(_imapserver, "_MOST_OF_ONE", 2000)
    for number in range(9):
        box.send(**{f"{number}.csv": b"1"})
    box.put(raw(*[part(f"attachment; filename={n}.txt") for n in range(450)]))
    box.send(**{"last.csv": b"1"})
    with way(server, box) as transport:
        assert names(transport, match="*.csv") == [*(f"{number}.csv" for number in range(9)), "last.csv"]
    assert "structure has no end" in caplog.text


# ---------------------------------------------------------------------- putting away


@pytest.mark.parametrize("after", ["archive", "delete"])
def test_a_message_goes_when_all_its_files_are_settled(server: RunningServer, box: Mailbox, after: str) -> None:
    """
    Not before; each settled one is not offered again, in no process, and leaves no mark in the archive.
    """
    box.send(**{"a.csv": b"1", "logo.png": b"x", "b.csv": b"2", "c.csv": b"3"})
    for expected in (["a.csv", "b.csv", "c.csv"], ["b.csv", "c.csv"], ["c.csv"]):
        with way(server, box) as transport:
            found = offers(transport, match="*.csv", after=after)
            assert [offer.name for offer in found] == expected
            assert len(box.messages()) == 1
            transport.settle(found[0], Outcome.APPLIED)
            transport.settle(found[0], Outcome.APPLIED)
    assert box.messages() == []
    assert [flags for _, flags, _ in box.messages("out/archive")] == ([frozenset()] if after == "archive" else [])


def test_one_refused_file_takes_its_message_to_the_failed_folder(server: RunningServer, box: Mailbox) -> None:
    """
    Whichever it was, and where applied ones are deleted too.
    """
    for _ in range(2):
        box.send(**{"a.csv": b"1", "b.csv": b"2"})
    with way(server, box) as transport:
        one, two, three, four = offers(transport, after="delete")
        for offer in (one, four):
            transport.settle(offer, Outcome.REFUSED)
    with way(server, box) as transport:
        for offer in (two, three):
            transport.settle(offer, Outcome.APPLIED)
    assert box.messages() == []
    assert len(box.messages("out/failed")) == 2


def test_two_feeds_may_share_a_message(server: RunningServer, box: Mailbox) -> None:
    """
    Each says what else it waits for; whoever comes last puts the message away.
    """
    box.send(**{"status.csv": b"1", "stock.csv": b"2", "logo.png": b"3"})
    statuses = {"match": "status*", "options": {"also": ["stock*"]}}
    stock = {"match": "stock*", "options": {"also": ["status*"]}, "kind": "stock"}
    with way(server, box) as transport:
        [offer] = offers(transport, **statuses)
        transport.settle(offer, Outcome.APPLIED)
        assert (len(box.messages()), names(transport, **statuses)) == (1, [])
    with way(server, box) as transport:
        [offer] = offers(transport, **stock)
        assert fetched(transport, offer) == b"2"
        transport.settle(offer, Outcome.APPLIED)
    assert (len(box.messages()), len(box.messages("out/archive"))) == (0, 1)


def test_a_message_with_nothing_left_to_settle_is_finished(server: RunningServer, box: Mailbox) -> None:
    """
    Both feeds marked theirs at once and neither was last: its file is offered once more, and settling it is enough.
    """
    box.put(written({"a.csv": b"1", "b.csv": b"2"}), flags="(fcflow-applied-2 fcflow-applied-3)")
    with way(server, box) as transport:
        [offer] = offers(transport)
        transport.settle(offer, Outcome.APPLIED)
    assert (box.messages(), len(box.messages("out/archive"))) == ([], 1)


@pytest.mark.parametrize(
    ("flag", "kept"), [("fcflow-done", "fcflow-done"), ("\\Seen", "\\Seen"), ("\\Flagged", "\\Flagged")]
)
def test_a_message_that_stays_can_be_marked(server: RunningServer, box: Mailbox, flag: str, kept: str) -> None:
    """
    And is not looked at again.
    """
    box.send(**{"a.csv": b"1"})
    feed = {"after": "leave", "options": {"done_flag": flag}}
    with way(server, box) as transport:
        [offer] = offers(transport, **feed)
        transport.settle(offer, Outcome.APPLIED)
        assert names(transport, **feed) == []
        assert names(transport, after="leave") == ["a.csv"]
    assert [flags for _, flags, _ in box.messages()] == [{kept}]


def test_an_archive_elsewhere(server: RunningServer, box: Mailbox) -> None:
    """
    A folder with a leading slash is one of the mailbox, not below the feed's; people see it.
    """
    box.send(**{"a.csv": b"1"})
    with way(server, box) as transport:
        [offer] = offers(transport, archive="/Done/acme")
        transport.settle(offer, Outcome.APPLIED)
    assert box.files("Done/acme") == {"a.csv": b"1"}


def test_a_folder_that_was_numbered_anew_is_noticed(server: RunningServer, box: Mailbox) -> None:
    """
    The number of the old message may be another message's now: it is neither taken nor moved.
    """
    box.send(**{"old.csv": b"1"})
    with way(server, box) as transport:
        [offer] = offers(transport)
        box.remove("out")
        time.sleep(1.1)  # UIDVALIDITY counts in seconds
        box.make("out")
        box.send(**{"new.csv": b"2"})
        with way(server, box) as again:
            with pytest.raises(TransportNotFoundError):
                fetched(again, offer)
            again.settle(offer, Outcome.APPLIED)
            assert names(again) == ["new.csv"]
    assert box.files() == {"new.csv": b"2"}


@pytest.mark.parametrize("token", ["", "{}", "[]", '{"folder": "out"}'])
def test_a_token_of_somebody_else_is_an_error(server: RunningServer, box: Mailbox, token: str) -> None:
    """
    Of ours, that says where.
    """
    box.send(**{"a.csv": b"1"})
    with way(server, box) as transport:
        [offer] = offers(transport)
        with pytest.raises(TransportError, match="not one of ours"):
            fetched(transport, attrs.evolve(offer, token=token))


def test_a_token_asks_for_nothing_but_parts(server: RunningServer, box: Mailbox) -> None:
    """
    What stands in it is written into a command.
    """
    box.send(**{"a.csv": b"1"})
    with way(server, box) as transport:
        [offer] = offers(transport)
        evil = re.sub(r'"part": "\d+"', '"part": "1] BODY[2"', offer.token)
        with pytest.raises(TransportError, match="not one of ours"):
            fetched(transport, attrs.evolve(offer, token=evil))


# ---------------------------------------------------------------------- other servers


class Script:
    """A server with answers by command, each with ``{tag}``; what has none is ``OK``. Keeps the commands."""

    def __init__(self, answers: dict[str, str], capabilities: str = "IMAP4rev1 AUTH=PLAIN") -> None:
        self.answers = {"CAPABILITY": f"* CAPABILITY {capabilities}\r\n{{tag}} OK done\r\n", **answers}
        self.commands: list[str] = []
        self.greeting = "* OK ready\r\n"

    @contextlib.contextmanager
    def running(self) -> Iterator[int]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=self._serve, args=(listener,), daemon=True)
            thread.start()
            yield listener.getsockname()[1]
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                held, _ = listener.accept()
                with contextlib.suppress(OSError), held, held.makefile("rb") as stream:
                    self._talk(held, stream)

    def _talk(self, held: socket.socket, stream: Any) -> None:
        held.sendall(self.greeting.encode("latin-1"))
        while line := stream.readline().decode("latin-1").strip():
            tag, _, command = line.partition(" ")
            self.commands.append(command)
            known = [word for word in self.answers if command.startswith(word)]
            said = self.answers[max(known, key=len)] if known else "{tag} OK done\r\n"
            if command.startswith("AUTHENTICATE") and not known:
                held.sendall(b"+ \r\n")
                stream.readline()
            held.sendall(said.replace("{tag}", tag).encode("latin-1"))


SELECTED = "* OK [UIDVALIDITY 7] ok\r\n* OK [PERMANENTFLAGS ({flags})] ok\r\n{tag} OK [READ-WRITE] done\r\n"
STRUCTURE = (
    '(("text" "csv" ("name" "a.csv") NIL NIL "base64" 4 1 NIL NIL NIL)'
    '("text" "csv" ("name" "b.csv") NIL NIL "base64" 4 1 NIL NIL NIL) "mixed")'
)
FETCH = (
    '* 1 FETCH (UID 5 INTERNALDATE " 1-Jan-2026 10:00:00 +0000" FLAGS () ENVELOPE (NIL "x" (("A" NIL "a" "b.c")) '
    "NIL NIL NIL NIL NIL NIL NIL) BODYSTRUCTURE {structure})\r\n"
)


def script(capabilities: str = "IMAP4rev1 AUTH=PLAIN", *, flags: str = "\\*", **answers: str) -> Script:
    selected = SELECTED.replace("{flags}", flags)
    return Script(
        {
            "SELECT": selected,
            "EXAMINE": selected.replace("READ-WRITE", "READ-ONLY"),
            "LIST": '* LIST (\\Noselect) "." ""\r\n{tag} OK done\r\n',
            "UID SEARCH": "* SEARCH 5\r\n{tag} OK done\r\n",
            "UID FETCH 5 (UID INTERNALDATE": FETCH.replace("{structure}", STRUCTURE) + "{tag} OK done\r\n",
            "UID FETCH 5 (UID FLAGS)": "* 1 FETCH (UID 5 FLAGS ())\r\n{tag} OK done\r\n",
            **{name.replace("_", " "): said for name, said in answers.items()},
        },
        capabilities,
    )


@contextlib.contextmanager
def scripted(server: RunningServer, played: Script, **options: Any) -> Iterator[Any]:
    with played.running() as port:
        clear = attrs.evolve(server, scheme="imap", certificate=None)
        with way(clear, None, port=port, **{"tls": "none", "limits": {"timeout_s": 3}, **options}) as transport:
            yield transport


def test_a_server_that_cannot_move_copies_and_expunges_that_one(server: RunningServer) -> None:
    """
    By its number; the folder's delimiter is the server's.
    """
    played = script("IMAP4rev1 AUTH=PLAIN UIDPLUS")
    with scripted(server, played) as transport:
        for offer in offers(transport):
            transport.settle(offer, Outcome.APPLIED)
    steps = [command for command in played.commands if command.startswith(("UID COPY", "UID EXPUNGE"))]
    assert steps == ['UID COPY 5 "out.archive"', "UID EXPUNGE 5"]
    assert "UID STORE 5 +FLAGS.SILENT (\\Deleted)" in played.commands


def test_a_server_that_cannot_expunge_one_keeps_it_marked(server: RunningServer) -> None:
    """
    A plain EXPUNGE would remove what others marked; the check says so.
    """
    played = script()
    with scripted(server, played) as transport:
        for offer in offers(transport, after="delete"):
            transport.settle(offer, Outcome.APPLIED)
        assert "transport.unsupported" in [finding.code for finding in transport.check()]
    assert "UID STORE 5 +FLAGS.SILENT (\\Deleted)" in played.commands
    assert not [command for command in played.commands if "EXPUNGE" in command]


def test_a_server_without_flags_of_our_own_is_remembered_for(server: RunningServer) -> None:
    """
    As long as this process runs; and a flag that cannot be kept is not pretended.
    """
    played = script("IMAP4rev1 AUTH=PLAIN MOVE", flags="\\Seen")
    with scripted(server, played) as transport:
        one, two = offers(transport)
        transport.settle(one, Outcome.APPLIED)
        assert [offer.name for offer in offers(transport)] == ["b.csv"]
        assert not [command for command in played.commands if "MOVE" in command]
        transport.settle(two, Outcome.APPLIED)
        assert [command for command in played.commands if "MOVE" in command]
        [left] = [
            offer for offer in offers(transport, after="leave", options={"done_flag": "x"}) if offer.name == "a.csv"
        ]
        transport.settle(left, Outcome.APPLIED)
        [left] = offers(transport, after="leave", options={"done_flag": "x"})
        with pytest.raises(TransportUnsupportedError, match="keeps no flag"):
            transport.settle(left, Outcome.APPLIED)


def test_a_folder_that_can_only_be_read_is_not_tidied(server: RunningServer) -> None:
    """
    The error says so, and taking still works.
    """
    played = script(SELECT=SELECTED.replace("READ-WRITE", "READ-ONLY"))
    with scripted(server, played) as transport:
        offer = offers(transport)[0]
        with pytest.raises(TransportRefusedError, match="only be read"):
            transport.settle(offer, Outcome.APPLIED)
        assert names(transport) == ["a.csv", "b.csv"]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("{tag} NO [UNAVAILABLE] disk\r\n", TransportUnavailableError),
        ("{tag} NO [NOPERM] not yours\r\n", TransportRefusedError),
        ("{tag} NO no such folder\r\n", TransportNotFoundError),
        ("{tag} BAD what\r\n", TransportUnsupportedError),
        ("{tag} OK done\r\n", TransportUnavailableError),
        ("* BYE gone\r\n", TransportUnavailableError),
        ("nonsense\r\n", TransportUnavailableError),
        ("* OK [UIDVALIDITY x] y\r\n{tag} OK z\r\n", TransportUnavailableError),
        ("* 1 FETCH {999999999999}\r\n", TransportUnavailableError),
        ("* 1 FETCH {99999999999999999999999999}\r\n", TransportUnavailableError),
        ("other1 OK done\r\n", TransportUnavailableError),
        ("* " + "x" * 100, TransportTimeoutError),
        ("* OK [" + "(" * 5000 + "\r\n", TransportTimeoutError),
        ("", TransportTimeoutError),
    ],
)
def test_an_odd_answer_is_an_error_of_ours(server: RunningServer, said: str, error: type[TransportError]) -> None:
    """
    A failed look, never an empty one; and huge numbers reserve no memory.
    """
    played = script(EXAMINE=said)
    with scripted(server, played, limits={"timeout_s": 1}) as transport, pytest.raises(error) as caught:
        names(transport)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "greeting", ["", "* OK", "* PREAUTH hello\r\n", "* BYE busy\r\n", "220 ftp\r\n", "\x00\xff\r\n"]
)
def test_whatever_the_server_says_first_the_error_is_ours(server: RunningServer, greeting: str) -> None:
    """
    And it comes within the deadline; one that skips the login to avoid TLS is not believed.
    """
    played = script()
    played.greeting = greeting
    with (
        scripted(server, played, tls=None, limits={"timeout_s": 0.5}) as transport,
        pytest.raises(
            (TransportUnavailableError, TransportTimeoutError, TransportUntrustedError, TransportUnsupportedError)
        ),
    ):
        names(transport)
    assert not [command for command in played.commands if command.startswith(("AUTH", "LOGIN"))]


def test_a_literal_in_pieces_of_a_structure(server: RunningServer) -> None:
    """
    Names and subjects may come as literals; news of other messages may come between.
    """
    structure = '("text" "csv" ("name" {9}\r\n(a") .csv) NIL NIL "base64" 4 1 NIL NIL NIL)'
    told = "* 3 EXISTS\r\n* 2 FETCH (FLAGS (\\Seen))\r\n" + FETCH.replace("{structure}", structure)
    played = script(**{"UID FETCH 5 (UID INTERNALDATE": told + "* 9 FETCH (UID 77 FLAGS ())\r\n{tag} OK done\r\n"})
    with scripted(server, played) as transport:
        assert names(transport) == ['(a") .csv']


def test_sizes_that_a_server_only_estimates_do_not_cut_a_file(server: RunningServer) -> None:
    """
    The content ends where the server says there is no more.
    """
    played = script(
        **{
            "UID FETCH 5 (UID BODY.PEEK[1]<0.": "* 1 FETCH (UID 5 BODY[1]<0> {8}\r\nQTE7MQ0K)\r\n{tag} OK\x20done\r\n",
            "UID FETCH 5 (UID BODY.PEEK[1]<8.": '* 1 FETCH (UID 5 BODY[1]<8> "")\r\n{tag} OK done\r\n',
        }
    )
    with scripted(server, played) as transport:
        assert fetched(transport, offers(transport)[0]) == b"A1;1\r\n"


def test_another_message_than_the_one_asked_for_is_not_taken(server: RunningServer) -> None:
    """
    Whatever a server says unasked.
    """
    played = script(**{"UID FETCH 5 (UID BODY": "* 1 FETCH (UID 6 BODY[1]<0> {4}\r\nMQ==)\r\n{tag} OK done\r\n"})
    with scripted(server, played) as transport, pytest.raises(TransportNotFoundError):
        fetched(transport, offers(transport)[0])


# ---------------------------------------------------------------------- TLS and login


@pytest.fixture
def starting(tmp_path: Any) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        yield lambda **switches: stack.enter_context(servers.dovecot(tmp_path / "d", **switches))


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("fault", ["unknown authority", "another name", "expired"])
@pytest.mark.fault(row=32, invariants="I10")
def test_a_certificate_that_is_not_accepted_ends_it(
    server: RunningServer, starting: Any, tmp_path: Any, implicit: bool, fault: str
) -> None:
    """
    No login, no second try without TLS.
    """
    names_of = ("other.example",) if fault == "another name" else ()
    other = starting(
        identity=servers.certificate(tmp_path / "tls", *names_of, expired=fault == "expired"), implicit=implicit
    )
    options = {"ca_file": None} if fault == "unknown authority" else {}
    with way(other, None, **options) as transport:
        with pytest.raises(TransportUntrustedError, match="certificate not accepted"):
            names(transport)
        assert [finding.level for finding in transport.check()] == ["error"]
    assert "Login" not in other.log.read_text()


@pytest.mark.parametrize("answer", ["{tag} NO not today\r\n", "{tag} BAD what\r\n"])
@pytest.mark.parametrize("offered", [" STARTTLS", ""])
@pytest.mark.fault(row=32, invariants="I9 I10")
def test_without_tls_nothing_is_said(server: RunningServer, offered: str, answer: str) -> None:
    """
    Whether the server refuses it or somebody between took it out of the answer.
    """
    played = script(f"IMAP4rev1 AUTH=PLAIN{offered}", STARTTLS=answer)
    with scripted(server, played, tls=None) as transport, pytest.raises(TransportUntrustedError):
        names(transport)
    assert set(played.commands) <= {"CAPABILITY", "STARTTLS"}


def test_in_clear_only_where_it_is_asked_for(server: RunningServer) -> None:
    """
    And the check says so.
    """
    with scripted(server, script()) as transport:
        assert names(transport) == ["a.csv", "b.csv"]
        assert "transport.in_clear" in [finding.code for finding in transport.check()]


@pytest.mark.parametrize("user", ["shop", "orders@shop.example"])
def test_a_wrong_password_is_a_login_error(server: RunningServer, user: str) -> None:
    """
    With the server's own words.
    """
    transport = opened(server, user=user.replace("@", "%40"), password="wrong-ü")
    with pytest.raises(TransportLoginError, match="AUTHENTICATIONFAILED"):
        names(transport)
    transport.close()


@pytest.mark.parametrize(
    ("capabilities", "expected", "error"),
    [
        ("IMAP4rev1", r'LOGIN "shop" "a\"b\\c"', None),
        ("IMAP4rev1 LOGINDISABLED", None, TransportLoginError),
    ],
)
def test_an_old_server_gets_the_old_command(
    server: RunningServer, capabilities: str, expected: str | None, error: Any
) -> None:
    """
    Quoted, or not at all where the server takes none in clear.
    """
    played = script(capabilities)
    refused = pytest.raises(error) if error else contextlib.nullcontext()
    with scripted(server, played, password='a"b\\c') as transport, refused:
        names(transport)
    assert [command for command in played.commands if command.startswith("LOGIN")] == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("said", "error"),
    [("NO [UNAVAILABLE] later", TransportUnavailableError), ("NO [AUTHENTICATIONFAILED] no", TransportLoginError)],
)
def test_a_login_that_is_not_possible_now_is_tried_again(server: RunningServer, said: str, error: Any) -> None:
    """
    It is no wrong password.
    """
    with scripted(server, script(AUTHENTICATE=f"{{tag}} {said}\r\n")) as transport, pytest.raises(error):
        names(transport)


@pytest.mark.parametrize("secret", ["password", "token"])
@pytest.mark.parametrize("form", ["plain", "coded"])
def test_a_server_that_repeats_the_secret_does_not_show_it(
    server: RunningServer, caplog: Any, capsys: Any, monkeypatch: Any, secret: str, form: str
) -> None:
    """
    Neither the error, nor its causes, nor the variables of its frames, nor the log or the library's debugging.
    """
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(imaplib, "Debug", 5)
    said = {
        ("password", "coded"): base64.b64encode(f"\0shop\0{CANARY}".encode()).decode(),
        ("token", "coded"): base64.b64encode(f"user=shop\x01auth=Bearer {CANARY}\x01\x01".encode()).decode(),
    }.get((secret, form), CANARY)
    played = script(AUTHENTICATE=f"{{tag}} NO {said} is wrong\r\n")
    with (
        scripted(server, played, password=CANARY, secret=secret) as transport,
        pytest.raises(TransportLoginError, match=r"\*\*\* is wrong") as caught,
    ):
        names(transport)

    assert caught.value.__traceback__ is not None
    below = caught.value.__traceback__.tb_next
    shown = traceback.TracebackException(type(caught.value), caught.value, below, capture_locals=True)
    everything = "".join([*shown.format(), caplog.text, repr(transport), *capsys.readouterr()])
    assert CANARY not in everything
    assert said not in everything


def test_a_password_in_the_url_is_a_fault(server: RunningServer) -> None:
    """
    It belongs to the secrets; the fault does not show it.
    """
    connection = Connection(url=f"imaps://shop:{CANARY}@127.0.0.1/")
    with pytest.raises(ConfigError) as caught:
        imap.build(Endpoint(partner="acme", connection=connection, resolve=str))
    assert CANARY not in str(caught.value)


# ---------------------------------------------------------------------- the network


@pytest.mark.parametrize("how", ["fin", "rst", "stall"])
def test_a_cut_download_is_noticed(server: RunningServer, box: Mailbox, how: str) -> None:
    """
    At whatever byte; the next try takes all of it.
    """
    content = bytes(range(256)) * 1000
    box.send(**{"a.csv": content})
    with FaultProxy(("127.0.0.1", server.port)) as proxy:
        with way(server, box) as transport:
            [offer] = offers(transport)
        for count in (0, 100, 2000, 4000, 20_000, 300_000):
            proxy.control = Channel(cut_down_after=count, how=how)
            limits = {"timeout_s": 0.5 if how == "stall" else 10}
            with way(server, box, port=proxy.port, limits=limits) as transport:
                began = time.monotonic()
                with pytest.raises((TransportUnavailableError, TransportTimeoutError)):
                    fetched(transport, offer)
                assert time.monotonic() - began < 4
                proxy.heal()
        with way(server, box, port=proxy.port) as transport:
            assert fetched(transport, offer) == content


@pytest.mark.parametrize("when", ["before", "after"])
def test_cut_at_each_step_a_look_is_an_error_and_settling_heals(server: RunningServer, when: str) -> None:
    """
    A run over a message with two files is cut at each command in turn; the run after it finishes the work.
    """
    clear = script("IMAP4rev1 AUTH=PLAIN MOVE UIDPLUS")
    done = 0
    with clear.running() as port, FaultProxy(("127.0.0.1", port)) as proxy:
        for nth in range(1, 40):
            proxy.break_command(nth, when)
            plain = attrs.evolve(server, scheme="imap", certificate=None)
            with way(plain, None, port=proxy.port, tls="none", limits={"timeout_s": 5}) as transport:
                try:
                    found = offers(transport)
                    assert [offer.name for offer in found] == ["a.csv", "b.csv"]
                    for offer in found:
                        transport.settle(offer, Outcome.APPLIED)
                except TransportUnavailableError:
                    proxy.heal()
                    for offer in offers(transport):
                        transport.settle(offer, Outcome.APPLIED)
                else:
                    done = nth
            if done:
                break
    assert done > 8


def test_a_stalled_look_ends_within_the_deadline(server: RunningServer, box: Mailbox) -> None:
    """
    Each call ends as a time-out, and the next one works.
    """
    box.send(**{"a.csv": b"1"})
    with FaultProxy(("127.0.0.1", server.port)) as proxy:
        proxy.control = Channel(silent=True)
        with way(server, box, port=proxy.port, limits={"timeout_s": 0.5}) as transport:
            began = time.monotonic()
            with pytest.raises(TransportTimeoutError):
                names(transport)
            assert time.monotonic() - began < 2
            proxy.heal()
            assert names(transport) == ["a.csv"]


def test_one_connection_serves_a_run(server: RunningServer, box: Mailbox) -> None:
    """
    Ten messages, looked for, taken and put away, log in once.
    """
    for number in range(10):
        box.send(**{f"{number}.csv": b"1"})
    with FaultProxy(("127.0.0.1", server.port)) as proxy, way(server, box, port=proxy.port) as transport:
        for offer in offers(transport):
            fetched(transport, offer)
            transport.settle(offer, Outcome.APPLIED)
        assert (names(transport), proxy.connections) == ([], 1)


def test_new_messages_are_seen_on_an_open_connection(server: RunningServer, box: Mailbox) -> None:
    """
    Each look is of now.
    """
    with way(server, box) as transport:
        for number in range(3):
            box.send(**{f"{number}.csv": b"1"})
            assert len(names(transport)) == number + 1
