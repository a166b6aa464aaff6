"""The calls of the synchronizer: orders in, changes by hand, plans, and what a host can hook on to."""

import sys

import pytest
import sqlalchemy as sa
from attrs import evolve

from fcflow import hookimpl
from fcflow.errors import FcflowError, LifecycleError, OrderError
from fcflow.model import Location, StockPolicy
from fcflow.plugins import plugin_manager
from fcflow.rules import compile_condition, load_rules
from fcflow.synchronizer import Synchronizer, run_partner
from fcflow.testing.partners import LAYOUTS, Clock, World, all_to, order


@pytest.fixture
def world():
    with World("leeds", "corby") as made:
        yield made


def files(world):
    """Every file of every partner, byte for byte."""
    return {code: dict(each.server._files) for code, each in world.partners.items()}


def rows(world):
    """Every row of every table but leases."""
    store = world.sync.store
    with store.reading() as tx:
        return {
            table.name: tx.connection.execute(sa.select(table)).all()
            for table in store.tables.sorted_tables
            if table.name != "fcflow_lease"
        }


# ------------------------------------------------------------------ orders in


def test_adding_an_order_again_with_equal_content_does_nothing(world):
    """
    A host may hand over the same orders as often as it likes.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    before = rows(world)
    assert world.sync.add_orders([order("A1", MUG=1)]).unchanged == ("A1",)
    assert rows(world) == before


def test_an_order_without_lines_or_twice_in_one_call_is_refused_with_every_fault(world):
    """
    All faults at once, and nothing is added.
    """
    with pytest.raises(OrderError) as refused:
        world.sync.add_orders([order("A1"), order("A2", MUG=1), order("A2", CUP=1)])
    assert [fault.path for fault in refused.value.faults] == ["$[0].lines", "$[2].order_id"]
    assert world.sync.orders() == []


def test_an_amendment_is_free_before_the_order_is_sent(world):
    """
    Other content replaces the order, and the rules run anew.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.sync.allocate()
    assert world.sync.add_orders([order("A1", MUG=3)]).amended == ("A1",)
    world.run()

    assert [(row["id"], row["quantity"]) for row in world.partners["leeds"].arrived()] == [("A1-2", "3")]
    [event] = world.sync.audit(order_id="A1", type="ORDER_AMENDED")
    assert event.message == "line 1: 1 x MUG -> 3 x MUG"


def test_an_amendment_after_sending_waits_for_the_partner_and_asks_a_person(world):
    """
    The partner keeps working by the old order; when it cancels, the new one is allocated.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    report = world.sync.add_orders([order("A1", MUG=3)])
    assert "changed after it was sent to leeds" in report.refused["A1"]
    assert world.sync.order("A1").needs_person

    world.partners["leeds"].say("CANCELLED", "A1")
    world.run()
    assert [(row["id"], row["quantity"]) for row in world.partners["corby"].arrived()] == [("A1-2", "3")]
    assert world.sync.order("A1").needs_person is None


def test_unpaid_orders_wait_until_they_are_paid(world):
    """
    Rules run on paid orders only, unless the configuration says otherwise; the reason is shown.
    """
    world.sync.add_orders([order("A1", MUG=1, payment="unpaid")])
    assert world.run().allocation.kept == {"A1": "not ready: payment is unpaid"}
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    assert world.state("A1") == "in_fulfilment"


def test_an_order_that_is_not_ready_says_which_condition_it_fails():
    """
    A configuration's own ``ready`` gives its own reason, and speaks of payment only where it asks for it.
    """
    approved = compile_condition({"field": "tags", "op": "contains", "value": "approved"})
    with World("leeds", ready=approved) as world:
        world.sync.add_orders([order("A1", MUG=1)])
        assert world.run().allocation.kept == {"A1": "not ready: tags contains 'approved': got []"}


# ------------------------------------------------------------------ changes by hand


def test_a_held_order_is_neither_allocated_nor_sent_until_it_is_released(world):
    """
    Hold and release, with the reason in the audit trail.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.sync.allocate()
    assert world.sync.hold(["A1"], "address looks odd", actor="ann").ok
    world.run()
    assert (world.state("A1"), world.partners["leeds"].arrived()) == ("held", [])

    assert world.sync.release(["A1"]).ok
    world.run()
    assert world.states("A1") == {"A1": "sent"}
    [held] = world.sync.audit(order_id="A1", type="HELD")
    assert (held.actor, held.message) == ("ann", "address looks odd")


