"""The standard library's SMTP client, with what it lacks: strict answers, verified TLS, an end of DATA that is ours."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import re
import smtplib
import socket
import ssl
from collections.abc import Mapping, Sequence

from fcflow.transports._login import Login, coded
from fcflow.transports._session import cut_below_tls, has_something, protected
from fcflow.transports._tls import one_line

__all__ = ["SmtpAnswerError", "SmtpClient", "SmtpNoLoginError", "SmtpRecipientsError", "SmtpReplyError"]

_BLOCK = 256 * 1024
_LONGEST_LINE = 8192
_MOST_LINES = 200
_REPLY = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*?))?\r?\n", re.DOTALL)
_WHY_S = 5.0


class SmtpReplyError(Exception):
    """
    The server answered, and the answer is no.

    Args:
        step: The command that was answered, in capitals; ``GREETING`` for the server's first word.
    """

    def __init__(self, step: str, code: int, text: str) -> None:
        super().__init__(f"{code} {text}".strip())
        self.step, self.code, self.text = step, code, text


class SmtpRecipientsError(Exception):
    """Some recipients were refused; the message goes to none."""

    def __init__(self, refused: Mapping[str, SmtpReplyError]) -> None:
        super().__init__("; ".join(f"{address}: {error}" for address, error in refused.items()))
        self.codes = [error.code for error in refused.values()]


class SmtpAnswerError(Exception):
    """The server said something that is not SMTP, or nothing more."""


class SmtpNoLoginError(Exception):
    """The server offers no way to log in that we know."""


class SmtpClient(smtplib.SMTP):
    """
    One connection.

    Args:
        context: For TLS, or ``None`` for a connection in clear.

        server_name: What the certificate must be for.

        greeting: How we call ourselves, or ``None`` for our address. The library would ask a name server, for as
            long as that takes.
    """

    def __init__(
        self, *, context: ssl.SSLContext | None, server_name: str, greeting: str | None, timeout_s: float
    ) -> None:
        super().__init__(local_hostname=greeting or "localhost", timeout=timeout_s)
        self._greeting = greeting
        self._context = context
        self._server_name = server_name
        self._was_cut = False

    # ------------------------------------------------------------------ opening

    def open(self, host: str, port: int, *, implicit: bool) -> None:
        """Connect, and protect the connection before anything is said."""
        self.sock = socket.create_connection((host, port), self.timeout)
        self._go_on_unless_cut()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if implicit:
            self._wrap()
        self._expect("GREETING", self.getreply(), 220)
        self.local_hostname = self._greeting or _literal(self.sock)
        self._hello()
        if self._context is not None and not implicit:
            self._start_tls()

    def _go_on_unless_cut(self) -> None:
        if self._was_cut:
            raise TimeoutError("the deadline passed while connecting")

    def _wrap(self) -> None:
        assert self._context is not None
        assert self.sock is not None
        self.sock = held = protected(self.sock, self._context, self._server_name)
        self._go_on_unless_cut()
        held.do_handshake()
        # What was said in clear before is forgotten, be it read already or not.
        self.file = None

    def _hello(self) -> None:
        reply = self.ehlo()
        if reply[0] >= 500:
            # From before there were extensions.
            reply = self.helo()
        self._expect("HELO", reply, 250)

    def _start_tls(self) -> None:
        if not self.has_extn("starttls"):
            raise SmtpReplyError("STARTTLS", 502, "the server offers no TLS; nothing is sent in clear")
        self._expect("STARTTLS", self.docmd("STARTTLS"), 220)
        self._wrap()
        self.does_esmtp = False
        self._hello()

    @staticmethod
    def _expect(step: str, reply: tuple[int, bytes], *codes: int) -> str:
        code, text = reply[0], _text(reply[1])
        if code not in codes:
            raise SmtpReplyError(step, code, text)
        return text

    # ------------------------------------------------------------------ logging in

    def log_in(self, login: Login) -> None:
        """By the one best way that the server offers: several in turn would count as several wrong passwords."""
        if login.token is not None:
            self._authenticate("XOAUTH2", login.xoauth2)
        elif login.password is not None:
            self._log_in_by(_best(self.esmtp_features.get("auth", ""), in_clear=self._context is None), login)

    def _log_in_by(self, mechanism: str, login: Login) -> None:
        password = login.password or ""
        if mechanism == "PLAIN":
            self._authenticate("PLAIN", login.plain)
        elif mechanism == "LOGIN":
            self._authenticate("LOGIN", None, login.user, password)
        else:
            challenge = base64.b64decode(self._expect("AUTH", self.docmd("AUTH", "CRAM-MD5"), 334))
            digest = hmac.new(password.encode(), challenge, hashlib.md5).hexdigest()
            self._expect("AUTH", self.docmd(coded(f"{login.user} {digest}")), 235)

    def _authenticate(self, mechanism: str, first: str | None, *answers: str) -> None:
        reply = self.docmd("AUTH", mechanism if first is None else f"{mechanism} {coded(first)}")
        for answer in answers:
            self._expect("AUTH", reply, 334)
            reply = self.docmd(coded(answer))
        if reply[0] == 334:
            # The server explains itself and waits for an empty line before it says no.
            reply = self.docmd("")
        self._expect("AUTH", reply, 235)

    # ------------------------------------------------------------------ one message

    @property
    def most_bytes(self) -> int | None:
        """How large a message the server takes; ``None`` where it does not say."""
        said = self.esmtp_features.get("size", "")
        return int(said) if said.isdecimal() and len(said) < 20 and int(said) else None

    def address(self, sender: str, recipients: Sequence[str], size: int, *, utf8: bool) -> None:
        """Say who writes to whom; where one recipient is refused nothing is begun."""
        self.command_encoding = "utf-8"
        options = [f"SIZE={size}"] if self.has_extn("size") else []
        options += ["BODY=8BITMIME", "SMTPUTF8"] if utf8 else []
        self._expect("MAIL", self.docmd("MAIL", " ".join([f"FROM:<{sender}>", *options])), 250)
        refused = {each: error for each in recipients if (error := self._refusal(each)) is not None}
        if refused:
            self.docmd("RSET")
            raise SmtpRecipientsError(refused)

    def _refusal(self, recipient: str) -> SmtpReplyError | None:
        code, text = self.docmd("RCPT", f"TO:<{recipient}>")
        if code == 421:
            raise SmtpReplyError("RCPT", code, _text(text))
        return None if code in (250, 251) else SmtpReplyError("RCPT", code, _text(text))

    def hand_over(self, content: bytes) -> None:
        """Everything but the end: until that is said the server has nothing."""
        self._expect("DATA", self.docmd("DATA"), 354)
        stuffed = memoryview(re.sub(rb"(?m)^\.", b"..", content))
        try:
            for start in range(0, len(stuffed), _BLOCK):
                self.send(stuffed[start : start + _BLOCK])
        except OSError:
            self._say_why()
            raise

    def _say_why(self) -> None:
        """A server that ends an upload may have given its reason: raise that one."""
        assert self.sock is not None
        reply = None
        with contextlib.suppress(OSError, SmtpAnswerError):
            self.sock.settimeout(min(float(self.timeout or _WHY_S), _WHY_S))
            reply = self.getreply()
        if reply is not None and reply[0] >= 400:
            raise SmtpReplyError("DATA", reply[0], _text(reply[1]))

    def finish(self) -> tuple[int, str]:
        """Say the end; from here on the server may have the message. Gives its answer, whatever it is."""
        self.send(b".\r\n")
        code, text = self.getreply()
        return code, _text(text)

    # ------------------------------------------------------------------ bytes

    def send(self, s: object) -> None:
        """Send all of *s*; unlike the library's, its error says what happened, and nothing is shown to debuggers."""
        if self.sock is None:
            raise SmtpAnswerError("the connection is closed")
        self.sock.sendall(s.encode(self.command_encoding) if isinstance(s, str) else s)  # type: ignore[arg-type]  # bytes

    def getreply(self) -> tuple[int, bytes]:
        """One answer, whole; half a line is none, and neither is a line without a code."""
        if self.sock is None:
            raise SmtpAnswerError("the connection is closed")
        if self.file is None:
            self.file = self.sock.makefile("rb")
        texts: list[bytes] = []
        for _ in range(_MOST_LINES):
            found = self._reply_line()
            texts.append((found[3] or b"").strip())
            if found[2] != b"-":
                return int(found[1]), b"\n".join(texts)
        raise self._given_up("an answer without an end")

    def _reply_line(self) -> re.Match[bytes]:
        assert self.file is not None
        line = self.file.readline(_LONGEST_LINE)
        if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
            raise self._given_up("the server closed the connection")
        found = _REPLY.fullmatch(line)
        if found is None:
            raise self._given_up(f"an answer that is not SMTP: {one_line(line[:80].decode('latin-1'))}")
        return found

    def _given_up(self, message: str) -> SmtpAnswerError:
        self.hang_up()
        return SmtpAnswerError(message)

    def _print_debug(self, *args: object) -> None:
        """Nothing: it would show passwords."""

    # ------------------------------------------------------------------ for the session

    @property
    def is_stale(self) -> bool:
        """Whether the server closed the connection or said something unasked."""
        return has_something(self.sock)

    def probe(self) -> None:
        """Ask for a sign of life."""
        self._expect("NOOP", self.docmd("NOOP"), 250)

    def cut(self) -> None:
        """Make whatever is blocked fail; from another thread."""
        self._was_cut = True
        cut_below_tls(self.sock)

    def leave(self) -> None:
        """Say goodbye."""
        if self.sock is not None:
            self.docmd("QUIT")

    def hang_up(self) -> None:
        """Close the connection without a word."""
        self.close()


def _best(offered: str, *, in_clear: bool) -> str:
    """Protected, the simplest; in clear the one that does not show the password, if there is one."""
    known = ["CRAM-MD5", "PLAIN", "LOGIN"] if in_clear else ["PLAIN", "LOGIN", "CRAM-MD5"]
    for mechanism in known:
        if mechanism in offered.upper().split():
            return mechanism
    raise SmtpNoLoginError(f"the server offers no login by {', '.join(known)}; it offers {one_line(offered) or 'none'}")


def _literal(sock: socket.socket) -> str:
    """Our address as the greeting of one who has no name."""
    host = str(sock.getsockname()[0]).partition("%")[0]
    return f"[IPv6:{host}]" if ":" in host else f"[{host}]"


def _text(reply: bytes) -> str:
    return one_line(reply.decode("utf-8", "replace"))
