"""
Rule sets in the store: kept, drafted, live, gone back from; rules with effective dates.
"""

import pickle
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow import Location, Order, OrderLine, StockPolicy, Synchronizer, load_rules
from fcflow.audit import AuditType
from fcflow.errors import AllocationError, ConfigError, RuleError
from fcflow.rules.table import orders_to_table
from fcflow.store import RuleSetState, Store, StoredRuleSet
from fcflow.testing.oracle import Oracle

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


# ------------------------------------------------------------------ a synchronizer with live rules


def _document(place, **more):
    rule = {"id": "all", "when": True, "then": [{"allocate": {"to": [place]}}], **more.pop("rule", {})}
    return {"fcflow": "ruleset/1", "name": f"all to {place}", "rules": [rule], **more}


def _order(order_id, **more):
    return Order(order_id=order_id, payment="paid", lines=[OrderLine(sku="MUG", quantity=1)], **more)


class Clock:
    """An instant that a test moves on."""

    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def opened(store, clock):
    def make(**more):
        given = {"store": store, "rules": None, "live_rules": True, "clock": clock}
        places = [Location(code=code, stock=StockPolicy(tracked=False)) for code in ("leeds", "york")]
        return Synchronizer(**{**given, "locations": places, **more})

    return make


@pytest.fixture
def sync(opened):
    return opened()


def _goes_to(sync, order_id):
    sync.add_orders([_order(order_id)])
    sync.allocate()
    return [view.location for view in sync.order(order_id).fulfilments]


def test_orders_wait_until_a_rule_set_is_live(sync):
    """
    Without a live rule set nothing is allocated, and the order says why.
    """
    assert _goes_to(sync, "A1") == []
    assert sync.order("A1").stored.reason == "there is no rule set"
    assert sync.rules is None


def test_a_rule_set_that_went_live_decides_the_next_run(sync, opened):
    """
    No synchronizer has to be made anew, neither here nor in another process.
    """
    other = opened()
    live = sync.publish_rules(_document("leeds"), note="first", actor="ann")
    assert (_goes_to(sync, "A1"), live.state.value, live.actor) == (["leeds"], "live", "ann")
    sync.publish_rules(_document("york"))

    assert _goes_to(other, "A2") == ["york"]
    assert [(each.name, each.state.value) for each in sync.rule_sets()] == [
        ("all to york", "live"),
        ("all to leeds", "past"),
    ]


def test_one_run_keeps_the_rules_that_it_began_with(store, opened):
    """
    What goes live in the middle of a run waits for the next one.
    """
    made = []

    def publish(step):
        if step.phase == "allocate" and not made:
            made.append(sync.publish_rules(_document("york")))

    sync = opened(progress=publish)
    opened().publish_rules(_document("leeds"))

    assert _goes_to(sync, "A1") == ["leeds"]
    assert _goes_to(sync, "A2") == ["york"]


def test_going_back_is_one_call(sync):
    """
    The rule set that was live before is live again, and stays in the history.
    """
    first = sync.publish_rules(_document("leeds"))
    sync.publish_rules(_document("york"))
    back = sync.roll_back_rules(note="york is shut")

    assert (back.hash, back.note) == (first.hash, "york is shut")
    assert _goes_to(sync, "A1") == ["leeds"]
    assert sync.roll_back_rules().name == "all to york"


def test_there_is_nothing_to_go_back_to(sync):
    """
    The first rule set has none before it.
    """
    sync.publish_rules(_document("leeds"))
    with pytest.raises(RuleError) as refusal:
        sync.roll_back_rules()

    assert "expected one rule set that was live before, got 0" in str(refusal.value)


FAILING = {"examples": [{"order": {}, "matches": False}]}


def test_a_failing_example_blocks_going_live_but_not_drafting(sync):
    """
    What was live stays live.
    """
    sync.publish_rules(_document("leeds"))
    draft = sync.draft_rules(_document("york", rule=FAILING), note="to be fixed")
    assert draft.state is RuleSetState.DRAFT
    for source in (_document("york", rule=FAILING), draft.hash[:8]):
        with pytest.raises(RuleError) as refusal:
            sync.publish_rules(source)
        assert "the example fails" in str(refusal.value)

    assert _goes_to(sync, "A1") == ["leeds"]


def test_a_draft_goes_live_by_its_hash(sync):
    """
    The beginning of the hash is enough.
    """
    draft = sync.draft_rules(_document("york"))
    assert _goes_to(sync, "A1") == []
    sync.publish_rules(draft.hash[:10])

    assert _goes_to(sync, "A2") == ["york"]
    assert [view.location for view in sync.order("A1").fulfilments] == ["york"]


