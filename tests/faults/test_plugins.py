"""Row 40: a transport of somebody else that lies, hangs or raises anything harms its own partner alone."""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from fcflow.model import PartnerLimits
from fcflow.testing.partners import World, order
from fcflow.transports.base import Fetched, Presence, Receipt

pytestmark = pytest.mark.fault(row=40, invariants="I1 I3")
CANARY = "hunter2-in-a-text"


class Panic(BaseException):
    """As compiled extensions raise it: no `Exception`."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World("leeds", "corby", store=f"sqlite:///{tmp_path}/fcflow.db") as world:
        yield world


class Changed:
    """A transport some of whose calls are replaced."""

    def __init__(self, inner: Any, **calls: Any) -> None:
        self._inner = inner
        self.__dict__.update(calls)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def changed(sync: Any, make: Callable[[Any], Any]) -> None:
    """Give *sync* another way in to leeds."""
    real = sync._context.open
    sync._context = evolve(
        sync._context,
        open_way=lambda partner, name: (make if partner.code == "leeds" else lambda t: t)(real(partner, name)),
    )


def raising(error: BaseException) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise error

    return call


def served(world: World) -> None:
    """An order for each partner, and a status of an earlier one."""
    world.sync.add_orders([order("L1", MUG=1)], location="leeds")
    world.sync.add_orders([order("C1", MUG=1)], location="corby")


ERRORS = [
    ValueError(CANARY),
    Panic(CANARY),
    asyncio.CancelledError(CANARY),
    RecursionError(CANARY),
    MemoryError(CANARY),
    StopIteration(CANARY),
    ExceptionGroup(CANARY, [ValueError(CANARY)]),
    BaseExceptionGroup(CANARY, [Panic(CANARY)]),
]


@pytest.mark.parametrize(
    ("error", "call"),
    [
        *((error, call) for error in ERRORS[:2] for call in ("open", "send", "list", "close", "capabilities")),
        *((error, "send") for error in ERRORS[2:]),
    ],
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,
)
def test_whatever_a_transport_raises_the_other_partners_are_served(
    world: World, error: BaseException, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The report says that it was unexpected and not what its text is; with the transport mended nothing is missing.
    """
    caplog.set_level(logging.CRITICAL)
    served(world)

    class Capable(Changed):
        @property
        def capabilities(self) -> Any:
            raise error

    def broken(inner: Any) -> Any:
        if call == "open":
            raise error
        return Capable(inner) if call == "capabilities" else Changed(inner, **{call: raising(error)})

    changed(world.sync, broken)
    report = world.run()
    assert [row["id"] for row in world.partners["corby"].arrived()] == ["C1"]
    told = {failure.code for code, failure in report.failures if code == "leeds"}
    assert told == {"plugin.invalid"}
    assert CANARY not in report.to_json()
    findings = world.sync.check(connect=True)
    assert call in ("send", "capabilities") or "plugin.invalid" in [finding.code for finding in findings]
    assert CANARY not in repr(findings)

    world.restarted()
    for _ in range(2):
        world.run()
    assert [row["id"] for row in world.partners["leeds"].arrived()] == ["L1"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=["Ctrl-C", "exit"])
def test_what_ends_the_process_ends_the_run_and_the_next_one_completes_it(world: World, error: BaseException) -> None:
    """
    It is nobody's failure, and goes through to whoever asked for it.
    """
    served(world)
    changed(world.sync, lambda inner: Changed(inner, send=raising(error)))
    with pytest.raises(type(error)):
        world.run()
    world.sync.close()
    world.restarted()
    world.run()
    assert [row["id"] for row in world.partners["leeds"].arrived()] == ["L1"]
    assert [row["id"] for row in world.partners["corby"].arrived()] == ["C1"]


def test_an_unexpected_error_after_publishing_is_looked_into_and_not_sent_again(world: World) -> None:
    """
    The file was there when the transport broke: it is found, and stays one.
    """
    served(world)

    def panics(inner: Any) -> Any:
        def send(delivery: Any) -> Any:
            inner.send(delivery)
            raise Panic

        return Changed(inner, send=send)

    changed(world.sync, panics)
    world.run()
    world.restarted()
    world.run()
    assert world.states("L1") == {"L1": "sent"}
    assert len(world.partners["leeds"].files()) == 1


# ---------------------------------------------------------------------- lies


LIES: dict[str, Callable[[Any, Any], Fetched]] = {
    "another hash": lambda fetched, sink: Fetched(size=fetched.size, sha256=hashlib.sha256(b"x").hexdigest()),
    "another size": lambda fetched, sink: Fetched(size=fetched.size + 1, sha256=fetched.sha256),
    "nothing": lambda fetched, sink: Fetched(size=0, sha256=hashlib.sha256(b"").hexdigest()),
    "more behind it": lambda fetched, sink: sink.write(b"more") and fetched,
    "no end": lambda fetched, sink: [sink.write(b"x" * 65536) for _ in range(1000)] and fetched,
}


