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
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

__all__ = ["SCHEMA_VERSION", "build_tables"]

SCHEMA_VERSION = "0004"


class Instant(TypeDecorator[datetime]):
    """An aware UTC instant; SQLite, which knows no zones, keeps it without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"expected an instant with a time zone, got {value.isoformat()}")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Prose(TypeDecorator[str]):
    """
    Text from outside, for people or for comparing: what a database cannot hold is replaced.

    Partners send NUL bytes and broken Unicode; that must not keep the rest of their file from being stored.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# Codes and documents of ours are stored as they are, or refused.
Code = Text
Document = Text


def _serial() -> Any:
    """SQLite numbers rows by itself only in an INTEGER key."""
    return BigInteger().with_variant(Integer(), "sqlite")


def _key() -> Column[Any]:
    return Column("namespace", Code, primary_key=True)


def _tenant() -> Column[Any]:
    return Column("namespace", Code, nullable=False)


def _where(name: str, condition: str) -> Index:
    """An index of the few rows that meet *condition*."""
    return Index(name, "namespace", sqlite_where=text(condition), postgresql_where=text(condition))


def _parent(name: str, table: str, key: str) -> Column[Any]:
    return Column(key, _serial(), ForeignKey(f"{table}.{key}", name=name), primary_key=True, autoincrement=False)


def _belongs_to(name: str, table: str, key: str) -> ForeignKeyConstraint:
    columns = ["namespace", key]
    return ForeignKeyConstraint(columns, [f"{table}.{column}" for column in columns], name=name)


def _order(metadata: MetaData) -> None:
    Table(
        "fcflow_order",
        metadata,
        _key(),
        Column("order_id", Code, primary_key=True),
        Column("reference", Prose),
        Column("channel", Prose),
        Column("document", Document, nullable=False),
        Column("content_hash", Code, nullable=False),
        Column("amendment", Document),
        Column("state", Code, nullable=False),
        Column("held_reason", Prose),
        Column("needs_person", Prose),
        Column("pinned", Code),
        Column("rule_id", Code),
        Column("reason", Prose),
        Column("fulfilled_elsewhere", Boolean, nullable=False, default=False),
        Column("released", Document, nullable=False, default="[]"),
        Column("added_at", Instant, nullable=False),
        Column("updated_at", Instant, nullable=False),
        Index("ix_fcflow_order_added", "namespace", "added_at", "order_id"),
        Index("ix_fcflow_order_state", "namespace", "state", "added_at", "order_id"),
        Index("ix_fcflow_order_reference", "namespace", "reference"),
        _where("ix_fcflow_order_person", "needs_person IS NOT NULL"),
    )


def _fulfilment(metadata: MetaData) -> None:
    Table(
        "fcflow_fulfilment",
        metadata,
        _key(),
        Column("fulfilment_id", Code, primary_key=True),
        Column("order_id", Code, nullable=False),
        Column("location", Code, nullable=False),
        Column("partner", Code),
        Column("state", Code, nullable=False),
        Column("lines", Document, nullable=False),
        Column("effects", Document, nullable=False),
        Column("progress", Prose, nullable=False),
        Column("rule_id", Code),
        Column("attempts", Integer, nullable=False, default=0),
        Column("label_printed_at", Instant),
        Column("label_error", Prose),
        Column("problem", Prose),
        Column("parked", Prose),
        Column("cancel_requested_at", Instant),
        Column("amend_requested_at", Instant),
        Column("sent_at", Instant),
        Column("excluded", Boolean, nullable=False, default=False),
        Column("created_at", Instant, nullable=False),
        Column("updated_at", Instant, nullable=False),
        Index("ix_fcflow_fulfilment_order", "namespace", "order_id"),
        Index("ix_fcflow_fulfilment_partner", "namespace", "partner", "state"),
        Index("ix_fcflow_fulfilment_location", "namespace", "location", "state"),
        Index("ix_fcflow_fulfilment_given", "namespace", "location", "created_at"),
        _where("ix_fcflow_fulfilment_parked", "parked IS NOT NULL"),
        _where("ix_fcflow_fulfilment_problem", "problem IS NOT NULL"),
        Index("ix_fcflow_fulfilment_state", "namespace", "state"),
        _belongs_to("fk_fcflow_fulfilment_order", "fcflow_order", "order_id"),
    )


