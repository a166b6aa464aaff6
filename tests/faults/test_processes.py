"""Rows 19 and 39: a server whose disk is full, and processes and threads that share what they opened."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fcflow.errors import TransportError, TransportUnclearError
from fcflow.testing.files import Place, delivery, feed, opened, place_on
from fcflow.testing.servers import RunningServer
from fcflow.transports.base import Outcome, Query

real_server = pytest.mark.real_server
every_server = pytest.mark.parametrize(
    "server",
    [
        "pyftpdlib",
        "pyftpdlib-explicit",
        "asyncssh",
        pytest.param("vsftpd", marks=real_server),
        pytest.param("openssh", marks=real_server),
    ],
    indirect=True,
)


@pytest.fixture
def place(server: RunningServer) -> Place:
    return place_on(server)


# ---------------------------------------------------------------------- a full disk


@contextlib.contextmanager
def small_disk(folder: Path, owner: tuple[int, int] | None) -> Iterator[None]:
    """*folder* is a disk of its own with little room; only root can make one."""
    options = "size=256k" + ("" if owner is None else f",uid={owner[0]},gid={owner[1]}")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"no disk of a given size can be made here: {made.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@every_server
@pytest.mark.fault(row=19, invariants="I1 I2 I3")
def test_a_full_disk_of_the_server_publishes_nothing_short(place: Place) -> None:
    """
    An error before anything is visible, nothing under the final name; small files still fit, and with room again it is
    sent whole.
    """
    content = os.urandom(600_000)
    inbox = place.root / "in"
    with opened(place.server, place.name, timeout_s=3) as transport:
        with small_disk(inbox, place.server.owner):
            with pytest.raises(TransportError) as caught:
                transport.send(delivery(content))
            assert not isinstance(caught.value, TransportUnclearError)
            assert "orders-1.csv" not in place.arrived()
            for path in inbox.iterdir():
                assert content.startswith(path.read_bytes())
                path.unlink()
            transport.send(delivery(key="k-2", name="orders-2.csv"))
            assert place.arrived() == {"orders-2.csv": b"A1;1\r\n"}
        transport.send(delivery(content))
    assert place.arrived() == {"orders-1.csv": content}


@every_server
@pytest.mark.fault(row=19, invariants="I4")
def test_a_file_that_cannot_be_moved_to_the_archive_stays(place: Place) -> None:
    """
    The archive is on another disk, which servers do not move files to; it is still there, whole, and offered again.
    """
    place.answer("s.csv", b"x" * 100_000)
    archive = place.root / "out" / "archive"
    archive.mkdir()
    with opened(place.server, place.name) as transport:
        [offer] = transport.list(feed("status"), Query())
        with small_disk(archive, place.server.owner), pytest.raises(TransportError):
            transport.settle(offer, Outcome.APPLIED)
        [again] = transport.list(feed("status"), Query())
        assert transport.fetch(again, io.BytesIO()).size == 100_000


# ---------------------------------------------------------------------- processes and threads


def in_a_child(call: Any) -> int:
    """What a forked process that does *call* ends with: 0 where it returned."""
    with warnings.catch_warnings():
        # Newer versions of Python warn of forks beside threads, which is what this is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            call()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@every_server
@pytest.mark.fault(row=39, invariants="I1 I3")
def test_a_forked_process_leaves_the_parents_connection_alone(place: Place) -> None:
    """
    The child opens one of its own, closes it, and the parent goes on with the one that it has.
    """
    place.answer("s.csv", b"x" * 100_000)
    with opened(place.server, place.name) as transport:
        [offer] = transport.list(feed("status"), Query())

        def work() -> None:
            transport.send(delivery(b"child", key="k-c", name="child.csv"))
            transport.fetch(offer, io.BytesIO())
            transport.close()

        assert in_a_child(work) == 0
        before = transport.server._client if hasattr(transport.server, "_client") else transport.server._sftp  # type: ignore[attr-defined]
        transport.send(delivery(b"parent", key="k-p", name="parent.csv"))
        assert transport.fetch(offer, io.BytesIO()).size == 100_000
        after = transport.server._client if hasattr(transport.server, "_client") else transport.server._sftp  # type: ignore[attr-defined]
        assert before is after
        assert before is not None
    assert place.arrived() == {"child.csv": b"child", "parent.csv": b"parent"}


@every_server
@pytest.mark.fault(row=39, invariants="I1 I2 I3")
def test_threads_with_a_transport_each_lose_and_mix_nothing(place: Place) -> None:
    """
    Four at a time write, list and read in one folder.
    """
    for number in range(4):
        place.answer(f"s{number}.csv", b"%d" % number * 1000)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with opened(place.server, place.name, timeout_s=30) as transport:
                for turn in range(5):
                    content = b"%d-%d" % (number, turn) * 500
                    transport.send(delivery(content, key=f"k-{number}-{turn}", name=f"o-{number}-{turn}.csv"))
                    offers = list(transport.list(feed("status", match=f"s{number}.csv"), Query()))
                    sink = io.BytesIO()
                    transport.fetch(offers[0], sink)
                    assert sink.getvalue() == b"%d" % number * 1000
        except BaseException as error:  # noqa: BLE001 - shown below, where the test sees it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    expected = {f"o-{n}-{turn}.csv": b"%d-%d" % (n, turn) * 500 for n in range(4) for turn in range(5)}
    assert place.arrived() == expected


@every_server
@pytest.mark.fault(row=39, invariants="I1 I3")
def test_a_thread_that_takes_over_a_transport_goes_on_with_it(place: Place) -> None:
    """
    One at a time, whichever it is.
    """
    with opened(place.server, place.name) as transport:
        for number in range(3):
            sent = delivery(key=f"k-{number}", name=f"orders-{number}.csv")
            thread = threading.Thread(target=transport.send, args=(sent,))
            thread.start()
            thread.join(30)
    assert sorted(place.arrived()) == ["orders-0.csv", "orders-1.csv", "orders-2.csv"]
