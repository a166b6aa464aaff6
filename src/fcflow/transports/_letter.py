"""From a delivery to a message of e-mail: who writes to whom, what it says, and the file as its attachment."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

from attrs import frozen

from fcflow.errors import TransportUnsupportedError
from fcflow.model import FeedKind
from fcflow.transports._names import safe_name
from fcflow.transports.base import Delivery

__all__ = ["LETTER_OPTIONS", "TAGS", "Letter", "letter_of", "mailbox", "mailboxes"]

TAGS = ("name", "partner", "count", "fulfilment_ids", "key")
_TAG = re.compile(r"\{([^{}]*)\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NAMED = re.compile(r"(?P<name>.*?)\s*<(?P<address>[^<>]*)>")
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-\u00a1-\U0010ffff]{1,64}")
_DOMAIN = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
_MEDIA = re.compile(r"([A-Za-z0-9!#$&^_.+-]+)/([A-Za-z0-9!#$&^_.+-]+)")
_PARAMETER = re.compile(r';\s*([A-Za-z0-9-]+)\s*=\s*(?:"([^"\\]*)"|([^\s;"]+))')
_NAMED_ORDERS = 10
_LONGEST_SUBJECT = 200
_TEMPLATE = r"([^{}]|\{(" + "|".join(TAGS) + r")\})*$"
_SEVERAL = {
    "type": ["string", "array"],
    "items": {"type": "string"},
    "minItems": 1,
    "minLength": 3,
}

LETTER_OPTIONS: Mapping[str, Any] = {
    "to": {**_SEVERAL, "description": "Who gets the orders: an address or several, each plain or as `Name <address>`."},
    "cc": {**_SEVERAL, "description": "Who gets a copy. A message goes to all of them or to none."},
    "subject": {
        "type": "string",
        "default": "{name}",
        "pattern": r"^(?![\s\S]*[\r\n])" + _TEMPLATE,
        "description": "May hold {name} (of the file), {partner}, {count} (of fulfilment orders), {fulfilment_ids} and "
        "{key} (of the delivery).",
    },
    "text": {
        "type": "string",
        "default": "{name} is attached.",
        "pattern": "^" + _TEMPLATE,
        "description": "What the message says; with the same placeholders.",
    },
}


@frozen(kw_only=True)
class Mailbox:
    """
    One address.

    Args:
        domain: In ASCII, whatever it was written in.
    """

    name: str
    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def header(self) -> Address:
        """As the header of a message."""
        return Address(self.name, self.local, self.domain)


def mailbox(text: str) -> Mailbox:
    """
    An address, with or without a name.

    Raises:
        TransportUnsupportedError: It is none.

    Example:
        >>> print(mailbox("Bücher <orders@bücher.example>"))
        orders@xn--bcher-kva.example
        >>> mailbox("a@b.example, c@d.example")
        Traceback (most recent call last):
        fcflow.errors.TransportUnsupportedError: address 'a@b.example, c@d.example': expected name@domain
    """
    named = _NAMED.fullmatch(text.strip())
    name, address = (named["name"].strip(), named["address"]) if named else ("", text.strip())
    local, _, domain = address.strip().rpartition("@")
    host = _ascii_domain(domain)
    if _CONTROL.search(text) or not _is_local(local) or host is None:
        raise TransportUnsupportedError(f"address {text!r}: expected name@domain")
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    return Mailbox(name=name, local=local, domain=host)


def _is_local(local: str) -> bool:
    return bool(_LOCAL.fullmatch(local)) and not (local.startswith(".") or local.endswith(".") or ".." in local)


def _ascii_domain(domain: str) -> str | None:
    try:
        host = domain.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return None
    return host if len(host) <= 253 and _DOMAIN.fullmatch(host) else None


def mailboxes(said: str | Iterable[str] | None) -> list[Mailbox]:
    """One address or several."""
    return [mailbox(each) for each in ([said] if isinstance(said, str) else said or ())]


@frozen(kw_only=True)
class Letter:
    """
    A message and its envelope.

    Args:
        recipients: Everyone who gets it, each once.

        utf8: Whether an address cannot be written in ASCII, so that the server must know SMTPUTF8.

        content: Whole, with CR LF at the end of each line.
    """

    sender: str
    recipients: tuple[str, ...]
    utf8: bool
    content: bytes


def letter_of(delivery: Delivery, connection: Mapping[str, Any], now: datetime) -> Letter:
    """
    The message that carries *delivery*.

    Everything but its date is the same at every attempt; its ``Message-ID`` is made from the delivery key, so that a
    repeat can be recognised, and ``X-Fcflow-Delivery`` holds the key itself.

    Args:
        connection: Options of the connection; those of an orders feed win.

    Raises:
        TransportUnsupportedError: An address is none, or the key cannot stand in a header.
    """
    own = delivery.feed.options if delivery.feed.kind is FeedKind.ORDERS else {}
    options = {**connection, **own}
    sender, to, cc = mailbox(options["from"]), mailboxes(options["to"]), mailboxes(options.get("cc"))
    everyone = [sender, *to, *cc]
    utf8 = not all(each.local.isascii() for each in everyone)
    message = EmailMessage(policy=SMTP.clone(utf8=utf8))
    message["From"] = sender.header
    message["To"] = [each.header for each in to]
    if cc:
        message["Cc"] = [each.header for each in cc]
    _write(message, delivery, options, sender, now)
    recipients = tuple(dict.fromkeys(str(each) for each in (*to, *cc)))
    return Letter(sender=str(sender), recipients=recipients, utf8=utf8, content=message.as_bytes())


def _write(
    message: EmailMessage, delivery: Delivery, options: Mapping[str, Any], sender: Mailbox, now: datetime
) -> None:
    digest = hashlib.sha256(delivery.key.encode()).hexdigest()
    message["Subject"] = _subject(options.get("subject", "{name}"), delivery)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<fcflow.{digest[:40]}@{sender.domain}>"
    message["X-Fcflow-Delivery"] = _key(delivery.key)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_filled(options.get("text", "{name} is attached."), delivery) + "\n")
    _attach(message, delivery)
    message.set_boundary(f"=_fcflow_{digest[:32]}")


def _attach(message: EmailMessage, delivery: Delivery) -> None:
    main, sub, parameters = _media(delivery.content_type)
    name = safe_name(delivery.name)
    message.add_attachment(delivery.content, maintype=main, subtype=sub, filename=name, params=parameters)


def _media(content_type: str) -> tuple[str, str, dict[str, str]]:
    found = _MEDIA.match(content_type)
    if found is None or found[1].lower() in ("multipart", "message"):
        return "application", "octet-stream", {}
    parameters = {name: quoted or plain for name, quoted, plain in _PARAMETER.findall(content_type[found.end() :])}
    return found[1], found[2], {name: value for name, value in parameters.items() if not _CONTROL.search(value)}


def _key(key: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{1,200}", key):
        raise TransportUnsupportedError("delivery key: expected printable ASCII, it is a header of the message")
    return key


def _subject(template: str, delivery: Delivery) -> str:
    line = " ".join(_CONTROL.sub(" ", _filled(template, delivery)).split())
    return line if len(line) <= _LONGEST_SUBJECT else line[: _LONGEST_SUBJECT - 1] + "…"


def _filled(template: str, delivery: Delivery) -> str:
    values = {
        "name": delivery.name,
        "partner": delivery.feed.partner,
        "count": str(len(delivery.fulfilment_ids)),
        "fulfilment_ids": _some(delivery.fulfilment_ids),
        "key": delivery.key,
    }
    text = _TAG.sub(lambda match: values.get(match[1], match[0]), template)
    return text.encode("utf-8", "replace").decode()


def _some(ids: Sequence[str]) -> str:
    """The first few; the file has them all."""
    more = len(ids) - _NAMED_ORDERS
    return ", ".join(ids) if more <= 0 else f"{', '.join(ids[:_NAMED_ORDERS])} and {more} more"
