"""
``smtp://`` and ``smtps://``: orders as attachments of e-mail, for partners who have nothing else.

A message goes to all its recipients or to none. Until the end of its data is said the server has nothing; after that,
an answer that is lost leaves the outcome open, and nobody can be asked: only the partner, who sees the same
``Message-ID`` on a repeat, or a person.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, BinaryIO

from attrs import define, field

from fcflow.errors import (
    ConfigError,
    Fault,
    FcflowError,
    TransportError,
    TransportLoginError,
    TransportRefusedError,
    TransportUnavailableError,
    TransportUnclearError,
    TransportUnsupportedError,
    TransportUntrustedError,
)
from fcflow.model import Feed
from fcflow.transports._address import Address, address_of
from fcflow.transports._faults import Failure, guarded, of_os_error, scrubbed, without_frames
from fcflow.transports._letter import LETTER_OPTIONS, Letter, letter_of, mailboxes
from fcflow.transports._login import Login
from fcflow.transports._names import safe_name
from fcflow.transports._session import Session
from fcflow.transports._smtpclient import (
    SmtpAnswerError,
    SmtpClient,
    SmtpNoLoginError,
    SmtpRecipientsError,
    SmtpReplyError,
)
from fcflow.transports._tls import TLS_OPTIONS, of_network, of_tls, one_line, tls_context
from fcflow.transports.base import (
    Capabilities,
    Delivery,
    Endpoint,
    Fetched,
    Finding,
    Offer,
    Outcome,
    Presence,
    Query,
    Receipt,
    TransportType,
)

__all__ = ["SMTPS_TYPE", "TYPE", "SmtpTransport", "build"]

_LOGIN = (530, 534, 535, 538)
_NOT_KNOWN = (500, 502, 504)
_OF_THE_SERVER = ("GREETING", "HELO", "NOOP", "RSET")


@define(eq=False)
class _SmtpServer:
    """The calls that a message is made of."""

    endpoint: Endpoint
    address: Address
    _secrets: tuple[str, ...] = field(default=(), init=False, repr=False)
    _session: Session[SmtpClient] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._session = Session(self._new, self._opened)

    @property
    def where(self) -> str:
        return str(self.address)

    @property
    def is_protected(self) -> bool:
        return self.address.scheme == "smtps" or self.endpoint.option("tls", "required") == "required"

    # ------------------------------------------------------------------ the connection

    def within(self, timeout_s: float) -> AbstractContextManager[None]:
        return self._session.within(timeout_s)

    def _new(self) -> SmtpClient:
        return SmtpClient(
            context=tls_context(self.endpoint) if self.is_protected else None,
            server_name=self.endpoint.option("server_name", self.address.host),
            greeting=self.endpoint.option("greeting"),
            timeout_s=self.endpoint.limits.timeout_s,
        )

    def _opened(self, client: SmtpClient) -> None:
        client.open(self.address.host, self.address.port, implicit=self.address.scheme == "smtps")
        login = Login.of(self.endpoint, self.address.user)
        self._secrets = login.texts
        without_frames(client.log_in, login)

    def drop(self) -> None:
        self._session.drop()

    def close(self) -> None:
        self._session.close()

    # ------------------------------------------------------------------ errors

    def secrets(self) -> Iterable[str | None]:
        return self._secrets

    def broken(self, error: Exception) -> None:
        """A refusal that was answered to its end leaves the connection in step; what follows it begins anew."""
        in_step = isinstance(error, SmtpRecipientsError) or (
            isinstance(error, SmtpReplyError) and error.step == "MAIL" and error.code not in (421, *_LOGIN)
        )
        if not in_step:
            self.drop()

    def failure(self, error: Exception) -> Failure:
        if self._session.is_late:
            return of_os_error(TimeoutError())
        if isinstance(error, SmtpReplyError):
            return of_reply(error.step, error.code, str(error))
        if isinstance(error, SmtpRecipientsError):
            refused = any(code >= 500 for code in error.codes)
            return (TransportRefusedError if refused else TransportUnavailableError), str(error)
        if isinstance(error, SmtpNoLoginError):
            return TransportLoginError, str(error)
        if isinstance(error, ssl.SSLError):
            return of_tls(error)
        if isinstance(error, SmtpAnswerError | smtplib.SMTPException):
            return TransportUnavailableError, one_line(str(error))
        if isinstance(error, OSError):
            return of_network(error)
        return TransportUnavailableError, f"{type(error).__name__}: {one_line(str(error))}"

    # ------------------------------------------------------------------ calls

    @guarded
    def hand_over(self, letter: Letter) -> None:
        """Everything but the end of the data."""
        client = self._session.open()
        self._check_extensions(client, letter)
        client.address(letter.sender, letter.recipients, len(letter.content), utf8=letter.utf8)
        client.hand_over(letter.content)

    def _check_extensions(self, client: SmtpClient, letter: Letter) -> None:
        most, size = client.most_bytes, len(letter.content)
        if most is not None and size > most:
            raise TransportRefusedError(f"{self.where}: a message of {size} bytes, the server takes {most}")
        if letter.utf8 and not client.has_extn("smtputf8"):
            message = f"{self.where}: an address is not in ASCII, and the server does not know SMTPUTF8"
            raise TransportUnsupportedError(message)

    @guarded
    def finish(self) -> tuple[int, str]:
        """The end of the data, and the answer to it."""
        code, text = self._session.open().finish()
        if not 200 <= code < 300:
            self.drop()
        return code, scrubbed(text, self.secrets())

    @guarded
    def reach(self) -> int | None:
        """Open the connection; gives how large a message may be."""
        client = self._session.open()
        client.probe()
        return client.most_bytes


def of_reply(step: str, code: int, text: str) -> Failure:
    """
    What an answer means at a step.

    Example:
        >>> of_reply("RCPT", 550, "550 no such user")[0].__name__, of_reply("DATA", 451, "451 later")[0].__name__
        ('TransportRefusedError', 'TransportUnavailableError')
    """
    if step == "STARTTLS":
        return TransportUntrustedError, f"the server refuses TLS: {text}"
    if 400 <= code < 500:
        return TransportUnavailableError, text
    if code in _LOGIN:
        return TransportLoginError, text
    if step == "AUTH":
        return (TransportUnsupportedError if code in _NOT_KNOWN else TransportLoginError), text
    return (TransportUnavailableError if step in _OF_THE_SERVER or code < 400 else TransportRefusedError), text


def _utc_now() -> datetime:
    return datetime.now(UTC)


@define(kw_only=True)
class SmtpTransport:
    """
    The way out to one partner's mailbox; statuses and stock come in by another connection.

    Args:
        now: The clock that messages are dated by.

    Example:
        >>> from fcflow.model import Connection
        >>> options = {"from": "orders@shop.example", "to": "desk@acme.example"}
        >>> connection = Connection(url="smtp://shop@mail.example", options=options)
        >>> transport = build(Endpoint(partner="acme", connection=connection, resolve=str))
        >>> transport.capabilities.sends, transport.capabilities.receives
        (True, False)
    """

    server: _SmtpServer
    now: Callable[[], datetime] = _utc_now

    @property
    def capabilities(self) -> Capabilities:
        """A message is accepted whole or not at all; what became of it cannot be asked."""
        return Capabilities(
            atomic_publish=True, verifies_size=False, looks_up=False, lists=False, settles=False, receives=False
        )

    # ------------------------------------------------------------------ out

    def send(self, delivery: Delivery) -> Receipt:
        """
        Send *delivery* as one message.

        Sending it again sends a message with the same ``Message-ID``, by which the partner can tell.
        """
        safe_name(delivery.name)
        letter = letter_of(delivery, self.server.endpoint.connection.options, self.now())
        with self.server.within(self.server.endpoint.limits.timeout_s):
            self.server.hand_over(letter)
            self._publish(delivery)
            code, text = self._finish()
        return self._receipt(delivery, code, text)

    def _publish(self, delivery: Delivery) -> None:
        try:
            delivery.publishing()
        except BaseException:
            # Without its end the server throws the message away.
            self.server.drop()
            raise

    def _finish(self) -> tuple[int, str]:
        try:
            return self.server.finish()
        except TransportError as error:
            message = f"{self.server.where}: the answer to the message was lost: {error}"
            raise TransportUnclearError(message) from error

    def _receipt(self, delivery: Delivery, code: int, text: str) -> Receipt:
        said = f"{code} {text}".strip()
        if 200 <= code < 300:
            return Receipt(name=delivery.name, size=delivery.size, answer=said)
        if code < 400:
            raise TransportUnclearError(f"{self.server.where}: an answer to the message that says nothing: {said}")
        kind, message = of_reply("DATA", code, said)
        raise kind(f"{self.server.where}: {message}")

    def look_up(self, delivery: Delivery) -> Presence:
        """Never known: a mailbox of somebody else cannot be looked into."""
        return Presence.UNKNOWN

    # ------------------------------------------------------------------ in

    def list(self, feed: Feed, query: Query) -> Iterator[Offer]:
        """Raises: nothing comes in by SMTP."""
        raise self._only_sends()

    def fetch(self, offer: Offer, sink: BinaryIO) -> Fetched:
        """Raises: nothing comes in by SMTP."""
        raise self._only_sends()

    def settle(self, offer: Offer, outcome: Outcome) -> None:
        """Nothing to do: there are no offers."""

    def _only_sends(self) -> TransportUnsupportedError:
        return TransportUnsupportedError(f"{self.server.where}: SMTP only sends; statuses and stock come in by imaps")

    # ------------------------------------------------------------------ about

    def check(self) -> Sequence[Finding]:
        """Connect and log in; no message is begun."""
        try:
            with self.server.within(self.server.endpoint.limits.timeout_s):
                most = self.server.reach()
        except FcflowError as error:
            return [Finding(level="error", message=str(error), code=error.code)]
        size = "" if most is None else f", it takes messages of {most} bytes"
        return [Finding(level="ok", message=f"{self.server.where}: reached{size}"), *self._in_clear()]

    def _in_clear(self) -> Iterator[Finding]:
        if not self.server.is_protected:
            message = f"{self.server.where}: orders, and a password if there is one, cross the network in clear"
            yield Finding(level="warning", message=message, code="transport.in_clear")

    def close(self) -> None:
        """Let go of the connection; harmless twice."""
        self.server.close()


def build(endpoint: Endpoint) -> SmtpTransport:
    """
    A transport for *endpoint*; nothing is connected yet.

    Raises:
        ConfigError: The URL cannot be used, or an address is none.
    """
    address = address_of(endpoint, 465 if endpoint.connection.scheme == "smtps" else 587)
    faults = [*_faulty(endpoint)]
    if faults:
        raise ConfigError(f"connection {endpoint.connection.name} of {endpoint.partner}", faults)
    return SmtpTransport(server=_SmtpServer(endpoint, address))


def _faulty(endpoint: Endpoint) -> Iterator[Fault]:
    if not isinstance(endpoint.option("from"), str):
        yield Fault("expected an address", path="$.options.from")
    for name in ("from", "to", "cc"):
        try:
            found = mailboxes(endpoint.option(name))
        except TransportUnsupportedError as error:
            yield Fault(str(error), path=f"$.options.{name}")
        else:
            if name == "to" and not found:
                yield Fault("expected an address", path="$.options.to")


_SMTPS_OPTIONS: Mapping[str, Any] = {
    "from": {"type": "string", "minLength": 3, "description": "Who writes: an address, plain or as `Name <address>`."},
    **LETTER_OPTIONS,
    "user": {"type": "string", "description": "Login name, where the URL has none."},
    "greeting": {
        "type": "string",
        "pattern": r"^[A-Za-z0-9.:\[\]-]+$",
        "description": "How we call ourselves to the server; our address where it is left out.",
    },
    **TLS_OPTIONS,
}

_SMTP_OPTIONS: Mapping[str, Any] = {
    **_SMTPS_OPTIONS,
    "tls": {
        "enum": ["required", "none"],
        "default": "required",
        "description": "By STARTTLS, or nothing is said; none sends in clear, for a server on a machine of your own.",
    },
}


def _schema(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": ["from", "to"], "properties": properties}


def _type(scheme: str, summary: str, properties: Mapping[str, Any]) -> TransportType:
    return TransportType(
        schemes=(scheme,),
        summary=summary,
        options_schema=_schema(properties),
        feed_options_schema={"type": "object", "additionalProperties": False, "properties": LETTER_OPTIONS},
        secrets=("password", "token"),
        receives=False,
        build=build,
    )


TYPE = _type("smtp", "Orders as attachments of e-mail, over verified TLS by STARTTLS", _SMTP_OPTIONS)
SMTPS_TYPE = _type("smtps", "Orders as attachments of e-mail, over verified TLS from the first byte", _SMTPS_OPTIONS)
