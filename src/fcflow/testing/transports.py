"""
The promises of a transport as tests.

Derive a class from `TransportContract` and give it a fixture ``harness``, the partner's side of a server of your own::

    class TestNull(TransportContract):
        @pytest.fixture
        def harness(self, tmp_path):
            return NullHarness(tmp_path)

A promise that a transport cannot keep is declared in its `Capabilities`; the contract then checks that it says so. A
way that only leads out derives from `SendingContract`, one that only leads in from `ReceivingContract`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import secrets as _secrets
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import attrs
import pytest

from fcflow.errors import (
    TransportCorruptError,
    TransportError,
    TransportRefusedError,
    TransportTooLargeError,
    TransportUnsupportedError,
)
from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.transports import memory
from fcflow.transports.base import Capabilities, Delivery, Endpoint, Offer, Outcome, Presence, Query, Receipt, Transport
from fcflow.transports.memory import MemoryPartner

__all__ = [
    "FolderHarness",
    "MemoryHarness",
    "ReceivingContract",
    "SendingContract",
    "TransportContract",
    "TransportHarness",
]


class TransportHarness(ABC):
    """
    The partner's side of a server, for `TransportContract`. Every test gets a fresh one.

    Attributes:
        secret: What `open` logs in with; it must show nowhere. Empty where there is none.

        hostile_names: File names that the partner can lay down and that must not be offered.
    """

    secret = ""
    hostile_names: tuple[str, ...] = ()

    @abstractmethod
    def open(self, limits: PartnerLimits | None = None) -> Transport:
        """A new transport to the server, as another process would open it."""

    @abstractmethod
    def feed(self, kind: str, **changes: Any) -> Feed:
        """The feed of that kind, with *changes* to its fields."""

    @abstractmethod
    def arrived(self) -> Mapping[str, bytes]:
        """Everything in the folder of the orders feed, temporary names too, by name; or every post."""

    @abstractmethod
    def place(self, name: str, content: bytes) -> None:
        """Lay a file into the folder of the orders feed, as somebody else does."""

    @abstractmethod
    def collect(self, name: str) -> None:
        """Take a file out of the folder of the orders feed, as the partner does."""

    @abstractmethod
    def answer(self, name: str, content: bytes) -> None:
        """Lay a file into the folder of the status feed, over what is there."""

    @abstractmethod
    def answers(self, folder: str = "") -> Mapping[str, bytes]:
        """The files in the folder of the status feed, or in *folder* below it."""

    @abstractmethod
    def down(self) -> AbstractContextManager[None]:
        """While it is open, nobody answers; a transport that is open already has lost its connection."""


class FolderHarness(TransportHarness):
    """
    The partner's side of a server whose folder lies on this machine.

    Args:
        root: The folder that the server shows at *base*; a new one is made below it.

        connect: From a folder below the server's base and limits to a transport.

        down: Makes the server unreachable while it is open.

        owner: User and group that clients act as, or ``None`` for our own.
    """

    hostile_names = ("back\\slash.csv", "C:drive.csv", "esc\x1b[2Jape.csv")

    def __init__(
        self,
        root: Path,
        connect: Callable[[str, PartnerLimits], Transport],
        down: Callable[[], AbstractContextManager[None]],
        *,
        owner: tuple[int, int] | None = None,
        secret: str = "",
    ) -> None:
        self.secret = secret
        self._connect, self._down, self._owner = connect, down, owner
        self._name = f"t-{_secrets.token_hex(6)}"
        self.root = root / self._name
        for folder in (self.root, self.root / "in", self.root / "out"):
            folder.mkdir()
            self._give(folder)

    def _give(self, path: Path) -> None:
        if self._owner is not None:
            os.chown(path, *self._owner)

    def open(self, limits: PartnerLimits | None = None) -> Transport:
        return self._connect(self._name, limits or PartnerLimits(timeout_s=20))

    def feed(self, kind: str, **changes: Any) -> Feed:
        path = {"orders": "in", "status": "out", "stock": "out"}[kind]
        return Feed(**{"kind": kind, "partner": "leeds", "layout": "canonical", "path": path, **changes})

    def arrived(self) -> Mapping[str, bytes]:
        return _contents(self.root / "in")

    def place(self, name: str, content: bytes) -> None:
        self._lay(self.root / "in" / name, content)

    def collect(self, name: str) -> None:
        (self.root / "in" / name).unlink()

    def answer(self, name: str, content: bytes) -> None:
        self._lay(self.root / "out" / name, content)

    def _lay(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        self._give(path)

    def answers(self, folder: str = "") -> Mapping[str, bytes]:
        return _contents(self.root / "out" / folder)

    def down(self) -> AbstractContextManager[None]:
        return self._down()


class MemoryHarness(TransportHarness):
    """The partner's side of ``memory://contract``, which is the same object."""

    def __init__(self) -> None:
        self.partner = MemoryPartner.named("contract")
        self.partner.clear()

    def open(self, limits: PartnerLimits | None = None) -> Transport:
        connection = Connection(url="memory://contract/base")
        return memory.build(
            Endpoint(partner="leeds", connection=connection, limits=limits or PartnerLimits(), resolve=str)
        )

    def feed(self, kind: str, **changes: Any) -> Feed:
        path = "in" if kind == "orders" else "out"
        return Feed(**{"kind": kind, "partner": "leeds", "layout": "canonical", "path": path, **changes})

    def arrived(self) -> Mapping[str, bytes]:
        return self.partner.files("base/in")

    def place(self, name: str, content: bytes) -> None:
        self.partner.put(f"base/in/{name}", content)

    def collect(self, name: str) -> None:
        self.partner.take(f"base/in/{name}")

    def answer(self, name: str, content: bytes) -> None:
        self.partner.put(f"base/out/{name}", content)

    def answers(self, folder: str = "") -> Mapping[str, bytes]:
        return self.partner.files(f"base/out/{folder}")

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        self.partner.down = True
        yield
        self.partner.down = False


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} if folder.is_dir() else {}


