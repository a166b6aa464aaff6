"""
The tables, in one place. Every one carries the namespace (tenant) in its key and the prefix ``fcflow_``.

Documents are canonical JSON text, instants are UTC, hashes are SHA-256 in hex.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

__all__ = ["SCHEMA_VERSION", "TABLES", "build_tables"]

SCHEMA_VERSION = "0001"


class Instant(TypeDecorator[datetime]):
    """An aware UTC instant; SQLite, which knows no zones, keeps it without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _serial() -> Any:
    """SQLite numbers rows by itself only in an INTEGER key."""
    return BigInteger().with_variant(Integer(), "sqlite")


def _key() -> Column[Any]:
    return Column("namespace", String(64), primary_key=True)


def _tenant() -> Column[Any]:
    return Column("namespace", String(64), nullable=False)


def _order_tables(metadata: MetaData) -> None:
    Table(
        "fcflow_order",
        metadata,
        _key(),
        Column("order_id", String(255), primary_key=True),
        Column("reference", String(255)),
        Column("channel", String(255)),
        Column("document", Text, nullable=False),
        Column("content_hash", String(64), nullable=False),
        Column("amendment", Text),
        Column("state", String(20), nullable=False),
        Column("held_reason", Text),
        Column("needs_person", Text),
        Column("pinned", String(255)),
        Column("rule_id", String(255)),
        Column("reason", Text),
        Column("fulfilled_elsewhere", Boolean, nullable=False, default=False),
        Column("released", Text, nullable=False, default="[]"),
        Column("added_at", Instant, nullable=False),
        Column("updated_at", Instant, nullable=False),
        Index("ix_fcflow_order_state", "namespace", "state"),
        Index("ix_fcflow_order_reference", "namespace", "reference"),
    )
    Table(
        "fcflow_fulfilment",
        metadata,
        _key(),
        Column("fulfilment_id", String(255), primary_key=True),
        Column("order_id", String(255), nullable=False),
        Column("location", String(255), nullable=False),
        Column("partner", String(255)),
        Column("state", String(20), nullable=False),
        Column("lines", Text, nullable=False),
        Column("effects", Text, nullable=False),
        Column("progress", Text, nullable=False),
        Column("rule_id", String(255)),
        Column("attempts", Integer, nullable=False, default=0),
        Column("label_printed_at", Instant),
        Column("label_error", Text),
        Column("problem", Text),
        Column("parked", Text),
        Column("cancel_requested_at", Instant),
        Column("amend_requested_at", Instant),
        Column("sent_at", Instant),
        Column("excluded", Boolean, nullable=False, default=False),
        Column("created_at", Instant, nullable=False),
        Column("updated_at", Instant, nullable=False),
        Index("ix_fcflow_fulfilment_order", "namespace", "order_id"),
        Index("ix_fcflow_fulfilment_partner", "namespace", "partner", "state"),
        Index("ix_fcflow_fulfilment_location", "namespace", "location", "state"),
    )
    Table(
        "fcflow_fact",
        metadata,
        Column("fact_id", _serial(), primary_key=True, autoincrement=True),
        _tenant(),
        Column("fulfilment_id", String(255), nullable=False),
        Column("digest", String(64), nullable=False),
        Column("kind", String(20), nullable=False),
        Column("line_id", String(255)),
        Column("quantity", Integer),
        Column("shipment", Text, nullable=False, default=""),
        Column("at", Instant),
        Column("message", Text),
        Column("actor", String(255), nullable=False),
        Column("received_at", Instant, nullable=False),
        UniqueConstraint("namespace", "fulfilment_id", "digest", name="uq_fcflow_fact"),
    )
    Table(
        "fcflow_shipment",
        metadata,
        _key(),
        Column("fulfilment_id", String(255), primary_key=True),
        Column("digest", String(64), primary_key=True),
        Column("document", Text, nullable=False),
        Column("received_at", Instant, nullable=False),
    )


