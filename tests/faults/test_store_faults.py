"""The store under what breaks: killed processes, a full disk, a file that may only be read, a writer who never ends."""

# an exception leaves a transaction at its end, so its block is what raises

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fcflow.errors import LeaseLostError, StoreBusyError, StoreError
from fcflow.store import Store
from fcflow.testing.stores import a_delivery, a_fulfilment, an_event, an_order

# The child dies at the point that its last argument names; nothing of Python's own cleaning up is run.
_CHILD = """
import os, sys
import sqlalchemy as sa
from fcflow.store import Store
from fcflow.testing.stores import a_delivery, a_fulfilment, an_event, an_order

url, point = sys.argv[1:]
store = Store.open(url)

def die(*args):
    os._exit(9)

if point == "in commit":
    sa.event.listen(store._engine, "commit", die)
with store.transaction() as tx:
    tx.insert_orders([an_order()])
    if point == "between writes":
        die()
    tx.insert_fulfilments([a_fulfilment()])
    tx.add_delivery(a_delivery(content=b"x" * 100_000), ["A1"])
    tx.append([an_event()])
    if point == "before commit":
        die()
die()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fcflow.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{path}?timeout=0.05") as store:
        yield store


def _is_sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        faults = connection.execute("PRAGMA foreign_key_check").fetchall()
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)] and not faults


def _contents(store: Store) -> tuple[list[str], int, int, int]:
    with store.reading() as tx:
        return tx.order_ids(), len(tx.fulfilments()), len(tx.deliveries()), len(tx.audit())


@pytest.mark.parametrize("point", ["between writes", "before commit", "in commit", "after commit"])
def test_a_killed_process_leaves_all_or_nothing(path: Path, store: Store, point: str) -> None:
    """
    Order, fulfilment order, outbox and audit trail are all there once the commit is over, and none of them before.
    """
    child = subprocess.run([sys.executable, "-c", _CHILD, f"sqlite:///{path}", point], timeout=60, check=False)
    assert child.returncode == 9
    assert _contents(store) == ((["A1"], 1, 1, 1) if point == "after commit" else ([], 0, 0, 0))
    assert _is_sound(path)
    with store.transaction() as tx:
        tx.insert_orders([an_order("A2")])


def test_a_writer_who_never_ends_makes_others_busy_not_broken(path: Path, store: Store) -> None:
    """
    The transient error after the timeout, nothing half written, and the next attempt succeeds.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreBusyError), store.transaction() as tx:
            tx.insert_orders([an_order()])
        other.execute("ROLLBACK")
    with store.transaction() as tx:
        tx.insert_orders([an_order()])
    assert _contents(store)[0] == ["A1"]


def test_a_file_that_may_only_be_read_can_be_read(path: Path, store: Store) -> None:
    """
    Looking works, writing is a `StoreError`, and the file is as it was.
    """
    with store.transaction() as tx:
        tx.insert_orders([an_order()])
    with Store.open(f"sqlite:///file:{path}?mode=ro&uri=true") as reader:
        assert _contents(reader)[0] == ["A1"]
        with pytest.raises(StoreError, match="readonly"), reader.transaction() as tx:
            tx.insert_orders([an_order("A2")])
    assert _contents(store)[0] == ["A1"]
    assert _is_sound(path)


def test_a_full_disk_takes_back_the_whole_transaction(path: Path, store: Store) -> None:
    """
    What fits is not kept without what does not; with room again the same transaction succeeds.
    """

    def write(limit: int) -> None:
        with store.transaction() as tx:
            tx.connection.exec_driver_sql(f"PRAGMA max_page_count={limit}")
            tx.insert_orders([an_order()])
            tx.insert_fulfilments([a_fulfilment()])
            tx.append([an_event()])
            tx.add_delivery(a_delivery(content=b"x" * 2_000_000), ["A1"])

    with store.reading() as tx:
        pages = tx.connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    with pytest.raises(StoreError, match="full"):
        write(pages + 20)
    assert _contents(store) == ([], 0, 0, 0)
    assert _is_sound(path)
    write(1_000_000)
    assert _contents(store) == (["A1"], 1, 1, 1)


