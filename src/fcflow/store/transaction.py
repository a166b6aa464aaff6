"""What can be read and written inside one transaction; every statement stays in its own namespace."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fcflow.audit import AuditEvent
from fcflow.documents import canonical_json, content_hash, from_document, to_document
from fcflow.errors import StoreError
from fcflow.lifecycle import Fact, Progress
from fcflow.model import (
    Effect,
    FulfilmentLine,
    FulfilmentOrder,
    FulfilmentState,
    Location,
    Order,
    OrderState,
    Problem,
    Shipment,
)
from fcflow.stock import Picture, Shipped
from fcflow.store.engines import translated
from fcflow.store.rule_sets import RuleSetRows
from fcflow.store.values import FulfilmentView, OrderView, OutboxRow, Sighting, StoredOrder

__all__ = ["Transaction"]

_CHUNK = 500


def _chunks(items: Iterable[Any]) -> Iterator[list[Any]]:
    listed = list(items)
    for start in range(0, len(listed), _CHUNK):
        yield listed[start : start + _CHUNK]


def _unsorted(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """
    The column's value, as no index has it.

    Without statistics SQLite would rather walk all rows in an index's order than find the few asked for and sort them.
    """
    return sa.func.coalesce(column, column).label(column.name)


class Transaction(RuleSetRows):
    """One transaction's reads and writes; made by `Store.transaction`."""

    def __init__(self, connection: Connection, tables: sa.MetaData, namespace: str) -> None:
        self.connection = connection
        self._namespace = namespace
        self._tables = {table.name.removeprefix("fcflow_"): table for table in tables.tables.values()}

    # ---------------------------------------------------------------- plumbing

    def _own(self, table: sa.Table) -> sa.ColumnElement[bool]:
        return table.c.namespace == self._namespace

    def _execute(
        self, statement: sa.Executable, rows: Sequence[Mapping[str, Any]] | None = None
    ) -> sa.CursorResult[Any]:
        with translated():
            return self.connection.execute(statement, rows)

    def _rows(self, query: sa.Select[Any]) -> Sequence[Any]:
        with translated():
            return self.connection.execute(query).all()

    def _value(self, query: sa.Select[Any]) -> Any:
        with translated():
            return self.connection.execute(query).scalar_one_or_none()

    def _insert(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            self._execute(self._tables[name].insert(), [{"namespace": self._namespace, **row} for row in rows])

    def _insert_one(self, name: str, row: Mapping[str, Any]) -> int:
        """Insert a row that the database numbers; returns its number."""
        done = self._execute(self._tables[name].insert().values(namespace=self._namespace, **row))
        [number] = done.inserted_primary_key or [None]
        return int(number)

    def _update(self, name: str, keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        """Update rows that are there; *keys* name the columns that pick each row. Rows of one shape go together."""
        shapes: dict[tuple[str, ...], list[Mapping[str, Any]]] = defaultdict(list)
        for row in rows:
            shapes[tuple(sorted(row))].append(row)
        table = self._tables[name]
        for shape, alike in shapes.items():
            picked = sa.and_(self._own(table), *(table.c[key] == sa.bindparam(f"k_{key}") for key in keys))
            changes: dict[str, Any] = {each: sa.bindparam(f"v_{each}") for each in shape if each not in keys}
            bound = [{f"{'k' if each in keys else 'v'}_{each}": value for each, value in row.items()} for row in alike]
            done = self._execute(table.update().where(picked).values(**changes), bound)
            if done.rowcount != len(alike):
                which = alike[0][keys[0]] if len(alike) == 1 else f"{len(alike) - done.rowcount} of {len(alike)}"
                raise StoreError(f"store: {name} {which} cannot be changed: it is not there")

    def _put(self, name: str, keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows, or replace those with the same keys."""
        if not rows:
            return
        insert = self._dialect_insert(name)
        changes = {each: insert.excluded[each] for each in rows[0] if each not in keys}
        statement = insert.on_conflict_do_update(index_elements=["namespace", *keys], set_=changes)
        self._execute(statement, [{"namespace": self._namespace, **row} for row in rows])

    def _dialect_insert(self, name: str) -> Any:
        if self.connection.dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert as postgresql_insert

            return postgresql_insert(self._tables[name])
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return sqlite_insert(self._tables[name])

    # ---------------------------------------------------------------- orders

    def insert_orders(self, stored: Iterable[StoredOrder]) -> None:
        """Add orders that are not there yet."""
        self._insert("order", [_order_row(each) for each in stored])

    def update_orders(self, stored: Iterable[StoredOrder]) -> None:
        """Write the whole state of orders that are there."""
        self._update("order", ["order_id"], [_order_row(each) for each in stored])

    def hashes(self, order_ids: Iterable[str]) -> dict[str, str]:
        """Content hash by order id, of those that are there."""
        table = self._tables["order"]
        found: dict[str, str] = {}
        for chunk in _chunks(order_ids):
            query = sa.select(table.c.order_id, table.c.content_hash)
            found.update((r[0], r[1]) for r in self._rows(query.where(self._own(table), table.c.order_id.in_(chunk))))
        return found

    def order_ids(
        self,
        *,
        states: Collection[OrderState] | None = None,
        location: str | None = None,
        partner: str | None = None,
        fulfilment_states: Collection[FulfilmentState] | None = None,
        needs_person: bool | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[str]:
        """
        Ids in the order in which they were added.

        Args:
            location, partner: With a fulfilment order there; a cancelled one counts only where *fulfilment_states* asks
                for it.

            limit: ``None`` is all of them.
        """
        order, fulfilment = self._tables["order"], self._tables["fulfilment"]
        query = sa.select(order.c.order_id).where(self._own(order))
        if states is not None:
            query = query.where(order.c.state.in_([state.value for state in states]))
        if location is not None or partner is not None or fulfilment_states is not None:
            picked = [self._own(fulfilment)]
            picked += [fulfilment.c.location == location] if location is not None else []
            picked += [fulfilment.c.partner == partner] if partner is not None else []
            if fulfilment_states is not None:
                picked.append(fulfilment.c.state.in_([state.value for state in fulfilment_states]))
            else:
                picked.append(fulfilment.c.state != FulfilmentState.CANCELLED.value)
            asked = sa.select(_unsorted(fulfilment.c.order_id)).where(*picked).distinct().subquery()
            query = query.join(asked, asked.c.order_id == order.c.order_id)
        if needs_person is not None:
            awaiting = self._awaiting_a_person().subquery()
            if needs_person:
                query = query.join(awaiting, awaiting.c.order_id == order.c.order_id)
            else:
                query = query.where(order.c.order_id.not_in(sa.select(awaiting.c.order_id)))
        few = len(states or ()) > 1 or bool(location or partner or fulfilment_states or needs_person)
        age = _unsorted(order.c.added_at) if few else order.c.added_at
        query = query.order_by(age, order.c.order_id).offset(offset)
        return [row[0] for row in self._rows(query if limit is None else query.limit(limit))]

    def _awaiting_a_person(self) -> sa.CompoundSelect[Any]:
        """As `OrderView.needs_person` has it; four short looks into an index each."""
        order, fulfilment = self._tables["order"], self._tables["fulfilment"]
        unclear = fulfilment.c.state == FulfilmentState.UNCLEAR.value
        return sa.union(
            sa.select(order.c.order_id).where(self._own(order), order.c.needs_person.is_not(None)),
            sa.select(fulfilment.c.order_id).where(self._own(fulfilment), fulfilment.c.parked.is_not(None)),
            sa.select(fulfilment.c.order_id).where(self._own(fulfilment), fulfilment.c.problem.is_not(None)),
            sa.select(fulfilment.c.order_id).where(self._own(fulfilment), unclear),
        )

    def orders(self, order_ids: Iterable[str]) -> list[OrderView]:
        """The orders with these ids, with their fulfilment orders, in the order asked for; unknown ids are left out."""
        asked = list(dict.fromkeys(order_ids))
        stored: dict[str, StoredOrder] = {}
        table = self._tables["order"]
        for chunk in _chunks(asked):
            for row in self._rows(sa.select(table).where(self._own(table), table.c.order_id.in_(chunk))):
                stored[row.order_id] = _stored_order(row)
        views = self._fulfilments_of(stored)
        return [OrderView(stored=stored[i], fulfilments=tuple(views.get(i, ()))) for i in asked if i in stored]

    def order(self, order_id: str) -> OrderView | None:
        """One order, or ``None``."""
        found = self.orders([order_id])
        return found[0] if found else None

    def orders_by_reference(self, references: Collection[str]) -> dict[str, list[str]]:
        """Order ids by the channel's reference."""
        table = self._tables["order"]
        found: dict[str, list[str]] = defaultdict(list)
        for chunk in _chunks(references):
            query = sa.select(table.c.reference, table.c.order_id).where(self._own(table), table.c.reference.in_(chunk))
            for reference, order_id in self._rows(query):
                found[reference].append(order_id)
        return found

    def order_counts(self) -> dict[str, int]:
        """Orders by state."""
        table = self._tables["order"]
        query = sa.select(table.c.state, sa.func.count()).where(self._own(table)).group_by(table.c.state)
        return {row[0]: row[1] for row in self._rows(query)}

    # ---------------------------------------------------------------- fulfilment orders

    def insert_fulfilments(self, views: Iterable[FulfilmentView]) -> None:
        """Add fulfilment orders that are not there yet."""
        self._insert("fulfilment", [_fulfilment_row(view) for view in views])

    def update_fulfilments(self, views: Iterable[FulfilmentView]) -> None:
        """Write the whole state of fulfilment orders that are there."""
        self._update("fulfilment", ["fulfilment_id"], [_fulfilment_row(view) for view in views])

    def _fulfilments_of(self, order_ids: Collection[str]) -> dict[str, list[FulfilmentView]]:
        table = self._tables["fulfilment"]
        found: dict[str, list[FulfilmentView]] = defaultdict(list)
        for chunk in _chunks(order_ids):
            query = sa.select(table).where(self._own(table), table.c.order_id.in_(chunk))
            rows = self._rows(query.order_by(table.c.created_at, table.c.fulfilment_id))
            shipments = self.shipments([row.fulfilment_id for row in rows])
            for row in rows:
                found[row.order_id].append(_fulfilment_view(row, shipments.get(row.fulfilment_id, ())))
        return found

    def fulfilments(
        self,
        *,
        ids: Iterable[str] | None = None,
        partner: str | None = None,
        states: Collection[FulfilmentState] | None = None,
        location: str | None = None,
    ) -> list[FulfilmentView]:
        """Fulfilment orders, oldest first, without their parcels."""
        table = self._tables["fulfilment"]
        query = sa.select(table).where(self._own(table))
        if partner is not None:
            query = query.where(table.c.partner == partner)
        if location is not None:
            query = query.where(table.c.location == location)
        if states is not None:
            query = query.where(table.c.state.in_([state.value for state in states]))
        chunks: list[Any] = [None] if ids is None else list(_chunks(ids))
        found: list[FulfilmentView] = []
        for chunk in chunks:
            picked = query if chunk is None else query.where(table.c.fulfilment_id.in_(chunk))
            found += [_fulfilment_view(row, ()) for row in self._rows(picked)]
        return sorted(found, key=lambda view: (view.created_at, view.fulfilment_id))

    def fulfilment_counts(self) -> dict[tuple[str, str], int]:
        """Fulfilment orders by location and state."""
        table = self._tables["fulfilment"]
        query = sa.select(table.c.location, table.c.state, sa.func.count()).where(self._own(table))
        return {(row[0], row[1]): row[2] for row in self._rows(query.group_by(table.c.location, table.c.state))}

    def excluded(self, order_ids: Collection[str]) -> dict[str, frozenset[str]]:
        """Locations that an order must not go to again."""
        table = self._tables["fulfilment"]
        found: dict[str, set[str]] = defaultdict(set)
        for chunk in _chunks(order_ids):
            query = sa.select(table.c.order_id, table.c.location).where(
                self._own(table), table.c.order_id.in_(chunk), table.c.excluded.is_(True)
            )
            for order_id, location in self._rows(query):
                found[order_id].add(location)
        return {order_id: frozenset(locations) for order_id, locations in found.items()}

    def orders_at(self, location: str, since: datetime) -> int:
        """Fulfilment orders given to *location* after *since* and not cancelled."""
        table = self._tables["fulfilment"]
        query = sa.select(sa.func.count()).where(
            self._own(table),
            table.c.location == location,
            table.c.created_at > since,
            table.c.state != FulfilmentState.CANCELLED.value,
        )
        return int(self._value(query))

    # ---------------------------------------------------------------- facts and shipments

    def facts(self, fulfilment_ids: Collection[str]) -> dict[str, list[Fact]]:
        """All that was ever said of these fulfilment orders."""
        table = self._tables["fact"]
        found: dict[str, list[Fact]] = defaultdict(list)
        for chunk in _chunks(fulfilment_ids):
            query = sa.select(table).where(self._own(table), table.c.fulfilment_id.in_(chunk)).order_by(table.c.fact_id)
            for row in self._rows(query):
                found[row.fulfilment_id].append(_fact(row))
        return found

    def add_facts(self, facts: Iterable[Fact], *, actor: str, received_at: datetime) -> list[Fact]:
        """Keep facts; returns those that are new."""
        by_digest = {content_hash(fact): fact for fact in facts}
        table = self._tables["fact"]
        known: set[str] = set()
        for chunk in _chunks(by_digest):
            query = sa.select(table.c.digest).where(self._own(table), table.c.digest.in_(chunk))
            ids = {by_digest[digest].fulfilment_id for digest in chunk}
            known.update(row[0] for row in self._rows(query.where(table.c.fulfilment_id.in_(ids))))
        fresh = {digest: fact for digest, fact in by_digest.items() if digest not in known}
        self._insert("fact", [_fact_row(fact, digest, actor, received_at) for digest, fact in fresh.items()])
        return list(fresh.values())

    def shipments(self, fulfilment_ids: Collection[str]) -> dict[str, tuple[Shipment, ...]]:
        """Parcels by fulfilment order, in the order in which we heard of them."""
        table = self._tables["shipment"]
        found: dict[str, list[Shipment]] = defaultdict(list)
        for chunk in _chunks(fulfilment_ids):
            query = sa.select(table).where(self._own(table), table.c.fulfilment_id.in_(chunk))
            for row in self._rows(query.order_by(table.c.received_at, table.c.digest)):
                found[row.fulfilment_id].append(from_document(Shipment, json.loads(row.document)))
        return {fulfilment_id: tuple(listed) for fulfilment_id, listed in found.items()}

    def add_shipments(self, shipments: Iterable[Shipment], received_at: datetime) -> list[Shipment]:
        """Keep parcels; returns those that are new."""
        by_key = {(each.fulfilment_id, content_hash(each)): each for each in shipments}
        table = self._tables["shipment"]
        known: set[tuple[str, str]] = set()
        for chunk in _chunks(by_key):
            query = sa.select(table.c.fulfilment_id, table.c.digest).where(self._own(table))
            ids = {key[0] for key in chunk}
            known.update((row[0], row[1]) for row in self._rows(query.where(table.c.fulfilment_id.in_(ids))))
        fresh = {key: each for key, each in by_key.items() if key not in known}
        rows = [
            {"fulfilment_id": i, "digest": d, "document": canonical_json(to_document(s)), "received_at": received_at}
            for (i, d), s in fresh.items()
        ]
        self._insert("shipment", rows)
        return list(fresh.values())

    # ---------------------------------------------------------------- outbox

    def add_delivery(self, row: Mapping[str, Any], fulfilment_ids: Sequence[str]) -> int:
        """Put one delivery into the outbox; returns its id."""
        outbox_id = self._insert_one("outbox", row)
        items = [{"outbox_id": outbox_id, "fulfilment_id": each} for each in dict.fromkeys(fulfilment_ids)]
        self._insert("outbox_item", items)
        return outbox_id

    def update_delivery(self, outbox_id: int, **changes: Any) -> None:
        """Change one row of the outbox."""
        self._update("outbox", ["outbox_id"], [{"outbox_id": outbox_id, **changes}])

    def deliveries(
        self,
        *,
        ids: Collection[int] | None = None,
        partner: str | None = None,
        states: Collection[str] | None = None,
        numbers: Collection[int] | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[OutboxRow]:
        """Rows of the outbox without their contents."""
        table = self._tables["outbox"]
        query = sa.select(*[column for column in table.c if column.name != "content"]).where(self._own(table))
        if ids is not None:
            query = query.where(table.c.outbox_id.in_(list(ids)))
        if partner is not None:
            query = query.where(table.c.partner == partner)
        if states is not None:
            query = query.where(table.c.state.in_(list(states)))
        if numbers is not None:
            query = query.where(table.c.number.in_(sorted(numbers)))
        query = query.order_by(table.c.outbox_id.desc() if newest_first else table.c.outbox_id)
        rows = self._rows(query if limit is None else query.limit(limit))
        items = self._items_of([row.outbox_id for row in rows])
        return [_outbox_row(row, items.get(row.outbox_id, ())) for row in rows]

    def _items_of(self, outbox_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
        table = self._tables["outbox_item"]
        found: dict[int, list[str]] = defaultdict(list)
        for chunk in _chunks(outbox_ids):
            for row in self._rows(sa.select(table).where(self._own(table), table.c.outbox_id.in_(chunk))):
                found[row.outbox_id].append(row.fulfilment_id)
        return {outbox_id: tuple(sorted(listed)) for outbox_id, listed in found.items()}

    def delivery_content(self, outbox_id: int) -> bytes | None:
        """The exact bytes of one delivery, or ``None``."""
        table = self._tables["outbox"]
        query = sa.select(table.c.content).where(self._own(table), table.c.outbox_id == outbox_id)
        content = self._value(query)
        return None if content is None else bytes(content)

    def deliveries_with(self, fulfilment_ids: Collection[str]) -> list[OutboxRow]:
        """Rows of the outbox that carry any of these fulfilment orders, oldest first."""
        table = self._tables["outbox_item"]
        ids: set[int] = set()
        for chunk in _chunks(fulfilment_ids):
            query = sa.select(table.c.outbox_id).where(self._own(table), table.c.fulfilment_id.in_(chunk))
            ids.update(row[0] for row in self._rows(query))
        return [row for chunk in _chunks(sorted(ids)) for row in self.deliveries(ids=chunk)]

    # ---------------------------------------------------------------- what was taken in

    def add_sighting(self, row: Mapping[str, Any], problems: Sequence[Problem]) -> int:
        """Keep what was taken in, with its content and bad records; returns its id."""
        sighting_id = self._insert_one("sighting", row)
        self._insert("problem", [_problem_row(sighting_id, n, each) for n, each in enumerate(problems)])
        return sighting_id

    def replace_sighting(self, sighting_id: int, row: Mapping[str, Any], problems: Sequence[Problem]) -> None:
        """Say anew what became of what was taken in, and which of its records are bad."""
        table = self._tables["problem"]
        self._execute(sa.delete(table).where(self._own(table), table.c.sighting_id == sighting_id))
        self._update("sighting", ["sighting_id"], [{**row, "sighting_id": sighting_id}])
        self._insert("problem", [_problem_row(sighting_id, n, each) for n, each in enumerate(problems)])

    def update_sighting(self, sighting_id: int, **changes: Any) -> None:
        """Change some columns of what was taken in."""
        self._update("sighting", ["sighting_id"], [{"sighting_id": sighting_id, **changes}])

    def settle_sighting(self, sighting_id: int) -> None:
        """Note that it was archived, deleted or left."""
        self._update("sighting", ["sighting_id"], [{"sighting_id": sighting_id, "settled": True}])

    def sightings(
        self,
        *,
        sighting_id: int | None = None,
        partner: str | None = None,
        feed: str | None = None,
        name: str | None = None,
        etag: str | None = None,
        state: str | None = None,
        reply: str | None = None,
        limit: int | None = None,
    ) -> list[Sighting]:
        """What was taken in, newest first."""
        table = self._tables["sighting"]
        query = sa.select(*[column for column in table.c if column.name != "content"]).where(self._own(table))
        asked = {
            "sighting_id": sighting_id,
            "partner": partner,
            "feed": feed,
            "name": name,
            "etag": etag,
            "state": state,
            "reply": reply,
        }
        for column, wanted in asked.items():
            if wanted is not None:
                query = query.where(table.c[column] == wanted)
        query = query.order_by(table.c.sighting_id.desc())
        return [_sighting(row) for row in self._rows(query if limit is None else query.limit(limit))]

    def last_shape(self, partner: str, feed: str, layout_hash: str) -> str | None:
        """The header of what was last applied by this layout, as JSON; ``None`` where none is known."""
        table = self._tables["sighting"]
        same = (table.c.partner == partner) & (table.c.feed == feed) & (table.c.layout_hash == layout_hash)
        query = sa.select(table.c.shape).where(self._own(table), same, table.c.state == "applied")
        query = query.where(table.c.shape.is_not(None)).order_by(table.c.sighting_id.desc()).limit(1)
        found: str | None = self._value(query)
        return found

    def sighting_content(self, sighting_id: int) -> bytes | None:
        """The exact bytes that were taken in, or ``None``."""
        table = self._tables["sighting"]
        query = sa.select(table.c.content).where(self._own(table), table.c.sighting_id == sighting_id)
        content = self._value(query)
        return None if content is None else bytes(content)

    def problems(self, sighting_id: int) -> list[Problem]:
        """The bad records of what was taken in."""
        table = self._tables["problem"]
        query = sa.select(table).where(self._own(table), table.c.sighting_id == sighting_id).order_by(table.c.position)
        return [_problem(row) for row in self._rows(query)]

    def looked_at(self, partner: str, feed: str) -> datetime | None:
        """When a feed was last looked at with success."""
        table = self._tables["look"]
        key = self._own(table) & (table.c.partner == partner) & (table.c.feed == feed)
        looked_at: datetime | None = self._value(sa.select(table.c.looked_at).where(key))
        return looked_at

    def mark_look(self, partner: str, feed: str, at: datetime) -> None:
        """Note a look that succeeded."""
        self._put("look", ["partner", "feed"], [{"partner": partner, "feed": feed, "looked_at": at}])

    # ---------------------------------------------------------------- stock

    def pictures(self, *, location: str | None = None, sku: str | None = None) -> list[Picture]:
        """What partners said of their stock."""
        table = self._tables["stock"]
        query = sa.select(table).where(self._own(table))
        if location is not None:
            query = query.where(table.c.location == location)
        if sku is not None:
            query = query.where(table.c.sku == sku)
        return [_picture(row) for row in self._rows(query.order_by(table.c.sku, table.c.location))]

    def put_pictures(self, pictures: Iterable[Picture]) -> None:
        """Replace what was known of each (location, SKU); shipments that the new pictures know are forgotten."""
        for chunk in _chunks(pictures):
            self._put("stock", ["location", "sku"], [_picture_row(picture) for picture in chunk])
        moved, stock = self._tables["movement"], self._tables["stock"]
        same = (stock.c.namespace == moved.c.namespace) & (stock.c.location == moved.c.location)
        known = (moved.c.at <= stock.c.as_of) & (moved.c.sent_at.is_(None) | (moved.c.sent_at < stock.c.as_of))
        seen = sa.exists().where(same, stock.c.sku == moved.c.sku, known)
        self._execute(moved.delete().where(self._own(moved), seen))

    def add_movements(self, movements: Iterable[Shipped]) -> None:
        """Keep shipments until the pictures of their stock know them."""
        names = ("location", "sku", "units", "at", "sent_at")
        self._insert("movement", [{name: getattr(each, name) for name in names} for each in movements])

    def movements(self) -> list[Shipped]:
        """Shipments that no picture can know yet."""
        table = self._tables["movement"]
        columns = [table.c[name] for name in ("location", "sku", "units", "at", "sent_at")]
        query = sa.select(*columns).where(self._own(table)).order_by(table.c.movement_id)
        return [Shipped(**row._mapping) for row in self._rows(query)]

    # ---------------------------------------------------------------- audit trail

    def append(self, events: Iterable[AuditEvent]) -> None:
        """Write events to the audit trail; they are never changed again."""
        self._insert("audit", [_audit_row(event) for event in events])

    def audit(
        self,
        *,
        order_id: str | None = None,
        type: str | None = None,  # the event's own word
        since: datetime | None = None,
        location: str | None = None,
        after: int | None = None,
        limit: int | None = None,
    ) -> list[AuditEvent]:
        """The audit trail, oldest first."""
        table = self._tables["audit"]
        query = sa.select(table).where(self._own(table))
        for column, wanted in (("order_id", order_id), ("type", type), ("location", location)):
            if wanted is not None:
                query = query.where(table.c[column] == wanted)
        if since is not None:
            query = query.where(table.c.at >= since)
        if after is not None:
            query = query.where(table.c.sequence > after)
        query = query.order_by(table.c.sequence)
        return [_audit_event(row) for row in self._rows(query if limit is None else query.limit(limit))]

    def consumer_position(self, consumer: str) -> int:
        """The last sequence that *consumer* acknowledged; 0 at the beginning."""
        table = self._tables["consumer"]
        key = self._own(table) & (table.c.consumer == consumer)
        return int(self._value(sa.select(table.c.sequence).where(key)) or 0)

    def acknowledge(self, consumer: str, sequence: int) -> None:
        """Move *consumer* on; never back."""
        if sequence > self.consumer_position(consumer):
            self._put("consumer", ["consumer"], [{"consumer": consumer, "sequence": sequence}])

    # ---------------------------------------------------------------- small things

    def counter(self, name: str) -> int:
        """Take the next number of this name: 1, 2, 3, ...; rolled back with the transaction."""
        value = self.next_number(name)
        self._put("counter", ["name"], [{"name": name, "value": value}])
        return value

    def next_number(self, name: str) -> int:
        """The number that `counter` would take."""
        table = self._tables["counter"]
        key = self._own(table) & (table.c.name == name)
        return int(self._value(sa.select(table.c.value).where(key)) or 0) + 1

    def locations(self) -> dict[str, tuple[str, str | None]]:
        """Kind and partner by code, as of the last time a synchronizer opened the store."""
        table = self._tables["location"]
        return {row.code: (row.kind, row.partner) for row in self._rows(sa.select(table).where(self._own(table)))}

    def put_location(self, location: Location) -> None:
        """Remember a location's kind and partner."""
        row = {"code": location.code, "kind": location.kind.value, "partner": location.partner}
        self._put("location", ["code"], [row])


# ------------------------------------------------------------------ rows to values and back


def _order_row(stored: StoredOrder) -> dict[str, Any]:
    amendment = None if stored.amendment is None else canonical_json(to_document(stored.amendment))
    return {
        "order_id": stored.order.order_id,
        "reference": stored.order.reference,
        "channel": stored.order.channel,
        "document": canonical_json(to_document(stored.order)),
        "content_hash": stored.content_hash,
        "amendment": amendment,
        "state": stored.state.value,
        "held_reason": stored.held_reason,
        "needs_person": stored.needs_person,
        "pinned": stored.pinned,
        "rule_id": stored.rule_id,
        "reason": stored.reason,
        "fulfilled_elsewhere": stored.fulfilled_elsewhere,
        "released": canonical_json(list(stored.released)),
        "added_at": stored.added_at,
        "updated_at": stored.updated_at,
    }


def _stored_order(row: Any) -> StoredOrder:
    return StoredOrder(
        order=from_document(Order, json.loads(row.document)),
        content_hash=row.content_hash,
        state=OrderState(row.state),
        amendment=None if row.amendment is None else from_document(Order, json.loads(row.amendment)),
        held_reason=row.held_reason,
        needs_person=row.needs_person,
        pinned=row.pinned,
        rule_id=row.rule_id,
        reason=row.reason,
        fulfilled_elsewhere=bool(row.fulfilled_elsewhere),
        released=tuple(json.loads(row.released)),
        added_at=row.added_at,
        updated_at=row.updated_at,
    )


_FLAGS = (
    "partner",
    "rule_id",
    "attempts",
    "label_printed_at",
    "label_error",
    "problem",
    "parked",
    "cancel_requested_at",
    "amend_requested_at",
    "sent_at",
    "excluded",
    "created_at",
    "updated_at",
)


def _fulfilment_row(view: FulfilmentView) -> dict[str, Any]:
    return {
        "fulfilment_id": view.fulfilment_id,
        "order_id": view.order_id,
        "location": view.location,
        "state": view.state.value,
        "lines": canonical_json([to_document(line) for line in view.lines]),
        "effects": canonical_json([to_document(effect) for effect in view.effects]),
        "progress": canonical_json(to_document(view.progress)),
        **{name: getattr(view, name) for name in _FLAGS},
    }


def _fulfilment_view(row: Any, shipments: tuple[Shipment, ...]) -> FulfilmentView:
    lines = tuple(from_document(FulfilmentLine, each) for each in json.loads(row.lines))
    fulfilment = FulfilmentOrder(
        fulfilment_id=row.fulfilment_id, order_id=row.order_id, location=row.location, lines=lines
    )
    return FulfilmentView(
        fulfilment=fulfilment,
        state=FulfilmentState(row.state),
        effects=tuple(from_document(Effect, each) for each in json.loads(row.effects)),
        progress=from_document(Progress, json.loads(row.progress)),
        shipments=shipments,
        **{name: getattr(row, name) for name in _FLAGS},
    )


def _fact_row(fact: Fact, digest: str, actor: str, received_at: datetime) -> dict[str, Any]:
    return {
        "fulfilment_id": fact.fulfilment_id,
        "digest": digest,
        "kind": fact.kind,
        "line_id": fact.line_id,
        "quantity": fact.quantity,
        "shipment": fact.shipment,
        "at": fact.at,
        "message": fact.message,
        "actor": actor,
        "received_at": received_at,
    }


def _fact(row: Any) -> Fact:
    names = ("fulfilment_id", "kind", "line_id", "quantity", "shipment", "at", "message")
    return Fact(**{name: getattr(row, name) for name in names})


def _outbox_row(row: Any, fulfilment_ids: tuple[str, ...]) -> OutboxRow:
    values = {name: value for name, value in row._mapping.items() if name not in ("namespace", "content")}
    return OutboxRow(**values, fulfilment_ids=fulfilment_ids)


def _sighting(row: Any) -> Sighting:
    return Sighting(**{name: value for name, value in row._mapping.items() if name not in ("namespace", "content")})


def _problem_row(sighting_id: int, position: int, problem: Problem) -> dict[str, Any]:
    names = ("line", "column", "field", "found", "expected", "message")
    said = {name: getattr(problem, name) for name in names}
    return {"sighting_id": sighting_id, "position": position, "raw": json.dumps(dict(problem.raw)), **said}


def _problem(row: Any) -> Problem:
    names = ("line", "column", "field", "found", "expected", "message")
    return Problem(raw=json.loads(row.raw), **{name: row._mapping[name] for name in names})


def _picture(row: Any) -> Picture:
    names = ("location", "sku", "on_hand", "reserved", "inbound", "as_of", "received_at")
    return Picture(**{name: getattr(row, name) for name in names})


def _picture_row(picture: Picture) -> dict[str, Any]:
    names = ("location", "sku", "on_hand", "reserved", "inbound", "as_of", "received_at")
    return {name: getattr(picture, name) for name in names}


def _audit_row(event: AuditEvent) -> dict[str, Any]:
    return {
        "at": event.at,
        "type": event.type.value,
        "order_id": event.order_id,
        "fulfilment_id": event.fulfilment_id,
        "location": event.location,
        "actor": event.actor,
        "message": event.message,
        "data": canonical_json(to_document(event.data)),
    }


def _audit_event(row: Any) -> AuditEvent:
    names = ("sequence", "at", "type", "order_id", "fulfilment_id", "location", "actor", "message")
    return AuditEvent(data=json.loads(row.data), **{name: getattr(row, name) for name in names})
