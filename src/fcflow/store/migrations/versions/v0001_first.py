"""The first tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TEXT = sa.Text()
_INSTANT = sa.DateTime(timezone=True)
_INTEGER = sa.Integer()
_BIG = sa.BigInteger()
_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_FLAG = sa.Boolean()
_BYTES = sa.LargeBinary()


def upgrade() -> None:
    """Create every table in an empty database."""
    schema = op.get_context().opts["fcflow_schema"]
    _audit(schema)
    _consumer(schema)
    _counter(schema)
    _lease(schema)
    _location(schema)
    _look(schema)
    _order(schema)
    _outbox(schema)
    _rule_set(schema)
    _sighting(schema)
    _stock(schema)
    _movement(schema)
    _fulfilment(schema)
    _problem(schema)
    _fact(schema)
    _outbox_item(schema)
    _shipment(schema)


def _filled(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _maybe(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=True)


def _belongs_to(schema: str | None, name: str, table: str, *keys: str) -> sa.ForeignKeyConstraint:
    there = table if schema is None else f"{schema}.{table}"
    return sa.ForeignKeyConstraint(keys, [f"{there}.{key}" for key in keys], name=name)


def _index(schema: str | None, table: str, name: str, *columns: str, where: str | None = None) -> None:
    only = None if where is None else sa.text(where)
    op.create_index(name, table, list(columns), schema=schema, sqlite_where=only, postgresql_where=only)


def _audit(schema: str | None) -> None:
    op.create_table(
        "fcflow_audit",
        _filled("sequence", _SERIAL),
        _filled("namespace", _TEXT),
        _filled("at", _INSTANT),
        _filled("type", _TEXT),
        _maybe("order_id", _TEXT),
        _maybe("fulfilment_id", _TEXT),
        _maybe("location", _TEXT),
        _filled("actor", _TEXT),
        _filled("message", _TEXT),
        _filled("data", _TEXT),
        sa.PrimaryKeyConstraint("sequence"),
        schema=schema,
        sqlite_autoincrement=True,
    )
    _index(schema, "fcflow_audit", "ix_fcflow_audit_at", "namespace", "at")
    _index(schema, "fcflow_audit", "ix_fcflow_audit_feed", "namespace", "sequence")
    _index(schema, "fcflow_audit", "ix_fcflow_audit_order", "namespace", "order_id", "sequence")
    _index(schema, "fcflow_audit", "ix_fcflow_audit_type", "namespace", "type", "sequence")


def _consumer(schema: str | None) -> None:
    op.create_table(
        "fcflow_consumer",
        _filled("namespace", _TEXT),
        _filled("consumer", _TEXT),
        _filled("sequence", _BIG),
        sa.PrimaryKeyConstraint("namespace", "consumer"),
        schema=schema,
    )


def _counter(schema: str | None) -> None:
    op.create_table(
        "fcflow_counter",
        _filled("namespace", _TEXT),
        _filled("name", _TEXT),
        _filled("value", _BIG),
        sa.PrimaryKeyConstraint("namespace", "name"),
        schema=schema,
    )


def _lease(schema: str | None) -> None:
    op.create_table(
        "fcflow_lease",
        _filled("namespace", _TEXT),
        _filled("name", _TEXT),
        _filled("holder", _TEXT),
        _filled("fence", _BIG),
        _filled("expires_at", _INSTANT),
        sa.PrimaryKeyConstraint("namespace", "name"),
        schema=schema,
    )


def _location(schema: str | None) -> None:
    op.create_table(
        "fcflow_location",
        _filled("namespace", _TEXT),
        _filled("code", _TEXT),
        _filled("kind", _TEXT),
        _maybe("partner", _TEXT),
        sa.PrimaryKeyConstraint("namespace", "code"),
        schema=schema,
    )


def _look(schema: str | None) -> None:
    op.create_table(
        "fcflow_look",
        _filled("namespace", _TEXT),
        _filled("partner", _TEXT),
        _filled("feed", _TEXT),
        _filled("looked_at", _INSTANT),
        sa.PrimaryKeyConstraint("namespace", "partner", "feed"),
        schema=schema,
    )


def _order(schema: str | None) -> None:
    op.create_table(
        "fcflow_order",
        _filled("namespace", _TEXT),
        _filled("order_id", _TEXT),
        _maybe("reference", _TEXT),
        _maybe("channel", _TEXT),
        _filled("document", _TEXT),
        _filled("content_hash", _TEXT),
        _maybe("amendment", _TEXT),
        _filled("state", _TEXT),
        _maybe("held_reason", _TEXT),
        _maybe("needs_person", _TEXT),
        _maybe("pinned", _TEXT),
        _maybe("rule_id", _TEXT),
        _maybe("reason", _TEXT),
        _filled("fulfilled_elsewhere", _FLAG),
        _filled("released", _TEXT),
        _filled("added_at", _INSTANT),
        _filled("updated_at", _INSTANT),
        sa.PrimaryKeyConstraint("namespace", "order_id"),
        schema=schema,
    )
    _index(schema, "fcflow_order", "ix_fcflow_order_added", "namespace", "added_at", "order_id")
    _index(schema, "fcflow_order", "ix_fcflow_order_person", "namespace", where="needs_person IS NOT NULL")
    _index(schema, "fcflow_order", "ix_fcflow_order_reference", "namespace", "reference")
    _index(schema, "fcflow_order", "ix_fcflow_order_state", "namespace", "state", "added_at", "order_id")


def _outbox(schema: str | None) -> None:
    op.create_table(
        "fcflow_outbox",
        _filled("outbox_id", _SERIAL),
        _filled("namespace", _TEXT),
        _filled("partner", _TEXT),
        _filled("delivery_key", _TEXT),
        _filled("name", _TEXT),
        _filled("target", _TEXT),
        _filled("content", _BYTES),
        _filled("content_type", _TEXT),
        _filled("size", _BIG),
        _filled("sha256", _TEXT),
        _filled("layout_hash", _TEXT),
        _filled("state", _TEXT),
        _filled("attempts", _INTEGER),
        _maybe("answer", _TEXT),
        _maybe("error_code", _TEXT),
        _maybe("replaces", _BIG),
        _filled("created_at", _INSTANT),
        _filled("updated_at", _INSTANT),
        _maybe("sent_at", _INSTANT),
        sa.PrimaryKeyConstraint("outbox_id"),
        sa.UniqueConstraint("namespace", "delivery_key", name="uq_fcflow_outbox_key"),
        schema=schema,
    )
    _index(schema, "fcflow_outbox", "ix_fcflow_outbox_latest", "namespace", "outbox_id")
    _index(schema, "fcflow_outbox", "ix_fcflow_outbox_state", "namespace", "partner", "state")


def _rule_set(schema: str | None) -> None:
    op.create_table(
        "fcflow_rule_set",
        _filled("namespace", _TEXT),
        _filled("hash", _TEXT),
        _filled("name", _TEXT),
        _filled("document", _TEXT),
        _filled("state", _TEXT),
        _maybe("note", _TEXT),
        _filled("actor", _TEXT),
        _filled("added_at", _INSTANT),
        _maybe("live_at", _INSTANT),
        _maybe("turn", _BIG),
        sa.PrimaryKeyConstraint("namespace", "hash"),
        schema=schema,
    )
    _index(schema, "fcflow_rule_set", "ix_fcflow_rule_set_state", "namespace", "state")


def _sighting(schema: str | None) -> None:
    op.create_table(
        "fcflow_sighting",
        _filled("sighting_id", _SERIAL),
        _filled("namespace", _TEXT),
        _filled("partner", _TEXT),
        _filled("feed", _TEXT),
        _filled("name", _TEXT),
        _maybe("size", _BIG),
        _maybe("modified_at", _INSTANT),
        _maybe("etag", _TEXT),
        _filled("sha256", _TEXT),
        _filled("token", _TEXT),
        _filled("state", _TEXT),
        _filled("settled", _FLAG),
        _filled("records", _INTEGER),
        _filled("problems", _INTEGER),
        _maybe("error", _TEXT),
        _filled("layout_hash", _TEXT),
        _maybe("content", _BYTES),
        _filled("received_at", _INSTANT),
        sa.PrimaryKeyConstraint("sighting_id"),
        schema=schema,
    )
    _index(schema, "fcflow_sighting", "ix_fcflow_sighting_latest", "namespace", "sighting_id")
    _index(schema, "fcflow_sighting", "ix_fcflow_sighting_name", "namespace", "partner", "feed", "name")
    _index(schema, "fcflow_sighting", "ix_fcflow_sighting_open", "namespace", "partner", "feed", "settled")


def _stock(schema: str | None) -> None:
    op.create_table(
        "fcflow_stock",
        _filled("namespace", _TEXT),
        _filled("location", _TEXT),
        _filled("sku", _TEXT),
        _filled("on_hand", _BIG),
        _filled("reserved", _BIG),
        _maybe("inbound", _BIG),
        _filled("as_of", _INSTANT),
        _filled("received_at", _INSTANT),
        sa.PrimaryKeyConstraint("namespace", "location", "sku"),
        schema=schema,
    )
    _index(schema, "fcflow_stock", "ix_fcflow_stock_sku", "namespace", "sku", "location")


def _movement(schema: str | None) -> None:
    op.create_table(
        "fcflow_movement",
        _filled("movement_id", _SERIAL),
        _filled("namespace", _TEXT),
        _filled("location", _TEXT),
        _filled("sku", _TEXT),
        _filled("units", _BIG),
        _filled("at", _INSTANT),
        _maybe("sent_at", _INSTANT),
        sa.PrimaryKeyConstraint("movement_id"),
        schema=schema,
    )
    _index(schema, "fcflow_movement", "ix_fcflow_movement_sku", "namespace", "location", "sku")


def _fulfilment(schema: str | None) -> None:
    op.create_table(
        "fcflow_fulfilment",
        _filled("namespace", _TEXT),
        _filled("fulfilment_id", _TEXT),
        _filled("order_id", _TEXT),
        _filled("location", _TEXT),
        _maybe("partner", _TEXT),
        _filled("state", _TEXT),
        _filled("lines", _TEXT),
        _filled("effects", _TEXT),
        _filled("progress", _TEXT),
        _maybe("rule_id", _TEXT),
        _filled("attempts", _INTEGER),
        _maybe("label_printed_at", _INSTANT),
        _maybe("label_error", _TEXT),
        _maybe("problem", _TEXT),
        _maybe("parked", _TEXT),
        _maybe("cancel_requested_at", _INSTANT),
        _maybe("amend_requested_at", _INSTANT),
        _maybe("sent_at", _INSTANT),
        _filled("excluded", _FLAG),
        _filled("created_at", _INSTANT),
        _filled("updated_at", _INSTANT),
        sa.PrimaryKeyConstraint("namespace", "fulfilment_id"),
        _belongs_to(schema, "fk_fcflow_fulfilment_order", "fcflow_order", "namespace", "order_id"),
        schema=schema,
    )
    _index(schema, "fcflow_fulfilment", "ix_fcflow_fulfilment_given", "namespace", "location", "created_at")
    _index(schema, "fcflow_fulfilment", "ix_fcflow_fulfilment_location", "namespace", "location", "state")
    _index(schema, "fcflow_fulfilment", "ix_fcflow_fulfilment_order", "namespace", "order_id")
    _index(schema, "fcflow_fulfilment", "ix_fcflow_fulfilment_parked", "namespace", where="parked IS NOT NULL")
    _index(schema, "fcflow_fulfilment", "ix_fcflow_fulfilment_problem", "namespace", where="problem IS NOT NULL")
    _index(schema, "fcflow_fulfilment", "ix_fcflow_fulfilment_partner", "namespace", "partner", "state")
    _index(schema, "fcflow_fulfilment", "ix_fcflow_fulfilment_state", "namespace", "state")


def _problem(schema: str | None) -> None:
    op.create_table(
        "fcflow_problem",
        _filled("sighting_id", _SERIAL),
        _filled("position", _INTEGER),
        _filled("namespace", _TEXT),
        _maybe("line", _INTEGER),
        _maybe("column", _INTEGER),
        _maybe("field", _TEXT),
        _maybe("found", _TEXT),
        _maybe("expected", _TEXT),
        _maybe("message", _TEXT),
        _filled("raw", _TEXT),
        sa.PrimaryKeyConstraint("sighting_id", "position"),
        _belongs_to(schema, "fk_fcflow_problem", "fcflow_sighting", "sighting_id"),
        schema=schema,
    )


def _fact(schema: str | None) -> None:
    op.create_table(
        "fcflow_fact",
        _filled("fact_id", _SERIAL),
        _filled("namespace", _TEXT),
        _filled("fulfilment_id", _TEXT),
        _filled("digest", _TEXT),
        _filled("kind", _TEXT),
        _maybe("line_id", _TEXT),
        _maybe("quantity", _BIG),
        _filled("shipment", _TEXT),
        _maybe("at", _INSTANT),
        _maybe("message", _TEXT),
        _filled("actor", _TEXT),
        _filled("received_at", _INSTANT),
        sa.PrimaryKeyConstraint("fact_id"),
        sa.UniqueConstraint("namespace", "fulfilment_id", "digest", name="uq_fcflow_fact"),
        _belongs_to(schema, "fk_fcflow_fact_fulfilment", "fcflow_fulfilment", "namespace", "fulfilment_id"),
        schema=schema,
    )
    _index(schema, "fcflow_fact", "ix_fcflow_fact_received", "namespace", "kind", "received_at")


def _outbox_item(schema: str | None) -> None:
    op.create_table(
        "fcflow_outbox_item",
        _filled("outbox_id", _SERIAL),
        _filled("fulfilment_id", _TEXT),
        _filled("namespace", _TEXT),
        sa.PrimaryKeyConstraint("outbox_id", "fulfilment_id"),
        _belongs_to(schema, "fk_fcflow_outbox_item", "fcflow_outbox", "outbox_id"),
        _belongs_to(schema, "fk_fcflow_outbox_item_fulfilment", "fcflow_fulfilment", "namespace", "fulfilment_id"),
        schema=schema,
    )
    _index(schema, "fcflow_outbox_item", "ix_fcflow_outbox_item_fulfilment", "namespace", "fulfilment_id")


def _shipment(schema: str | None) -> None:
    op.create_table(
        "fcflow_shipment",
        _filled("namespace", _TEXT),
        _filled("fulfilment_id", _TEXT),
        _filled("digest", _TEXT),
        _filled("document", _TEXT),
        _filled("received_at", _INSTANT),
        sa.PrimaryKeyConstraint("namespace", "fulfilment_id", "digest"),
        _belongs_to(schema, "fk_fcflow_shipment_fulfilment", "fcflow_fulfilment", "namespace", "fulfilment_id"),
        schema=schema,
    )
