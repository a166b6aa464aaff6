"""
Faults on purpose: a proxy that cuts connections, and servers whose n-th call fails before or after it took effect.

With FTP the data channels come through as well: the proxy listens on 127.0.0.2 on the server's passive ports, and a
client that ignores the address in the answer to PASV connects there.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from types import MethodType
from typing import Any

from attrs import define, field

from fcflow.errors import TransportUnavailableError
from fcflow.transports._folder import OneByOne

__all__ = ["BreakingServer", "Channel", "FaultProxy"]

_RESET = struct.pack("ii", 1, 0)


@define
class Channel:
    """
    What happens to connections that are opened from now on.

    Args:
        cut_up_after: Bytes from the client after which the connection ends; ``None`` never.

        cut_down_after: The same from the server.

        how: ``fin`` ends in good order, ``rst`` in bad, ``stall`` goes silent.

        refuse: Accept and reset at once.

        silent: Accept and never say anything.

        banner: Said instead of what the server says.

        flip_at: Offset of a bit to flip on the way to the server.

        latency_s: Added each way.

        rate: Bytes a second each way, or ``None`` for as many as there are.
    """

    cut_up_after: int | None = None
    cut_down_after: int | None = None
    how: str = "rst"
    refuse: bool = False
    silent: bool = False
    banner: bytes | None = None
    flip_at: int | None = None
    latency_s: float = 0.0
    rate: int | None = None


@define(eq=False)
class FaultProxy:
    """
    A TCP proxy with faults; a context manager that runs in a thread of its own.

    Args:
        upstream: Host and port of the server.

        passive_ports: Ports of the server to proxy as well, for the data channels of FTP.

        passed: How many bytes went ``up`` to the server and ``down`` from it, on all channels.

    Example:
        >>> with FaultProxy(("127.0.0.1", 9)) as proxy:
        ...     proxy.control.refuse = True
        ...     proxy.port > 0
        True
    """

    upstream: tuple[str, int]
    passive_ports: Sequence[int] = ()
    host: str = "127.0.0.1"
    control: Channel = field(factory=Channel)
    data: Channel = field(factory=Channel)
    port: int = field(default=0, init=False)
    connections: int = field(default=0, init=False)
    commands: list[bytes] = field(factory=list, init=False)
    passed: Counter[str] = field(factory=Counter, init=False)
    _swallow: bytes | None = field(default=None, init=False)
    _break: tuple[int, str] | None = field(default=None, init=False)
    _loop: Any = field(factory=asyncio.new_event_loop, init=False, repr=False)
    _servers: list[asyncio.Server] = field(factory=list, init=False)
    _writers: set[asyncio.StreamWriter] = field(factory=set, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        if self.passive_ports:
            self.host = "127.0.0.2"

    # ------------------------------------------------------------------ from the test's thread

    def __enter__(self) -> FaultProxy:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *exc_info: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        assert self._thread is not None
        self._thread.join(10)
        self._loop.close()

    def swallow_reply(self, beginning: bytes) -> None:
        """Cut the connection instead of passing on the next answer that begins so: the server did it, nobody knows."""
        self._swallow = beginning

    def break_command(self, nth: int, when: str) -> None:
        """Cut the connection at the *nth* command line from now, ``before`` or ``after`` the server did it."""
        self.commands.clear()
        self._break = (nth, when)

    def heal(self) -> None:
        """No more faults."""
        self.control, self.data = Channel(), Channel()
        self._swallow = self._break = None

    def cut_all(self) -> None:
        """Reset every connection."""
        asyncio.run_coroutine_threadsafe(self._cut_all(), self._loop).result(10)

    # ------------------------------------------------------------------ in the proxy's thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self) -> None:
        server = await asyncio.start_server(lambda r, w: self._serve(r, w, self.upstream, False), self.host, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._servers.append(server)
        for port in self.passive_ports:
            self._servers.append(await asyncio.start_server(self._to(port), self.host, port))

    def _to(self, port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
        return lambda r, w: self._serve(r, w, (self.upstream[0], port), True)

    async def _cut_all(self) -> None:
        for writer in list(self._writers):
            _cut(writer, "rst")

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        # What was accepted a moment ago gets to its handler first, so that it can be cut like the rest.
        await asyncio.sleep(0.01)
        await self._cut_all()
        tasks = [task for task in asyncio.all_tasks(self._loop) if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Closed transports let go of their sockets in the next rounds of the loop.
        for _ in range(5):
            await asyncio.sleep(0)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: tuple[str, int], is_data: bool
    ) -> None:
        self.connections += not is_data
        channel = self.data if is_data else self.control
        self._writers.add(writer)
        try:
            if channel.refuse:
                return _cut(writer, "rst")
            if channel.silent:
                await asyncio.sleep(3600)
            if channel.banner is not None:
                writer.write(channel.banner)
                await writer.drain()
                await asyncio.sleep(3600)
            await self._join(reader, writer, upstream, channel, is_data)
        except (OSError, asyncio.CancelledError):
            # Cancelled only at the very end, where nobody waits for it.
            _cut(writer, "rst")
        finally:
            writer.close()

    async def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream: tuple[str, int],
        channel: Channel,
        is_data: bool,
    ) -> None:
        far_reader, far_writer = await asyncio.open_connection(*upstream)
        self._writers.add(far_writer)
        pair = _Pair(writer, far_writer)
        try:
            await asyncio.gather(
                self._pump(reader, far_writer, channel.cut_up_after, channel, pair, None if is_data else self._up),
                self._pump(far_reader, writer, channel.cut_down_after, channel, pair, None if is_data else self._down),
            )
        finally:
            far_writer.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        cut_after: int | None,
        channel: Channel,
        pair: _Pair,
        inspect: Callable[[bytes, _Pair], tuple[bytes, bool]] | None,
    ) -> None:
        count = 0
        direction = "up" if writer is pair.far else "down"
        incoming = self._delayed(reader, channel) if channel.latency_s else self._blocks(reader, channel)
        async for block in incoming:
            goes_on = True
            if inspect is not None:
                block, goes_on = inspect(block, pair)
            if direction == "up" and channel.flip_at is not None:
                block = _flipped(block, channel.flip_at - count)
            if cut_after is not None and count + len(block) > cut_after:
                writer.write(block[: cut_after - count])
                await writer.drain()
                return await pair.end(channel.how)
            if channel.rate is not None:
                await asyncio.sleep(len(block) / channel.rate)
            writer.write(block)
            await writer.drain()
            count += len(block)
            self.passed[direction] += len(block)
            if not goes_on:
                return await pair.end("rst")
        with contextlib.suppress(OSError):
            writer.write_eof()
        return None

    async def _blocks(self, reader: asyncio.StreamReader, channel: Channel) -> AsyncIterator[bytes]:
        while block := await reader.read(65536 if channel.rate is None else max(channel.rate // 20, 1)):
            yield block

    async def _delayed(self, reader: asyncio.StreamReader, channel: Channel) -> AsyncIterator[bytes]:
        """Each block so much later than it came; a long way holds many blocks, as a real one does."""
        on_its_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def gather() -> None:
            with contextlib.suppress(OSError):
                async for block in self._blocks(reader, channel):
                    on_its_way.put_nowait((self._loop.time() + channel.latency_s, block))
            on_its_way.put_nowait((self._loop.time() + channel.latency_s, b""))

        gathering = asyncio.create_task(gather())
        try:
            while True:
                due, block = await on_its_way.get()
                await asyncio.sleep(max(due - self._loop.time(), 0))
                if not block:
                    return
                yield block
        finally:
            gathering.cancel()

    def _up(self, block: bytes, pair: _Pair) -> tuple[bytes, bool]:
        """What of a block from the client goes on to the server, and whether the connection does."""
        lines = block.splitlines(keepends=True)
        for place, line in enumerate(lines):
            self.commands.append(line.rstrip(b"\r\n"))
            if self._break is not None and len(self.commands) == self._break[0]:
                when, self._break = self._break[1], None
                if when == "before":
                    return b"".join(lines[:place]), False
                pair.answers_are_lost = True
        return block, True

    def _down(self, block: bytes, pair: _Pair) -> tuple[bytes, bool]:
        """The same of a block from the server."""
        if pair.answers_are_lost:
            return b"", False
        if self._swallow is not None:
            lines = block.splitlines(keepends=True)
            found = next((place for place, line in enumerate(lines) if line.startswith(self._swallow)), None)
            if found is not None:
                self._swallow = None
                return b"".join(lines[:found]), False
        return block, True


@define(eq=False)
class _Pair:
    """Both ends of a connection."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    answers_are_lost: bool = False

    def cut(self, how: str) -> None:
        _cut(self.near, how)
        _cut(self.far, how)

    async def end(self, how: str) -> None:
        # What was passed on has to get through before the end does.
        await asyncio.sleep(0.05)
        if how == "stall":
            await asyncio.sleep(3600)
        self.cut(how)


