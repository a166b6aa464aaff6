"""Opening a store, its transactions, leases and snapshots."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from fcflow.errors import LeaseLostError, StoreBusyError, StoreError
from fcflow.store import schema
from fcflow.store.tables import build_tables
from fcflow.store.transaction import Transaction
from fcflow.store.values import Lease

__all__ = ["Store"]


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

    def __init__(self, engine: Engine, *, namespace: str = "", schema: str | None = None) -> None:
        self._engine = engine
        self.namespace = namespace
        self.schema = schema
        self.tables = build_tables(schema)

    @classmethod
    def open(cls, url: str = "sqlite:///fcflow.db", *, namespace: str = "", schema: str | None = None) -> Self:
        """
        Open the store at *url*.

        Args:
            url: An SQLAlchemy URL; ``sqlite://`` is a store in memory.

            namespace: Tenant; every call sees only its own rows.

            schema: Database schema of the tables, PostgreSQL only.

        Raises:
            StoreError: The database cannot be opened.

            StoreVersionError: Its tables are newer than this fcflow, or older and not SQLite.
        """
        try:
            engine = _engine(url)
        except (SQLAlchemyError, ImportError) as error:
            raise StoreError(f"store cannot be opened: {_brief(error)}") from None
        store = cls(engine, namespace=namespace, schema=schema)
        try:
            store._prepare()
        except BaseException:
            engine.dispose()
            raise
        return store

    def _prepare(self) -> None:
        try:
            schema.prepare(self._engine, self.tables, self.schema)
        except DBAPIError as error:
            raise StoreError(f"store cannot be opened: {_brief(error)}") from None

    @classmethod
    def migrate(cls, url: str, *, schema: str | None = None) -> str:
        """Bring the tables at *url* up to this version of fcflow; returns the version that they now have."""
        from fcflow.store import schema as versions

        engine = _engine(url)
        try:
            return versions.upgrade(engine, build_tables(schema), schema)
        finally:
            engine.dispose()

    @classmethod
    def ddl(cls, url: str = "sqlite://", *, schema: str | None = None) -> str:
        """The statements that create the tables, for a database administrator to read and run."""
        dialect = sa.engine.make_url(url).get_dialect()()
        tables = build_tables(schema).sorted_tables
        statements: list[str] = []
        for table in tables:
            statements.append(str(sa.schema.CreateTable(table).compile(dialect=dialect)).strip())
            indexes = sorted(table.indexes, key=lambda index: str(index.name))
            statements += [str(sa.schema.CreateIndex(index).compile(dialect=dialect)).strip() for index in indexes]
        return ";\n\n".join(statements) + ";\n"

    def close(self) -> None:
        """Let go of the database."""
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

        Args:
            lease: Checked first and renewed; a lost one refuses the whole transaction.

            connection: The host's own; the host commits or rolls back. The tables must be in its database.

        Raises:
            StoreBusyError: Another writer held the database for too long.

            LeaseLostError: Another synchronizer took the lease over.
        """
        if connection is not None:
            yield Transaction(connection, self.tables, self.namespace)
            return
        with _translated(), self._engine.begin() as own:
            if lease is not None:
                self._renew(own, lease)
            yield Transaction(own, self.tables, self.namespace)

    @contextmanager
    def reading(self, *, connection: Connection | None = None) -> Iterator[Transaction]:
        """One consistent picture of the store; nothing may be written."""
        if connection is not None:
            yield Transaction(connection, self.tables, self.namespace)
            return
        with _translated(), self._engine.connect() as plain:
            own = plain.execution_options(fcflow_read=True)
            yield Transaction(own, self.tables, self.namespace)
            own.rollback()

    # ---------------------------------------------------------------- leases

    @contextmanager
    def lease(self, name: str, *, ttl_s: float = 900, clock: Callable[[], datetime] = _now) -> Iterator[Lease]:
        """
        The right to work on *name* until it is given back or *ttl_s* have passed without a renewal.

        Raises:
            StoreBusyError: Another synchronizer holds it.
        """
        holder = uuid.uuid4().hex
        taken = self._take(name, holder, ttl_s, clock)
        try:
            yield taken
        finally:
            self._give_back(taken)

    def _take(self, name: str, holder: str, ttl_s: float, clock: Callable[[], datetime]) -> Lease:
        table = self._table("fcflow_lease")
        key = (table.c.namespace == self.namespace) & (table.c.name == name)
        with _translated(), self._engine.begin() as connection:
            row = connection.execute(sa.select(table).where(key).with_for_update()).one_or_none()
            now = clock()
            if row is not None and row.expires_at > now and row.holder:
                raise StoreBusyError(f"{name} is worked on by another synchronizer until {row.expires_at:%H:%M:%S} UTC")
            values = {"holder": holder, "fence": 1 if row is None else row.fence + 1}
            values["expires_at"] = now + timedelta(seconds=ttl_s)
            if row is None:
                connection.execute(table.insert().values(namespace=self.namespace, name=name, **values))
            else:
                connection.execute(table.update().where(key).values(**values))
        return Lease(name=name, holder=holder, fence=values["fence"], ttl_s=ttl_s, clock=clock)

    def _renew(self, connection: Connection, lease: Lease) -> None:
        table = self._table("fcflow_lease")
        held = (table.c.namespace == self.namespace) & (table.c.name == lease.name) & (table.c.fence == lease.fence)
        later = lease.clock() + timedelta(seconds=lease.ttl_s)
        done = connection.execute(
            table.update().where(held & (table.c.holder == lease.holder)).values(expires_at=later)
        )
        if done.rowcount != 1:
            raise LeaseLostError(f"{lease.name}: another synchronizer took over, nothing was written")

    def _give_back(self, lease: Lease) -> None:
        table = self._table("fcflow_lease")
        held = (table.c.namespace == self.namespace) & (table.c.name == lease.name) & (table.c.fence == lease.fence)
        with _translated(), self._engine.begin() as connection:
            connection.execute(table.update().where(held).values(holder="", expires_at=lease.clock()))

    def _table(self, name: str) -> sa.Table:
        return self.tables.tables[f"{self.schema}.{name}" if self.schema else name]

    # ---------------------------------------------------------------- snapshot

    def snapshot(self) -> Store:
        """
        A copy in memory of all that decides what happens next; the audit trail and kept contents stay behind.

        What is done to the copy leaves the original alone: `Synchronizer.plan` works on one.
        """
        copy = Store.open("sqlite://", namespace=self.namespace)
        with self._engine.connect() as plain:
            source = plain.execution_options(fcflow_read=True)
            with copy._engine.begin() as target:
                for table in self.tables.sorted_tables:
                    if table.name not in ("fcflow_audit", "fcflow_problem", "fcflow_lease"):
                        self._copy_table(source, table, target, copy._table(table.name))
            source.rollback()
        return copy

    def _copy_table(self, source: Connection, table: sa.Table, target: Connection, into: sa.Table) -> None:
        kept = [c for c in table.c if not (table.name == "fcflow_sighting" and c.name == "content")]
        query = sa.select(*kept)
        if "namespace" in table.c:
            query = query.where(table.c.namespace == self.namespace)
        for rows in source.execution_options(fcflow_read=True).execute(query).mappings().partitions(1000):
            target.execute(into.insert(), [dict(row) for row in rows])


# ------------------------------------------------------------------ engines


def _engine(url: str) -> Engine:
    parsed = sa.engine.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed)
    return sa.create_engine(parsed, pool_pre_ping=True, isolation_level="READ COMMITTED")


def _sqlite_engine(url: sa.engine.URL) -> Engine:
    in_memory = url.database in (None, "", ":memory:")
    options: dict[str, Any] = {"poolclass": sa.pool.StaticPool} if in_memory else {"poolclass": sa.pool.QueuePool}
    engine = sa.create_engine(url, connect_args={"check_same_thread": False, "timeout": 30}, **options)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: Any) -> None:
    """The driver's own transactions begin too late to be trusted; ours begin where we say."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get("fcflow_read")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        text = _brief(error)
        busy = any(word in text for word in ("locked", "busy", "deadlock", "could not serialize"))
        raise (StoreBusyError if busy else StoreError)(f"store: {text}") from error
    except DBAPIError as error:
        raise StoreError(f"store: {_brief(error)}") from error


def _brief(error: Exception) -> str:
    origin = getattr(error, "orig", None) or error
    return " ".join(str(origin).split())[:300]