def _fact(metadata: MetaData) -> None:
    Table(
        "fcflow_fact",
        metadata,
        Column("fact_id", _serial(), primary_key=True, autoincrement=True),
        _tenant(),
        Column("fulfilment_id", Code, nullable=False),
        Column("digest", Code, nullable=False),
        Column("kind", Code, nullable=False),
        Column("line_id", Code),
        Column("quantity", BigInteger),
        Column("shipment", Prose, nullable=False, default=""),
        Column("at", Instant),
        Column("message", Prose),
        Column("actor", Code, nullable=False),
        Column("received_at", Instant, nullable=False),
        UniqueConstraint("namespace", "fulfilment_id", "digest", name="uq_fcflow_fact"),
        Index("ix_fcflow_fact_received", "namespace", "kind", "received_at"),
        _belongs_to("fk_fcflow_fact_fulfilment", "fcflow_fulfilment", "fulfilment_id"),
    )


def _shipment(metadata: MetaData) -> None:
    Table(
        "fcflow_shipment",
        metadata,
        _key(),
        Column("fulfilment_id", Code, primary_key=True),
        Column("digest", Code, primary_key=True),
        Column("document", Prose, nullable=False),
        Column("received_at", Instant, nullable=False),
        _belongs_to("fk_fcflow_shipment_fulfilment", "fcflow_fulfilment", "fulfilment_id"),
    )


def _outbox(metadata: MetaData) -> None:
    Table(
        "fcflow_outbox",
        metadata,
        Column("outbox_id", _serial(), primary_key=True, autoincrement=True),
        _tenant(),
        Column("partner", Code, nullable=False),
        Column("delivery_key", Code, nullable=False),
        Column("name", Code, nullable=False),
        Column("target", Prose, nullable=False),
        Column("content", LargeBinary, nullable=False),
        Column("content_type", Code, nullable=False),
        Column("size", BigInteger, nullable=False),
        Column("sha256", Code, nullable=False),
        Column("layout_hash", Code, nullable=False),
        Column("state", Code, nullable=False),
        Column("attempts", Integer, nullable=False, default=0),
        Column("answer", Prose),
        Column("error_code", Code),
        Column("replaces", BigInteger),
        Column("created_at", Instant, nullable=False),
        Column("updated_at", Instant, nullable=False),
        Column("sent_at", Instant),
        Column("number", Integer),
        Index("ix_fcflow_outbox_number", "namespace", "partner", "number"),
        UniqueConstraint("namespace", "delivery_key", name="uq_fcflow_outbox_key"),
        Index("ix_fcflow_outbox_latest", "namespace", "outbox_id"),
        Index("ix_fcflow_outbox_state", "namespace", "partner", "state"),
    )


def _outbox_item(metadata: MetaData) -> None:
    Table(
        "fcflow_outbox_item",
        metadata,
        Column(
            "outbox_id",
            _serial(),
            ForeignKey("fcflow_outbox.outbox_id", name="fk_fcflow_outbox_item"),
            primary_key=True,
        ),
        Column("fulfilment_id", Code, primary_key=True),
        _tenant(),
        Index("ix_fcflow_outbox_item_fulfilment", "namespace", "fulfilment_id"),
        _belongs_to("fk_fcflow_outbox_item_fulfilment", "fcflow_fulfilment", "fulfilment_id"),
    )


def _sighting(metadata: MetaData) -> None:
    Table(
        "fcflow_sighting",
        metadata,
        Column("sighting_id", _serial(), primary_key=True, autoincrement=True),
        _tenant(),
        Column("partner", Code, nullable=False),
        Column("feed", Code, nullable=False),
        Column("name", Prose, nullable=False),
        Column("size", BigInteger),
        Column("modified_at", Instant),
        Column("etag", Prose),
        Column("sha256", Code, nullable=False),
        Column("token", Prose, nullable=False),
        Column("state", Code, nullable=False),
        Column("settled", Boolean, nullable=False, default=False),
        Column("records", Integer, nullable=False, default=0),
        Column("problems", Integer, nullable=False, default=0),
        Column("error", Prose),
        Column("layout_hash", Code, nullable=False),
        Column("content", LargeBinary),
        Column("received_at", Instant, nullable=False),
        Column("shape", Prose),
        Column("reply", Code),
        Column("reply_number", Integer),
        Index("ix_fcflow_sighting_latest", "namespace", "sighting_id"),
        Index("ix_fcflow_sighting_name", "namespace", "partner", "feed", "name"),
        Index("ix_fcflow_sighting_open", "namespace", "partner", "feed", "settled"),
    )


