"""The audit trail's own values: names that stay, events that do not change, data that survives as JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from attrs.exceptions import FrozenInstanceError
from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow.audit import AuditEvent, AuditType
from fcflow.documents import from_document, to_document
from fcflow.store import Store, Transaction

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_the_ancestors_name_for_a_received_status_stays() -> None:
    """
    Every type is its own name, and what the ancestor wrote for a status is still written.
    """
    assert AuditType.FULFIL_STATUS == "FULFIL_STATUS"
    assert all(each.name == each.value for each in AuditType)


def test_an_event_takes_the_name_of_a_type_and_refuses_another() -> None:
    """
    A type may be given as text; a word that is none is an error, not a new type.
    """
    assert AuditEvent(at=NOON, type="SENT").type is AuditType.SENT
    with pytest.raises(ValueError, match="NO_SUCH_TYPE"):
        AuditEvent(at=NOON, type="NO_SUCH_TYPE")


def test_an_event_never_changes() -> None:
    """
    Neither its parts nor its data can be written to.
    """
    event = AuditEvent(at=NOON, type="SENT", data={"attempt": 1})
    with pytest.raises(FrozenInstanceError):
        event.message = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        event.data["attempt"] = 2  # type: ignore[index]


def test_the_store_offers_no_way_to_change_the_trail() -> None:
    """
    Of everything a transaction can do, only `append` and `audit` touch it.
    """
    public = {name for name in dir(Transaction) if not name.startswith("_")}
    assert {name for name in public if "audit" in name or "append" in name or "event" in name} == {"append", "audit"}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(data=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), _JSON, max_size=4))
@settings(max_examples=40, deadline=None)
def test_data_survives_the_store(data: dict[str, object]) -> None:
    """
    Whatever JSON an event carries comes back equal.
    """
    with Store.open("sqlite://") as store, store.transaction() as tx:
        tx.append([AuditEvent(at=NOON, type="SENT", data=data)])
        assert dict(tx.audit()[0].data) == data


def test_amounts_and_instants_in_data_become_text() -> None:
    """
    Values that JSON does not have are written as documents write them, deep inside too.
    """
    data = {"total": Decimal("7.5"), "when": NOON, "deep": {"amounts": [Decimal(1)], "type": AuditType.SENT}}
    with Store.open("sqlite://") as store, store.transaction() as tx:
        tx.append([AuditEvent(at=NOON, type="SENT", data=data)])
        stored = tx.audit()[0].data
    assert dict(stored) == {
        "total": "7.50",
        "when": "2026-03-02T12:00:00+00:00",
        "deep": {"amounts": ["1.00"], "type": "SENT"},
    }


def test_instants_of_any_zone_are_kept_as_the_same_instant() -> None:
    """
    Written in another zone, read in UTC, equal.
    """
    local = NOON.astimezone(timezone(timedelta(hours=-9, minutes=-30)))
    with Store.open("sqlite://") as store, store.transaction() as tx:
        tx.append([AuditEvent(at=local, type="SENT")])
        [event] = tx.audit(since=local)
    assert event.at == local
    assert event.at.utcoffset() == timedelta(0)


def test_an_event_is_a_document_like_every_value() -> None:
    """
    To a document and back gives an equal event.
    """
    event = AuditEvent(at=NOON, type="FULFIL_STATUS", order_id="A1", location="leeds", message="SHIPPED", data={"n": 1})
    assert from_document(AuditEvent, to_document(event)) == event