def _delivery(harness: TransportHarness, content: bytes = b"A1;1\r\n", **changes: Any) -> Delivery:
    fields = {"key": "key-1", "name": "orders-1.csv", **changes}
    return Delivery(feed=harness.feed("orders"), content=content, **fields)


def _offers(harness: TransportHarness, transport: Transport, **changes: Any) -> list[Offer]:
    return list(transport.list(harness.feed("status", **changes), Query()))


def _fetch(transport: Transport, offer: Offer) -> bytes:
    sink = io.BytesIO()
    transport.fetch(offer, sink)
    return sink.getvalue()


class _Promises:
    """What holds for every transport."""

    @pytest.fixture
    def harness(self) -> TransportHarness:
        """The partner's side; to be given by the class that derives from this one."""
        raise NotImplementedError("the class has no fixture 'harness'")

    @pytest.fixture
    def transport(self, harness: TransportHarness) -> Any:
        """A transport that is closed at the end."""
        opened = harness.open()
        yield opened
        opened.close()

    def test_closing_twice_is_harmless(self, harness: TransportHarness) -> None:
        """With and without a connection."""
        transport = harness.open()
        transport.close()
        transport.check()
        transport.close()
        transport.close()

    def test_capabilities_are_stated(self, transport: Transport) -> None:
        """They are values that a run can plan with."""
        assert isinstance(transport.capabilities, Capabilities)
        assert isinstance(transport, Transport)


