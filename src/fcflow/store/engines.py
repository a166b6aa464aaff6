"""Ways into a database: SQLite and PostgreSQL behave alike from here on, and their errors are ours."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from fcflow.errors import FcflowError, MissingExtraError, StoreBusyError, StoreError

__all__ = ["DEFAULT_TIMEOUT_S", "is_in_memory", "join", "open_engine", "parse_url", "take_turn", "translated"]

DEFAULT_TIMEOUT_S = 30.0

_DRIVERS = {"sqlite": "pysqlite", "postgresql": "psycopg"}

# Deadlock, failed serialisation, lock not available (and its time-out), statement cancelled while it waited.
_POSTGRES_BUSY = ("40001", "40P01", "55P03")
_SQLITE_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def parse_url(url: str) -> tuple[URL, float]:
    """
    The database that *url* names, and for how many seconds a writer waits for its turn there (``?timeout=``).

    Raises:
        StoreError: It is no URL, or names a database that fcflow does not speak to.

    Example:
        >>> parse_url("sqlite:///orders.db?timeout=5")
        (sqlite+pysqlite:///orders.db, 5.0)
    """
    try:
        parsed = sa.engine.make_url(url)
    except SQLAlchemyError:
        raise StoreError("store: expected a URL such as sqlite:///fcflow.db, got something else") from None
    backend, _, driver = parsed.drivername.partition("+")
    ours = _DRIVERS.get(backend)
    if ours is None or driver not in ("", ours):
        raise StoreError(f"store: expected an sqlite: or postgresql: URL, got {parsed.drivername}:")
    timeout_s = _timeout(parsed.query.get("timeout"))
    return parsed.set(drivername=f"{backend}+{ours}").difference_update_query(["timeout"]), timeout_s


def _timeout(said: Any) -> float:
    if said is None:
        return DEFAULT_TIMEOUT_S
    try:
        timeout_s = float(said)
    except (TypeError, ValueError):
        timeout_s = -1.0
    if not 0 <= timeout_s <= 86_400:
        raise StoreError(f"store: timeout: expected seconds between 0 and 86400, got {said!r}")
    return timeout_s


def is_in_memory(url: URL) -> bool:
    """Whether an SQLite URL names a database that lives and dies with its only connection."""
    name = url.database or ":memory:"
    return ":memory:" in name or "mode=memory" in name or url.query.get("mode") == "memory"


def open_engine(url: URL, timeout_s: float) -> Engine:
    """
    An engine that has not connected yet.

    Raises:
        MissingExtraError: The database's driver is not installed.
    """
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url, timeout_s)
    # A server that does not answer is an error, not a wait; the URL may say otherwise.
    usual = {"connect_timeout": "10", "application_name": "fcflow"}
    url = url.update_query_dict({name: value for name, value in usual.items() if name not in url.query})
    try:
        return sa.create_engine(url, pool_pre_ping=True, isolation_level="READ COMMITTED", hide_parameters=True)
    except ImportError:
        raise MissingExtraError("postgres", "psycopg") from None


def _sqlite_engine(url: URL, timeout_s: float) -> Engine:
    # The only connection of a database in memory serves one thread at a time; a file may have any number.
    pool = {"pool_size": 1, "max_overflow": 0} if is_in_memory(url) else {"pool_size": 5, "max_overflow": -1}
    engine = sa.create_engine(
        url,
        poolclass=sa.pool.QueuePool,
        pool_timeout=timeout_s,
        connect_args={"check_same_thread": False, "timeout": timeout_s},
        hide_parameters=True,
        **pool,
    )

    def prepare(connection: Any, record: Any) -> None:
        _prepare_sqlite(connection, timeout_s)

    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, timeout_s: float) -> None:
    # The driver's own transactions begin too late to be trusted; ours begin where we say.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        _turn_to_wal(cursor, time.monotonic() + timeout_s)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
    finally:
        cursor.close()


def _turn_to_wal(cursor: Any, deadline: float) -> None:
    """The switch does not wait for other connections by itself, so a first open by two processes would fail."""
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] not in ("wal", "memory"):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get("fcflow_read", False)
    connection.exec_driver_sql(f"PRAGMA query_only={'ON' if reading else 'OFF'}")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def take_turn(connection: Connection, name: str, timeout_s: float) -> None:
    """
    Wait until no other transaction of *name* is open, so that they see each other's work and commit one by one.

    SQLite has one writer at a time anyway. On PostgreSQL this is what makes the audit trail's numbers appear in order
    and keeps two workers from undoing each other's changes; other tenants are not held up.

    Raises:
        sqlalchemy.exc.OperationalError: It took longer than *timeout_s*.
    """
    if connection.dialect.name != "postgresql":
        return
    before = connection.exec_driver_sql("SELECT current_setting('lock_timeout')").scalar_one()
    set_limit = sa.text("SELECT set_config('lock_timeout', :limit, true)")
    connection.execute(set_limit, {"limit": f"{max(1, round(timeout_s * 1000))}ms"})
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_number(name))))
    connection.execute(set_limit, {"limit": before})


def join(connection: Connection, table: sa.Table, name: str, timeout_s: float) -> None:
    """
    Take our turn within a host's transaction; it is over when the host commits or rolls back.

    Args:
        table: Any of ours. On SQLite a write to it that finds no row makes the host the writer from here on.

    Raises:
        StoreError: The host's connection commits by itself after each statement.
    """
    take_turn(connection, name, timeout_s)
    driver = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        connection.execute(table.delete().where(sa.false()))
        alone = not getattr(driver, "in_transaction", True)
    else:
        alone = bool(getattr(driver, "autocommit", False))
    if alone:
        raise StoreError("store: the connection commits after each statement; expected one with a transaction")


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


# ------------------------------------------------------------------ errors


@contextmanager
def translated(doing: str = "store") -> Iterator[None]:
    """Turn the database's errors into ours; statements may be named, their values never are."""
    try:
        yield
    except FcflowError:
        raise
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise (StoreBusyError if _is_busy(error) else StoreError)(f"{doing}: {_brief(error)}") from error
    except (UnicodeEncodeError, OverflowError) as error:
        raise StoreError(f"{doing}: a value cannot be stored: {_brief(error)}") from error


def _is_busy(error: Exception) -> bool:
    origin = getattr(error, "orig", None) or error
    if isinstance(error, PoolTimeoutError):
        return True
    if isinstance(origin, sqlite3.Error):
        return (getattr(origin, "sqlite_errorcode", 0) & 0xFF) in _SQLITE_BUSY
    return getattr(origin, "sqlstate", None) in _POSTGRES_BUSY


def _brief(error: Exception) -> str:
    origin = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(origin, UnicodeEncodeError):
        return origin.reason
    return " ".join(str(origin).split())[:300]
