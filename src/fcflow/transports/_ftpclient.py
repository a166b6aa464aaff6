"""The standard library's FTP client, with what it lacks: verified TLS with session reuse, EPSV, honest ends."""

from __future__ import annotations

import contextlib
import ftplib
import re
import select
import socket
import ssl
from collections.abc import Iterator, Sequence

from fcflow.transports._dial import Dialler
from fcflow.transports._session import protected

__all__ = ["FtpAnswerError", "FtpClient", "FtpUntrustedError"]

_BLOCK = 256 * 1024
_LISTING = 64 * 1024 * 1024
_ANSWER = 256 * 1024


class FtpUntrustedError(Exception):
    """The server would not protect the connection."""


class FtpAnswerError(ftplib.Error):
    """The server said something that is not FTP."""


class FtpClient(ftplib.FTP):
    """
    One control connection, in binary mode throughout.

    Args:
        context: For TLS, or ``None`` for a connection in clear.

        server_name: What the certificate must be for.

        passive: ``auto`` (EPSV, else PASV), ``epsv``, ``pasv``, or ``active``.

        dial: Opens control and passive data connections.
    """

    debugging = 0  # whatever the library is set to: it would print what the server says of a password

    def __init__(
        self,
        *,
        context: ssl.SSLContext | None,
        server_name: str,
        encoding: str,
        passive: str,
        timeout_s: float,
        dial: Dialler,
    ) -> None:
        super().__init__(timeout=timeout_s, encoding=encoding)
        self._dial = dial
        self._timeout_s = timeout_s
        self._context = context
        self._server_name = server_name
        self._passive = passive
        self._protected = False
        self._data: socket.socket | None = None
        self._was_cut = False
        self.owes_an_answer = False
        self.features: dict[str, str] = {}
        self.set_pasv(passive != "active")

    # ------------------------------------------------------------------ opening

    def open(self, host: str, port: int, *, implicit: bool) -> None:
        """Connect, and protect the connection before anything is said."""
        self.host, self.port = host, port
        self.sock = self._dial(host, port, self._timeout_s)
        self._go_on_unless_cut()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.af = self.sock.family
        if implicit:
            self._wrap_control()
        self._read_from_socket()
        self.welcome = self.getresp()
        if self._context is not None and not implicit:
            self._start_tls()

    def _go_on_unless_cut(self) -> None:
        if self._was_cut:
            raise TimeoutError("the deadline passed while connecting")

    def _read_from_socket(self) -> None:
        self.file = self.sock.makefile("rb")  # type: ignore[assignment,union-attr]  # bytes, and connected

    def _start_tls(self) -> None:
        try:
            self.voidcmd("AUTH TLS")
        except (ftplib.error_perm, ftplib.error_temp) as error:
            raise FtpUntrustedError(f"the server refuses TLS ({error}); nothing is sent in clear") from error
        self._wrap_control()
        self._read_from_socket()

    def _wrap_control(self) -> None:
        assert self._context is not None
        assert self.sock is not None
        self.sock = held = protected(self.sock, self._context, self._server_name)
        self._go_on_unless_cut()
        held.do_handshake()

    def protect(self) -> None:
        """Data channels are encrypted from here on, or nothing goes on."""
        try:
            self.voidcmd("PBSZ 0")
            self.voidcmd("PROT P")
        except (ftplib.error_perm, ftplib.error_temp) as error:
            raise FtpUntrustedError(f"the server refuses to protect data ({error})") from error
        self._protected = True

    def prepare(self) -> None:
        """What is asked once after the login."""
        with contextlib.suppress(ftplib.error_perm):
            self.features = _features(self.sendcmd("FEAT"))
        if "UTF8" in self.features and self.encoding.lower().replace("-", "") == "utf8":
            with contextlib.suppress(ftplib.error_perm):
                self.sendcmd("OPTS UTF8 ON")
        self.voidcmd("TYPE I")

    def getline(self) -> str:
        """One line of an answer, which may quote a name in any encoding."""
        assert self.file is not None
        line: bytes = self.file.readline(self.maxline + 1)  # type: ignore[assignment]  # it was opened for bytes
        if len(line) > self.maxline:
            raise FtpAnswerError(f"a line of more than {self.maxline} bytes")
        if not line:
            raise EOFError
        return line.rstrip(b"\r\n").decode(self.encoding, "surrogateescape")

    def exchange(self, *commands: str) -> Sequence[str | Exception]:
        """
        The answers to *commands*, or what came instead: a refusal, or the error that ended the connection.

        The commands leave together, so that they cost one round trip. Whoever calls it compares the codes: an answer
        that was lost would shift all others.
        """
        assert self.sock is not None
        if any("\r" in command or "\n" in command for command in commands):
            raise ValueError("a line break in a command")
        self.owes_an_answer = True
        self.sock.sendall("".join(f"{command}\r\n" for command in commands).encode(self.encoding))
        answers: list[str | Exception] = []
        while len(answers) < len(commands):
            try:
                answers.append(self.getresp())
            except (ftplib.error_perm, ftplib.error_temp) as refusal:
                answers.append(refusal)
            except (OSError, EOFError, ValueError, ftplib.Error) as error:
                return [*answers, *[error] * (len(commands) - len(answers))]
            self.owes_an_answer = len(answers) < len(commands)
        return answers

    @property
    def is_stale(self) -> bool:
        """Whether the server closed the connection, said something unasked, or was not heard to the end."""
        if self.sock is None or self.owes_an_answer:
            return True
        try:
            return bool(select.select([self.sock], [], [], 0)[0])
        except (OSError, ValueError):
            return True

    def cut(self) -> None:
        """Make whatever is blocked fail; from another thread."""
        self._was_cut = True
        for held in (self._data, self.sock):
            if held is not None:
                with contextlib.suppress(OSError):
                    # Below TLS: its own shutdown would wait for the peer.
                    socket.socket.shutdown(held, socket.SHUT_RDWR)

    def putcmd(self, line: str) -> None:
        """Send a command; until its last answer is read the connection is of no use for another one."""
        self.owes_an_answer = True
        super().putcmd(line)

    def getmultiline(self) -> str:
        """One answer, whole; the library's takes a line without a code for one, and has no bound."""
        answer = self._whole_answer()
        self.owes_an_answer = answer.startswith("1")
        return answer

    def _whole_answer(self) -> str:
        line = self.getline()
        if not re.match(r"[1-5][0-9]{2}([ -]|$)", line):
            raise FtpAnswerError(line)
        if line[3:4] != "-":
            return line
        lines, size = [line], len(line)
        while not re.match(f"{line[:3]}( |$)", lines[-1]):
            lines.append(self.getline())
            size += len(lines[-1]) + 1
            if size > _ANSWER:
                raise FtpAnswerError("an answer without an end")
        return "\n".join(lines)

    # ------------------------------------------------------------------ data channels

    def makepasv(self) -> tuple[str, int]:
        """The server's own address with the port it names; the address in its answer is ignored."""
        assert self.sock is not None
        peer = self.sock.getpeername()
        # A name may stand for several machines: data go to the one that was reached; behind a proxy it does that.
        host = peer[0] if self._dial.is_straight else self.host
        if self._passive != "pasv":
            try:
                return host, ftplib.parse229(self.sendcmd("EPSV"), peer)[1]  # noqa: S321 - a parser
            except ftplib.error_perm:
                if self._passive == "epsv" or self.af != socket.AF_INET:
                    raise
                self._passive = "pasv"
        return host, ftplib.parse227(self.sendcmd("PASV"))[1]  # noqa: S321 - a parser

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        """Open a data channel; protected, it takes up the session of the control connection."""
        conn = self._passive_channel(cmd) if self.passiveserver else super().ntransfercmd(cmd, rest)[0]
        self._data = conn
        try:
            self._go_on_unless_cut()
            return self._prepared(conn), None
        except BaseException:
            self._data.close()
            self._data = None
            raise

    def _passive_channel(self, command: str) -> socket.socket:
        conn = self._data = self._dial(*self.makepasv(), self._timeout_s)
        try:
            answer = self.sendcmd(command)
            if answer.startswith("2"):
                # Some servers say first that the transfer before this one is over.
                answer = self.getresp()
            if not answer.startswith("1"):
                raise FtpAnswerError(answer)
        except BaseException:
            conn.close()
            raise
        return conn

    def _prepared(self, conn: socket.socket) -> socket.socket:
        assert self.sock is not None
        if self._dial.is_straight and conn.getpeername()[0] != self.sock.getpeername()[0]:
            raise FtpAnswerError("the data connection comes from another host")
        # Two small writes in a row wait 40 ms for each other with Nagle's algorithm.
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            if not self._protected:
                raise FtpUntrustedError("the data channel is not protected")
            session = self.sock.session if isinstance(self.sock, ssl.SSLSocket) else None
            self._data = held = protected(conn, self._context, self._server_name, session)
            self._go_on_unless_cut()
            held.do_handshake()
            return held
        return conn

    def store(self, path: str, content: bytes) -> None:
        """Upload; returns once the server said it has the file, which does not mean all of it."""
        conn = self.transfercmd(f"STOR {path}")
        try:
            self._send_all(conn, content)
        except OSError:
            conn.close()
            self._say_why()
            raise
        finally:
            self._data = None
            conn.close()
        self.voidresp()

    @staticmethod
    def _send_all(conn: socket.socket, content: bytes) -> None:
        view = memoryview(content)
        for start in range(0, len(view), _BLOCK):
            conn.sendall(view[start : start + _BLOCK])
        if isinstance(conn, ssl.SSLSocket):
            # Without a proper end servers count the upload as cut; whether theirs is proper, sizes will tell.
            with contextlib.suppress(OSError):
                conn.unwrap()

    def _say_why(self) -> None:
        """A server that ends an upload gives its reason on the control connection: raise that one."""
        assert self.sock is not None
        with contextlib.suppress(OSError, EOFError):
            self.sock.settimeout(min(self.timeout or 5.0, 5.0))
            self.voidresp()

    def blocks(self, command: str) -> Iterator[bytes]:
        """What the server sends upon *command*, in blocks, to its end."""
        conn = self.transfercmd(command)
        try:
            while block := conn.recv(_BLOCK):
                yield block
            if self._was_cut:
                # A connection that we end ourselves looks like the end of the file.
                raise TimeoutError
            if isinstance(conn, ssl.SSLSocket):
                conn.unwrap()
        finally:
            self._data = None
            conn.close()
        self.voidresp()

    def listing(self, command: str) -> list[str]:
        """The lines that the server sends upon *command*."""
        gathered = bytearray()
        for block in self.blocks(command):
            gathered += block
            if len(gathered) > _LISTING:
                raise FtpAnswerError("the listing has no end")
        text = gathered.decode(self.encoding, "surrogateescape")
        return [line.removesuffix("\r") for line in text.split("\n") if line not in ("", "\r")]


def _features(answer: str) -> dict[str, str]:
    lines = [line.strip() for line in answer.splitlines() if not re.match(r"211[- ]", line)]
    return {line.partition(" ")[0].upper(): line.partition(" ")[2] for line in lines if line}