def test_a_location_that_is_not_there_blocks_going_live(sync):
    """
    A misspelt location is found before any order is.
    """
    with pytest.raises(RuleError) as refusal:
        sync.publish_rules(_document("leds"))

    assert "unknown location: expected leeds, got 'leds'" in str(refusal.value)
    assert sync.rule_sets() == []


def test_rules_from_elsewhere_do_not_go_live_in_the_store(opened):
    """
    Where rules come from the configuration, publishing would change nothing, and says so.
    """
    with pytest.raises(ConfigError) as refusal:
        opened(live_rules=False).publish_rules(_document("leeds"))

    assert "rules do not come from the store" in str(refusal.value)


def test_going_live_is_in_the_audit_trail(sync):
    """
    Who, why, what, and what before.
    """
    first = sync.publish_rules(_document("leeds"), note="begin", actor="ann")
    second = sync.publish_rules(_document("york"), actor="ann")
    events = sync.audit(type=AuditType.RULES_LIVE)

    assert [(event.actor, dict(event.data)) for event in events] == [
        ("ann", {"rule_set": first.hash}),
        ("ann", {"rule_set": second.hash, "before": first.hash}),
    ]
    assert events[0].message == "begin"


def test_every_rule_set_that_decided_is_found_by_the_hash_of_the_audit_trail(opened):
    """
    Rules that never went live in the store are kept as well.
    """
    rules = load_rules(_document("leeds"))
    sync = opened(rules=rules, live_rules=False)
    _goes_to(sync, "A1")
    [event] = sync.audit(order_id="A1", type=AuditType.ALLOCATED)

    assert sync.rule_set(event.data["rule_set"]) == rules
    assert [each.state for each in sync.rule_sets()] == [RuleSetState.KEPT]


def test_every_decision_names_its_rule_set(opened):
    """
    Also one that holds an order or keeps it.
    """
    held = _document("leeds")
    held["rules"][0]["then"] = [{"hold": {"reason": "look"}}]
    kept = _document("leeds")
    kept["rules"] = []
    for number, document in enumerate((held, kept)):
        rules = load_rules(document)
        sync = opened(rules=rules, live_rules=False)
        _goes_to(sync, f"A{number}")
        last = sync.audit(order_id=f"A{number}")[-1]
        assert last.type in (AuditType.HELD, AuditType.NOT_ALLOCATED)
        assert last.data["rule_set"] == rules.hash


def test_a_rule_set_without_a_currency_goes_live_with_that_of_the_seller(opened):
    """
    What is kept says it, so that it means the same for ever.
    """
    dear = {"when": {"field": "total", "op": "gt", "value": 5}}
    stored = opened(currency="GBP").publish_rules(_document("leeds", rule=dear))

    assert opened().rule_set(stored.hash).document["currency"] == "GBP"


def test_a_document_loads_from_the_store_as_it_went_in(sync):
    """
    The canonical text gives the same hash, fractions included.
    """
    dear = {"when": {"field": "total", "op": "gt", "value": 0.1, "currency": "GBP"}}
    rules = load_rules(_document("leeds", rule=dear))
    stored = sync.publish_rules(rules)

    assert stored.hash == rules.hash
    assert sync.rule_set(stored.hash) == rules
    assert load_rules(rules.text).hash == rules.hash


def test_a_plan_decides_by_the_live_rules(sync):
    """
    What would happen is what the rules that are live now would do, and nothing is kept of it.
    """
    sync.publish_rules(_document("york"))
    sync.add_orders([_order("A1")])

    assert sync.plan().report.allocation.allocated == {"york": ["A1"]}
    assert sync.order("A1").fulfilments == ()


# ------------------------------------------------------------------ what would have been


def test_a_replay_decides_old_cases_by_old_and_new_rules(sync, clock):
    """
    Each order is compared as of its own decision, by the rule set of that decision.
    """
    sync.publish_rules(_document("leeds"))
    _goes_to(sync, "A1")
    clock.now += timedelta(days=1)
    sync.publish_rules(_document("york"))
    _goes_to(sync, "A2")
    found = sync.replay(_document("york"))

    assert (found.orders, found.flows) == (2, {("leeds", "york"): 1})
    assert [change.order_id for change in found.changes] == ["A1"]
    assert sync.replay(_document("york"), since=clock.now).orders == 1


def test_a_replay_changes_nothing(sync):
    """
    It reads the store alone.
    """
    sync.publish_rules(_document("leeds"))
    _goes_to(sync, "A1")
    before = (sync.audit(), sync.rule_sets(), sync.order("A1"))
    sync.replay(_document("york"))

    assert (sync.audit(), sync.rule_sets(), sync.order("A1")) == before