class SendingContract(_Promises):
    """What a transport promises of deliveries."""

    @pytest.mark.parametrize("content", [b"A1;1\r\n", b"", bytes(range(256)) * 5000], ids=["small", "empty", "large"])
    def test_a_delivery_arrives_byte_for_byte(
        self, harness: TransportHarness, transport: Transport, content: bytes
    ) -> None:
        """What was sent lies there under its name, and nothing else does."""
        receipt = transport.send(_delivery(harness, content))

        assert isinstance(receipt, Receipt)
        assert (receipt.name, receipt.size) == ("orders-1.csv", len(content))
        assert harness.arrived() == {"orders-1.csv": content}

    def test_publishing_is_called_once_before_anything_is_visible(
        self, harness: TransportHarness, transport: Transport
    ) -> None:
        """At that moment the final name is not there yet."""
        seen: list[bool] = []
        delivery = _delivery(harness, publishing=lambda: seen.append("orders-1.csv" in harness.arrived()))

        transport.send(delivery)

        assert seen == [False]

    def test_without_leave_to_publish_nothing_is_visible(self, harness: TransportHarness, transport: Transport) -> None:
        """An error in the callback leaves no final name behind."""

        def refuse() -> None:
            raise KeyError("lease lost")

        with pytest.raises(KeyError):
            transport.send(_delivery(harness, publishing=refuse))

        assert "orders-1.csv" not in harness.arrived()

    def test_whole_or_not_at_all(self, harness: TransportHarness, transport: Transport) -> None:
        """An atomic transport shows the content under the final name only after publishing began, and whole."""
        if not transport.capabilities.atomic_publish:
            return
        half = _delivery(harness, b"x" * 100_000, publishing=lambda: _fail())
        with pytest.raises(ZeroDivisionError):
            transport.send(half)
        assert "orders-1.csv" not in harness.arrived()

        transport.send(attrs.evolve(half, publishing=lambda: None))
        assert harness.arrived() == {"orders-1.csv": half.content}

    def test_the_same_delivery_twice_leaves_one_file(self, harness: TransportHarness, transport: Transport) -> None:
        """Sending again is harmless, from another process too."""
        delivery = _delivery(harness)
        transport.send(delivery)
        again = harness.open()

        again.send(delivery)
        again.close()

        assert harness.arrived() == {"orders-1.csv": delivery.content}

    def test_other_content_is_never_overwritten(self, harness: TransportHarness, transport: Transport) -> None:
        """A file of somebody else under our name stays as it is, be it of the same size or not."""
        if not transport.capabilities.looks_up:
            return
        for foreign in (b"B2;2\r\n", b"somebody else's"):
            harness.place("orders-1.csv", foreign)
            with pytest.raises(TransportRefusedError):
                transport.send(_delivery(harness))
            assert harness.arrived()["orders-1.csv"] == foreign

    @pytest.mark.parametrize("name", ["../x.csv", "/x.csv", "a/b.csv", "..", "", "a\nb.csv", "a\0b.csv", "x" * 300])
    def test_a_name_never_leads_elsewhere(self, harness: TransportHarness, transport: Transport, name: str) -> None:
        """A delivery name that is not a plain file name is refused."""
        with pytest.raises(TransportError):
            transport.send(_delivery(harness, name=name))

        assert harness.arrived() == {}

    def test_looking_up_tells_present_from_absent(self, harness: TransportHarness, transport: Transport) -> None:
        """Absent before, present after, absent again once the partner took it; unknown only if it says so."""
        delivery = _delivery(harness)
        if not transport.capabilities.looks_up:
            assert transport.look_up(delivery) is Presence.UNKNOWN
            return
        assert transport.look_up(delivery) is Presence.ABSENT
        transport.send(delivery)
        assert transport.look_up(delivery) is Presence.PRESENT
        harness.collect("orders-1.csv")
        assert transport.look_up(delivery) is Presence.ABSENT

    def test_foreign_content_is_not_taken_for_ours(self, harness: TransportHarness, transport: Transport) -> None:
        """Another content under our name, even of our size, is not our delivery."""
        harness.place("orders-1.csv", b"B2;2\r\n")

        assert transport.look_up(_delivery(harness)) is not Presence.PRESENT

    def test_half_a_delivery_is_partly_there(self, harness: TransportHarness, transport: Transport) -> None:
        """The temporary name alone is neither present nor absent, and sending again finishes it."""
        if not transport.capabilities.looks_up or not transport.capabilities.atomic_publish:
            return
        delivery = _delivery(harness)
        harness.place(delivery.temporary_name, b"A1")

        assert transport.look_up(delivery) is Presence.PARTLY
        transport.send(delivery)
        assert harness.arrived() == {"orders-1.csv": delivery.content}

    # ------------------------------------------------------------------ trouble

    def test_a_look_that_fails_is_no_answer(self, harness: TransportHarness) -> None:
        """With nobody there, a delivery is neither present nor absent."""
        transport = harness.open(PartnerLimits(timeout_s=5))
        with harness.down():
            assert _look(transport, _delivery(harness)) is Presence.UNKNOWN
        transport.close()

    def test_an_error_before_publishing_means_not_published(self, harness: TransportHarness) -> None:
        """With nobody there, sending raises and leave to publish is never asked for."""
        transport = harness.open(PartnerLimits(timeout_s=5))
        asked: list[int] = []
        with harness.down(), pytest.raises(TransportError):
            transport.send(_delivery(harness, publishing=lambda: asked.append(1)))

        assert asked == []
        assert harness.arrived() == {}
        transport.close()

    def test_a_lost_connection_is_replaced(self, harness: TransportHarness, transport: Transport) -> None:
        """After the partner was away, the next call works."""
        transport.send(_delivery(harness))
        with harness.down():
            pass

        transport.send(_delivery(harness, key="key-2", name="orders-2.csv"))

        assert set(harness.arrived()) == {"orders-1.csv", "orders-2.csv"}

    def test_checking_sends_nothing_and_never_raises(self, harness: TransportHarness) -> None:
        """It finds no error with the partner there, and one with the partner away."""
        transport = harness.open(PartnerLimits(timeout_s=5))

        assert [finding for finding in transport.check() if finding.level == "error"] == []
        with harness.down():
            assert [finding.level for finding in transport.check()] == ["error"]
        assert harness.arrived() == {}
        transport.close()

    def test_secrets_never_show_when_sending(self, harness: TransportHarness, caplog: pytest.LogCaptureFixture) -> None:
        """Not in reprs, findings, log records at DEBUG, nor in the text or the causes of errors."""
        caplog.set_level(logging.DEBUG)
        transport = harness.open(PartnerLimits(timeout_s=5))
        shown = [repr(transport), repr(transport.check()), repr(transport)]
        transport.send(_delivery(harness))
        with harness.down():
            shown += [_trace(lambda: transport.send(_delivery(harness, key="key-2", name="orders-2.csv")))]
            shown += [repr(transport.check())]
        transport.close()

        assert harness.secret == "" or harness.secret not in "\n".join([*shown, caplog.text])

    def test_what_only_sends_says_so(self, harness: TransportHarness, transport: Transport) -> None:
        """A look for offers is an error then, never *nothing new*."""
        if not transport.capabilities.receives:
            with pytest.raises(TransportUnsupportedError):
                _offers(harness, transport)


