"""
A partner's HTTP service on 127.0.0.1, scripted by one function.

>>> import urllib.request
>>> with web_service(lambda asked: Said(200, b"OK " + asked.target.encode())) as service:
...     urllib.request.urlopen(service.url + "status?order=A1").read()
b'OK /status?order=A1'
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from attrs import define, field, frozen

__all__ = ["Asked", "Said", "WebService", "web_service"]


@frozen
class Asked:
    """
    One request.

    Args:
        target: Path and query.

        headers: By name, in lower case.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def query(self) -> dict[str, str]:
        """The URL parameters."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))


@frozen
class Said:
    """One answer; *cut* is how many of its bytes are sent before the line goes dead, ``None`` all of them."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(factory=dict)
    cut: int | None = None


@define
class WebService:
    """A service that runs; *asked* is everything that it was asked so far."""

    url: str
    port: int
    asked: list[Asked] = field(factory=list)


@contextmanager
def web_service(answer: Callable[[Asked], Said], tls: ssl.SSLContext | None = None) -> Iterator[WebService]:
    """A service in threads of this process that answers as *answer* says, with *tls* over TLS."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(answer))
    server.daemon_threads, server.block_on_close = True, False
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    scheme, host = ("http", "127.0.0.1") if tls is None else ("https", "localhost")
    service = WebService(url=f"{scheme}://{host}:{server.server_port}/", port=server.server_port)
    server.service = service  # type: ignore[attr-defined]  # for its handlers
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that went away is no error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(answer: Callable[[Asked], Said]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, body)
            service: Any = self.server
            service.service.asked.append(asked)
            self._say(answer(asked))

        do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815

        def _say(self, said: Said) -> None:
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            if said.status not in (204, 304):
                self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            if self.command != "HEAD" and said.status not in (204, 304):
                self.wfile.write(said.body[: said.cut])
            self.close_connection = self.close_connection or said.cut is not None

        def log_message(self, format: str, *arguments: Any) -> None:  # as the base calls it
            """Say nothing."""

    return Handler
