"""Rows 4 to 6, 22, 34 and 36: answers that are lost, connections that are cut, and partners who are slow."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fcflow.errors import (
    TransientError,
    TransportCorruptError,
    TransportError,
    TransportNotFoundError,
    TransportTimeoutError,
    TransportUnclearError,
)
from fcflow.testing import servers
from fcflow.testing.faults import BreakingServer, Channel, FaultProxy
from fcflow.testing.files import Place, delivery, feed, opened, place_on
from fcflow.testing.servers import RunningServer
from fcflow.transports.base import Outcome, Presence, Query, Transport

real_server = pytest.mark.real_server
every_server = pytest.mark.parametrize(
    "server",
    [
        "pyftpdlib-ports",
        "asyncssh",
        pytest.param("vsftpd", marks=real_server),
        pytest.param("openssh", marks=real_server),
    ],
    indirect=True,
)
CONTENT = bytes(range(256)) * 400


@pytest.fixture
def place(server: RunningServer) -> Place:
    return place_on(server)


@pytest.fixture
def proxy(server: RunningServer) -> Iterator[FaultProxy]:
    with FaultProxy(("127.0.0.1", server.port), server.passive_ports) as proxy:
        yield proxy


@contextlib.contextmanager
def way(place: Place, proxy: FaultProxy | None = None, **options: Any) -> Iterator[Any]:
    with opened(place.server, place.name, at=proxy, **options) as transport:
        yield transport


class Before:
    """Around a file server: calls *arm* right before the first call of that name."""

    def __init__(self, inner: Any, call: str, arm: Callable[[], None]) -> None:
        self._inner, self._call, self._arm = inner, call, arm

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._call:
            return found

        def armed(*args: Any, **kwargs: Any) -> Any:
            self._call = ""
            self._arm()
            return found(*args, **kwargs)

        return armed


def swallowing(transport: Any, proxy: FaultProxy, call: str) -> None:
    """The server does what *call* asks and nobody hears of it; of SSH nobody can tell one answer from another."""
    beginning = b"226" if call == "write" else b"250"
    answer = beginning if transport.server.where.startswith("ftp") else b""
    transport.server = Before(transport.server, call, lambda: proxy.swallow_reply(answer))


# ---------------------------------------------------------------------- lost answers


@every_server
@pytest.mark.fault(row=4, invariants="I1 I2 I3")
def test_an_upload_whose_answer_is_lost_is_not_published(place: Place, proxy: FaultProxy) -> None:
    """
    Nothing was made visible, so nothing is unclear; sending again leaves one whole file.
    """
    published: list[int] = []
    with way(place, proxy) as transport:
        transport.check()
        swallowing(transport, proxy, "write")
        with pytest.raises(TransientError):
            transport.send(delivery(CONTENT, publishing=lambda: published.append(1)))
        assert (published, "orders-1.csv" in place.arrived()) == ([], False)

        transport.send(delivery(CONTENT))
    assert place.arrived() == {"orders-1.csv": CONTENT}


@every_server
@pytest.mark.fault(row=4, invariants="I1 I3")
@pytest.mark.fault(row=3, invariants="I3")
def test_a_rename_whose_answer_is_lost_is_unclear_and_then_found(place: Place, proxy: FaultProxy) -> None:
    """
    It is looked up rather than repeated; and whoever repeats it finds it done.
    """
    with way(place, proxy) as transport:
        transport.check()
        swallowing(transport, proxy, "rename_and_look")
        with pytest.raises(TransportUnclearError):
            transport.send(delivery(CONTENT))
        assert transport.look_up(delivery(CONTENT)) is Presence.PRESENT

        transport.send(delivery(CONTENT))
    assert place.arrived() == {"orders-1.csv": CONTENT}


@every_server
@pytest.mark.fault(row=4, invariants="I4")
@pytest.mark.parametrize(("after", "call"), [("delete", "remove"), ("archive", "rename")])
def test_putting_away_with_the_answer_lost_heals(place: Place, proxy: FaultProxy, after: Any, call: str) -> None:
    """
    It failed for all that we know; settling once more is harmless, and the file is not offered again.
    """
    place.answer("s.csv", CONTENT)
    with way(place, proxy) as transport:
        [offer] = transport.list(feed("status", after=after), Query())
        swallowing(transport, proxy, call)
        with pytest.raises(TransientError):
            transport.settle(offer, Outcome.APPLIED)
        transport.settle(offer, Outcome.APPLIED)
        assert list(transport.list(feed("status"), Query())) == []
    archive = place.root / "out" / "archive"
    assert [path.name for path in (archive.iterdir() if archive.exists() else ())] == ["s.csv"] * (after == "archive")


# ---------------------------------------------------------------------- cuts


def healed(proxy: FaultProxy) -> None:
    """
    No more faults, and none of what they left behind: a connection whose cut was yet to come, or a server that has not
    noticed that nobody is there any more and keeps the file locked.
    """
    proxy.heal()
    proxy.cut_all()


def sent_at_last(transport: Transport, place: Place) -> None:
    """What the synchronizer does after an error: look where it is unclear, and send again what is not there."""
    sent = delivery(CONTENT)
    if transport.look_up(sent) is not Presence.PRESENT:
        transport.send(sent)
    assert place.arrived() == {"orders-1.csv": CONTENT}


@every_server
@pytest.mark.fault(row=5, invariants="I1 I2 I3")
@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_wherever_an_upload_is_cut_it_is_whole_or_not_there(
    place: Place, proxy: FaultProxy, direction: str, how: str
) -> None:
    """
    At the first byte, the second, in the middle and at the last one, of what goes to the server and what comes back.
    """
    for channel, at in cuts(place, proxy, direction, lambda transport: transport.send(delivery(CONTENT))):
        for path in (place.root / "in").iterdir():
            path.unlink()
        setattr(proxy, channel, Channel(**{f"cut_{direction}_after": at}, how=how))
        published: list[int] = []
        with way(place, proxy, timeout_s=5) as transport:
            try:
                transport.send(delivery(CONTENT, publishing=lambda seen=published: seen.append(1)))
            except TransportUnclearError:
                assert published == [1], (channel, at)
            except TransportError:
                assert published == [], (channel, at)
            assert place.arrived().get("orders-1.csv", CONTENT) == CONTENT, (channel, at)
            healed(proxy)
            sent_at_last(transport, place)


@every_server
@pytest.mark.fault(row=6, invariants="I2 I6")
@pytest.mark.parametrize("how", ["fin", "rst"])
def test_wherever_a_download_is_cut_nothing_short_is_taken(place: Place, proxy: FaultProxy, how: str) -> None:
    """
    An error, or all of it.
    """
    place.answer("s.csv", CONTENT)
    with way(place) as transport:
        [offer] = transport.list(feed("status"), Query())
    for channel, at in cuts(place, proxy, "down", lambda transport: transport.fetch(offer, io.BytesIO())):
        setattr(proxy, channel, Channel(cut_down_after=at, how=how))
        with way(place, proxy, timeout_s=5) as transport:
            sink = io.BytesIO()
            with contextlib.suppress(TransportError):
                transport.fetch(offer, sink)
                assert sink.getvalue() == CONTENT, (channel, at)
            healed(proxy)
            assert transport.fetch(offer, io.BytesIO()).size == len(CONTENT)


def cuts(place: Place, proxy: FaultProxy, direction: str, call: Callable[[Any], Any]) -> list[tuple[str, int]]:
    """Channels, and bytes after which to cut: the first, the second, in the middle and the last that *call* needs."""
    proxy.passed.clear()
    with way(place, proxy) as transport:
        call(transport)
        passed = proxy.passed[direction]
    if not place.server.passive_ports:
        return [("control", at) for at in (0, 1, passed // 2, passed - 1)]
    on_control = passed % len(CONTENT)
    return [
        *(("control", at) for at in (0, 1, on_control // 2, on_control - 1)),
        *(("data", at) for at in (0, 1, len(CONTENT) // 2, len(CONTENT) - 1)),
    ]


@every_server
@pytest.mark.fault(row=6, invariants="I2 I7")
@pytest.mark.parametrize("call", ["send", "fetch"])
def test_a_stall_in_the_middle_ends_in_time(place: Place, proxy: FaultProxy, call: str) -> None:
    """
    As a time-out; nothing is published or taken, and the next try works.
    """
    place.answer("s.csv", CONTENT)
    with way(place) as transport:
        [offer] = transport.list(feed("status"), Query())
    stall = Channel(cut_up_after=50_000, cut_down_after=50_000, how="stall")
    proxy.control = proxy.data = stall
    calls: dict[str, Callable[[Any], Any]] = {
        "send": lambda transport: transport.send(delivery(CONTENT)),
        "fetch": lambda transport: transport.fetch(offer, io.BytesIO()),
    }
    with way(place, proxy, timeout_s=0.8) as transport:
        began = time.monotonic()
        with pytest.raises(TransportTimeoutError):
            calls[call](transport)
        assert time.monotonic() - began < 3
    assert "orders-1.csv" not in place.arrived()

    healed(proxy)
    with way(place, proxy) as transport:
        calls[call](transport)


# ---------------------------------------------------------------------- connections that are gone


@every_server
@pytest.mark.fault(row=22, invariants="I1 I3 I6")
def test_a_server_that_is_away_between_two_files_is_reached_again(place: Place, proxy: FaultProxy) -> None:
    """
    Every connection is reset and none comes up for a while; afterwards nothing is missing and nothing there twice.
    """
    with way(place, proxy) as transport:
        transport.send(delivery(CONTENT))
        proxy.control = Channel(refuse=True)
        proxy.cut_all()
        with pytest.raises(TransientError):
            transport.send(delivery(b"2", key="k-2", name="orders-2.csv"))
        with pytest.raises(TransientError):
            list(transport.list(feed("status"), Query()))
        proxy.heal()
        transport.send(delivery(b"2", key="k-2", name="orders-2.csv"))
    assert place.arrived() == {"orders-1.csv": CONTENT, "orders-2.csv": b"2"}


@pytest.mark.fault(row=22, invariants="I1 I3")
def test_a_server_that_was_started_anew_between_two_files_is_logged_in_to_again(tmp_path: Path) -> None:
    """
    The old connection's death is noticed before the second file is begun.
    """
    (tmp_path / "in").mkdir()
    known: dict[str, str] = {}
    with FaultProxy(("127.0.0.1", 9)) as proxy, contextlib.ExitStack() as stack:
        for number in (1, 2):
            with servers.pyftpdlib_server(tmp_path) as server:
                proxy.upstream = ("127.0.0.1", server.port)
                known["password"] = server.password
                if number == 1:
                    transport = stack.enter_context(opened(server, at=proxy, known=known))
                transport.send(delivery(key=f"k-{number}", name=f"orders-{number}.csv"))
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["orders-1.csv", "orders-2.csv"]


@real_server
@pytest.mark.fault(row=22, invariants="I1")
def test_a_session_that_vsftpd_ended_for_idling_is_replaced(scratch: Path, system_user: Any) -> None:
    """
    It says 421 when nobody is listening.
    """
    folder = scratch / "idle"
    folder.mkdir()
    with servers.vsftpd(folder, system_user, idle_session_timeout=1) as server:
        place = place_on(server)
        with way(place) as transport:
            transport.send(delivery(CONTENT))
            time.sleep(1.6)
            transport.send(delivery(b"2", key="k-2", name="orders-2.csv"))
        assert place.arrived() == {"orders-1.csv": CONTENT, "orders-2.csv": b"2"}


# ---------------------------------------------------------------------- what is left in the middle


class Full(io.BytesIO):
    """A disk that is full at the first byte."""

    def write(self, block: Any) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.fault(row=19, invariants="I1 I6")
@pytest.mark.parametrize("server", ["pyftpdlib-ports", pytest.param("vsftpd", marks=real_server)], indirect=True)
def test_a_download_that_we_leave_in_the_middle_disturbs_nothing_after_it(place: Place) -> None:
    """
    No room for it here, or too much of it: the connection is not used on with half an answer still to come.
    """
    place.answer("a.csv", b"x" * 6_000_000)
    place.answer("b.csv", b"y")
    with way(place) as transport:
        for _ in range(3):
            large, small = transport.list(feed("status", match="*.csv"), Query())
            with pytest.raises(OSError, match="No space") as kept:
                transport.fetch(large, Full())
            sink = io.BytesIO()
            transport.fetch(small, sink)
            assert sink.getvalue() == b"y"
            assert kept.value.errno == 28
        transport.send(delivery(CONTENT))
    assert place.arrived() == {"orders-1.csv": CONTENT}


# ---------------------------------------------------------------------- files that change


class Changing(io.BytesIO):
    """Takes what it is given, and lets something happen at the first of it."""

    def __init__(self, happens: Callable[[], Any]) -> None:
        super().__init__()
        self._happens: Callable[[], Any] | None = happens

    def write(self, block: Any) -> int:
        happens, self._happens = self._happens, None
        if happens is not None:
            happens()
        return super().write(block)


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _replace(path: Path) -> None:
    other = path.with_name(".new")
    other.write_bytes(b"x" * 70_001)
    other.replace(path)


@every_server
@pytest.mark.fault(row=10, invariants="I2 I4")
@pytest.mark.parametrize("change", [_grow, _replace], ids=["grows", "is replaced"])
def test_a_file_that_changes_while_it_is_read_is_not_taken(place: Place, change: Callable[[Path], None]) -> None:
    """
    Neither is what it became put away unread: it is offered anew and taken whole.
    """
    path = place.root / "out" / "s.csv"
    place.answer("s.csv", CONTENT)
    with way(place) as transport:
        [offer] = transport.list(feed("status"), Query())
        with pytest.raises(TransportCorruptError):
            transport.fetch(offer, Changing(lambda: change(path)))
        transport.settle(offer, Outcome.APPLIED)
        [again] = transport.list(feed("status"), Query())
        sink = io.BytesIO()
        transport.fetch(again, sink)
        assert sink.getvalue() == path.read_bytes()


# ---------------------------------------------------------------------- bits and line ends


@pytest.mark.fault(row=34, invariants="I2 I10")
@pytest.mark.parametrize("server", ["asyncssh"], indirect=True)
@pytest.mark.parametrize("flip_at", [10, 2000, 50_000])
def test_a_flipped_bit_over_ssh_is_an_error(place: Place, proxy: FaultProxy, flip_at: int) -> None:
    """
    At any place: SSH knows what was sent.
    """
    proxy.control = Channel(flip_at=flip_at)
    with way(place, proxy, timeout_s=2) as transport:
        with pytest.raises(TransportError):
            transport.send(delivery(CONTENT))
        assert "orders-1.csv" not in place.arrived()
        proxy.heal()
        transport.send(delivery(CONTENT))
    assert place.arrived() == {"orders-1.csv": CONTENT}


@pytest.mark.fault(row=34, invariants="I2")
@pytest.mark.parametrize("server", ["pyftpdlib-ports", pytest.param("vsftpd", marks=real_server)], indirect=True)
def test_a_flipped_bit_in_clear_is_seen_by_reading_back_and_by_nothing_else(place: Place, proxy: FaultProxy) -> None:
    """
    Sizes agree: a limit that the documentation names, with the option against it.
    """
    proxy.data = Channel(flip_at=3)
    with way(place, proxy, verify="content") as transport, pytest.raises(TransportCorruptError):
        transport.send(delivery(CONTENT))
    assert place.arrived() == {}
    with way(place, proxy) as transport:
        transport.send(delivery(CONTENT))
    assert place.arrived()["orders-1.csv"] != CONTENT


@real_server
@pytest.mark.fault(row=35, invariants="I2")
def test_a_server_that_would_convert_line_ends_gets_no_reason_to(scratch: Path, system_user: Any) -> None:
    """
    Every file crosses in binary, before and after a listing, both ways.
    """
    content = b"a\r\nb\nc\rd\0" + bytes(range(256))
    folder = scratch / "ascii"
    folder.mkdir()
    with (
        servers.vsftpd(folder, system_user, ascii_upload_enable="YES", ascii_download_enable="YES") as server,
        FaultProxy(("127.0.0.1", server.port)) as proxy,
    ):
        place = place_on(server)
        place.answer("s.csv", content)
        with way(place, proxy) as transport:
            [offer] = transport.list(feed("status"), Query())
            transport.send(delivery(content))
            sink = io.BytesIO()
            transport.fetch(offer, sink)
        assert (place.arrived()["orders-1.csv"], sink.getvalue()) == (content, content)
        assert {line for line in proxy.commands if line.startswith(b"TYPE")} == {b"TYPE I"}


# ---------------------------------------------------------------------- slow partners


@every_server
@pytest.mark.fault(row=36, invariants="I7")
def test_a_folder_of_many_files_is_listed_once_and_asked_about_no_file(place: Place) -> None:
    """
    However many lie there, as many are offered as were asked for.
    """
    for number in range(1500):
        place.answer(f"s{number:04}.csv", b"x")
    with way(place) as transport:
        transport.server = counting = BreakingServer(transport.server, 0, "")
        offers = list(transport.list(feed("status"), Query(max_files=7)))
    assert [name for name, _ in counting.calls] == ["entries"]
    assert len(offers) == 7


@pytest.mark.fault(row=36, invariants="I7")
@pytest.mark.parametrize("server", ["pyftpdlib-ports", pytest.param("vsftpd", marks=real_server)], indirect=True)
def test_a_poll_over_ftp_is_one_listing_and_a_few_words_for_each_file(place: Place, proxy: FaultProxy) -> None:
    """
    Counted on the wire, with a server that takes its time for every answer.
    """
    for number in range(30):
        place.answer(f"s{number:04}.csv", b"x")
    proxy.control = Channel(latency_s=0.002)
    with way(place, proxy) as transport:
        offers = list(transport.list(feed("status", after="delete"), Query(max_files=5)))
        listing = [line for line in proxy.commands if line.startswith((b"MLSD", b"LIST", b"MLST", b"SIZE", b"MDTM"))]
        assert len(listing) == 1
        before = len(proxy.commands)
        for offer in offers:
            transport.fetch(offer, io.BytesIO())
            transport.settle(offer, Outcome.APPLIED)
        assert len(proxy.commands) - before <= 7 * len(offers)


@every_server
@pytest.mark.fault(row=36, invariants="I2 I7")
def test_a_slow_line_is_waited_for_as_long_as_the_limits_say(place: Place, proxy: FaultProxy) -> None:
    """
    What fits into the time arrives; what does not ends as a time-out, unpublished.
    """
    proxy.control = proxy.data = Channel(rate=100_000)
    with way(place, proxy, timeout_s=8) as transport:
        transport.send(delivery(b"x" * 40_000))
    with way(place, proxy, timeout_s=0.8) as transport, pytest.raises(TransportTimeoutError):
        transport.send(delivery(b"x" * 400_000, key="k-2", name="orders-2.csv"))
    assert [name for name in place.arrived() if not name.endswith(".part")] == ["orders-1.csv"]


# ---------------------------------------------------------------------- two who read one folder


@every_server
@pytest.mark.fault(row=18, invariants="I4 I6")
def test_of_two_installations_one_puts_a_file_away_and_the_other_goes_on(place: Place) -> None:
    """
    Whoever comes second finds it gone, which harms neither what it took before nor what it takes next.
    """
    for name in ("a.csv", "b.csv"):
        place.answer(name, CONTENT)
    with way(place) as first, way(place) as second:
        mine, yours = (list(each.list(feed("status"), Query())) for each in (first, second))
        for transport, offers in ((first, mine), (second, yours)):
            assert transport.fetch(offers[0], io.BytesIO()).size == len(CONTENT)
        first.settle(mine[0], Outcome.APPLIED)
        second.settle(yours[0], Outcome.APPLIED)

        first.settle(mine[1], Outcome.APPLIED)
        with pytest.raises(TransportNotFoundError):
            second.fetch(yours[1], io.BytesIO())
        assert list(second.list(feed("status"), Query())) == []
    archive = place.root / "out" / "archive"
    assert {path.name: path.read_bytes() for path in archive.iterdir()} == {"a.csv": CONTENT, "b.csv": CONTENT}
