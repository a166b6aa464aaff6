"""A host and its partners at random, with crashes in between: what must hold after every step of every story."""

from collections import Counter

import pytest
import sqlalchemy as sa
from attrs import evolve
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from fcflow.errors import TransportRefusedError, TransportUnavailableError, TransportUnclearError
from fcflow.model import FulfilmentState as S
from fcflow.model import OrderState as O
from fcflow.store import OutboxState
from fcflow.testing.partners import World, all_to, order

PLACES = ("leeds", "corby")
SKUS = ("MUG", "CUP")
WORDS = ("ACCEPTED", "PART SHIPPED", "SHIPPED", "CANCELLED", "ERROR", "DELIVERED", "RETURNED", "MISLAID", "")
UNFINISHED = (OutboxState.PENDING, OutboxState.SENDING, OutboxState.PUBLISHING)
AFTER_CANCELLED = (S.CANCELLED, S.PART_SHIPPED, S.SHIPPED)

units = st.integers(1, 3)
contents = st.dictionaries(st.sampled_from(SKUS), units, min_size=1)
places = st.sampled_from(PLACES)
calls = st.sampled_from(["write", "rename", "stat", "*"])
whens = st.sampled_from(["before", "after"])


class Killed(SystemExit):
    """The process ends here, as by SIGKILL."""


