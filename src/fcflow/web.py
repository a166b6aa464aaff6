"""
Where partners push to: a WSGI and an ASGI application, to be mounted by any framework.

The last two parts of the path say who pushes what: ``/{partner}/{kind}``. A view of any framework may as well call
`Synchronizer.receive_push`, which is all that happens here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from fcflow.reports import PushAnswer
from fcflow.synchronizer import Synchronizer

__all__ = ["asgi_app", "wsgi_app"]

_PIECE = 64 * 1024
_JSON = {"Content-Type": "application/json"}
_NOT_HERE = PushAnswer(status=404, headers=_JSON, body=b'{"error": "nothing is taken here"}')
_NO_POST = PushAnswer(status=405, headers={**_JSON, "Allow": "POST"}, body=b'{"error": "expected a POST"}')
_NO_LENGTH = PushAnswer(status=411, headers=_JSON, body=b'{"error": "expected a Content-Length"}')
_CUT = PushAnswer(status=400, headers=_JSON, body=b'{"error": "the content was cut before its end"}')

_REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    411: "Length Required",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    503: "Service Unavailable",
}

_Environ = Mapping[str, Any]
_Start = Callable[[str, list[tuple[str, str]]], Any]


def _parts(path: str) -> tuple[str, str]:
    """Partner and kind, from a path; empty where there are none."""
    parts = path.rstrip("/").rsplit("/", 2)
    return (parts[-2], parts[-1]) if len(parts) > 1 else ("", "")


# ------------------------------------------------------------------ WSGI


def wsgi_app(sync: Synchronizer) -> Callable[[_Environ, _Start], Iterable[bytes]]:
    """
    The application for a WSGI server.

    Example:
        >>> from wsgiref.util import setup_testing_defaults
        >>> with Synchronizer.from_config({"fcflow": "config/1", "store": {"url": "sqlite://"}}) as sync:
        ...     environ = {"PATH_INFO": "/leeds/status", "REQUEST_METHOD": "POST", "CONTENT_LENGTH": "2"}
        ...     setup_testing_defaults(environ)
        ...     wsgi_app(sync)(environ, lambda status, headers: print(status))
        404 Not Found
        [b'{"error": "nothing is taken here"}']
    """

    def app(environ: _Environ, start: _Start) -> Iterable[bytes]:
        answer = _of_wsgi(sync, environ)
        headers = [*answer.headers.items(), ("Content-Length", str(len(answer.body)))]
        start(f"{answer.status} {_REASONS.get(answer.status, '')}".strip(), headers)
        return [answer.body]

    return app


def _of_wsgi(sync: Synchronizer, environ: _Environ) -> PushAnswer:
    partner, kind = _parts(environ.get("PATH_INFO", ""))
    cap, length = sync.push_cap(partner, kind), environ.get("CONTENT_LENGTH") or ""
    refused = _refused(environ["REQUEST_METHOD"], cap, length)
    if refused is not None:
        return refused
    wanted = min(int(length), cap + 1)
    body = b"".join(_read(environ["wsgi.input"], wanted))
    if len(body) < wanted:
        return _CUT
    path = quote(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""), encoding="latin-1")
    query = environ.get("QUERY_STRING", "")
    return sync.receive_push(
        partner, kind, list(_wsgi_headers(environ)), body, target=f"{path}?{query}" if query else path
    )


def _refused(method: str, cap: int, length: str) -> PushAnswer | None:
    if not cap:
        return _NOT_HERE
    if method != "POST":
        return _NO_POST
    return None if length.isascii() and length.isdecimal() and len(length) < 20 else _NO_LENGTH


def _read(stream: Any, wanted: int) -> Iterator[bytes]:
    while wanted > 0 and (piece := stream.read(min(wanted, _PIECE))):
        wanted -= len(piece)
        yield piece


def _wsgi_headers(environ: _Environ) -> Iterator[tuple[str, str]]:
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            yield name[5:].replace("_", "-"), value


# ------------------------------------------------------------------ ASGI

_Scope = Mapping[str, Any]
_Receive = Callable[[], Awaitable[Mapping[str, Any]]]
_Send = Callable[[dict[str, Any]], Awaitable[None]]


def asgi_app(sync: Synchronizer) -> Callable[[_Scope, _Receive, _Send], Awaitable[None]]:
    """The application for an ASGI server; the store is worked on in a thread, so that others are not kept waiting."""

    async def app(scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            answer = await _of_asgi(sync, scope, receive)
            headers = [*answer.headers.items(), ("Content-Length", str(len(answer.body)))]
            coded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
            await send({"type": "http.response.start", "status": answer.status, "headers": coded})
            await send({"type": "http.response.body", "body": answer.body})

    return app


async def _lifespan(receive: _Receive, send: _Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def _of_asgi(sync: Synchronizer, scope: _Scope, receive: _Receive) -> PushAnswer:
    partner, kind = _parts(scope["path"])
    cap = sync.push_cap(partner, kind)
    refused = _refused(scope["method"], cap, "0")
    if refused is not None:
        return refused
    body = await _asgi_body(receive, cap)
    if body is None:
        return _CUT
    path = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1")
    query = scope.get("query_string", b"").decode("latin-1")
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    return await asyncio.to_thread(
        sync.receive_push, partner, kind, headers, body, target=f"{path}?{query}" if query else path
    )


async def _asgi_body(receive: _Receive, cap: int) -> bytes | None:
    """The content, as far as it is needed to see that it is too much; ``None`` where the partner went away."""
    body = bytearray()
    while len(body) <= cap:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return bytes(body[: cap + 1])
