"""Several installations at one folder, locks of writers, and hashes that servers offer."""

from __future__ import annotations

import io
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from fcflow.errors import TransportCorruptError, TransportNotFoundError, TransportUnsupportedError
from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.testing import servers
from fcflow.testing.faults import FaultProxy
from fcflow.testing.partners import World, order
from fcflow.testing.servers import RunningServer
from fcflow.transports import file, ftp, sftp
from fcflow.transports.base import Delivery, Endpoint, Offer, Outcome, Query, Transport

every_server = pytest.mark.parametrize(
    "server",
    [
        "pyftpdlib",
        "asyncssh",
        *(pytest.param(name, marks=pytest.mark.real_server) for name in ("vsftpd", "proftpd", "pure-ftpd", "openssh")),
    ],
    indirect=True,
)


def transport_to(server: RunningServer, folder: str, port: int | None = None, host: str = "127.0.0.1") -> Transport:
    options: dict[str, Any] = {"host_key": server.host_key} if server.host_key else {}
    url = f"{server.scheme}://{server.user}@{host}:{port or server.port}{server.base}{folder}"
    endpoint = Endpoint(
        partner="leeds",
        connection=Connection(url=url, secrets={"password": {"env": "X"}}, options=options),
        limits=PartnerLimits(timeout_s=10),
        resolve=lambda reference: server.password,
    )
    return (sftp if server.scheme == "sftp" else ftp).build(endpoint)


@pytest.fixture
def place(server: RunningServer) -> tuple[str, Path]:
    """A fresh folder of the server, and where it lies."""
    name = f"claims-{secrets.token_hex(4)}"
    server.folder(name)
    return name, server.folder(f"{name}/out")


def feed(claim: str | None = "north", **options: Any) -> Feed:
    options = {**({} if claim is None else {"claim": claim}), **options}
    return Feed(kind="status", partner="leeds", layout="canonical", path="out", options=options)


def offers(transport: Transport, of: Feed) -> list[Offer]:
    return list(transport.list(of, Query()))


def fetched(transport: Transport, offer: Offer) -> bytes:
    sink = io.BytesIO()
    transport.fetch(offer, sink)
    return sink.getvalue()


def lay(server: RunningServer, folder: Path, name: str, content: bytes) -> None:
    import os

    (folder / name).write_bytes(content)
    if server.owner is not None:
        os.chown(folder / name, *server.owner)


@pytest.mark.fault(row=18, invariants="I3 I4")
@every_server
def test_of_two_that_saw_a_file_one_gets_it(server: RunningServer, place: tuple[str, Path]) -> None:
    """The other finds it gone, and neither sees what the other has claimed."""
    folder, path = place
    lay(server, path, "status.csv", b"A1;SHIPPED")
    north, south = transport_to(server, folder), transport_to(server, folder)
    [mine] = offers(north, feed("north"))
    [theirs] = offers(south, feed("south"))

    assert fetched(north, mine) == b"A1;SHIPPED"
    with pytest.raises(TransportNotFoundError, match="another installation"):
        fetched(south, theirs)
    assert offers(south, feed("south")) == []
    assert offers(south, feed(None)) == []

    north.settle(mine, Outcome.APPLIED)
    assert [each.name for each in path.iterdir() if each.is_file()] == []
    assert (path / "archive" / "status.csv").read_bytes() == b"A1;SHIPPED"
    for transport in (north, south):
        transport.close()


@every_server
def test_what_was_claimed_before_an_interruption_is_offered_again(
    server: RunningServer, place: tuple[str, Path]
) -> None:
    """By its own name, to the one who claimed it, however far it had got; taking it again needs no second claim."""
    folder, path = place
    lay(server, path, "status.csv", b"A1;SHIPPED")
    first = transport_to(server, folder)
    [offer] = offers(first, feed())
    fetched(first, offer)
    first.close()

    again = transport_to(server, folder)
    assert fetched(again, offer) == b"A1;SHIPPED"
    [found] = offers(again, feed())
    assert found.name == "status.csv"
    assert fetched(again, found) == b"A1;SHIPPED"
    again.settle(found, Outcome.APPLIED)
    assert offers(again, feed()) == []
    again.close()


