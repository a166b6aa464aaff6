"""State, outbox, ledger and audit trail, all in one database and changed in one transaction."""

from fcflow.store.rule_sets import RuleSetState, StoredRuleSet
from fcflow.store.store import Store
from fcflow.store.transaction import Transaction
from fcflow.store.values import FulfilmentView, Lease, OrderView, OutboxRow, OutboxState, Sighting, StoredOrder

__all__ = [
    "FulfilmentView",
    "Lease",
    "OrderView",
    "OutboxRow",
    "OutboxState",
    "RuleSetState",
    "Sighting",
    "Store",
    "StoredOrder",
    "StoredRuleSet",
    "Transaction",
]
