"""Leases with fencing: who may work on something, and who no longer may."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fcflow.errors import LeaseLostError, StoreBusyError
from fcflow.store.engines import translated
from fcflow.store.values import Lease

__all__ = ["give_back", "renew", "take"]


def take(
    connection: Connection,
    table: sa.Table,
    namespace: str,
    name: str,
    ttl_s: float,
    clock: Callable[[], datetime],
) -> Lease:
    """
    Take the lease on *name*, which is free, was given back, or has run out.

    Raises:
        StoreBusyError: Somebody holds it.
    """
    key = (table.c.namespace == namespace) & (table.c.name == name)
    holder, now = uuid.uuid4().hex, clock()
    with translated():
        row = connection.execute(sa.select(table).where(key)).one_or_none()
        if row is not None and row.holder and row.expires_at > now:
            raise StoreBusyError(f"{name} is worked on by another synchronizer until {row.expires_at:%H:%M:%S} UTC")
        fence = 1 if row is None else int(row.fence) + 1
        values = {"holder": holder, "fence": fence, "expires_at": now + timedelta(seconds=ttl_s)}
        if row is None:
            connection.execute(table.insert().values(namespace=namespace, name=name, **values))
        else:
            connection.execute(table.update().where(key).values(**values))
    return Lease(name=name, holder=holder, fence=fence, ttl_s=ttl_s, clock=clock)


def renew(connection: Connection, table: sa.Table, namespace: str, lease: Lease) -> None:
    """
    Put the end of a lease off.

    One that has run out is still its holder's until somebody else takes it.

    Raises:
        LeaseLostError: Somebody else took it, or it was given back.
    """
    later = lease.clock() + timedelta(seconds=lease.ttl_s)
    with translated():
        done = connection.execute(table.update().where(_held(table, namespace, lease)).values(expires_at=later))
    if done.rowcount != 1:
        raise LeaseLostError(f"{lease.name}: another synchronizer took over, nothing was written")


def give_back(connection: Connection, table: sa.Table, namespace: str, lease: Lease) -> None:
    """Free a lease; one that somebody else took over is left alone."""
    with translated():
        held = _held(table, namespace, lease)
        connection.execute(table.update().where(held).values(holder="", expires_at=lease.clock()))


def _held(table: sa.Table, namespace: str, lease: Lease) -> sa.ColumnElement[bool]:
    key = (table.c.namespace == namespace) & (table.c.name == lease.name)
    return key & (table.c.fence == lease.fence) & (table.c.holder == lease.holder)
