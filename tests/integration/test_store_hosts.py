"""A store inside somebody else's application: the host's connection, its callbacks, its other processes."""

# ruff: noqa: PT012  # an exception leaves a transaction at its end, so its block is what raises

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from fcflow.errors import LeaseLostError, StoreBusyError, StoreError
from fcflow.store import Store
from fcflow.testing.stores import an_event, an_order


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{path}?timeout=0.2") as store:
        yield store


@pytest.fixture
def host(path: Path, store: Store) -> Iterator[sa.Engine]:
    """A host with an engine of its own, set up as SQLAlchemy does it, and a table in the same file."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE shop (name TEXT)"))
    yield engine
    engine.dispose()


def _counts(host: sa.Engine, store: Store) -> tuple[int, int, int]:
    with host.connect() as connection, store.reading(connection=connection) as tx:
        rows = connection.execute(sa.text("SELECT count(*) FROM shop")).scalar_one()
        return rows, len(tx.order_ids()), tx.consumer_position("shop")


@pytest.mark.parametrize("outcome", ["commit", "rollback"])
def test_the_hosts_transaction_carries_ours(host: sa.Engine, store: Store, outcome: str) -> None:
    """
    Rows of both sides come and go together, by the host's commit or rollback.
    """
    with host.connect() as connection:
        connection.execute(sa.text("INSERT INTO shop VALUES ('mine')"))
        with store.transaction(connection=connection) as tx:
            tx.insert_orders([an_order()])
            tx.append([an_event()])
            tx.acknowledge("shop", 1)
        getattr(connection, outcome)()
    assert _counts(host, store) == ((1, 1, 1) if outcome == "commit" else (0, 0, 0))


def test_a_callback_writes_the_hosts_rows_with_ours(host: sa.Engine, store: Store) -> None:
    """
    What a host writes on our transaction's connection is committed or taken back with it.
    """
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        tx.insert_orders([an_order()])
        tx.connection.execute(sa.text("INSERT INTO shop VALUES ('theirs')"))
        raise ZeroDivisionError
    assert _counts(host, store) == (0, 0, 0)
    with store.transaction() as tx:
        tx.insert_orders([an_order()])
        tx.connection.execute(sa.text("INSERT INTO shop VALUES ('theirs')"))
    assert _counts(host, store) == (1, 1, 0)


def test_a_consumer_handles_an_event_and_moves_on_in_one_transaction(host: sa.Engine, store: Store) -> None:
    """
    A host that fails in the middle of an event sees it again, and keeps no row of the failed attempt.
    """
    with store.transaction() as tx:
        tx.append([an_event("a"), an_event("b")])

    def handle(*, fail: bool) -> None:
        with host.begin() as connection, store.transaction(connection=connection) as tx:
            for event in tx.audit(after=tx.consumer_position("shop")):
                connection.execute(sa.text("INSERT INTO shop VALUES (:name)"), {"name": event.message})
                tx.acknowledge("shop", event.sequence)
                if fail:
                    raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        handle(fail=True)
    assert _counts(host, store) == (0, 0, 0)
    handle(fail=False)
    handle(fail=False)
    assert _counts(host, store) == (2, 0, 2)


def test_a_lost_lease_refuses_the_hosts_transaction_too(host: sa.Engine, store: Store) -> None:
    """
    Nothing of ours is written on the host's connection without the lease.
    """
    with store.lease("leeds") as lease:
        pass
    with host.begin() as connection:
        with pytest.raises(LeaseLostError), store.transaction(connection=connection, lease=lease) as tx:
            tx.append([an_event()])
        connection.execute(sa.text("INSERT INTO shop VALUES ('mine')"))
    assert _counts(host, store)[0] == 1
    with store.reading() as tx:
        assert tx.audit() == []


def test_the_host_is_the_writer_from_the_moment_it_lends_its_connection(host: sa.Engine, store: Store) -> None:
    """
    Two hosts of one consumer cannot both read the same position: the second waits, and is told that it is busy.
    """
    impatient = sa.create_engine(host.url, connect_args={"timeout": 0.05})
    with host.begin() as first, store.transaction(connection=first) as tx:
        assert tx.consumer_position("shop") == 0
        with impatient.begin() as second, pytest.raises(StoreBusyError), store.transaction(connection=second):
            pass
        tx.acknowledge("shop", 1)
    with impatient.begin() as second, store.transaction(connection=second) as tx:
        assert tx.consumer_position("shop") == 1
    impatient.dispose()


def test_a_connection_without_transactions_is_refused(host: sa.Engine, store: Store) -> None:
    """
    What cannot be taken back together is not begun.
    """
    careless = host.execution_options(isolation_level="AUTOCOMMIT")
    with (
        careless.connect() as connection,
        pytest.raises(StoreError, match="commits after each statement"),
        store.transaction(connection=connection),
    ):
        pass


# Whoever holds the lease makes a file that must not be there yet, and takes it away before the lease ends.
_WORKER = """
import os, sys, time
from fcflow.errors import StoreBusyError
from fcflow.store import Store

url, guard = sys.argv[1:]
done = 0
with Store.open(url) as store:
    while done < 8:
        try:
            with store.lease("leeds") as lease:
                os.close(os.open(guard, os.O_CREAT | os.O_EXCL))
                with store.transaction(lease=lease) as tx:
                    tx.counter("work")
                os.unlink(guard)
            done += 1
        except StoreBusyError:
            time.sleep(0.002)
"""


def test_a_lease_is_held_by_one_process_at_a_time(path: Path, store: Store, tmp_path: Path) -> None:
    """
    Three processes that fight for a lease never hold it together, and each gets its share done.
    """
    command = [sys.executable, "-c", _WORKER, f"sqlite:///{path}", str(tmp_path / "guard")]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for worker in workers:
        _, said = worker.communicate(timeout=90)
        assert (worker.returncode, said) == (0, "")
    with store.transaction() as tx:
        assert tx.counter("work") == 25
