"""Several deliveries of one partner at once: each leaves once, and a failure of one is the failure of that one."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from fcflow.errors import StoreError, TransportRefusedError, TransportUnavailableError, TransportUnclearError
from fcflow.model import Connection, FeedKind, PartnerLimits
from fcflow.phases.outcomes import Outcomes
from fcflow.testing.faults import FaultProxy
from fcflow.testing.partners import World, order
from fcflow.testing.servers import RunningServer
from fcflow.transports import sftp
from fcflow.transports._folder import FolderTransport
from fcflow.transports.base import Delivery, Endpoint, Finding, Receipt

IDS = [f"A{number:02}" for number in range(12)]


def world_of(parallel: int, **more: Any) -> World:
    """One order a file, so many files at once."""
    world = World("leeds", **more)
    partner = world.partners["leeds"].partner()
    limits = PartnerLimits(parallel=parallel, backoff_s=0, **world._changes.get("limits", {}))
    world._changes["leeds"] = {"orders": evolve(partner.orders, batch=1), "limits": limits}
    world.restarted()
    world.sync.add_orders([order(each, MUG=1) for each in IDS])
    return world


def test_so_many_are_under_way_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four wait for each other in the middle of their sending, which one after the other would never end."""
    meeting, send = threading.Barrier(4, timeout=20), FolderTransport.send

    def met(self: FolderTransport, delivery: Delivery) -> Receipt:
        meeting.wait()
        return send(self, delivery)

    monkeypatch.setattr(FolderTransport, "send", met)
    with world_of(4) as world:
        report = world.run().partners["leeds"]

        assert sorted(report.sent) == IDS
        assert Counter(row["id"] for row in world.partners["leeds"].arrived()) == Counter(IDS)
        assert len(world.partners["leeds"].files()) == len(IDS)


def test_numbers_are_given_in_order(tmp_path: Path) -> None:
    """Whichever arrives first: the orders and the numbers of their files go up together, in a store on disk too."""
    with world_of(4, store=f"sqlite:///{tmp_path}/fcflow.db") as world:
        world.run()

        rows = sorted(world.sync.outbox(), key=lambda row: row.number or 0)
        assert [(row.number, row.fulfilment_ids) for row in rows] == [(n, (each,)) for n, each in enumerate(IDS, 1)]


@pytest.mark.parametrize("parallel", [3])
@pytest.mark.parametrize("nth", range(1, 13))
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_call_that_fails_once_loses_nothing_and_doubles_nothing(parallel: int, nth: int, when: str) -> None:
    """Whichever lane it hits, and whether or not the call took effect."""
    with world_of(parallel) as world:
        world.partners["leeds"].server.fail("*", nth, when=when)
        for _ in range(3):
            world.run(hours=1)

        assert Counter(row["id"] for row in world.partners["leeds"].arrived()) == Counter(IDS)
        assert {state for each in IDS for state in world.states(each).values()} == {"sent"}


def test_a_refusal_is_the_failure_of_one_order() -> None:
    """The other lanes go on, and so does this one."""
    with world_of(3) as world:
        world.partners["leeds"].server.fail("write", 5, error=TransportRefusedError("no"))

        report = world.run().partners["leeds"]

        assert len(report.send_failed) == 1
        assert sorted([*report.sent, *report.send_failed]) == IDS


def test_a_partner_who_is_gone_is_not_tried_by_every_lane() -> None:
    """What was not begun is put off with the reason, and the next run sends it."""
    with world_of(3) as world:
        server = world.partners["leeds"].server
        for nth in range(4, 200):
            server.fail("write", nth, error=TransportUnavailableError("gone"))

        report = world.run().partners["leeds"]
        tried = server.calls["write"]
        server._switches.clear()
        world.run(hours=1)

        assert report.failures[0].code == "transport.unavailable"
        assert tried <= 3 + 3 * PartnerLimits().tries
        assert Counter(row["id"] for row in world.partners["leeds"].arrived()) == Counter(IDS)