class ReceivingContract(_Promises):
    """What a transport promises of what comes in."""

    def test_a_file_is_offered_and_fetched_byte_for_byte(self, harness: TransportHarness, transport: Transport) -> None:
        """Size and hash are those of the content."""
        content = bytes(range(256)) * 1000
        harness.answer("status.csv", content)

        [offer] = _offers(harness, transport)
        sink = io.BytesIO()
        fetched = transport.fetch(offer, sink)

        assert (offer.name, offer.size in (None, len(content))) == ("status.csv", True)
        assert sink.getvalue() == content
        assert (fetched.size, fetched.sha256) == (len(content), hashlib.sha256(content).hexdigest())

    def test_an_empty_folder_offers_nothing(self, harness: TransportHarness, transport: Transport) -> None:
        """And that is no error."""
        assert _offers(harness, transport) == []

    def test_only_what_matches_and_is_complete_is_offered(
        self, harness: TransportHarness, transport: Transport
    ) -> None:
        """Names that somebody is still writing to, hidden ones and those of other feeds stay where they are."""
        for name in ("s1.csv", "s2.csv.part", "s3.csv.tmp", "s4.csv.FILEPART", ".s5.csv", "other.txt", "S6.CSV"):
            harness.answer(name, b"x")

        offers = _offers(harness, transport, match="s*.csv*")

        assert [offer.name for offer in offers] == ["s1.csv"]

    def test_hostile_names_are_not_offered_and_stop_nothing(
        self, harness: TransportHarness, transport: Transport, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The rest of the folder is offered; each hostile name is named in a warning and by `check`."""
        for name in (*harness.hostile_names, "good.csv"):
            harness.answer(name, b"x")

        with caplog.at_level(logging.WARNING):
            offers = _offers(harness, transport)

        assert [offer.name for offer in offers] == ["good.csv"]
        assert len(caplog.records) >= len(harness.hostile_names)
        assert len([f for f in transport.check() if f.code == "transport.name"]) == len(harness.hostile_names)

    def test_no_more_is_offered_than_asked_for(self, harness: TransportHarness, transport: Transport) -> None:
        """`Query.max_files` is a bound."""
        for number in range(5):
            harness.answer(f"s{number}.csv", b"x")

        assert len(list(transport.list(harness.feed("status"), Query(max_files=3)))) == 3

    def test_what_was_not_settled_is_offered_again(self, harness: TransportHarness, transport: Transport) -> None:
        """After a restart too."""
        harness.answer("status.csv", b"x")
        [offer] = _offers(harness, transport)
        _fetch(transport, offer)
        again = harness.open()

        assert [found.name for found in _offers(harness, again)] == ["status.csv"]
        again.close()

    @pytest.mark.parametrize("after", ["archive", "delete"])
    def test_what_was_settled_stays_away(self, harness: TransportHarness, transport: Transport, after: str) -> None:
        """Settled by another process that only has the offer, and once more, which is harmless."""
        harness.answer("status.csv", b"x")
        [offer] = _offers(harness, transport, after=after)
        again = harness.open()
        assert _fetch(again, offer) == b"x"

        again.settle(offer, Outcome.APPLIED)
        again.settle(offer, Outcome.APPLIED)
        again.close()

        assert _offers(harness, transport) == []
        assert harness.answers("archive") == ({"status.csv": b"x"} if after == "archive" else {})

    def test_leave_leaves(self, harness: TransportHarness, transport: Transport) -> None:
        """A feed that leaves its files changes nothing at the partner."""
        harness.answer("status.csv", b"x")
        [offer] = _offers(harness, transport, after="leave")

        transport.settle(offer, Outcome.APPLIED)

        assert harness.answers() == {"status.csv": b"x"}

    def test_a_refused_file_goes_to_the_failed_folder(self, harness: TransportHarness, transport: Transport) -> None:
        """Even where applied files are deleted: somebody has to look at it."""
        harness.answer("status.csv", b"garbage")
        [offer] = _offers(harness, transport, after="delete")

        transport.settle(offer, Outcome.REFUSED)

        assert harness.answers() == {}
        assert harness.answers("failed") == {"status.csv": b"garbage"}

    def test_the_archive_keeps_every_file(self, harness: TransportHarness, transport: Transport) -> None:
        """Three files of one name, one after the other, are three files in the archive."""
        for content in (b"1", b"2", b"3"):
            harness.answer("status.csv", content)
            [offer] = _offers(harness, transport)
            transport.settle(offer, Outcome.APPLIED)

        assert sorted(harness.answers("archive").values()) == [b"1", b"2", b"3"]

    def test_what_changed_after_it_was_taken_is_offered_again(
        self, harness: TransportHarness, transport: Transport
    ) -> None:
        """A file that the partner went on writing is not put away with what nobody read."""
        harness.answer("status.csv", b"A1")
        [offer] = _offers(harness, transport)
        _fetch(transport, offer)
        harness.answer("status.csv", b"A1;A2")

        transport.settle(offer, Outcome.APPLIED)

        assert harness.answers() == {"status.csv": b"A1;A2"}
        assert [found.size for found in _offers(harness, transport)] in ([5], [None])

    def test_what_changed_after_it_was_offered_is_not_taken(
        self, harness: TransportHarness, transport: Transport
    ) -> None:
        """Its size differs from the one in the offer."""
        harness.answer("status.csv", b"A1")
        [offer] = _offers(harness, transport)
        harness.answer("status.csv", b"A1;A2")

        with pytest.raises(TransportCorruptError):
            _fetch(transport, offer)

    def test_a_file_that_is_gone_is_an_error(self, harness: TransportHarness, transport: Transport) -> None:
        """Fetching it raises, and settling it is harmless."""
        harness.answer("status.csv", b"x")
        [offer] = _offers(harness, transport, after="delete")
        transport.settle(offer, Outcome.APPLIED)

        with pytest.raises(TransportError):
            _fetch(transport, offer)

    def test_too_large_a_file_is_not_taken(self, harness: TransportHarness) -> None:
        """No more than the cap reaches the sink."""
        harness.answer("status.csv", b"x" * 5000)
        transport = harness.open(PartnerLimits(max_bytes=4999))
        [offer] = _offers(harness, transport)
        sink = io.BytesIO()

        with pytest.raises(TransportTooLargeError):
            transport.fetch(offer, sink)
        with pytest.raises(TransportTooLargeError):
            transport.fetch(attrs.evolve(offer, size=None), sink)

        assert len(sink.getvalue()) <= 4999
        transport.close()

    def test_a_folder_never_leads_elsewhere(self, harness: TransportHarness, transport: Transport) -> None:
        """A feed's path with ``..`` is refused."""
        with pytest.raises(TransportError):
            _offers(harness, transport, path="../..")

    # ------------------------------------------------------------------ trouble

    def test_a_failed_look_is_an_error(self, harness: TransportHarness) -> None:
        """With nobody there, a listing raises; it does not find nothing."""
        transport = harness.open(PartnerLimits(timeout_s=5))
        harness.answer("status.csv", b"x")
        with harness.down(), pytest.raises(TransportError):
            _offers(harness, transport)
        transport.close()

    def test_a_lost_connection_is_replaced_for_the_next_look(
        self, harness: TransportHarness, transport: Transport
    ) -> None:
        """After the partner was away, the next call works."""
        _offers(harness, transport)
        harness.answer("status.csv", b"x")
        with harness.down():
            pass

        assert [_fetch(transport, offer) for offer in _offers(harness, transport)] == [b"x"]

    def test_checking_takes_nothing_and_never_raises(self, harness: TransportHarness) -> None:
        """It finds no error with the partner there, and one with the partner away."""
        transport = harness.open(PartnerLimits(timeout_s=5))
        harness.answer("status.csv", b"x")

        assert [finding for finding in transport.check() if finding.level == "error"] == []
        with harness.down():
            assert [finding.level for finding in transport.check()] == ["error"]
        assert harness.answers() == {"status.csv": b"x"}
        transport.close()

    def test_secrets_never_show_when_receiving(
        self, harness: TransportHarness, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Not in reprs, findings, log records at DEBUG, nor in the text or the causes of errors."""
        caplog.set_level(logging.DEBUG)
        transport = harness.open(PartnerLimits(timeout_s=5))
        harness.answer("status.csv", b"x")
        shown = [repr(transport), repr(transport.check()), repr(_offers(harness, transport)), repr(transport)]
        with harness.down():
            shown += [_trace(lambda: _offers(harness, transport)), repr(transport.check())]
        transport.close()

        assert harness.secret == "" or harness.secret not in "\n".join([*shown, caplog.text])

    def test_what_only_receives_says_so(self, harness: TransportHarness, transport: Transport) -> None:
        """Sending is an error then, and leave to publish is never asked for."""
        if not transport.capabilities.sends:
            asked: list[int] = []
            with pytest.raises(TransportUnsupportedError):
                transport.send(_delivery(harness, publishing=lambda: asked.append(1)))
            assert asked == []


class TransportContract(SendingContract, ReceivingContract):
    """The promises; each test is one of them."""


def _look(transport: Transport, delivery: Delivery) -> Presence:
    """An error is as good as unknown."""
    try:
        return transport.look_up(delivery)
    except TransportError:
        return Presence.UNKNOWN


def _fail() -> None:
    raise ZeroDivisionError


def _trace(call: Callable[[], object]) -> str:
    """The traceback that *call* ends with, the values of all local variables included."""
    try:
        call()
    except TransportError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    return "no error"
