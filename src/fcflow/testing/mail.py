"""Both ends of e-mail for tests: transports to real servers, and the partner's side of a mailbox."""

from __future__ import annotations

import contextlib
import imaplib
import re
import secrets
import ssl
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP, default
from pathlib import Path
from typing import Any

from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.testing.faults import Channel, FaultProxy
from fcflow.testing.servers import HOST, PostOffice, RunningServer
from fcflow.testing.transports import TransportHarness
from fcflow.transports import imap, smtp
from fcflow.transports.base import Delivery, Endpoint

__all__ = [
    "ADDRESSES",
    "ImapHarness",
    "Mailbox",
    "SmtpHarness",
    "delivery",
    "files_of",
    "opened",
    "orders",
    "status",
    "unreachable",
    "written",
]

ADDRESSES: dict[str, Any] = {"from": "Shop <orders@shop.example>", "to": "desk@acme.example"}


def opened(
    server: RunningServer,
    *,
    port: int = 0,
    limits: PartnerLimits | None = None,
    user: str = "",
    password: str = "",
    secret: str = "password",  # noqa: S107 - what it is called
    host: str = HOST,
    folder: str = "",
    **options: Any,
) -> Any:
    """A transport to *server*, through the proxy on *port* where one is given; options of ``None`` are left out."""
    if server.certificate is not None and options.get("tls") != "none":
        options.setdefault("ca_file", str(server.certificate.ca))
    if server.scheme.startswith("smtp"):
        options = {**ADDRESSES, **options}
    connection = Connection(
        url=f"{server.scheme}://{user or server.user}@{host}:{port or server.port}{folder}",
        secrets={secret: {"env": "X"}} if secret else {},
        options={name: value for name, value in options.items() if value is not None},
    )
    endpoint = Endpoint(
        partner="acme",
        connection=connection,
        limits=limits or PartnerLimits(timeout_s=20),
        base=Path("/"),
        resolve=lambda reference: password or server.password,
    )
    return (smtp.build if server.scheme.startswith("smtp") else imap.build)(endpoint)


def orders(**changes: Any) -> Feed:
    """An orders feed."""
    return Feed(**{"kind": "orders", "partner": "acme", "layout": "canonical", **changes})


def status(**changes: Any) -> Feed:
    """A status feed, in the folder ``out``."""
    return Feed(**{"kind": "status", "partner": "acme", "layout": "canonical", "path": "out", **changes})


def delivery(content: bytes = b"A1;1\r\n", **changes: Any) -> Delivery:
    """A small delivery."""
    return Delivery(**{"key": "key-1", "feed": orders(), "name": "orders-1.csv", "content": content, **changes})


def files_of(message: EmailMessage) -> dict[str, bytes]:
    """The attachments of a message by name."""
    found: dict[str, bytes] = {}
    for part in message.walk():
        if not part.is_multipart() and part.get_filename():
            name = str(part.get_filename())
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            found[name if name not in found else f"{name} again"] = content
    return found


@contextlib.contextmanager
def unreachable(proxy: FaultProxy) -> Iterator[None]:
    """While it is open nobody gets through *proxy*, and who was connected is not any more."""
    proxy.control = Channel(refuse=True)
    proxy.cut_all()
    yield
    proxy.heal()


class SmtpHarness(TransportHarness):
    """A partner who reads each message once: a repeat has the ``Message-ID`` of the first."""

    def __init__(self, server: RunningServer, office: PostOffice, proxy: FaultProxy) -> None:
        self.secret = server.password
        self._server, self._office, self._proxy = server, office, proxy

    def open(self, limits: PartnerLimits | None = None) -> Any:
        return opened(self._server, port=self._proxy.port, limits=limits)

    def feed(self, kind: str, **changes: Any) -> Feed:
        return Feed(**{"kind": kind, "partner": "acme", "layout": "canonical", **changes})

    def arrived(self) -> Mapping[str, bytes]:
        read = {message["Message-ID"]: message for message in self._office.messages}
        return {name: content for each in read.values() for name, content in files_of(each).items()}

    def place(self, name: str, content: bytes) -> None:
        """Nobody else writes to the partner under our name; whoever did could not be noticed."""

    def collect(self, name: str) -> None:
        raise NotImplementedError("a message is the partner's at once")

    def answer(self, name: str, content: bytes) -> None:
        raise NotImplementedError("nothing comes in by SMTP")

    def answers(self, folder: str = "") -> Mapping[str, bytes]:
        raise NotImplementedError("nothing comes in by SMTP")

    def down(self) -> AbstractContextManager[None]:
        return unreachable(self._proxy)