def test_a_partner_who_allows_fewer_connections_gets_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lanes that were turned away fail nothing: the others do their work."""
    allowed = iter([True])

    def check(self: FolderTransport) -> list[Finding]:
        level = "ok" if next(allowed, False) else "error"
        return [Finding(level=level, message="421 too many connections", code="transport.unavailable")]

    monkeypatch.setattr(FolderTransport, "check", check)
    with world_of(4) as world:
        report = world.run().partners["leeds"]

        assert (sorted(report.sent), report.failures) == (IDS, [])


def test_what_goes_wrong_with_us_in_one_lane_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that fails under a further lane is a failure of the run, and the next one goes on where it ended."""
    mark = Outcomes.mark_publishing

    def failing(self: Outcomes, minted: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise StoreError("disk full")
        mark(self, minted)

    monkeypatch.setattr(Outcomes, "mark_publishing", failing)
    with world_of(3) as world:
        report = world.run().partners["leeds"]
        monkeypatch.setattr(Outcomes, "mark_publishing", mark)
        for _ in range(2):
            world.run(hours=1)

        assert any("disk full" in failure.message for failure in report.failures)
        assert Counter(row["id"] for row in world.partners["leeds"].arrived()) == Counter(IDS)


def test_an_unclear_outcome_in_one_lane_is_looked_up_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is settled as it would be alone."""
    send, lost = FolderTransport.send, threading.Semaphore(1)

    def sometimes(self: FolderTransport, delivery: Delivery) -> Receipt:
        receipt = send(self, delivery)
        if lost.acquire(blocking=False):
            raise TransportUnclearError("the answer was lost")
        return receipt

    monkeypatch.setattr(FolderTransport, "send", sometimes)
    with world_of(4) as world:
        report = world.run().partners["leeds"]

        assert (sorted(report.sent), report.unclear) == (IDS, [])


def test_a_run_logs_in_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders, statuses and stock of one partner share the way in, and it is closed at the end of the run."""
    from fcflow.transports import memory

    built, build = [], memory.build
    closed, close = [], FolderTransport.close

    def counted(endpoint: Endpoint) -> Any:
        built.append(build(endpoint))
        return built[-1]

    monkeypatch.setattr(memory, "TYPE", evolve(memory.TYPE, build=counted))
    monkeypatch.setattr(FolderTransport, "close", lambda self: (closed.append(self), close(self))[1])
    with World("leeds") as world:
        world.sync.add_orders([order("A1", MUG=1)])
        world.run()

        assert (len(built), closed) == (1, built)


# ---------------------------------------------------------------------- several channels of one SSH connection


def sftp_transport(server: RunningServer, port: int) -> FolderTransport:
    options = {"host_key": server.host_key}
    url = f"sftp://{server.user}@127.0.0.1:{port}{server.base}"
    endpoint = Endpoint(
        partner="leeds",
        connection=Connection(url=url, secrets={"password": {"env": "it"}}, options=options),
        limits=PartnerLimits(timeout_s=10),
        resolve=lambda reference: server.password,
    )
    return sftp.build(endpoint)  # type: ignore[return-value]  # it is one


def delivery(path: str, number: int) -> Delivery:
    from fcflow.model import Feed

    feed = Feed(kind=FeedKind.ORDERS, partner="leeds", layout="canonical", path=path)
    return Delivery(key=f"k-{number}", feed=feed, name=f"orders-{number}.csv", content=b"A1;1\r\n")


@pytest.mark.parametrize("server", ["asyncssh", pytest.param("openssh", marks=pytest.mark.real_server)], indirect=True)
def test_siblings_share_a_connection_and_outlive_each_other(server: RunningServer) -> None:
    """Four channels, one login; whoever closes first takes nobody with it, and a cut one is opened anew by all."""
    path = f"siblings-{server.scheme}-{server.port}"
    server.folder(path)
    with FaultProxy(("127.0.0.1", server.port)) as proxy:
        first = sftp_transport(server, proxy.port)
        lanes = [first, *(first.sibling() for _ in range(3))]
        for number, lane in enumerate(lanes):
            assert lane is not None
            lane.send(delivery(path, number))
        assert proxy.connections == 1

        first.close()
        lanes[1].send(delivery(path, 11))  # type: ignore[union-attr]  # it is one
        assert proxy.connections == 1

        proxy.cut_all()
        threads = [threading.Thread(target=lane.send, args=(delivery(path, 20 + n),)) for n, lane in enumerate(lanes)]  # type: ignore[union-attr]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert proxy.connections == 2
        for lane in lanes:
            lane.close()  # type: ignore[union-attr]
    assert len(list((server.root / path).iterdir())) == 9
