"""The standard library's IMAP client, with what it lacks: bounds, verified TLS, names of folders, one answer a time."""

from __future__ import annotations

import base64
import imaplib
import re
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from fcflow.transports._login import Login
from fcflow.transports._session import cut_below_tls, has_something, protected
from fcflow.transports._tls import one_line

__all__ = [
    "ImapAnswerError",
    "ImapClient",
    "ImapLoginError",
    "ImapNoError",
    "ImapTooMuchError",
    "ImapUntrustedError",
    "answers",
    "mailbox_name",
    "quoted",
]

_MOST = 32 * 1024 * 1024
_NOT_NOW = re.compile(r"\[(UNAVAILABLE|INUSE|LIMIT|SERVERBUG)\]", re.IGNORECASE)
_LITERAL = re.compile(rb"\{\d+\}\Z")


class ImapNoError(Exception):
    """
    The server answered, and the answer is no.

    Args:
        command: What was answered.
    """

    def __init__(self, command: str, text: str) -> None:
        super().__init__(one_line(text))
        self.command = command

    @property
    def is_temporary(self) -> bool:
        """Whether the server says that it may say yes later."""
        return _NOT_NOW.search(str(self)) is not None


class ImapLoginError(Exception):
    """The server does not let us in."""


class ImapUntrustedError(Exception):
    """The server would not protect the connection."""


class ImapAnswerError(Exception):
    """The server said something that is not IMAP, or nothing more."""


class ImapTooMuchError(ImapAnswerError):
    """The server says more than anybody asked for."""


class ImapClient(imaplib.IMAP4):
    """
    One connection.

    Args:
        context: For TLS, or ``None`` for a connection in clear.

        server_name: What the certificate must be for.

        implicit: TLS from the first byte, rather than by STARTTLS.
    """

    def __init__(self, *, context: ssl.SSLContext | None, server_name: str, implicit: bool, timeout_s: float) -> None:
        # The library's own initialiser connects; `connect` calls it.
        self._context, self._server_name, self._implicit = context, server_name, implicit
        self._timeout_s = timeout_s
        self._wire: socket.socket | None = None
        self._stream: BinaryIO | None = None
        self._was_cut = False
        self._left = _MOST
        self.selected: tuple[str, bool] | None = None
        self.validity = 0
        self.permanent_flags: frozenset[bytes] = frozenset()
        self.delimiter: str | None = None

    # ------------------------------------------------------------------ opening

    def connect(self, host: str, port: int) -> None:
        """Connect, and protect the connection before anything is said."""
        super().__init__(host, port, self._timeout_s)
        if self._context is not None and not self._implicit:
            self._start_tls()

    def open(self, host: str = "", port: int = 143, timeout: float | None = None) -> None:
        """Called by the library to connect."""
        self.host, self.port = host, port
        self._wire = socket.create_connection((host, port), timeout)
        self._go_on_unless_cut()
        self._wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._implicit:
            self._wrap()
        self._stream = self._wire.makefile("rb")
        self.sock = self._wire

    def _go_on_unless_cut(self) -> None:
        if self._was_cut:
            raise TimeoutError("the deadline passed while connecting")

    def _wrap(self) -> None:
        assert self._context is not None
        assert self._wire is not None
        self._wire = held = protected(self._wire, self._context, self._server_name)
        self._go_on_unless_cut()
        held.do_handshake()

    def _start_tls(self) -> None:
        if self.state != "NONAUTH":
            raise ImapUntrustedError("the server skips the login, which leaves no room for TLS")
        if "STARTTLS" not in self.capabilities:
            raise ImapUntrustedError("the server offers no TLS; nothing is sent in clear")
        try:
            self.ask("STARTTLS")
        except (ImapNoError, self.error) as error:
            raise ImapUntrustedError(f"the server refuses TLS ({one_line(str(error))})") from error
        self._wrap()
        assert self._wire is not None
        # What was said in clear before is forgotten, be it read already or not.
        self._stream, self.sock = self._wire.makefile("rb"), self._wire
        self.untagged_responses.clear()
        self._get_capabilities()

    # ------------------------------------------------------------------ logging in

    def log_in(self, login: Login) -> None:
        """By a token, by PLAIN, or by the old command where the server knows no other."""
        if self.state == "AUTH":
            return
        try:
            self._log_in(login)
        except self.abort:
            raise
        except (ImapNoError, self.error) as error:
            if isinstance(error, ImapNoError) and error.is_temporary:
                raise
            raise ImapLoginError(one_line(str(error))) from None
        self.state = "AUTH"
        self._get_capabilities()

    def _log_in(self, login: Login) -> None:
        password = login.password or ""
        if login.token is not None:
            self._authenticate("XOAUTH2", login.xoauth2)
        elif "AUTH=PLAIN" in self.capabilities:
            self._authenticate("PLAIN", login.plain)
        elif "LOGINDISABLED" in self.capabilities:
            raise ImapLoginError("the server takes no password over this connection")
        elif not (login.user + password).isascii():
            raise ImapLoginError("the server takes passwords in ASCII only")
        else:
            self.ask("LOGIN", quoted(login.user), quoted(password))

    def _authenticate(self, mechanism: str, said: str) -> None:
        self.literal = _Said(said).answer  # type: ignore[assignment]  # or a method, which is called when it is due
        self.ask("AUTHENTICATE", mechanism)

    # ------------------------------------------------------------------ commands

    def ask(self, command: str, *words: str, most: int = _MOST) -> Mapping[str, Sequence[Any]]:
        """
        Send a command and give what the server said besides its yes.

        Args:
            most: Bytes of the answer at most.
        """
        self._check_bye()
        self.untagged_responses.clear()
        self._left = most
        kind, said = self._simple_command(command, *words)
        if kind != "OK":
            text = said[-1] if said else b""
            raise ImapNoError(command, text.decode("utf-8", "replace") if isinstance(text, bytes) else "")
        return dict(self.untagged_responses)

    def choose(self, folder: str, *, readonly: bool) -> None:
        """Open a folder; without *readonly* what is in it can be moved and marked."""
        self.selected = None
        self.state = "AUTH"
        said = self.ask("EXAMINE" if readonly else "SELECT", quoted(mailbox_name(folder)))
        self.state = "SELECTED"
        if "READ-ONLY" in said and not readonly:
            raise ImapNoError("SELECT", "the folder can only be read")
        number = said.get("UIDVALIDITY", [b""])[-1]
        if not number.isdigit():
            raise ImapAnswerError("the server gives its messages no lasting numbers (UIDVALIDITY)")
        self.validity = int(number[:20])
        self.permanent_flags = frozenset(said.get("PERMANENTFLAGS", [b""])[-1].strip(b"()").split())
        self.selected = folder, readonly

    # ------------------------------------------------------------------ bytes

    def read(self, size: int) -> bytes:
        """A literal, all of it."""
        self._spend(size)
        assert self._stream is not None
        data = self._stream.read(size)
        if len(data) < size:
            raise ImapAnswerError("the server closed the connection in the midst of an answer")
        return data

    def readline(self) -> bytes:
        """A line, with its end."""
        assert self._stream is not None
        line = self._stream.readline(self._left + 2)
        self._spend(len(line))
        if not line.endswith(b"\n"):
            raise ImapAnswerError("the server closed the connection")
        return line

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise ImapTooMuchError("the server says more than it was asked for")

    def send(self, data: Any) -> None:
        """Send all of *data*; unlike the library's, nothing is shown to debuggers."""
        assert self._wire is not None
        self._wire.sendall(data)

    def shutdown(self) -> None:
        """Called by the library to disconnect."""
        self.hang_up()

    def _log(self, line: bytes) -> None:
        """Nothing: it would keep passwords."""

    def _mesg(self, s: str, secs: float | None = None) -> None:
        """Nothing: it would show passwords."""

    def print_log(self) -> None:
        """Nothing: none is kept."""

    # ------------------------------------------------------------------ for the session

    @property
    def is_stale(self) -> bool:
        """Whether the server closed the connection; news of the mailbox is welcome."""
        if self._wire is None:
            return True
        if not has_something(self._wire):
            return False
        try:
            self.probe()
        except Exception:  # noqa: BLE001 - for whatever reason, it is not used again
            return True
        return False

    def probe(self) -> None:
        """Ask for a sign of life."""
        self.ask("NOOP")

    def cut(self) -> None:
        """Make whatever is blocked fail; from another thread."""
        self._was_cut = True
        cut_below_tls(self._wire)

    def leave(self) -> None:
        """Say goodbye."""
        if self._wire is not None:
            self._simple_command("LOGOUT")

    def hang_up(self) -> None:
        """Close the connection without a word."""
        stream, self._stream = self._stream, None
        wire, self._wire = self._wire, None
        try:
            if stream is not None:
                stream.close()
        finally:
            if wire is not None:
                wire.close()


