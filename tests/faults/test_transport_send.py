"""Every call of a send breaks once, before and after it took effect: one whole file, or an honest unclear."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fcflow.errors import TransientError, TransportUnclearError
from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.testing.faults import BreakingServer, FaultProxy
from fcflow.testing.servers import RunningServer
from fcflow.transports import file, ftp, memory, sftp
from fcflow.transports.base import Delivery, Endpoint, Presence, Transport
from fcflow.transports.memory import MemoryPartner

CONTENT = b"A1;1\r\n" * 500
Opening = Callable[[], Transport]
Arrived = Callable[[], Mapping[str, bytes]]


def delivery(published: list[int], **options: Any) -> Delivery:
    feed = Feed(kind="orders", partner="leeds", layout="canonical", path="in", options=options)
    return Delivery(key="k-1", feed=feed, name="orders-1.csv", content=CONTENT, publishing=lambda: published.append(1))


def settled(opening: Opening, published: list[int], **options: Any) -> Presence:
    """What the synchronizer does: send, after an unclear outcome look, and send again only what is partly there."""
    for _ in range(4):
        transport = opening()
        published.clear()
        try:
            transport.send(delivery(published, **options))
            return Presence.PRESENT
        except TransportUnclearError:
            assert published == [1]
            found = looked_up(opening, delivery([], **options))
            if found is not Presence.PARTLY:
                return found
        except TransientError:
            assert published == [], "an error that is not unclear, after publishing began"
        finally:
            transport.close()
    raise AssertionError("it never ended")


def looked_up(opening: Opening, sent: Delivery) -> Presence:
    transport = opening()
    try:
        return transport.look_up(sent)
    finally:
        transport.close()


def broken_once(opening: Opening, nth: int, when: str, published: list[int], **options: Any) -> tuple[Presence, int]:
    """The first send meets the fault; also how many calls it made."""
    broken: Any = opening()
    broken.server = BreakingServer(broken.server, nth, when)
    first = iter([broken])
    outcome = settled(lambda: next(first, None) or opening(), published, **options)
    return outcome, len(broken.server.calls)


def holds_for_every_call(opening: Opening, arrived: Arrived, clear: Callable[[], None], **options: Any) -> int:
    """The law, for n = 1, 2, ... until a send makes fewer calls than that."""
    marker = {options["done_marker"].format(name="orders-1.csv"): b""} if options else {}
    nth = 0
    while True:
        nth += 1
        for when in ("before", "after"):
            clear()
            outcome, calls = broken_once(opening, nth, when, [], **options)
            if outcome is Presence.ABSENT:
                # Written directly and cut before: nothing is there, and a person is asked.
                assert arrived() == {}, (nth, when)
                assert not opening().capabilities.atomic_publish, (nth, when)
                continue
            assert outcome is Presence.PRESENT, (nth, when)
            assert arrived() == {"orders-1.csv": CONTENT, **marker}, (nth, when)
            if calls < nth:
                return nth - 1


def endpoint(url: str, resolve: Callable[..., str] = str, base: Path = Path("/"), **options: Any) -> Endpoint:
    connection = Connection(url=url, secrets={"password": {"env": "X"}}, options=options)
    limits = PartnerLimits(timeout_s=10)
    return Endpoint(partner="leeds", connection=connection, limits=limits, base=base, resolve=resolve)


def folder_of(server: RunningServer) -> tuple[str, Path]:
    """A fresh folder of the server: its URL and where it lies."""
    name = f"fault-{secrets.token_hex(4)}"
    server.folder(name)
    return f"{server.scheme}://{server.user}@127.0.0.1:{{port}}{server.base}{name}", server.folder(f"{name}/in")


def cleared(folder: Path) -> Callable[[], None]:
    return lambda: [path.unlink() for path in folder.iterdir()] and None


def contents(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("options", [{}, {"done_marker": "{name}.done"}], ids=["plain", "marked"])
@pytest.mark.parametrize("publish", ["rename", "direct"])
@pytest.mark.fault(row=1, invariants="I1 I2 I3")
def test_local_folder(tmp_path: Path, publish: str, options: dict[str, str]) -> None:
    """A folder of this machine, renamed into place and written directly."""
    (tmp_path / "in").mkdir()
    opening = lambda: file.build(endpoint(".", base=tmp_path, publish=publish))  # noqa: E731

    calls = holds_for_every_call(opening, lambda: contents(tmp_path / "in"), cleared(tmp_path / "in"), **options)

    assert calls >= (5 if publish == "rename" else 3)


@pytest.mark.parametrize("publish", ["rename", "direct"])
def test_memory(publish: str) -> None:
    """The partner inside this process."""
    partner = MemoryPartner.named("faults")

    holds_for_every_call(
        lambda: memory.build(endpoint("memory://faults", publish=publish)), lambda: partner.files("in"), partner.clear
    )


@pytest.mark.parametrize(
    "server",
    [
        "pyftpdlib",
        "pyftpdlib-explicit",
        "asyncssh",
        pytest.param("openssh", marks=pytest.mark.real_server),
        pytest.param("vsftpd", marks=pytest.mark.real_server),
    ],
    indirect=True,
)
@pytest.mark.fault(row=1, invariants="I1 I2 I3")
@pytest.mark.fault(row=2, invariants="I2")
def test_real_server(server: RunningServer) -> None:
    """FTP, FTPS and SFTP."""
    url, folder = folder_of(server)
    options: dict[str, Any] = {"host_key": server.host_key} if server.host_key else {}
    if server.certificate:
        options["ca_file"] = str(server.certificate.ca)
    build = sftp.build if server.scheme == "sftp" else ftp.build

    calls = holds_for_every_call(
        lambda: build(endpoint(url.format(port=server.port), lambda reference: server.password, **options)),
        lambda: contents(folder),
        cleared(folder),
    )

    assert calls >= 3


@pytest.fixture
def proxied(server: RunningServer) -> Iterator[tuple[FaultProxy, Opening, Path]]:
    url, folder = folder_of(server)
    with FaultProxy(("127.0.0.1", server.port)) as proxy:
        opening = lambda: ftp.build(endpoint(url.format(port=proxy.port), lambda reference: server.password))  # noqa: E731
        yield proxy, opening, folder


@pytest.mark.parametrize(
    "server",
    [
        "pyftpdlib",
        "pyftpdlib-unix",
        *(pytest.param(name, marks=pytest.mark.real_server) for name in ("vsftpd", "pure-ftpd")),
    ],
    indirect=True,
)
@pytest.mark.fault(row=1, invariants="I1 I2 I3")
@pytest.mark.fault(row=4, invariants="I3")
@pytest.mark.fault(row=22, invariants="I1")
def test_every_command_of_ftp(proxied: tuple[FaultProxy, Opening, Path]) -> None:
    """On the wire: the connection is cut at every single command line, before and after the server obeyed it."""
    proxy, opening, folder = proxied
    nth = 0
    while True:
        nth += 1
        for when in ("before", "after"):
            cleared(folder)()
            proxy.break_command(nth, when)
            outcome = settled(opening, [])
            assert outcome is Presence.PRESENT, (nth, when, proxy.commands)
            assert contents(folder) == {"orders-1.csv": CONTENT}, (nth, when, proxy.commands)
        if proxy._break is not None:
            break
    assert nth > 10


@pytest.mark.parametrize("server", ["pyftpdlib"], indirect=True)
@pytest.mark.fault(row=4, invariants="I3")
def test_a_swallowed_answer_to_the_rename_is_unclear_and_then_found(
    proxied: tuple[FaultProxy, Opening, Path],
) -> None:
    """RNTO took effect and nobody heard: unclear, and a look finds the whole file."""
    proxy, opening, folder = proxied
    transport = opening()
    transport.check()

    def swallow() -> None:
        proxy.swallow_reply(b"250 ")

    feed = Feed(kind="orders", partner="leeds", layout="canonical", path="in")
    sent = Delivery(key="k-1", feed=feed, name="orders-1.csv", content=CONTENT, publishing=swallow)
    with pytest.raises(TransportUnclearError):
        transport.send(sent)

    assert contents(folder) == {"orders-1.csv": CONTENT}
    assert transport.look_up(sent) is Presence.PRESENT
    transport.close()


@pytest.mark.parametrize("server", ["pyftpdlib"], indirect=True)
@pytest.mark.fault(row=4, invariants="I1")
def test_published_and_collected_with_the_answer_lost_is_absent(
    proxied: tuple[FaultProxy, Opening, Path],
) -> None:
    """Neither name is there: the transport says absent after unclear, and does not guess."""
    _, opening, folder = proxied
    transport = opening()
    published = delivery([])
    transport.send(published)
    (folder / "orders-1.csv").unlink()

    assert transport.look_up(published) is Presence.ABSENT
    transport.close()