def test_a_hold_by_a_rule_that_a_person_lifted_does_not_come_back():
    """
    Released once, the same rule holds the order no more.
    """
    document = all_to("leeds")
    big = {"field": "total_quantity", "op": "ge", "value": 10}
    document["rules"].insert(0, {"id": "big", "when": big, "then": [{"hold": {"reason": "check by hand"}}]})
    with World("leeds", rules=document) as world:
        world.sync.add_orders([order("A1", MUG=10)])
        world.run()
        assert (world.state("A1"), world.sync.order("A1").held_reason) == ("held", "check by hand")
        world.sync.release(["A1"])
        world.run()
        assert world.states("A1") == {"A1": "sent"}


def test_cancelling_before_sending_ends_the_order_at_once(world):
    """
    Nothing has left, so nothing needs to be asked for.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.sync.allocate()
    assert world.sync.cancel(["A1"], "the buyer changed his mind").ok
    world.run()
    assert (world.state("A1"), world.partners["leeds"].arrived()) == ("cancelled", [])


@pytest.mark.parametrize(("answer", "state"), [("CANCELLED", "cancelled"), ("SHIPPED", "closed")])
def test_cancelling_after_sending_awaits_the_partners_word(world, answer, state):
    """
    The partner cancels and the order ends, nowhere else to go; or it had shipped already.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    world.sync.cancel(["A1"], "the buyer changed his mind")
    assert world.state("A1") == "in_fulfilment"
    assert world.sync.order("A1").fulfilments[0].cancel_requested_at == world.clock.now

    world.partners["leeds"].say(answer, "A1")
    world.run()
    assert world.state("A1") == state
    assert world.partners["corby"].arrived() == []


def test_a_place_of_our_own_ships_by_hand():
    """
    What is allocated to our own warehouse is never sent, and is marked shipped by the host.
    """
    with World("leeds", own=[Location(code="home")], rules=all_to()) as world:
        world.sync.add_orders([order("A1", MUG=1)])
        world.sync.move(["A1"], to="home")
        world.run()
        assert world.states("A1") == {"A1": "ready"}
        assert world.sync.mark_shipped(["A1"], carrier="DPD", tracking_numbers=["T1"]).ok
        assert world.state("A1") == "closed"
        assert world.sync.order("A1").fulfilments[0].shipments[0].tracking_numbers == ("T1",)


def test_a_part_that_is_cancelled_goes_elsewhere(world):
    """
    One of two units shipped and the other cancelled: the rest is allocated to another location.
    """
    world.sync.add_orders([order("A1", MUG=2)])
    world.run()
    world.partners["leeds"].say("SHIPPED", "A1", sku="MUG", shipped=1, cancelled=1, tracking="T1")
    world.run()

    assert world.states("A1") == {"A1": "shipped", "A1-2": "sent"}
    assert [(row["id"], row["quantity"]) for row in world.partners["corby"].arrived()] == [("A1-2", "1")]
    world.partners["corby"].say("SHIPPED", "A1-2")
    world.run()
    assert world.state("A1") == "closed"


def test_a_person_can_send_a_delivery_again_and_it_is_audited(world):
    """
    A resend is a new row with the same bytes.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    [row] = world.sync.outbox()
    world.partners["leeds"].collect()
    assert world.sync.resend([row.outbox_id], "they lost the file").ok
    world.run()

    again, first = world.sync.outbox()
    assert (again.replaces, again.state, again.sha256) == (first.outbox_id, "sent", first.sha256)
    assert len(world.partners["leeds"].arrived()) == 1
    assert "they lost the file" in world.said("A1", "RESENT")


def test_changes_by_hand_say_why_not_for_each_id(world):
    """
    Unknown, ended or not in question: each refusal has its reason.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    world.partners["leeds"].say("SHIPPED", "A1")
    world.run()
    assert world.sync.hold(["A1", "Z"], "x").refused == {"A1": "order A1 is closed", "Z": "order Z is not known"}
    assert world.sync.resolve(["A1"], "sent", "x").refused == {"A1": "fulfilment order A1 is shipped"}
    with pytest.raises(LifecycleError, match="expected one of sent, not_sent, cancelled, got 'maybe'"):
        world.sync.resolve(["A1"], "maybe", "x")


# ------------------------------------------------------------------ plans


