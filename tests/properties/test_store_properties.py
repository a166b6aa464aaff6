"""The store against plain dictionaries, and every value through a row and back."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow.model import Order, StatusUpdate
from fcflow.store import Store
from fcflow.testing.stores import NOON, a_fulfilment, an_order, store_machine
from fcflow.testing.strategies import orders, status_updates, texts


def _in_one_file(stack: ExitStack, namespace: str) -> Store:
    """Both tenants of a history find the folder that the first of them made."""
    folder = getattr(stack, "folder", None)
    if folder is None:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.folder = folder  # type: ignore[attr-defined]
    return stack.enter_context(Store.open(f"sqlite:///{folder}/fcflow.db?timeout=0.1", namespace=namespace))


TestHistoriesInAFile = store_machine(_in_one_file).TestCase
TestHistoriesInAFile.settings = settings(max_examples=20, stateful_step_count=10, deadline=None)


@given(order=orders(), amendment=st.none() | orders())
@settings(max_examples=30, deadline=None)
def test_every_order_survives_the_store(order: Order, amendment: Order | None) -> None:
    """
    What is bought comes back equal, whatever letters it is made of.
    """
    with Store.open("sqlite://") as store, store.transaction() as tx:
        tx.insert_orders([an_order(order, amendment=amendment)])
        view = tx.order(order.order_id)
        assert view is not None
        assert (view.order, view.stored.amendment) == (order, amendment)


@given(
    update=status_updates(), flags=st.fixed_dictionaries(dict.fromkeys(("problem", "parked", "label_error"), texts()))
)
@settings(max_examples=30, deadline=None)
def test_every_parcel_and_every_word_of_a_partner_survives(update: StatusUpdate, flags: dict[str, str]) -> None:
    """
    Parcels and texts come back equal, and a repeated parcel is known again.
    """
    mine = [evolve(parcel, fulfilment_id="A1") for parcel in update.shipments]
    with Store.open("sqlite://") as store, store.transaction() as tx:
        tx.insert_orders([an_order()])
        tx.insert_fulfilments([a_fulfilment(**flags)])
        assert tx.add_shipments(mine, NOON) == mine
        assert tx.add_shipments(mine, NOON) == []
        view = tx.order("A1")
        assert view is not None
        assert view.fulfilments[0] == a_fulfilment(**flags, shipments=tuple(mine))