class Mailbox:
    """A mailbox of its own on Dovecot, as its owner sees it."""

    def __init__(self, server: RunningServer) -> None:
        self.user = f"t-{secrets.token_hex(6)}"
        assert server.certificate is not None
        context = ssl.create_default_context(cafile=str(server.certificate.ca))
        if server.scheme == "imaps":
            self._client: imaplib.IMAP4 = imaplib.IMAP4_SSL(HOST, server.port, ssl_context=context)
        else:
            self._client = imaplib.IMAP4(HOST, server.port)
            self._client.starttls(context)
        self._client.login(self.user, server.password)
        self.make("out")

    def close(self) -> None:
        """Log out."""
        self._client.logout()

    def make(self, folder: str) -> None:
        """Make a folder."""
        self._client.create(f'"{folder}"')

    def remove(self, folder: str) -> None:
        """Remove a folder and all in it."""
        assert self._client.delete(f'"{folder}"')[0] == "OK"

    def put(self, message: EmailMessage | bytes, folder: str = "out", flags: str = "", at: str | None = None) -> int:
        """Lay a message there; gives its number."""
        raw = message if isinstance(message, bytes) else message.as_bytes(policy=SMTP)
        kind, said = self._client.append(f'"{folder}"', flags or None, at, raw)
        assert kind == "OK", said
        match = re.search(rb"APPENDUID \d+ (\d+)", said[0])
        assert match is not None
        return int(match[1])

    def send(self, folder: str = "out", **files: bytes) -> int:
        """Lay a message with files there."""
        return self.put(written(files), folder)

    def messages(self, folder: str = "out") -> list[tuple[int, frozenset[str], EmailMessage]]:
        """Number, flags and content of each message."""
        if self._client.select(f'"{folder}"', readonly=True)[0] != "OK":
            return []
        _, said = self._client.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[])")
        found = []
        for each in said:
            if isinstance(each, tuple):
                uid = re.search(rb"UID (\d+)", each[0])
                flags = re.search(rb"FLAGS \(([^)]*)\)", each[0])
                assert uid is not None
                assert flags is not None
                read = message_from_bytes(each[1], policy=default)
                found.append((int(uid[1]), frozenset(flags[1].decode().split()) - {"\\Recent"}, read))
        self._client.unselect()
        return found

    def files(self, folder: str = "out") -> dict[str, bytes]:
        """All attachments by name; a name that comes again gets the number of its message."""
        found: dict[str, bytes] = {}
        for uid, flags, message in self.messages(folder):
            for name, content in files_of(message).items():
                if "\\Deleted" not in flags:
                    found[name if name not in found else f"{name} {uid}"] = content
        return found

    def delete(self, uid: int, folder: str = "out") -> None:
        """Remove a message."""
        self._client.select(f'"{folder}"')
        self._client.uid("STORE", str(uid), "+FLAGS", "(\\Deleted)")
        self._client.expunge()
        self._client.unselect()


def written(files: Mapping[str, bytes], sender: str = "desk@acme.example", subject: str = "News") -> EmailMessage:
    """A message with attachments."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, "orders@shop.example", subject
    message.set_content("See below.\n")
    for name, content in files.items():
        message.add_attachment(content, maintype="text", subtype="csv", filename=name)
    return message


class ImapHarness(TransportHarness):
    """A partner who writes to our mailbox; a file that comes again replaces the message of the first."""

    hostile_names = ("../../etc/status.csv", "back\\slash.csv", "C:drive.csv", "esc\x1b[2Jape.csv")

    def __init__(self, server: RunningServer, proxy: FaultProxy) -> None:
        self.secret = server.password
        self.box = Mailbox(server)
        self._server, self._proxy = server, proxy
        self._laid: dict[str, int] = {}

    def open(self, limits: PartnerLimits | None = None) -> Any:
        return opened(self._server, port=self._proxy.port, limits=limits, user=self.box.user)

    def feed(self, kind: str, **changes: Any) -> Feed:
        return Feed(**{"kind": kind, "partner": "acme", "layout": "canonical", "path": "out", **changes})

    def arrived(self) -> Mapping[str, bytes]:
        return {}

    def place(self, name: str, content: bytes) -> None:
        raise NotImplementedError("nothing leaves by IMAP")

    def collect(self, name: str) -> None:
        raise NotImplementedError("nothing leaves by IMAP")

    def answer(self, name: str, content: bytes) -> None:
        if name in self._laid:
            self.box.delete(self._laid[name])
        self._laid[name] = self.box.put(hostile({name: content}))

    def answers(self, folder: str = "") -> Mapping[str, bytes]:
        return self.box.files(f"out/{folder}".rstrip("/"))

    def down(self) -> AbstractContextManager[None]:
        return unreachable(self._proxy)


def hostile(files: Mapping[str, bytes]) -> EmailMessage:
    """With names that the library would rather not write."""
    message = written({f"{number}.csv": content for number, content in enumerate(files.values())})
    for part, name in zip(list(message.iter_attachments()), files, strict=True):
        part.replace_header("Content-Disposition", "attachment")
        part.set_param("filename", name, header="Content-Disposition", charset=None if name.isprintable() else "utf-8")
    return message
