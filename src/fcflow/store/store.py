"""Opening a store, its transactions, leases and snapshots."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from fcflow.errors import StoreError
from fcflow.store import leases
from fcflow.store import schema as versions
from fcflow.store.engines import DEFAULT_TIMEOUT_S, is_in_memory, join, open_engine, parse_url, take_turn, translated
from fcflow.store.tables import build_tables
from fcflow.store.transaction import Transaction
from fcflow.store.values import Lease, OutboxState

__all__ = ["Store"]

_log = logging.getLogger("fcflow")

_INHERITED: list[sa.Pool] = []
_LEFT_BEHIND = ("fcflow_audit", "fcflow_problem", "fcflow_lease", "fcflow_rule_set")


def _now() -> datetime:
    return datetime.now(UTC)


class Store:
    """
    The database behind a synchronizer.

    SQLite needs nothing and is migrated when it is opened; PostgreSQL (extra ``postgres``) serves many workers and is
    migrated on command. One store may hold many tenants, each under a namespace of its own.

    Example:
        >>> with Store.open("sqlite://") as store, store.transaction() as tx:
        ...     tx.counter("orders")
        1
    """

    def __init__(
        self, engine: Engine, *, namespace: str = "", schema: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        self._engine = engine
        self._timeout_s = timeout_s
        self._here = threading.local()
        self._process = os.getpid()
        self.namespace = namespace
        self.schema = schema
        self.tables = build_tables(schema)

    @classmethod
    def open(cls, url: str = "sqlite:///fcflow.db", *, namespace: str = "", schema: str | None = None) -> Self:
        """
        Open the store at *url*; an empty database gets its tables.

        Args:
            url: An SQLAlchemy URL; ``sqlite://`` is a store in memory, which serves one thread at a time.
                ``?timeout=5`` waits 5 seconds for another writer instead of 30.

            namespace: Tenant; every call sees only its own rows.

            schema: Database schema of the tables, PostgreSQL only.

        Raises:
            StoreError: The database cannot be opened.

            StoreVersionError: Its tables are newer than this fcflow, or older and not SQLite.

            MissingExtraError: PostgreSQL's driver is not installed.
        """
        place, timeout_s = parse_url(url)
        if schema is not None and place.get_backend_name() == "sqlite":
            raise StoreError(f"store cannot be opened: SQLite has no schemas, got {schema!r}")
        store = cls(open_engine(place, timeout_s), namespace=namespace, schema=schema, timeout_s=timeout_s)
        try:
            with translated("store cannot be opened"):
                versions.prepare(store._engine, store.tables, schema, timeout_s)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def migrate(cls, url: str, *, schema: str | None = None) -> str:
        """
        Bring the tables at *url* up to this version of fcflow; returns the version that they now have.

        Raises:
            StoreError: The database cannot be opened or changed; nothing was changed.

            StoreVersionError: The tables are newer than this fcflow.

        Example:
            >>> Store.migrate("sqlite://")
            '0004'
        """
        place, timeout_s = parse_url(url)
        engine = open_engine(place, timeout_s)
        try:
            with translated("store cannot be migrated"):
                return versions.upgrade(engine, build_tables(schema), schema, timeout_s)
        finally:
            engine.dispose()

    @classmethod
    def ddl(cls, url: str = "sqlite://", *, schema: str | None = None) -> str:
        """
        The statements that create the tables in an empty database, for an administrator to read and run.

        Example:
            >>> print(Store.ddl("postgresql://", schema="shop").splitlines()[0])
            CREATE SCHEMA IF NOT EXISTS shop;
        """
        place, _ = parse_url(url)
        return versions.ddl(place.get_dialect()(), build_tables(schema), schema)

    def close(self) -> None:
        """Let go of the database; a store in memory is gone."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({self._engine.url.render_as_string(hide_password=True)!r}, namespace={self.namespace!r})"

    # ---------------------------------------------------------------- transactions

    @contextmanager
    def transaction(self, *, lease: Lease | None = None, connection: Connection | None = None) -> Iterator[Transaction]:
        """
        All that is done inside becomes true at once, or not at all.

        Transactions of one namespace follow each other: nobody else writes between a read and a write of yours.

        Args:
            lease: Checked first and renewed; a lost one refuses the whole transaction.

            connection: The host's own; the host commits or rolls back. The tables must be in its database. From here to
                the end of its transaction the host is the writer.

        Raises:
            StoreBusyError: Another writer held the database for too long.

            LeaseLostError: Another synchronizer took the lease over.

            StoreError: This thread has a transaction open already.
        """
        with self._writing() if connection is None else self._joined(connection) as open_connection:
            if lease is not None:
                leases.renew(open_connection, self._table("fcflow_lease"), self.namespace, lease)
            yield Transaction(open_connection, self.tables, self.namespace)

    @contextmanager
    def reading(self, *, connection: Connection | None = None) -> Iterator[Transaction]:
        """
        One consistent picture of the store; writing raises `StoreError`, but for a host's *connection*.

        Raises:
            StoreError: A store in memory has a transaction open in this thread already.
        """
        if connection is not None:
            yield Transaction(connection, self.tables, self.namespace)
            return
        options: dict[str, Any] = {"fcflow_read": True}
        if self._engine.dialect.name == "postgresql":
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self._alone(writing=False), self._connected(options) as own:
            yield Transaction(own, self.tables, self.namespace)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._alone(writing=True), self._connected({}) as own:
            with translated():
                own.begin()
                take_turn(own, self._turn, self._timeout_s)
            yield own
            with translated():
                own.commit()

    @contextmanager
    def _joined(self, connection: Connection) -> Iterator[Connection]:
        with translated():
            join(connection, self._table("fcflow_lease"), self._turn, self._timeout_s)
        yield connection

    @contextmanager
    def _connected(self, options: dict[str, Any]) -> Iterator[Connection]:
        """A connection that rolls back whatever was not committed."""
        if self._process != os.getpid():
            self._leave_parent()
        with translated():
            own = self._engine.connect().execution_options(**options)
        try:
            yield own
        finally:
            with suppress(SQLAlchemyError):
                own.rollback()
            own.close()

    def _leave_parent(self) -> None:
        """After a fork: connections belong to the process that made them, and even closing them here would harm it."""
        if is_in_memory(self._engine.url):
            raise StoreError("store: a store in memory stays with its process; this one was forked from it")
        _INHERITED.append(self._engine.pool)
        self._engine.dispose(close=False)
        self._here = threading.local()
        self._process = os.getpid()

    @contextmanager
    def _alone(self, *, writing: bool) -> Iterator[None]:
        """Refuse at once what would wait for itself: a second writer, or a second user of the only connection."""
        mine: set[str] = self._here.__dict__.setdefault("open", set())
        kind = "only" if is_in_memory(self._engine.url) else "writer" if writing else "reader"
        if kind in mine and kind != "reader":
            raise StoreError("store: this thread has a transaction open already; use that one, or end it first")
        mine.add(kind)
        try:
            yield
        finally:
            mine.discard(kind)

    @property
    def _turn(self) -> str:
        return f"fcflow/{self.schema or ''}/{self.namespace}"

    # ---------------------------------------------------------------- leases

    @contextmanager
    def lease(self, name: str, *, ttl_s: float = 900, clock: Callable[[], datetime] = _now) -> Iterator[Lease]:
        """
        The right to work on *name* until it is given back or *ttl_s* have passed without a renewal.

        Args:
            clock: Where several machines share a store, their clocks must agree to well within *ttl_s*; a clock that
                does not can take a lease too early, and the fence then keeps the slower holder from writing.

        Raises:
            StoreBusyError: Another synchronizer holds it.
        """
        with self._writing() as connection:
            taken = leases.take(connection, self._table("fcflow_lease"), self.namespace, name, ttl_s, clock)
        try:
            yield taken
        finally:
            self._give_back(taken)

    def renew(self, lease: Lease) -> None:
        """
        Keep a lease for another ``ttl_s`` from now, as every transaction with it does.

        Raises:
            LeaseLostError: Another synchronizer took it over, or it was given back.
        """
        with self._writing() as connection:
            leases.renew(connection, self._table("fcflow_lease"), self.namespace, lease)

    def _give_back(self, lease: Lease) -> None:
        try:
            with self._writing() as connection:
                leases.give_back(connection, self._table("fcflow_lease"), self.namespace, lease)
        except StoreError as error:
            # What was done under it stands; it ends by itself.
            _log.warning("%s: the lease was not given back and ends in %g s: %s", lease.name, lease.ttl_s, error)

    def _table(self, name: str) -> sa.Table:
        return self.tables.tables[f"{self.schema}.{name}" if self.schema else name]

    # ---------------------------------------------------------------- snapshot

    def snapshot(self) -> Store:
        """
        A copy in memory of all that decides what happens next; audit trail, leases and what is done with stay behind.

        What is done to the copy leaves the original alone: `Synchronizer.plan` works on one.
        """
        copy = Store.open("sqlite://", namespace=self.namespace)
        try:
            with self.reading() as source, copy._writing() as target:
                for table in self.tables.sorted_tables:
                    if table.name not in _LEFT_BEHIND:
                        self._copy_table(source.connection, table, target, copy._table(table.name))
        except BaseException:
            copy.close()
            raise
        return copy

    def _copy_table(self, source: Connection, table: sa.Table, target: Connection, into: sa.Table) -> None:
        columns = [column for column in table.c if (table.name, column.name) != ("fcflow_sighting", "content")]
        query = sa.select(*(_kept(table, column) for column in columns)).where(table.c.namespace == self.namespace)
        with translated():
            for rows in source.execute(query.execution_options(yield_per=1000)).mappings().partitions():
                target.execute(into.insert(), [dict(row) for row in rows])


def _kept(table: sa.Table, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Bytes that cannot be sent any more are not copied."""
    if (table.name, column.name) != ("fcflow_outbox", "content"):
        return column
    done = table.c.state.in_((OutboxState.SENT, OutboxState.SETTLED))
    return sa.case((done, sa.literal(b"", column.type)), else_=column).label(column.name)
