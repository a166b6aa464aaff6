"""The store on SQLite: its contract, in memory and in a file, and what only SQLite has."""

# ruff: noqa: PT012  # an exception leaves a transaction at its end, so its block is what raises

from __future__ import annotations

import logging
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from fcflow.errors import MissingExtraError, StoreBusyError, StoreError
from fcflow.store import OutboxState, Store
from fcflow.testing.stores import StoreContract, a_delivery, a_fulfilment, an_event, an_order


class TestFile(StoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[..., Store]:
        return lambda **options: Store.open(f"sqlite:///{tmp_path}/fcflow.db?timeout=0.2", **options)


class TestMemory(StoreContract):
    @pytest.fixture
    def open_store(self) -> Callable[..., Store]:
        return lambda **options: Store.open("sqlite://", **options)

    # Each store in memory is a database of its own, which no other tenant can reach.
    test_tenants_never_see_each_other = None  # type: ignore[assignment]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fcflow.db"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


# ------------------------------------------------------------------ opening


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("no url", "expected a URL"),
        ("mysql://user:geheim@db/shop", "expected an sqlite: or postgresql: URL, got mysql:"),
        ("sqlite+aiosqlite:///x.db", "got sqlite\\+aiosqlite:"),
        ("sqlite://?timeout=soon", "timeout: expected seconds between 0 and 86400, got 'soon'"),
        ("sqlite://?timeout=-1", "timeout: expected seconds"),
        ("sqlite:////no/such/folder/x.db", "cannot be opened: unable to open database file"),
    ],
)
def test_a_store_that_cannot_be_opened_says_why(url: str, said: str) -> None:
    """
    What is wrong with the URL or the place is said, a password in it is not.
    """
    with pytest.raises(StoreError, match=said) as caught:
        Store.open(url)
    assert "geheim" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    """
    Opening somebody's text file raises and changes no byte of it.
    """
    path.write_bytes(b"to do: buy mugs\n" * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store.open(f"sqlite:///{path}")
    assert path.read_bytes() == b"to do: buy mugs\n" * 100


def test_sqlite_has_no_schemas() -> None:
    """
    A schema is refused rather than ignored.
    """
    with pytest.raises(StoreError, match="SQLite has no schemas, got 'shop'"):
        Store.open("sqlite://", schema="shop")


def test_postgresql_without_its_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The message is the line that mends it.
    """
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fcflow\[postgres\]'"):
        Store.open("postgresql://user@127.0.0.1:1/x")


def test_a_password_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Neither in the store's own text nor in the error of a refused connection.
    """
    engine = sa.create_engine("postgresql+psycopg://user:geheim@127.0.0.1:1/x")
    assert "geheim" not in repr(Store(engine))
    with pytest.raises(StoreError) as caught:
        Store.open("postgresql://user:geheim@127.0.0.1:1/x?connect_timeout=2")
    assert "geheim" not in str(caught.value)


def test_a_file_survives_a_power_cut_by_its_settings(path: Path) -> None:
    """
    Write-ahead log, every commit flushed to the disk, foreign keys kept.
    """
    with Store.open(f"sqlite:///{path}") as store, store.reading() as tx:
        settings = {n: tx.connection.exec_driver_sql(f"PRAGMA {n}").scalar() for n in ("journal_mode", "synchronous")}
        assert settings == {"journal_mode": "wal", "synchronous": 2}
        assert tx.connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_what_was_committed_is_there_when_the_file_is_opened_again(path: Path) -> None:
    """
    Closing and opening loses nothing.
    """
    with Store.open(f"sqlite:///{path}") as store, store.transaction() as tx:
        tx.insert_orders([an_order()])
    with Store.open(f"sqlite:///{path}") as store, store.reading() as tx:
        assert tx.order_ids() == ["A1"]


# ------------------------------------------------------------------ several at once


def test_who_waits_too_long_for_the_writer_is_told_that_it_is_busy(path: Path) -> None:
    """
    After the URL's timeout a transaction, a lease and a renewal raise the transient error.
    """
    with Store.open(f"sqlite:///{path}?timeout=0.05") as store, _locked(path):
        with pytest.raises(StoreBusyError, match="locked"), store.transaction():
            pass
        with pytest.raises(StoreBusyError), store.lease("leeds"):
            pass
        with store.reading() as tx:
            assert tx.order_ids() == []


def test_reading_sees_one_picture_while_others_write(path: Path) -> None:
    """
    What is committed after a reading began is not in it, and neither waits for the other.
    """
    with Store.open(f"sqlite:///{path}?timeout=0.05") as store, store.reading() as before:
        assert before.order_ids() == []
        with store.transaction() as tx:
            tx.insert_orders([an_order()])
        assert before.order_ids() == []
        with store.reading() as after:
            assert after.order_ids() == ["A1"]


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_threads_take_turns(kind: str, path: Path) -> None:
    """
    Transactions of several threads follow each other: no count is lost.
    """
    with Store.open("sqlite://" if kind == "memory" else f"sqlite:///{path}") as store:

        def count() -> None:
            for _ in range(20):
                with store.transaction() as tx:
                    tx.counter("x")

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with store.transaction() as tx:
            assert tx.counter("x") == 81


def test_a_store_in_memory_refuses_to_read_inside_its_own_transaction() -> None:
    """
    Its only connection is in use; waiting for it would be for ever.
    """
    with (
        Store.open("sqlite://") as store,
        store.transaction(),
        pytest.raises(StoreError, match="open already"),
        store.reading(),
    ):
        pass


def test_a_lease_that_cannot_be_given_back_ends_by_itself(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """
    What was done under it stands; a warning says how long others must wait.
    """
    with (
        caplog.at_level(logging.WARNING, "fcflow"),
        Store.open(f"sqlite:///{path}?timeout=0.05") as store,
        _locked_after(store.lease("leeds", ttl_s=60), path),
    ):
        pass
    assert "leeds: the lease was not given back and ends in 60 s" in caplog.text


@contextmanager
def _locked_after(manager: object, path: Path) -> Iterator[None]:
    lock = _locked(path)
    with manager:  # type: ignore[attr-defined]
        lock.__enter__()
        yield
    lock.__exit__(None, None, None)


# ------------------------------------------------------------------ hosts


def test_the_hosts_own_error_is_not_ours(path: Path) -> None:
    """
    What a host does wrong with the transaction's connection comes back to it untouched, and undoes everything.
    """
    with Store.open(f"sqlite:///{path}") as store:
        with pytest.raises(sa.exc.OperationalError), store.transaction() as tx:
            tx.insert_orders([an_order()])
            tx.connection.execute(sa.text("INSERT INTO shop_order VALUES ('A1')"))
        with store.reading() as tx:
            assert tx.order_ids() == []


def test_errors_show_statements_without_values(path: Path) -> None:
    """
    Neither the message nor its cause holds what was to be written: it may be a customer's address.
    """
    with Store.open(f"sqlite:///{path}") as store, pytest.raises(StoreError) as caught, store.transaction() as tx:
        secret = an_order(held_reason="12 Secret Street")
        tx.insert_orders([secret, secret])
    assert "Secret" not in f"{caught.value} {caught.value.__cause__}"


# ------------------------------------------------------------------ snapshot


def test_a_snapshot_leaves_behind_what_cannot_be_sent_any_more(path: Path) -> None:
    """
    Bytes of deliveries that are done with, contents taken in, and the audit trail are not copied.
    """
    with Store.open(f"sqlite:///{path}", namespace="shop") as store:
        with store.transaction() as tx:
            tx.insert_orders([an_order()])
            tx.insert_fulfilments([a_fulfilment()])
            states = (OutboxState.PENDING, OutboxState.SENT, OutboxState.UNCLEAR, OutboxState.SETTLED)
            ids = [tx.add_delivery(a_delivery(state, state=state), ["A1"]) for state in states]
            tx.append([an_event()])
        with store.snapshot() as copied, copied.reading() as tx:
            assert copied.namespace == "shop"
            assert [tx.delivery_content(each) for each in ids] == [b"a;b\r\n", b"", b"a;b\r\n", b""]
            assert tx.audit() == []
