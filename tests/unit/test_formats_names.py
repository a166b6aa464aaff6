"""Names of files that leave."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow.errors import FormatError
from fcflow.formats.names import MAX_NAME, name_faults, render_name
from fcflow.model import Order, OrderLine, ShippingLine, ShippingOrder

NOW = datetime(2016, 7, 1, 9, 43, 4, tzinfo=UTC)


def name(template: str, *, fulfilment_id: str | None = None, **given: object) -> str:
    order = None
    if fulfilment_id is not None:
        bought = Order(order_id="A1", reference="R/9", lines=[OrderLine(sku="MUG", quantity=1)])
        lines = [ShippingLine(line_id="1", sku="MUG", quantity=1)]
        order = ShippingOrder(fulfilment_id=fulfilment_id, order=bought, location="leeds", lines=lines)
    known = {"partner": "leeds", "now": NOW, "counter": 7, "key": "k-1", "order": order, **given}
    return render_name(template, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("template", "rendered"),
    [
        ("orders-{datetime}-{counter}.csv", "orders-20160701-094304-7.csv"),
        ("{partner}_{date}_{time}_{counter:06}.txt", "leeds_20160701_094304_000007.txt"),
        ("{key}.json", "k-1.json"),
        ("{batch:05}-{date:%d%m%y}.csv", "00007-010716.csv"),
        ("{datetime:@Europe/London}.csv", "20160701-104304.csv"),
        ("{time:%H.%M@Asia/Tokyo}.csv", "18.43.csv"),
        ("{partner:upper}-{order_id}-{reference}.csv", "LEEDS-A1-R_9-a88e0701.csv"),
        ("{location}.csv", "leeds.csv"),
        ("{fulfilment_id:lower}.csv", "a1-2-efc55670.csv"),
        ("con.csv", "_con.csv"),
        ("orders.", "orders_"),
        ("{fulfilment_id}.xml", "A1-2.xml"),
        ("NewOrders_[{DATETIME}].csv", "NewOrders_20160701094304.csv"),
        ("NewOrders_[{NOW}].csv", "NewOrders_2016-07-01_09_43_04.csv"),
        ("NewOrders_[{TODAY}].csv", "NewOrders_2016-07-01.csv"),
        ("NewOrders_[{WEEK}].csv", "NewOrders_201626.csv"),
        ("NewOrders_[{MONTH}].csv", "NewOrders_201607.csv"),
        ("NewOrders_INCREMENT.csv", "NewOrders_7.csv"),
        (".hidden", "_hidden"),
        ("-rf", "_rf"),
        ("../../etc/passwd", "_._.._etc_passwd"),
        ("Bestellung für {partner}.csv", "Bestellung_f_r_leeds.csv"),
        ("", "_"),
    ],
)
def test_tags_are_filled_in(template, rendered):
    """
    Every tag, ours and the ancestor's, stands for its value; nothing unsafe is left.
    """
    assert name(template, fulfilment_id="A1-2") == rendered


def test_times_are_utc():
    """
    The zone of the clock does not change a name.
    """
    assert name("{datetime}", now=NOW.astimezone(timezone(timedelta(hours=9)))) == name("{datetime}")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{dat}.csv", "unknown tag: expected {date}, got '{dat}'"),
        ("[{JAHR}].csv", "unknown tag"),
        ("{partner:4}.csv", "expected {partner:upper} or {partner:lower}, got '{partner:4}'"),
        ("{counter:wide}.csv", "expected {counter:06}, got '{counter:wide}'"),
        ("{date:%Q}.csv", "expected a pattern, a zone or both, as in {date:%d%m%y@Europe/London}, got '{date:%Q}'"),
        ("{date:@Atlantis}.csv", "expected a pattern, a zone or both"),
        ("{counter.csv", "a brace that belongs to no tag"),
        ("{}.csv", "unknown tag"),
    ],
)
def test_a_template_that_cannot_be_filled_in_is_refused(template, message):
    """
    Unknown tags are named with the nearest right one, before anything is sent.
    """
    assert message in str(name_faults(template)[0])
    with pytest.raises(FormatError, match=re.escape(message)):
        name(template)


def test_an_order_is_needed_where_its_id_is_asked():
    """
    A file of several orders has no single id.
    """
    with pytest.raises(FormatError, match="needs files of one order"):
        name("{fulfilment_id}.csv")


TEMPLATES = st.lists(
    st.sampled_from(("{date}", "{counter:03}", "{key}", "{fulfilment_id}", "INCREMENT", "ö", "/", ".", "-", "x" * 70)),
    max_size=6,
).map("".join)


@settings(max_examples=100, deadline=None)
@given(template=TEMPLATES, fulfilment_id=st.text(min_size=1, max_size=60), key=st.text(max_size=60))
def test_every_name_is_one_that_any_server_holds(template, fulfilment_id, key):
    """
    Letters, digits, point, underscore and hyphen; short; not hidden, not an option, not empty.
    """
    rendered = name(template, fulfilment_id=fulfilment_id, key=key)

    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", rendered)
    assert len(rendered) <= MAX_NAME


@settings(max_examples=100, deadline=None)
@given(ids=st.lists(st.text(alphabet="A1/_# -", min_size=1, max_size=90), min_size=2, max_size=2, unique=True))
def test_orders_that_differ_have_files_that_differ(ids):
    """
    Two ids never share a name, however odd or long they are.
    """
    one, other = (name("{fulfilment_id}.csv", fulfilment_id=each) for each in ids)

    assert one != other
