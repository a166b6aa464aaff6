"""
One locked-down HTTP session: no redirects, no cookies, no environment, no retries, and a deadline that holds.

The time-outs of HTTP libraries bound one read; a server that sends a byte now and then outlives them. Here a watchdog
shuts the socket down when the call's time is over, whatever the library is waiting for. The connection tells us when
it stands and no byte has left, which is the last instant at which nothing can have happened at the partner.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPResponse, IncompleteRead
from http.cookiejar import DefaultCookiePolicy
from socket import SHUT_RDWR, fromfd, socket
from typing import Any, ClassVar

import requests
import urllib3
from attrs import field, frozen
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from fcflow.errors import (
    TransportCorruptError,
    TransportError,
    TransportTimeoutError,
    TransportUnavailableError,
    TransportUnsupportedError,
    TransportUntrustedError,
)

__all__ = ["Answer", "Call", "Wire"]

_PIECE = 64 * 1024


def _nothing() -> None:
    """What happens before a request that publishes nothing."""


@frozen(kw_only=True)
class Call:
    """
    One request.

    Args:
        place: The URL as it may be shown: without user, query and fragment.

        began: Called once, when the connection stands and before the first byte of the request leaves.
    """

    method: str
    url: str = field(repr=False)
    place: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    began: Callable[[], None] = field(default=_nothing, repr=False)


@frozen(kw_only=True)
class Answer:
    """
    What came back.

    Args:
        pieces: The content, read while it is asked for; raises `TransportError` where it is cut.
    """

    status: int
    reason: str
    headers: Mapping[str, str] = field(repr=False)
    pieces: Iterator[bytes] = field(repr=False)


class _Line:
    """The socket of the call under way, and how far that call got."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copy: socket | None = None
        self.expired = False
        self.begun = False
        self.failure: BaseException | None = None
        self.began: Callable[[], None] = _nothing

    def open(self, began: Callable[[], None]) -> None:
        self.expired, self.begun, self.failure, self.began = False, False, None, began

    def watch(self, sock: socket) -> None:
        copy = fromfd(sock.fileno(), sock.family, sock.type)
        with self._lock:
            copy, self._copy = self._copy, copy  # type: ignore[assignment]  # what was there may be nothing
            if self.expired:
                self._shut()
        if copy is not None:
            copy.close()

    def begin(self) -> None:
        try:
            self.began()
        except BaseException as error:
            self.failure = error
            raise
        self.begun = True

    def cut(self) -> None:
        with self._lock:
            self.expired = True
            self._shut()

    def _shut(self) -> None:
        if self._copy is not None:
            with suppress(OSError):
                self._copy.shutdown(SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            copy, self._copy = self._copy, None
        if copy is not None:
            copy.close()


class _Lines:
    """Remembers the last line that was read from *file*."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.last = b"\n"

    def readline(self, limit: int = -1) -> bytes:
        self.last = self._file.readline(limit)
        return self.last

    def close(self) -> None:
        self._file.close()


class _WholeHead(HTTPResponse):
    """An answer whose head ends with its empty line; the base takes one that was cut for a whole one."""

    def begin(self) -> None:
        file = self.fp
        lines = _Lines(file)
        self.fp = lines  # type: ignore[assignment]  # nothing but readline is called while the head is read
        try:
            super().begin()
        finally:
            self.fp = file if self.fp is not None else None  # a bad status line lets go
        if lines.last not in (b"\r\n", b"\n"):
            raise IncompleteRead(b"")


class _Watched(HTTPConnection):
    """A connection that is watched from its first byte on."""

    line: ClassVar[_Line]
    response_class = _WholeHead
    debuglevel = 0  # whatever the library is set to: it would print passwords

    def _new_conn(self) -> socket:
        sock = super()._new_conn()
        self.line.watch(sock)
        return sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:
            self.connect()
        if self.line.expired:
            raise TimeoutError("the deadline passed while connecting")
        self.line.watch(self.sock)
        self.line.begin()
        super().request(*args, **kwargs)


def _pools(line: _Line) -> dict[str, type[HTTPConnectionPool]]:
    plain = type("_Plain", (_Watched,), {"line": line})
    secure = type("_Secure", (_Watched, HTTPSConnection), {"line": line})
    return {
        "http": type("_PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("_SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }


class _Adapter(HTTPAdapter):
    def __init__(self, line: _Line) -> None:
        self._line = line
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=urllib3.Retry(0, read=False))

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(self._line)


def _session(line: _Line) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.headers.clear()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.adapters.clear()
    adapter = _Adapter(line)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


class Wire:
    """
    A way to one HTTP server, used by one thread at a time.

    Args:
        timeout_s: From the first try to connect to the last byte of the answer.

        connect_s: For connecting alone.

        ca_file: Certificates to trust instead of the usual ones, or ``None``.

        client: Certificate and key files that we show, or ``None``.
    """

    def __init__(
        self, *, timeout_s: float, connect_s: float, ca_file: str | None = None, client: tuple[str, str] | None = None
    ) -> None:
        self._line = _Line()
        self._session = _session(self._line)
        self._owner = os.getpid()
        self._timeout_s = timeout_s
        self._connect_s = min(connect_s, timeout_s)
        self._verify: str | bool = ca_file or True
        self._client = client

    @property
    def begun(self) -> bool:
        """Whether the last call's request may have reached the server."""
        return self._line.begun

    @contextmanager
    def call(self, call: Call) -> Iterator[Answer]:
        """
        Make one request and give its answer, whose content is read within the same deadline.

        Raises:
            TransportError: Of the kind a look may raise; whoever publishes asks `begun` what it means.
        """
        self._own()
        self._line.open(call.began)
        watchdog = threading.Timer(self._timeout_s, self._line.cut)
        watchdog.daemon = True
        watchdog.start()
        try:
            response = self._request(call)
            try:
                yield self._answer(call, response)
            finally:
                response.close()
        finally:
            watchdog.cancel()
            self._line.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()

    def _own(self) -> None:
        """A connection that was opened before a fork belongs to the other process."""
        if self._owner != os.getpid():
            self._session, self._owner = _session(self._line), os.getpid()

    def _request(self, call: Call) -> requests.Response:
        try:
            response = self._session.request(
                call.method,
                call.url,
                data=call.body,
                headers=call.headers,
                allow_redirects=False,
                stream=True,
                timeout=(self._connect_s, self._timeout_s),
                verify=self._verify,
                cert=self._client,
            )
            if not self._line.expired:
                return response
            response.close()
            failure: BaseException = self._too_late(call)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            failure = self._line.failure or self._failure(call, error)
        # Raised out here, so that the library's own error, whose text holds the whole URL, is not in its context.
        raise failure

    def _answer(self, call: Call, response: requests.Response) -> Answer:
        return Answer(
            status=response.status_code,
            reason=response.reason or "",
            headers=response.headers,
            pieces=self._pieces(call, response),
        )

    def _pieces(self, call: Call, response: requests.Response) -> Iterator[bytes]:
        failure: BaseException | None = None
        try:
            for piece in response.raw.stream(_PIECE, decode_content=True):
                yield piece
                if self._line.expired:
                    break
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            failure = self._failure(call, error)
        if failure is None and self._line.expired:
            failure = self._too_late(call)
        if failure is not None:
            raise failure

    def _too_late(self, call: Call) -> TransportError:
        return TransportTimeoutError(f"{call.place}: no whole answer within {self._timeout_s:g} s")

    def _failure(self, call: Call, error: BaseException) -> TransportError:
        chain = _chain(error)
        failure = self._too_late(call) if self._line.expired else _named(call, chain, begun=self._line.begun)
        # Without its frames: their variables hold what was sent, headers included.
        failure.__cause__ = chain[-1].with_traceback(None)
        return failure


def _chain(error: BaseException) -> list[BaseException]:
    """The error and what it came from; the text of the innermost one holds neither URL nor query."""
    chain = [error]
    while len(chain) < 20:
        below = (getattr(error, "reason", None), *error.args, error.__cause__, error.__context__)
        inner = next((each for each in below if isinstance(each, BaseException)), None)
        if inner is None:
            break
        chain.append(error := inner)
    return chain


_NOT_HTTP = (requests.exceptions.InvalidHeader, urllib3.exceptions.InvalidHeader, ValueError)


def _named(call: Call, chain: list[BaseException], *, begun: bool) -> TransportError:
    place, error, root = call.place, chain[0], chain[-1]
    if begun and any(isinstance(each, _NOT_HTTP) for each in (error, root)):
        return TransportCorruptError(f"{place}: the answer is not HTTP")
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidHeader | UnicodeError):
        return TransportUnsupportedError(f"{place}: this cannot be asked for: {type(error).__name__}")
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError) or isinstance(root, TimeoutError):
        return TransportTimeoutError(f"{place}: the server did not answer in time")
    if isinstance(root, ssl.SSLError) and not isinstance(root, ssl.SSLEOFError):
        return TransportUntrustedError(f"{place}: TLS was not accepted: {_tls_reason(root)}")
    if any(isinstance(each, IncompleteRead | urllib3.exceptions.DecodeError) for each in chain) or _ends_early(chain):
        return TransportCorruptError(f"{place}: the answer was cut before its end")
    return TransportUnavailableError(f"{place}: {_clause(root)}")


def _ends_early(chain: list[BaseException]) -> bool:
    """Whether the content broke off and not the connection."""
    return isinstance(chain[0], urllib3.exceptions.ProtocolError) and not isinstance(chain[-1], OSError)


def _tls_reason(error: ssl.SSLError) -> str:
    message = getattr(error, "verify_message", None) or error.reason or "the handshake failed"
    return str(message)


def _clause(root: BaseException) -> str:
    text = root.strerror if isinstance(root, OSError) and root.strerror else ""
    return text or f"no answer ({type(root).__name__})"