def _exchange_tables(metadata: MetaData) -> None:
    Table(
        "fcflow_outbox",
        metadata,
        Column("outbox_id", _serial(), primary_key=True, autoincrement=True),
        _tenant(),
        Column("partner", String(255), nullable=False),
        Column("delivery_key", String(64), nullable=False),
        Column("name", String(255), nullable=False),
        Column("target", Text, nullable=False),
        Column("content", LargeBinary, nullable=False),
        Column("content_type", String(255), nullable=False),
        Column("size", BigInteger, nullable=False),
        Column("sha256", String(64), nullable=False),
        Column("layout_hash", String(64), nullable=False),
        Column("state", String(20), nullable=False),
        Column("attempts", Integer, nullable=False, default=0),
        Column("answer", Text),
        Column("error_code", String(64)),
        Column("replaces", BigInteger),
        Column("created_at", Instant, nullable=False),
        Column("updated_at", Instant, nullable=False),
        Column("sent_at", Instant),
        UniqueConstraint("namespace", "delivery_key", name="uq_fcflow_outbox_key"),
        Index("ix_fcflow_outbox_state", "namespace", "partner", "state"),
    )
    Table(
        "fcflow_outbox_item",
        metadata,
        Column("outbox_id", _serial(), primary_key=True, autoincrement=False),
        Column("fulfilment_id", String(255), primary_key=True),
        Index("ix_fcflow_outbox_item_fulfilment", "fulfilment_id"),
    )
    Table(
        "fcflow_sighting",
        metadata,
        Column("sighting_id", _serial(), primary_key=True, autoincrement=True),
        _tenant(),
        Column("partner", String(255), nullable=False),
        Column("feed", String(20), nullable=False),
        Column("name", Text, nullable=False),
        Column("size", BigInteger),
        Column("modified_at", Instant),
        Column("etag", Text),
        Column("sha256", String(64), nullable=False),
        Column("token", Text, nullable=False),
        Column("state", String(20), nullable=False),
        Column("settled", Boolean, nullable=False, default=False),
        Column("records", Integer, nullable=False, default=0),
        Column("problems", Integer, nullable=False, default=0),
        Column("error", Text),
        Column("layout_hash", String(64), nullable=False),
        Column("content", LargeBinary),
        Column("received_at", Instant, nullable=False),
        Index("ix_fcflow_sighting_name", "namespace", "partner", "feed", "name"),
        Index("ix_fcflow_sighting_open", "namespace", "partner", "feed", "settled"),
    )
    Table(
        "fcflow_problem",
        metadata,
        Column("sighting_id", _serial(), primary_key=True, autoincrement=False),
        Column("position", Integer, primary_key=True),
        Column("line", Integer),
        Column("column", Integer),
        Column("field", Text),
        Column("found", Text),
        Column("expected", Text),
        Column("message", Text),
        Column("raw", Text, nullable=False),
    )
    Table(
        "fcflow_look",
        metadata,
        _key(),
        Column("partner", String(255), primary_key=True),
        Column("feed", String(20), primary_key=True),
        Column("looked_at", Instant, nullable=False),
    )


def _ledger_tables(metadata: MetaData) -> None:
    Table(
        "fcflow_stock",
        metadata,
        _key(),
        Column("location", String(255), primary_key=True),
        Column("sku", String(255), primary_key=True),
        Column("on_hand", Integer, nullable=False),
        Column("reserved", Integer, nullable=False, default=0),
        Column("inbound", Integer),
        Column("as_of", Instant, nullable=False),
        Column("received_at", Instant, nullable=False),
    )
    Table(
        "fcflow_audit",
        metadata,
        Column("sequence", _serial(), primary_key=True, autoincrement=True),
        _tenant(),
        Column("at", Instant, nullable=False),
        Column("type", String(40), nullable=False),
        Column("order_id", String(255)),
        Column("fulfilment_id", String(255)),
        Column("location", String(255)),
        Column("actor", String(255), nullable=False),
        Column("message", Text, nullable=False),
        Column("data", Text, nullable=False),
        Index("ix_fcflow_audit_order", "namespace", "order_id"),
        Index("ix_fcflow_audit_type", "namespace", "type"),
        sqlite_autoincrement=True,
    )
    Table(
        "fcflow_consumer",
        metadata,
        _key(),
        Column("consumer", String(255), primary_key=True),
        Column("sequence", BigInteger, nullable=False),
    )
    Table(
        "fcflow_lease",
        metadata,
        _key(),
        Column("name", String(255), primary_key=True),
        Column("holder", String(64), nullable=False),
        Column("fence", BigInteger, nullable=False),
        Column("expires_at", Instant, nullable=False),
    )
    Table(
        "fcflow_counter",
        metadata,
        _key(),
        Column("name", String(255), primary_key=True),
        Column("value", BigInteger, nullable=False),
    )
    Table(
        "fcflow_location",
        metadata,
        _key(),
        Column("code", String(255), primary_key=True),
        Column("kind", String(20), nullable=False),
        Column("partner", String(255)),
    )


def build_tables(schema: str | None = None) -> MetaData:
    """All tables, in the given database schema."""
    metadata = MetaData(schema=schema)
    _order_tables(metadata)
    _exchange_tables(metadata)
    _ledger_tables(metadata)
    return metadata


TABLES = build_tables()