@pytest.mark.parametrize("server", ["pyftpdlib", "asyncssh"], indirect=True)
def test_many_takers_share_a_folder_without_a_file_twice(server: RunningServer, place: tuple[str, Path]) -> None:
    """Four at once, twenty files: each file goes to one of them."""
    folder, path = place
    for number in range(20):
        lay(server, path, f"s{number}.csv", b"%d" % number)
    taken: list[bytes] = []

    def take(name: str) -> None:
        transport, own = transport_to(server, folder), feed(name)
        for offer in offers(transport, own):
            try:
                taken.append(fetched(transport, offer))
            except TransportNotFoundError:
                continue
            transport.settle(offer, Outcome.APPLIED)
        transport.close()

    threads = [threading.Thread(target=take, args=(f"taker-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(taken) == sorted(b"%d" % number for number in range(20))


def test_a_new_file_of_the_same_name_waits_until_the_claimed_one_is_settled(tmp_path: Path) -> None:
    """It is not mixed up with it, nor put away in its place."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "status.csv").write_bytes(b"first")
    transport = file.build(
        Endpoint(partner="leeds", connection=Connection(url=str(tmp_path)), base=Path("/"), resolve=str)
    )
    [first] = offers(transport, feed())
    fetched(transport, first)
    (tmp_path / "out" / "status.csv").write_bytes(b"second!")

    [again] = offers(transport, feed())
    assert fetched(transport, again) == b"first"
    transport.settle(again, Outcome.APPLIED)
    [second] = offers(transport, feed())
    assert fetched(transport, second) == b"second!"


def test_what_cannot_be_renamed_cannot_be_claimed(tmp_path: Path) -> None:
    """An error, rather than a claim that holds nobody off."""
    connection = Connection(url=str(tmp_path), options={"publish": "direct"})
    transport = file.build(Endpoint(partner="leeds", connection=connection, base=Path("/"), resolve=str))
    with pytest.raises(TransportUnsupportedError):
        offers(transport, feed())


def test_two_synchronizers_with_a_store_each_apply_a_file_once_between_them() -> None:
    """The slower one reports nothing: that is how it should be."""
    with World("leeds") as north, World("leeds") as south:
        partner = north.partners["leeds"]
        south.partners["leeds"].server = partner.server
        for world, name in ((north, "north"), (south, "south")):
            own = partner.partner()
            assert own.status is not None
            world._changes["leeds"] = {
                "status": attrs.evolve(own.status, options={"claim": name}),
                "connections": {"default": Connection(url=f"memory://{partner.server.name}")},
            }
            world.restarted()
        north.sync.add_orders([order("A1", MUG=1)])
        north.run()
        partner.say("SHIPPED", "A1")

        reports = [north.run().partners["leeds"], south.run().partners["leeds"]]

        assert [report.files_received for report in reports] == [1, 0]
        assert [report.problems for report in reports] == [[], []]


# ---------------------------------------------------------------------- locks


@pytest.mark.parametrize("template", ["{name}.lck", "{stem}.lock", ".~{name}"])
def test_a_locked_file_is_not_taken(tmp_path: Path, template: str) -> None:
    """Nor is the lock; once that is gone the file is."""
    (tmp_path / "out").mkdir()
    lock = tmp_path / "out" / template.format(name="status.csv", stem="status")
    (tmp_path / "out" / "status.csv").write_bytes(b"x")
    (tmp_path / "out" / "other.csv").write_bytes(b"x")
    lock.touch()
    transport = file.build(
        Endpoint(partner="leeds", connection=Connection(url=str(tmp_path)), base=Path("/"), resolve=str)
    )
    own = feed(None, lock_marker=template)

    assert [offer.name for offer in offers(transport, own)] == ["other.csv"]
    lock.unlink()
    assert sorted(offer.name for offer in offers(transport, own)) == ["other.csv", "status.csv"]


# ---------------------------------------------------------------------- hashes


@pytest.fixture
def flipping(server: RunningServer) -> Iterator[FaultProxy]:
    """A proxy that can flip a bit of what goes up on data channels."""
    with FaultProxy(("127.0.0.1", server.port), passive_ports=server.passive_ports) as proxy:
        yield proxy


@pytest.mark.fault(row=34, invariants="I2")
@pytest.mark.real_server
@pytest.mark.parametrize("server", ["proftpd-hashes"], indirect=True)
def test_a_flipped_bit_is_noticed_where_the_server_offers_a_hash(
    server: RunningServer, place: tuple[str, Path], flipping: FaultProxy
) -> None:
    """Of the right size and of other content: it is never published, and the next attempt is."""
    folder, path = place
    transport = transport_to(server, folder, flipping.port, servers.PROXY_HOST)
    delivery = Delivery(key="k", feed=feed(None), name="orders.csv", content=b"A1;MUG;1\r\n" * 100)
    flipping.data.flip_at = 10
    with pytest.raises(TransportCorruptError, match="hash"):
        transport.send(delivery)
    assert list(path.iterdir()) == []

    flipping.heal()
    transport.send(delivery)
    [offer] = offers(transport, feed(None))
    assert fetched(transport, offer) == delivery.content
    transport.close()
