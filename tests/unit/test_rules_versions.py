"""
Rule sets in the store: kept, drafted, live, gone back from; rules with effective dates.
"""

from datetime import UTC, datetime

import pytest

from fcflow.store import RuleSetState, Store, StoredRuleSet

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
def store():
    with Store.open("sqlite://") as opened:
        yield opened


def _row(name, **more):
    given = {"hash": name * 64, "name": name, "state": RuleSetState.DRAFT, "actor": "me", "added_at": NOW}
    return StoredRuleSet(**{**given, **more})


def test_at_most_one_rule_set_is_live(store):
    """
    The one that was live becomes past when another goes live, and stays in the store.
    """
    with store.transaction() as tx:
        for name in "ab":
            tx.add_rule_set(_row(name), '{"name":"' + name + '"}')
            tx.put_live(name * 64, at=NOW, actor="me", note=None)

        assert [(each.name, each.state.value) for each in tx.rule_sets()] == [("b", "live"), ("a", "past")]
        assert tx.live_rule_set() == "b" * 64


def test_a_rule_set_is_kept_as_it_was_first_said(store):
    """
    The same hash again changes neither its document nor its state.
    """
    with store.transaction() as tx:
        tx.add_rule_set(_row("a", state=RuleSetState.KEPT), "{}")
        tx.add_rule_set(_row("a", note="later"), "{}")

        [kept] = tx.rule_sets()
        assert (kept.state, kept.note) == (RuleSetState.KEPT, None)
        assert tx.rule_set_text("a" * 64) == "{}"
        assert tx.rule_set_text("b" * 64) is None


def test_tenants_have_rule_sets_of_their_own(tmp_path):
    """
    What one namespace lets go live is nobody else's.
    """
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    with Store.open(url, namespace="one") as one, Store.open(url, namespace="two") as two:
        with one.transaction() as tx:
            tx.add_rule_set(_row("a"), "{}")
            tx.put_live("a" * 64, at=NOW, actor="me", note=None)
        with two.reading() as tx:
            assert tx.live_rule_set() is None
            assert tx.rule_sets() == []