@pytest.mark.fault(row=40, invariants="I2 I4 I7")
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_what_was_fetched_is_held_against_what_the_transport_says(world: World, lie: Callable[[Any, Any], Any]) -> None:
    """
    A file is not applied by a size or hash that is not its own, and no more is kept than the limits say.
    """
    world._changes["leeds"] = {"limits": PartnerLimits(backoff_s=0, tries=1, max_bytes=1_000_000)}
    world.restarted()
    served(world)
    world.run()
    world.partners["leeds"].say("SHIPPED", "L1", tracking="T1")

    def lying(inner: Any) -> Any:
        return Changed(inner, fetch=lambda offer, sink: lie(inner.fetch(offer, sink), sink))

    changed(world.sync, lying)
    report = world.run()
    assert report.partners["leeds"].problems
    assert world.state("L1") == "in_fulfilment"

    world.restarted()
    world.run()
    assert world.state("L1") == "closed"


def test_a_transport_that_says_present_is_believed_and_the_partners_word_still_counts(world: World) -> None:
    """
    Nobody else can know; an answer about the order goes on as usual.
    """
    served(world)

    def lying(inner: Any) -> Any:
        return Changed(
            inner, send=lambda delivery: Receipt(name=delivery.name, size=0), look_up=lambda d: Presence.PRESENT
        )

    changed(world.sync, lying)
    world.run()
    assert world.states("L1") == {"L1": "sent"}
    assert world.partners["leeds"].arrived() == []
    assert [row["id"] for row in world.partners["corby"].arrived()] == ["C1"]


@pytest.mark.parametrize("answer", [None, 3, [None], ["s.csv"], {}], ids=repr)
def test_a_listing_that_is_none_harms_nobody_else(world: World, answer: Any) -> None:
    """
    Whatever it is in place of offers.
    """
    served(world)
    changed(world.sync, lambda inner: Changed(inner, list=lambda feed, query: answer))
    report = world.run()
    assert [row["id"] for row in world.partners["corby"].arrived()] == ["C1"]
    assert {code for code, _ in report.failures} <= {"leeds"}
    assert bool(report.failures) is (answer != {})


# ---------------------------------------------------------------------- no end


@pytest.mark.fault(row=17, invariants="I3")
def test_a_transport_that_hangs_holds_up_no_other_process_and_publishes_nothing_when_it_wakes(world: World) -> None:
    """
    Another synchronizer serves the other partner meanwhile, takes this one over when the lease is out, and the one that
    wakes is refused.
    """
    served(world)
    asleep, wake = threading.Event(), threading.Event()
    first = world.sync

    def hanging(inner: Any) -> Any:
        def send(delivery: Any) -> Any:
            asleep.set()
            wake.wait(30)
            return inner.send(delivery)

        return Changed(inner, send=send)

    changed(first, hanging)
    reports: list[Any] = []
    hung = threading.Thread(target=lambda: reports.append(first.run(partners=["leeds"])))
    hung.start()
    assert asleep.wait(10)
    second = world.restarted()
    report = second.run()
    assert [row["id"] for row in world.partners["corby"].arrived()] == ["C1"]
    assert [failure.code for code, failure in report.failures if code == "leeds"] == ["store.busy"]

    world.run(hours=1)
    assert [row["id"] for row in world.partners["leeds"].arrived()] == ["L1"]
    wake.set()
    hung.join(30)
    assert [failure.code for _, failure in reports[0].failures] == ["store.lease_lost"]
    assert len(world.partners["leeds"].files()) == 1
    first.close()


# ---------------------------------------------------------------------- no room here


@pytest.mark.fault(row=19, invariants="I1 I4")
def test_no_room_for_a_file_here_marks_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The report says why, the other files wait where they are, and with room again they are taken.
    """
    served(world)
    world.run()
    world.partners["leeds"].say("SHIPPED", "L1", tracking="T1")
    with monkeypatch.context() as patched:
        patched.setattr("tempfile.SpooledTemporaryFile", lambda max_size: io.FileIO("/dev/full", "r+"))
        report = world.run().partners["leeds"]
    assert "no room for it here: No space left on device" in report.problems[0]
    assert (report.files_received, world.state("L1")) == (0, "in_fulfilment")
    assert list(world.partners["leeds"].server.files("status")) == ["status-1.csv"]

    world.run()
    assert world.state("L1") == "closed"