def test_a_replay_tells_which_orders_drifted(sync):
    """
    An order that was amended since is not decided by the old rules as it was.
    """
    gb = {"when": {"field": "channel", "op": "eq", "value": "web"}}
    sync.publish_rules(_document("leeds", rule=gb))
    sync.add_orders([_order("A1", channel="web")])
    sync.allocate()
    sync.hold(["A1"], "wait")
    sync.add_orders([_order("A1", channel="shop")])

    assert sync.replay(_document("york")).drifted == ("A1",)


# ------------------------------------------------------------------ rules with effective dates

SALE = {"id": "sale", "when": True, "then": [{"allocate": {"to": ["york"]}}]}
SALE["effective"] = {"from": "2026-11-27", "until": "2026-12-01"}
SEASONAL = {**_document("leeds", zone="Europe/London")}
SEASONAL["rules"] = [SALE, *SEASONAL["rules"]]


@pytest.mark.parametrize(
    ("at", "place"), [("2026-11-26T12:00Z", "leeds"), ("2026-11-28T12:00Z", "york"), ("2026-12-01T00:00Z", "leeds")]
)
def test_an_old_case_is_decided_by_the_rules_of_its_time(at, place):
    """
    as_of stands for the instant of the decision, now for that of today.
    """
    rules, instant = load_rules(SEASONAL), datetime.fromisoformat(at)
    today = datetime(2027, 1, 1, tzinfo=UTC)

    assert rules.decide(_order("A1"), now=today, as_of=instant).locations == (place,)
    assert rules.decide(_order("A1"), as_of=instant).locations == (place,)
    assert next(rules.decisions(_order("A1"), None, today, as_of=instant)).locations == (place,)
    assert [each.locations for each in rules.decide_many([_order("A1")], now=today, as_of=instant)] == [(place,)]
    table = orders_to_table([_order("A1"), _order("A2")])
    assert [each.locations for each in rules.decide_many(table, as_of=instant)] == [(place,), (place,)]
    assert rules.explain(_order("A1"), now=today, as_of=instant).decision.locations == (place,)
    assert rules.decide(_order("A1"), now=today).locations == ("leeds",)


def test_seasonal_rules_need_an_instant():
    """
    Without now and as_of nobody knows which rules are in force.
    """
    rules = load_rules(SEASONAL)
    assert rules.needs_now
    with pytest.raises(AllocationError, match="in force at some time only"):
        rules.decide(_order("A1"))
    with pytest.raises(AllocationError, match="an instant with a time zone"):
        rules.decide(_order("A1"), as_of=datetime(2026, 11, 28))
    with pytest.raises(AllocationError, match="expected an instant with a time zone"):
        rules.decide_many(orders_to_table([_order("A1")]), as_of=datetime(2026, 11, 28))


def test_a_rule_out_of_season_is_explained_so():
    """
    Its condition would be true, and is not asked.
    """
    said = load_rules(SEASONAL).explain(_order("A1"), now=NOW)

    assert said.rules[0].because == ("the rule is not in force then",)
    assert [verdict.decided for verdict in said.rules] == [False, True]


def test_rules_of_an_instant_pickle():
    """
    A part of the year is the same part in another process.
    """
    rules = load_rules(SEASONAL).in_force(datetime(2026, 11, 28, tzinfo=UTC))
    again = pickle.loads(pickle.dumps(rules))

    assert again == rules
    assert again.decide(_order("A1")).locations == ("york",)
    assert load_rules(SEASONAL) != rules


INSTANTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(
    lambda at: at.replace(microsecond=0, tzinfo=UTC)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.none() | INSTANTS, st.none() | INSTANTS), max_size=4), INSTANTS)
def test_engine_and_oracle_agree_on_seasons(seasons, at):
    """
    Whatever the seasons, the compiled rules and the naive reading choose the same rule, on boundaries too.
    """
    rules = []
    for number, (since, until) in enumerate(seasons):
        ends = {key: end.isoformat() for key, end in (("from", since), ("until", until)) if end is not None}
        if since is not None and until is not None and since >= until:
            continue
        season = {"effective": ends} if ends else {}
        rules.append({"id": f"r{number}", "when": True, "then": [{"keep": {}}], **season})
    document = {"fcflow": "ruleset/1", "rules": rules}
    loaded = load_rules(document)
    boundaries = [end for season in seasons for end in season if end is not None]
    for now in (at, *boundaries):
        [wanted] = Oracle(document).decisions(_order("A1"), None, now)
        assert loaded.decide(_order("A1"), now=now).rule_id == wanted["rule"]