def _problem(metadata: MetaData) -> None:
    Table(
        "fcflow_problem",
        metadata,
        Column(
            "sighting_id",
            _serial(),
            ForeignKey("fcflow_sighting.sighting_id", name="fk_fcflow_problem"),
            primary_key=True,
        ),
        Column("position", Integer, primary_key=True),
        _tenant(),
        Column("line", Integer),
        Column("column", Integer),
        Column("field", Prose),
        Column("found", Prose),
        Column("expected", Prose),
        Column("message", Prose),
        Column("raw", Prose, nullable=False),
    )


def _look(metadata: MetaData) -> None:
    Table(
        "fcflow_look",
        metadata,
        _key(),
        Column("partner", Code, primary_key=True),
        Column("feed", Code, primary_key=True),
        Column("looked_at", Instant, nullable=False),
    )


def _stock(metadata: MetaData) -> None:
    Table(
        "fcflow_stock",
        metadata,
        _key(),
        Column("location", Code, primary_key=True),
        Column("sku", Prose, primary_key=True),
        Column("on_hand", BigInteger, nullable=False),
        Column("reserved", BigInteger, nullable=False, default=0),
        Column("inbound", BigInteger),
        Column("as_of", Instant, nullable=False),
        Column("received_at", Instant, nullable=False),
        Index("ix_fcflow_stock_sku", "namespace", "sku", "location"),
    )


def _movement(metadata: MetaData) -> None:
    Table(
        "fcflow_movement",
        metadata,
        Column("movement_id", _serial(), primary_key=True, autoincrement=True),
        _tenant(),
        Column("location", Code, nullable=False),
        Column("sku", Prose, nullable=False),
        Column("units", BigInteger, nullable=False),
        Column("at", Instant, nullable=False),
        Column("sent_at", Instant),
        Index("ix_fcflow_movement_sku", "namespace", "location", "sku"),
    )


def _audit(metadata: MetaData) -> None:
    Table(
        "fcflow_audit",
        metadata,
        Column("sequence", _serial(), primary_key=True, autoincrement=True),
        _tenant(),
        Column("at", Instant, nullable=False),
        Column("type", Code, nullable=False),
        Column("order_id", Prose),
        Column("fulfilment_id", Prose),
        Column("location", Prose),
        Column("actor", Prose, nullable=False),
        Column("message", Prose, nullable=False),
        Column("data", Prose, nullable=False),
        Index("ix_fcflow_audit_feed", "namespace", "sequence"),
        Index("ix_fcflow_audit_order", "namespace", "order_id", "sequence"),
        Index("ix_fcflow_audit_type", "namespace", "type", "sequence"),
        Index("ix_fcflow_audit_at", "namespace", "at"),
        sqlite_autoincrement=True,
    )


def _consumer(metadata: MetaData) -> None:
    Table(
        "fcflow_consumer",
        metadata,
        _key(),
        Column("consumer", Code, primary_key=True),
        Column("sequence", BigInteger, nullable=False),
    )


def _lease(metadata: MetaData) -> None:
    Table(
        "fcflow_lease",
        metadata,
        _key(),
        Column("name", Code, primary_key=True),
        Column("holder", Code, nullable=False),
        Column("fence", BigInteger, nullable=False),
        Column("expires_at", Instant, nullable=False),
    )


def _counter(metadata: MetaData) -> None:
    Table(
        "fcflow_counter",
        metadata,
        _key(),
        Column("name", Code, primary_key=True),
        Column("value", BigInteger, nullable=False),
    )


def _location(metadata: MetaData) -> None:
    Table(
        "fcflow_location",
        metadata,
        _key(),
        Column("code", Code, primary_key=True),
        Column("kind", Code, nullable=False),
        Column("partner", Code),
    )


def _rule_set(metadata: MetaData) -> None:
    Table(
        "fcflow_rule_set",
        metadata,
        _key(),
        Column("hash", Code, primary_key=True),
        Column("name", Prose, nullable=False),
        Column("document", Document, nullable=False),
        Column("state", Code, nullable=False),
        Column("note", Prose),
        Column("actor", Prose, nullable=False),
        Column("added_at", Instant, nullable=False),
        Column("live_at", Instant),
        Column("turn", BigInteger),
        Index("ix_fcflow_rule_set_state", "namespace", "state"),
    )


_TABLES = (
    _order,
    _fulfilment,
    _fact,
    _shipment,
    _outbox,
    _outbox_item,
    _sighting,
    _problem,
    _look,
    _stock,
    _movement,
    _audit,
    _consumer,
    _lease,
    _counter,
    _location,
    _rule_set,
)


def build_tables(schema: str | None = None) -> MetaData:
    """All tables, in the given database schema."""
    metadata = MetaData(schema=schema)
    for define in _TABLES:
        define(metadata)
    return metadata