# A limit on the size of files is what a full disk looks like to the write-ahead log.
_LIMITED = """
import resource, signal, sys
from fcflow.errors import StoreError
from fcflow.store import Store
from fcflow.testing.stores import a_delivery

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
written = 0
try:
    while written < 100:
        with store.transaction() as tx:
            tx.add_delivery(a_delivery(f"k{written}", b"x" * 50_000), [])
        written += 1
except StoreError:
    print(written)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_what_was_committed_before_the_disk_was_full_stays(path: Path, store: Store) -> None:
    """
    Transactions succeed one after the other until one is refused; exactly those are there.
    """
    command = [sys.executable, "-c", _LIMITED, f"sqlite:///{path}"]
    child = subprocess.run(command, timeout=60, check=True, capture_output=True, text=True)
    written = int(child.stdout)
    assert 0 < written < 100
    with store.reading() as tx:
        assert len(tx.deliveries()) == written
    assert _is_sound(path)


# The holder says that it has the lease, waits until it is told to go on, and then tries to write.
_SLOW_HOLDER = """
import sys
from fcflow.errors import LeaseLostError
from fcflow.store import Store
from fcflow.testing.stores import an_event

with Store.open(sys.argv[1]) as store, store.lease("leeds", ttl_s=float(sys.argv[2])) as lease:
    print(lease.fence, flush=True)
    sys.stdin.readline()
    try:
        with store.transaction(lease=lease) as tx:
            tx.append([an_event("slow")])
        print("written", flush=True)
    except LeaseLostError:
        print("lost", flush=True)
"""


@pytest.fixture
def slow_holder(path: Path, store: Store) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _SLOW_HOLDER, f"sqlite:///{path}", "0"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "1\n"
    yield child
    child.kill()
    child.communicate()


def test_a_process_that_slept_through_its_lease_writes_nothing(
    store: Store, slow_holder: subprocess.Popen[str]
) -> None:
    """
    Another process took over meanwhile; neither the sleeper's write nor its giving back touches the new holder.
    """
    with store.lease("leeds") as lease:
        said, _ = slow_holder.communicate("go on\n", timeout=60)
        assert (said, slow_holder.returncode) == ("lost\n", 0)
        with store.transaction(lease=lease) as tx:
            tx.append([an_event("quick")])
        with pytest.raises(StoreBusyError), store.lease("leeds"):
            pass
    with store.reading() as tx:
        assert [event.message for event in tx.audit()] == ["quick"]


def test_a_dead_holder_delays_others_no_longer_than_its_lease(store: Store, slow_holder: subprocess.Popen[str]) -> None:
    """
    A killed process gives nothing back; its lease is free when its time is over, with a higher fence.
    """
    slow_holder.kill()
    slow_holder.wait(timeout=60)
    with store.lease("leeds") as lease:
        assert lease.fence == 2


def test_an_error_in_the_work_is_not_hidden_by_a_lost_lease(store: Store) -> None:
    """
    Leaving a lease that is lost lets the error that ended the work through.
    """
    with store.lease("leeds") as lost:
        with pytest.raises(ZeroDivisionError), store.lease("corby"):
            raise ZeroDivisionError
        store._give_back(lost)
        with pytest.raises(LeaseLostError), store.transaction(lease=lost):
            pass


_FORKED = """
import os, sys
from fcflow.errors import StoreError
from fcflow.store import Store
from fcflow.testing.stores import an_event

def count(store, times):
    for _ in range(times):
        with store.transaction() as tx:
            tx.counter("x")

with Store.open(sys.argv[1]) as store, Store.open("sqlite://") as in_memory:
    count(store, 1)
    child = os.fork()
    if child == 0:
        count(store, 20)
        try:
            count(in_memory, 1)
        except StoreError:
            os._exit(7)
        os._exit(1)
    count(store, 20)
    count(in_memory, 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7, status
    count(store, 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_leaves_its_parents_connections_alone(path: Path, store: Store) -> None:
    """
    Both go on writing to the same file, each over connections of its own; a store in memory is refused in the child.
    """
    subprocess.run([sys.executable, "-W", "error", "-c", _FORKED, f"sqlite:///{path}"], timeout=60, check=True)
    with store.transaction() as tx:
        assert tx.counter("x") == 43
    assert _is_sound(path)