class _Said:
    """What is said to a server that asks for it in the midst of a command."""

    def __init__(self, text: str) -> None:
        self._left = [base64.b64encode(text.encode())]

    def answer(self, challenge: bytes) -> bytes:
        # The second time the server explains why not, and waits for an empty line before it says no.
        return self._left.pop() if self._left else b""


def answers(said: Sequence[Any]) -> Iterator[list[bytes | tuple[bytes]]]:
    """
    The single answers of what the library gathered under one name, literals as tuples.

    Example:
        >>> list(answers([(b"1 (BODY[2] {3}", b"abc"), b" UID 5)", b"2 (UID 6)"]))
        [[b'1 (BODY[2] ', (b'abc',), b' UID 5)'], [b'2 (UID 6)']]
    """
    pieces: list[bytes | tuple[bytes]] = []
    for each in said:
        if isinstance(each, tuple):
            pieces += [_LITERAL.sub(b"", each[0]), (each[1],)]
        elif each is not None:
            yield [*pieces, each]
            pieces = []


def quoted(text: str) -> str:
    r"""
    A text of a command.

    Raises:
        ValueError: It holds an end of line.

    Example:
        >>> print(quoted('a "b" \\'))
        "a \"b\" \\"
    """
    if re.search(r"[\r\n\0]", text):
        raise ValueError("a text that holds an end of line")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def mailbox_name(name: str) -> str:
    """
    The name of a folder as the protocol spells it: ASCII, and anything else in an old kind of base64.

    Example:
        >>> mailbox_name("Aufträge & mehr")
        'Auftr&AOQ-ge &- mehr'
    """
    pieces = re.findall(r"[\x20-\x7e]+|[^\x20-\x7e]+", name)
    return "".join(
        each.replace("&", "&-") if each.isascii() and each.isprintable() else _shifted(each) for each in pieces
    )


def _shifted(text: str) -> str:
    code = base64.b64encode(text.encode("utf-16-be")).rstrip(b"=").replace(b"/", b",")
    return f"&{code.decode('ascii')}-"