class Story(RuleBasedStateMachine):
    """One world in which anybody may do anything at any time."""

    orders = Bundle("orders")
    mode = "new"
    batch: int | None = None
    repeats = "unknown"

    def __init__(self):
        super().__init__()
        self.world = World(*PLACES, rules=all_to(*PLACES, split="by_line"))
        for place in PLACES:
            partner = self.world.partners[place].partner()
            feed = evolve(partner.orders, mode=self.mode, batch=self.batch, repeats=self.repeats)
            limits = evolve(partner.limits, max_attempts=3, tries=2)
            self.world._changes[place] = {"orders": feed, "limits": limits}
        self.world.restarted()
        self.sync = self.world.sync
        self.count = 0
        self.there = set()
        self.arrived = []
        self.allowed_again = set()
        self.states = {}
        self.audited = 0, 0

    def teardown(self):
        self.world.sync.close()

    # ---------------------------------------------------------------- what the host does

    @initialize(target=orders, bought=contents)
    def first(self, bought):
        return self.add(bought)

    @rule(target=orders, bought=contents)
    def add(self, bought):
        self.count += 1
        order_id = f"A{self.count}"
        assert self.world.sync.add_orders([order(order_id, **bought)]).added == (order_id,)
        return order_id

    @rule(order_id=orders, bought=contents)
    def amend(self, order_id, bought):
        self.world.sync.add_orders([order(order_id, **bought)])

    @rule(order_id=orders)
    def hold(self, order_id):
        self.world.sync.hold([order_id], "fraud check")

    @rule(order_id=orders)
    def release(self, order_id):
        self.world.sync.release([order_id])

    @rule(order_id=orders)
    def cancel(self, order_id):
        self.world.sync.cancel([order_id], "the buyer changed her mind")

    @rule(order_id=orders, to=places, override=st.sampled_from([None, "leeds burnt down"]))
    def move(self, order_id, to, override):
        self.world.sync.move([order_id], to=to, override=override)

    @rule(order_id=orders, outcome=st.sampled_from(["sent", "not_sent", "cancelled"]), data=st.data())
    def resolve(self, order_id, outcome, data):
        views = self.world.sync.order(order_id).fulfilments
        if views:
            chosen = data.draw(st.sampled_from([view.fulfilment_id for view in views]))
            if self.world.sync.resolve([chosen], outcome, "by phone").ok and outcome == "not_sent":
                self.allowed_again.add(chosen)

    @rule(order_id=orders)
    def mark_shipped(self, order_id):
        views = self.world.sync.order(order_id).fulfilments
        self.world.sync.mark_shipped([view.fulfilment_id for view in views], tracking_numbers=["BY-PHONE"])

    @rule(data=st.data())
    def resend(self, data):
        rows = self.world.sync.outbox()
        if rows:
            row = data.draw(st.sampled_from(rows))
            if self.world.sync.resend([row.outbox_id], "leeds lost it").ok:
                self.allowed_again.update(row.fulfilment_ids)

    # ---------------------------------------------------------------- what the partners do

    @rule(
        order_id=orders,
        place=places,
        word=st.sampled_from(WORDS),
        sku=st.sampled_from(["", *SKUS]),
        n=units,
        data=st.data(),
    )
    def answer(self, order_id, place, word, sku, n, data):
        known = [each for each in self.arrived_at(place) if each == order_id or each.startswith(f"{order_id}-")]
        quoted = data.draw(st.sampled_from(known)) if known else order_id
        row = {"id": quoted, "status": word, "tracking": data.draw(st.sampled_from(["", "T1", "T2"]))}
        if sku:
            row |= {"sku": sku, data.draw(st.sampled_from(["shipped", "cancelled"])): n}
        self.world.partners[place].answer([row])

    @rule(place=places, content=st.binary(max_size=20))
    def nonsense(self, place, content):
        self.world.partners[place].put("status/nonsense.csv", content)

    @rule(place=places)
    def collect(self, place):
        self.world.partners[place].collect()
        self.there = {each for each in self.there if each[0] != place}

    @rule(place=places, down=st.booleans())
    def go_down(self, place, down):
        self.world.partners[place].server.down = down

    # ---------------------------------------------------------------- what time does

    @rule()
    def run(self):
        self.run_once()

    @rule(
        place=places,
        call=calls,
        nth=st.integers(1, 4),
        when=whens,
        error=st.sampled_from(
            [Killed(), TransportUnavailableError("cut"), TransportRefusedError("no"), TransportUnclearError("lost")]
        ),
    )
    def run_with_a_fault(self, place, call, nth, when, error):
        if isinstance(error, TransportRefusedError) and when == "after":
            when = "before"
        server = self.world.partners[place].server
        server.fail(call, nth, when=when, error=error)
        self.run_once()
        server._switches.clear()

    @rule(
        target=orders,
        bought=contents,
        at=st.sampled_from([("write", "after"), ("rename", "before"), ("rename", "after")]),
        then=st.sampled_from(["nothing", "collect", "hold", "cancel", "move", "amend"]),
    )
    def killed_while_sending(self, bought, at, then):
        """Rare by chance, and what is done right after matters most."""
        server = self.world.partners["leeds"].server
        server.down = False
        order_id = self.add(bought)
        call, when = at
        server.fail(call, 1, when=when, error=Killed())
        self.run_once()
        server._switches.clear()
        acts = {
            "collect": lambda: self.collect("leeds"),
            "hold": lambda: self.hold(order_id),
            "cancel": lambda: self.cancel(order_id),
            "move": lambda: self.move(order_id, "corby", "leeds burnt down"),
            "amend": lambda: self.amend(order_id, {"MUG": 2}),
        }
        if then in acts:
            acts[then]()
            self.run_once()
        return order_id

    @rule(target=orders, bought=contents, word=st.sampled_from(["SHIPPED", "PART SHIPPED", "CANCELLED"]))
    def answered_late(self, bought, word):
        """Taken away from one partner, given to another, and then the first one speaks."""
        for place in PLACES:
            self.world.partners[place].server.down = False
        order_id = self.add(bought)
        self.run_once()
        self.move(order_id, "corby", "leeds burnt down")
        self.run_once()
        self.world.partners["leeds"].say(word, order_id)
        self.run_once()
        return order_id

    def run_once(self):
        before = {view.fulfilment_id: (order, view) for order, view in self.views()}
        try:
            report = self.world.run()
            assert "plugin.invalid" not in [failure.code for _, failure in report.failures], report.failures
        except Killed:
            self.world.clock.advance(hours=1)
            self.world.restarted()
        self.look_at_new_files(before)

    # ---------------------------------------------------------------- what must hold

    def views(self):
        return [(order, view) for order in self.world.sync.orders() for view in order.fulfilments]

    def arrived_at(self, place):
        return sorted({each for at, ids in self.arrived if at == place for each in ids})

    def look_at_new_files(self, before):
        for place in PLACES:
            for name, rows in self.world.partners[place].files().items():
                if (place, name) not in self.there:
                    ids = {row["id"] for row in rows}
                    self.there.add((place, name))
                    self.arrived.append((place, ids))
                    for each in ids & before.keys():
                        self.check_may_leave(*before[each], place)

    def check_may_leave(self, order, view, place):
        assert view.location == place, view
        assert view.state is not S.CANCELLED, view
        assert order.state not in (O.HELD, O.CANCELLED), order
        assert view.cancel_requested_at is None, view

    @invariant()
    def all_is_well(self):
        found = self.world.sync.orders()
        for each in found:
            self.no_unit_is_promised_twice(each)
            self.every_order_is_accounted_for(each)
        views = [view for each in found for view in each.fulfilments]
        self.nothing_is_stranded(views)
        self.what_is_final_stays(views)

    def no_unit_is_promised_twice(self, each):
        claimed = Counter()
        for view in each.fulfilments:
            claimed.update(view.claimed)
        ordered = {line.line_id: line.quantity for line in each.order.lines}
        assert all(n <= ordered.get(line_id, 0) for line_id, n in claimed.items()), each

    def every_order_is_accounted_for(self, each):
        active = [view for view in each.fulfilments if view.state not in (S.SHIPPED, S.CANCELLED)]
        recalled = any(view.cancel_requested_at for view in each.fulfilments)
        if each.state is O.CLOSED:
            assert not active, each
            shipped = any(view.state is S.SHIPPED for view in each.fulfilments)
            assert not each.unplaced or recalled or shipped, each
        elif each.state is O.CANCELLED:
            assert not active, each
        elif each.state is O.IN_FULFILMENT:
            assert active, each

    def nothing_is_stranded(self, views):
        rows = [row for row in self.world.sync.outbox() if row.state in UNFINISHED]
        going_on = {each for row in rows for each in row.fulfilment_ids}
        for view in views:
            assert view.state not in (S.SENDING, S.PUBLISHING) or view.fulfilment_id in going_on, view
            assert view.state is not S.UNCLEAR or view.needs_person, view

    def what_is_final_stays(self, views):
        now = {view.fulfilment_id: view.state for view in views}
        for fulfilment_id, state in self.states.items():
            if state is S.SHIPPED:
                assert now[fulfilment_id] is S.SHIPPED
            if state is S.CANCELLED:
                assert now[fulfilment_id] in AFTER_CANCELLED
        self.states = now

    @invariant()
    def nothing_is_sent_twice(self):
        if self.mode == "new" and self.repeats == "unknown":
            sent = Counter(each for _, ids in self.arrived for each in ids)
            assert [each for each, n in sent.items() if n > 1 and each not in self.allowed_again] == []

    @invariant()
    def the_audit_trail_only_grows(self):
        before, last = self.audited
        with self.world.sync.store.reading() as tx:
            new = tx.audit(after=last)
            count = tx.connection.execute(sa.text("select count(*) from fcflow_audit")).scalar_one()
        assert count == before + len(new)
        self.audited = count, new[-1].sequence if new else last

    @rule()
    def come_to_rest(self):
        """With everybody at work, what may leave leaves."""
        for place in PLACES:
            self.world.partners[place].server.down = False
        for _ in range(3):
            self.run_once()
        for each, view in self.views():
            if view.state in (S.READY, S.SEND_FAILED):
                assert each.held_reason or view.parked or each.stored.amendment or each.needs_person, (each, view)
            assert view.state not in (S.SENDING, S.PUBLISHING), view
            assert each.state is not O.OPEN or each.stored.reason or each.needs_person, each


class AllOpen(Story):
    """The ancestor's way: every open order each time."""

    mode = "all_open"


class Posts(Story):
    """A delivery an order, to partners who recognise repeats."""

    batch = 1
    repeats = "recognised"


@pytest.mark.parametrize("kind", [Story, AllOpen, Posts])
def test_whatever_happens_every_unit_is_accounted_for(kind):
    """
    Nothing is promised twice, sent twice, stranded or forgotten, whatever host, partners and crashes do.
    """
    run_state_machine_as_test(
        kind,
        settings=settings(
            max_examples=8,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