def _cut(writer: asyncio.StreamWriter, how: str) -> None:
    if how == "fin":
        writer.close()
        return
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


def _flipped(block: bytes, at: int) -> bytes:
    if not 0 <= at < len(block):
        return block
    return block[:at] + bytes([block[at] ^ 1]) + block[at + 1 :]


_CALLS = frozenset(("entries", "stat", "stats", "write", "rename", "rename_and_look", "read", "remove", "make_folder"))


@define(eq=False)
class BreakingServer:
    """
    Around the file server of a folder transport: its *nth* call fails, ``before`` or ``after`` it took effect.

    Args:
        calls: The calls so far, by name and path.
    """

    inner: Any
    nth: int
    when: str
    calls: list[tuple[str, str]] = field(factory=list)

    def __getattr__(self, name: str) -> Any:
        own = getattr(OneByOne, name, None)
        if own is not None and getattr(type(self.inner), name) is own:
            # Each of the calls that it is made of can break.
            return MethodType(own, self)
        found = getattr(self.inner, name)
        return self._breaking(name, found) if name in _CALLS else found

    def _breaking(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def around(path: str, *args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, path))
            due = len(self.calls) == self.nth
            if due and self.when == "before":
                raise TransportUnavailableError(f"{name} {path}: cut before")
            answer = call(path, *args, **kwargs)
            if due:
                raise TransportUnavailableError(f"{name} {path}: cut after")
            return answer

        return around