def test_a_plan_shows_the_exact_bytes_and_changes_nothing_anywhere(world):
    """
    What is planned is what a run then does, byte for byte; planning touches neither the store nor the partners.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    world.partners["leeds"].say("SHIPPED", "A1")
    world.partners["leeds"].stock({"MUG": 3})
    world.sync.add_orders([order("A2", MUG=2, CUP=1)])
    before = rows(world), files(world)

    plan = world.sync.plan()

    assert (rows(world), files(world)) == before
    [delivery] = plan.deliveries
    changes = {(change.fulfilment_id or change.order_id, change.what): change.after for change in plan.changes}
    assert changes["A1", "state"] == "shipped"
    assert changes["A2", "location"] == "leeds"

    world.sync.run()
    assert world.partners["leeds"].server.files("in")[delivery.name] == delivery.content


def test_a_plan_tells_no_observer():
    """
    Nobody hears of what did not happen.
    """
    heard = []

    class Observer:
        @hookimpl
        def fcflow_audit_event(self, event):
            heard.append(event.type.value)

    manager = plugin_manager([])
    manager.register(Observer())
    with World("leeds") as world:
        sync = Synchronizer(
            store=world.sync.store,
            rules=load_rules(all_to("leeds")),
            locations=world.sync.locations.values(),
            partners=world.sync.partners.values(),
            layouts=LAYOUTS,
            plugins=manager,
            clock=world.clock,
        )
        sync.add_orders([order("A1", MUG=1)])
        assert heard == ["ORDER_ADDED"]
        sync.plan()
        assert heard == ["ORDER_ADDED"]
        sync.run()
        assert heard[1:] == ["ALLOCATED", "SENDING", "SENT"]


# ------------------------------------------------------------------ hosts


def test_a_hosts_own_rows_are_written_in_our_transaction_and_roll_back_with_it(tmp_path):
    """
    What the callback raises undoes both sides, and the next run does the work again.
    """
    with World("leeds", store=f"sqlite:///{tmp_path}/both.db") as world:
        wrong = [True]

        def host(connection, events):
            connection.execute(sa.text("create table if not exists shop (said text)"))
            for event in events:
                connection.execute(sa.text("insert into shop values (:said)"), {"said": event.type.value})
            if wrong[0] and any(event.type == "FULFIL_STATUS" for event in events):
                raise LifecycleError("the shop is closed")

        world.sync._context = evolve(world.sync._context, in_transaction=host)
        world.sync.add_orders([order("A1", MUG=1)])
        world.run()
        world.partners["leeds"].say("SHIPPED", "A1")
        report = world.run()
        assert [failure.message for _, failure in report.failures] == ["the shop is closed"]
        assert world.states("A1") == {"A1": "sent"}

        wrong[0] = False
        world.run()
        assert world.states("A1") == {"A1": "shipped"}
        with world.sync.store.reading() as tx:
            said = tx.connection.execute(sa.text("select said from shop where said = 'FULFIL_STATUS'")).all()
        assert len(said) == 1


def test_calls_on_a_hosts_connection_become_true_with_the_hosts_commit(tmp_path):
    """
    Rolled back by the host, an added order is not there; committed, it is.
    """
    url = f"sqlite:///{tmp_path}/host.db"
    with World("leeds", store=url) as world:
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            world.sync.add_orders([order("A1", MUG=1)], connection=connection)
            connection.rollback()
        assert world.sync.orders() == []
        with engine.begin() as connection:
            world.sync.add_orders([order("A1", MUG=1)], connection=connection)
        engine.dispose()
        assert world.state("A1") == "open"


def test_events_come_in_order_again_and_again_until_they_are_acknowledged(world):
    """
    A durable feed with a cursor for each consumer.
    """
    world.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
    first = world.sync.events("shop", limit=3)
    assert world.sync.events("shop", limit=3) == first
    world.sync.acknowledge("shop", first[-1].sequence)
    second = world.sync.events("shop")
    assert [event.order_id for event in second] == ["A2"]
    world.sync.acknowledge("shop", first[0].sequence)
    assert world.sync.events("shop") == second
    assert len(world.sync.events("other")) == 4


def test_one_delivery_and_one_thing_taken_in_are_asked_for_by_their_ids(world):
    """
    History only grows, so nobody has to read all of it to see one row.
    """
    for order_id in ("A1", "A2"):
        world.sync.add_orders([order(order_id, MUG=1)])
        world.run()
        world.partners["leeds"].say("SHIPPED", order_id)
    world.run()

    sent, taken = world.sync.outbox(), world.sync.received()
    assert len(sent) == len(taken) == 2
    assert [world.sync.outbox(outbox_id=each.outbox_id) for each in sent] == [[each] for each in sent]
    assert [world.sync.received(sighting_id=each.sighting_id) for each in taken] == [[each] for each in taken]
    assert world.sync.outbox(outbox_id=99) == world.sync.received(sighting_id=99) == []


def test_orders_are_listed_by_location_state_partner_and_need(world):
    """
    The ancestor's drop-down, and more.
    """
    world.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1), order("A3", MUG=1, payment="unpaid")])
    world.sync.move(["A2"], to="corby")
    world.run()

    def listed(**filters):
        return [view.order_id for view in world.sync.orders(**filters)]

    assert listed() == ["A1", "A2", "A3"]
    assert listed(location="leeds") == ["A1"]
    assert listed(location="leeds", state="sent") == ["A1"]
    assert listed(location="leeds", state="ready") == []
    assert listed(partner="corby") == ["A2"]
    assert listed(state="open") == ["A3"]
    assert listed(needs_person=True) == []
    assert listed(limit=1, offset=1) == ["A2"]
    with pytest.raises(LifecycleError, match="expected a state among open, held"):
        listed(state="opened")
    assert world.sync.counts() == {
        None: {"in_fulfilment": 2, "open": 1},
        "leeds": {"sent": 1},
        "corby": {"sent": 1},
    }


def test_explain_says_every_rules_verdict_and_what_was_made_of_every_location():
    """
    Which rule decided, and why not the other location.
    """
    with World("leeds", "corby", tracked=True) as world:
        world.partners["corby"].stock({"MUG": 5})
        world.partners["leeds"].stock({"MUG": 1})
        world.run()
        world.sync.add_orders([order("A1", MUG=3)])
        said = world.sync.explain("A1")
        assert said.decision.rule_id == "all"
        assert said.locations["leeds"] == "short of MUG by 2"
        assert said.locations["corby"] == "takes 3 of MUG"


def test_check_tries_every_way_in():
    """
    A partner that is down is found before the first order waits for it.
    """
    with World("leeds", "corby") as world:
        world.partners["corby"].server.down = True
        levels = {finding.message.split(",")[0]: finding.level for finding in world.sync.check(connect=True)}
        assert levels["corby"] == "error"
        assert levels["leeds"] == "ok"


def test_check_looks_into_the_folders_of_the_feeds(tmp_path):
    """
    A login that works is not enough: a feed's folder that is not there is an error before the first run.
    """
    leeds = {
        "connection": {"url": str(tmp_path)},
        "orders": {"layout": "linnworks-orders", "path": "in"},
        "status": {"layout": "linnworks-status", "path": "out"},
        "location": {"stock": {"tracked": False}},
    }
    with Synchronizer.from_config({"fcflow": "config/1", "store": "sqlite://", "partners": {"leeds": leeds}}) as sync:
        errors = [found for found in sync.check(connect=True) if found.level == "error"]
        assert [found.message.split(":")[0] for found in errors] == ["leeds, orders feed", "leeds, status feed"]
        assert {found.code for found in errors} == {"transport.not_found"}
        for name in ("in", "out"):
            (tmp_path / name).mkdir()
        assert {found.level for found in sync.check(connect=True)} == {"ok"}


def test_a_partners_problem_awaits_a_person_until_something_later_settles_it():
    """
    An order that a partner reports an error for is found among those that await a person, and no longer once shipped.
    """
    with World("leeds") as world:
        world.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
        world.run()
        world.partners["leeds"].say("ERROR", "A1", error="address unknown")
        assert world.run().needs_person == 1
        [found] = world.sync.orders(needs_person=True)
        assert (found.order_id, found.needs_person) == ("A1", "leeds says: address unknown")
        world.partners["leeds"].say("SHIPPED", "A1")
        assert world.run().needs_person == 0
        assert world.sync.orders(needs_person=True) == []


def test_a_clock_stands_still():
    """
    The test kit's clock moves only when it is told to.
    """
    clock = Clock()
    assert clock() == clock() == clock.began


def test_a_hold_by_otherwise_can_be_lifted_too_and_explain_says_so():
    """
    An order that no rule decides and that is held for that is open again after its release, and stays so.
    """
    document = {**all_to(), "otherwise": [{"hold": {"reason": "nobody ships this"}}]}
    with World("leeds", rules=document) as world:
        world.sync.add_orders([order("A1", MUG=1)])
        world.run()
        assert world.state("A1") == "held"
        world.sync.release(["A1"])
        world.run()
        assert world.state("A1") == "open"


def test_explain_knows_that_a_hold_was_lifted():
    """
    The rule whose hold a person lifted decides no more, and its verdict says why.
    """
    document = all_to("leeds")
    document["rules"].insert(0, {"id": "big", "when": True, "then": [{"hold": {"reason": "check by hand"}}]})
    with World("leeds", rules=document) as world:
        world.sync.add_orders([order("A1", MUG=1)])
        world.run()
        world.sync.release(["A1"])
        said = world.sync.explain("A1")
        assert said.decision.rule_id == "all"
        assert "a person lifted its hold" in str(said)


def test_phases_can_be_handed_to_worker_processes(tmp_path):
    """
    Two partners' phases run in processes of their own, over one store file and a reference to the configuration.
    """
    import json
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    rule = {"id": "all", "when": True, "then": [{"allocate": {"to": ["leeds", "corby"], "strategy": "in_order"}}]}
    document = {
        "fcflow": "config/1",
        "store": {"url": "sqlite:///fcflow.db"},
        "rules": {"fcflow": "ruleset/1", "name": "all", "rules": [rule]},
        "partners": {
            code: {
                "connection": {"url": f"{code}", "options": {"create": True}},
                "orders": {"layout": "canonical", "path": "in"},
                "location": {"stock": {"tracked": False}},
            }
            for code in ("leeds", "corby")
        },
    }
    path = tmp_path / "fcflow.json"
    path.write_text(json.dumps(document))
    for code in ("leeds", "corby"):
        (tmp_path / code / "in").mkdir(parents=True)
    with Synchronizer.from_config(path) as sync:
        sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
        sync.move(["A2"], to="corby")
    assert run_partner(path, None, "allocate").allocation.count == 1
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = {code: pool.submit(run_partner, path, code, "send_orders") for code in ("leeds", "corby")}
        sent = {code: job.result().partners[code].sent for code, job in jobs.items()}
    assert sent == {"leeds": ["A1"], "corby": ["A2"]}
    with pytest.raises(FcflowError, match="expected a phase among"):
        run_partner(path, "leeds", "dance")


def test_check_says_which_extra_a_way_in_is_missing(monkeypatch, tmp_path):
    """
    A package that a transport needs is missed when the configuration is checked, not when the first order leaves.
    """
    monkeypatch.setitem(sys.modules, "paramiko", None)
    leeds = {
        "connection": {"url": "sftp://fcflow@sftp.leeds.example/"},
        "orders": {"layout": "linnworks-orders"},
        "location": {"stock": {"tracked": False}},
    }
    with Synchronizer.from_config({"fcflow": "config/1", "store": "sqlite://", "partners": {"leeds": leeds}}) as sync:
        [found] = sync.check()
        assert (found.level, found.code) == ("error", "extra.missing")
        assert "pip install 'fcflow[sftp]'" in found.message


def test_shipments_are_kept_only_until_a_picture_knows_them():
    """
    A level follows shipments that its picture cannot know; the next picture of the same SKU forgets them, no other.
    """
    policy = StockPolicy(shipping_deducts=True, picture_falls="shipped")
    with World("leeds", policies={"leeds": policy}) as world:
        world.partners["leeds"].stock({"MUG": 5, "CUP": 5})
        world.sync.add_orders([order("A1", MUG=2), order("A2", CUP=1)])
        world.run()
        world.partners["leeds"].say("SHIPPED", "A1", "A2")
        world.run()

        def seen():
            with world.sync.store.reading() as tx:
                moved = sorted((each.sku, each.units) for each in tx.movements())
            return moved, {summary.sku: summary.allocatable for summary in world.sync.stock()}

        assert seen() == ([("CUP", 1), ("MUG", 2)], {"CUP": 4, "MUG": 3})
        world.clock.advance(minutes=1)
        world.partners["leeds"].stock({"MUG": 3})
        world.run()
        assert seen() == ([("CUP", 1)], {"CUP": 4, "MUG": 3})
