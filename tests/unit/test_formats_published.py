"""Layouts that partners publish, as far as they are about the meaning of fields; each with its source."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fcflow.formats import Layout, load_layout
from fcflow.model import Address, Order, OrderLine, ShippingLine, ShippingOrder, Status, StockLevel


def layout(kind: str, codec: dict[str, Any], fields: list[dict[str, Any]], **more: Any) -> Layout:
    codec = {"type": "delimited", "line_end": "lf", **codec}
    return load_layout({"fcflow": "layout/1", "kind": kind, "codec": codec, "fields": fields, **more})


def values(layout: Layout, payload: str, **source: Any) -> list[Any]:
    """The values of a payload without problems, which written and read again are the same."""
    records, problems = layout.read(payload.encode(), **source)
    assert problems == []
    found = [record.value for record in records]
    again, _ = layout.read(layout.encode(found))
    assert [record.value for record in again] == [layout.project(value) for value in found]
    return found


def shipping_order(**ship_to: Any) -> ShippingOrder:
    bought = [OrderLine(line_id=str(n), sku=sku, quantity=n) for n, sku in enumerate(("MUG", "SOFA"), start=1)]
    lines = [ShippingLine(line_id=line.line_id, sku=line.sku, quantity=line.quantity) for line in bought]
    placed = datetime(2026, 1, 20, 12, tzinfo=UTC)
    order = Order(order_id="1000", lines=bought, ship_to=Address(**ship_to), received_at=placed)
    return ShippingOrder(fulfilment_id="1000", order=order, location="leeds", lines=lines)


def test_shopify_inventory():
    """
    Every quantity type of Shopify's inventory file; what is not stocked says nothing.

    Source: https://help.shopify.com/en/manual/products/inventory/inventory-csv
    """
    unknown = {"empty": ["not stocked"], "ignore_case": True}
    shopify = layout(
        "stock",
        {},
        [
            {"at": "SKU", "field": "sku", "required": True},
            {"at": "Location", "field": "location"},
            {"at": "Incoming", "field": "inbound", **unknown},
            {"at": "Unavailable", "field": "frozen", **unknown},
            {"at": "Committed", "field": "reserved", **unknown},
            {"at": "Available", "field": "available", **unknown},
            {"at": "On hand", "field": "on_hand", **unknown},
        ],
    )

    found = values(
        shopify,
        "Handle,Title,SKU,HS Code,COO,Location,Incoming,Unavailable,Committed,Available,On hand\n"
        "mug,Mug,MUG,,,Leeds,20,2,3,5,10\n"
        "mug,Mug,MUG,,,York,not stocked,not stocked,not stocked,not stocked,not stocked\n"
        "cup,Cup,CUP,,,Leeds,0,0,4,-1,3\n",
    )

    assert found == [
        StockLevel(sku="MUG", location="Leeds", on_hand=10, reserved=5, inbound=20),
        StockLevel(sku="MUG", location="York"),
        StockLevel(sku="CUP", location="Leeds", on_hand=3, reserved=4, inbound=0),
    ]


def test_shopify_inventory_of_available_quantities():
    """
    The older shape of the same file has a column for each location.

    Source: https://help.shopify.com/en/manual/products/inventory/inventory-csv
    """
    places = ("Leeds", "York")
    fields = [{"at": place, "field": "available", "location": place, "empty": ["not stocked"]} for place in places]
    shopify = layout("stock", {}, [{"at": "SKU", "field": "sku"}, *fields])

    assert values(shopify, "Handle,SKU,Leeds,York\nmug,MUG,5,7\ncup,CUP,not stocked,0\n") == [
        StockLevel(sku="MUG", location="Leeds", on_hand=5),
        StockLevel(sku="MUG", location="York", on_hand=7),
        StockLevel(sku="CUP", location="York", on_hand=0),
    ]


def test_amazon_fba_inventory():
    """
    Counters of what is sellable, reserved and unsellable, and three columns of units under way.

    Source: Amazon Selling Partner API, report type GET_FBA_MYI_UNSUPPRESSED_INVENTORY_DATA
    """
    under_way = [f"afn-inbound-{what}-quantity" for what in ("working", "shipped", "receiving")]
    amazon = layout(
        "stock",
        {"delimiter": "\t", "quote": None, "replace_delimiter": " "},
        [
            {"at": "sku", "field": "sku"},
            {"at": "afn-warehouse-quantity", "field": "on_hand"},
            {"at": "afn-fulfillable-quantity", "field": "available"},
            {"at": "afn-unsellable-quantity", "field": "frozen"},
            {"at": "afn-reserved-quantity", "field": "reserved"},
            *({"at": name, "field": f"aside.{name}", "type": "integer"} for name in under_way),
            {"field": "location", "constant": "AMAZON_EU"},
            {"field": "as_of", "from": "file_name", "pattern": "%Y-%m-%dT%H%M%S"},
        ],
        derive=[{"field": "inbound", "sum": [f"aside.{name}" for name in under_way]}],
    )
    header = ["sku", "afn-warehouse-quantity", "afn-fulfillable-quantity", "afn-unsellable-quantity"]
    header += ["afn-reserved-quantity", *under_way]

    found = values(amazon, "\t".join(header) + "\nMUG\t12\t9\t1\t2\t5\t0\t3\n", name="fba_2026-03-02T093000.txt")

    taken_at = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    assert found == [
        StockLevel(sku="MUG", location="AMAZON_EU", on_hand=12, reserved=3, inbound=8, as_of=taken_at),
    ]


def test_dhl_online_frankierung():
    """
    Street and house number apart, countries of three letters, Windows' own encoding.

    Source: https://de.scribd.com/document/517878096/Dhl-Csv-Import
    """
    number = "(.*[^ 0-9]) *([0-9].*)"
    dhl = layout(
        "orders",
        {"delimiter": ";", "encoding": "cp1252", "if_unencodable": "replace"},
        [
            {"at": "RECV_NAME1", "field": "ship_to.name", "required": True},
            {"at": "RECV_NAME2", "field": "ship_to.company"},
            {"at": ["RECV_STREET", "RECV_HOUSENUMBER"], "field": "ship_to.address1", "capture": number},
            {"at": "RECV_PLZ", "field": "ship_to.postcode"},
            {"at": "RECV_CITY", "field": "ship_to.town"},
            {"at": "RECV_COUNTRY", "field": "ship_to.country", "country": "alpha_3"},
            {"at": "COUPON", "constant": ""},
        ],
        one_row_per="order",
    )
    orders = [
        shipping_order(name="Jürgen Łoś", address1=street, postcode="53113", town="Bonn", country="DE")
        for street in ("Straße des 17. Juni 135 a", "Charles-de-Gaulle-Str. 20", "Schloss")
    ]

    assert dhl.encode(orders).decode("cp1252").splitlines()[1:] == [
        "Jürgen Los;;Straße des 17. Juni;135 a;53113;Bonn;DEU;",
        "Jürgen Los;;Charles-de-Gaulle-Str.;20;53113;Bonn;DEU;",
        "Jürgen Los;;Schloss;;53113;Bonn;DEU;",
    ]


def test_shipwire_orders():
    """
    American dates of two-digit years, three lines of an address, a flag as 0 or 1; a row for each line.

    Source: https://www.shipwire.com/wp-content/uploads/2016/11/wholesale_orders_spreadsheet.tsv
    """
    shipwire = layout(
        "orders",
        {"delimiter": "\t", "quote": None, "header": False, "comment": ";", "replace_delimiter": " "},
        [
            {"at": 1, "field": "fulfilment_id", "required": True},
            {"at": 3, "field": "received_at", "pattern": "%-m/%-d/%y", "zone": "America/Los_Angeles"},
            {"at": 4, "field": "ship_to.name"},
            {"at": [5, 6, 7], "join_fields": ["ship_to.address1", "ship_to.address2", "ship_to.address3"]},
            {"at": 8, "field": "ship_to.town"},
            {"at": 9, "field": "ship_to.region", "case": "upper"},
            {"at": 10, "field": "ship_to.postcode", "strip_prefix": "'"},
            {"at": 11, "field": "ship_to.country"},
            {"at": 14, "field": "properties.commercial", "map": "one_zero", "default": "0"},
            {"at": 29, "field": "line.sku", "required": True},
            {"at": 32, "field": "line.line_id"},
            {"at": 33, "field": "line.quantity"},
        ],
    )
    row = "1000\t\t1/20/16\tMax Retail\t1 Main Lane\t\t\tLos Angeles\tCA\t91111\tUS\t\t\t0" + "\t" * 15
    payload = f";[order_no]\n{row}diamond\t\t\t1\t5\n{row}ruby\t\t\t2\t10\n"

    (found,) = values(shipwire, payload)

    assert found.order.received_at == datetime(2016, 1, 20, 8, tzinfo=UTC)
    assert found.properties == {"commercial": "false"}
    assert [(line.sku, line.quantity) for line in found.lines] == [("diamond", 5), ("ruby", 10)]
    assert shipwire.encode([found]).decode().splitlines() == payload.splitlines()[1:]


def test_fenix_orders():
    """
    One row an order, its SKUs and quantities joined; times with an offset.

    Source: https://fenixcommerce.atlassian.net/wiki/pages/diffpages.action?originalId=1798340683
    """
    fenix = layout(
        "orders",
        {},
        [
            {"at": "ORDER_ID", "field": "fulfilment_id"},
            {"at": "PLACED_DTTM", "field": "received_at", "zone": "America/New_York"},
            {"at": "ITEM_QUANTITY", "field": "total_quantity"},
            {"at": "TOTAL_WEIGHT.VALUE", "field": "total_weight_g", "unit": "lb", "places": 2},
            {"at": "TOTAL_WEIGHT.UNITS", "constant": "lbs"},
            {"at": "BUYER_ADDRESS.COUNTRY", "field": "ship_to.country", "country": "en", "direction": "write"},
            {"at": "BUYER_ADDRESS.COUNTRY_CODE", "field": "ship_to.country"},
            {"at": "LINE_ITEMS.SKU", "field": "line.sku", "join": "^"},
            {"at": "LINE_ITEMS.QUANTITY", "field": "line.quantity", "join": "^"},
        ],
        one_row_per="order",
    )

    assert fenix.encode([shipping_order(country="US")]).decode().splitlines()[1] == (
        "1000,2026-01-20T07:00:00-05:00,3,,lbs,United States,US,MUG^SOFA,1^2"
    )
    (found,) = values(fenix, fenix.encode([shipping_order(country="US")]).decode())
    assert [(line.sku, line.quantity) for line in found.lines] == [("MUG", 1), ("SOFA", 2)]


@pytest.mark.parametrize(
    ("packed", "status"), [((2, 1), Status.SHIPPED), ((2, 0), Status.PART_SHIPPED), ((0, 0), Status.IN_WORK)]
)
def test_stock_and_trace_shipping_orders(packed, status):
    """
    No status word: it follows from what was requested and packed; carrier and order are said once.

    Source: https://stockandtrace.zendesk.com/hc/en-us/articles/32039534739732-Reference-for-CSV-Data
    """
    traced = layout(
        "status",
        {},
        [
            {"at": "Purchase_order", "field": "reference", "carry_forward": True},
            {"at": "Carrier", "field": "carrier", "carry_forward": True, "case": "upper"},
            {"at": "Tracking_number", "field": "tracking_numbers"},
            {"at": "Partnumber", "field": "line.sku"},
            {"at": "Requested_Quantity", "field": "line.ordered"},
            {"at": "Packed_Quantity", "field": "line.shipped"},
        ],
        group="reference",
        derive=[
            {
                "field": "status",
                "cases": [
                    {"when": {"field": "total.ordered", "op": "le", "than": "total.shipped"}, "then": "shipped"},
                    {"when": {"field": "total.shipped", "op": "gt", "value": 0}, "then": "part_shipped"},
                ],
                "else": "in_work",
            }
        ],
    )
    header = "Purchase_order,Carrier,Tracking_number,Partnumber,Requested_Quantity,Packed_Quantity\n"

    records, problems = traced.read(f"{header}A1,dhl,T1,MUG,2,{packed[0]}\n,,T1,SOFA,1,{packed[1]}\n".encode())

    assert problems == []
    assert [(r.value.reference, r.value.status) for r in records] == [("A1", status)]
    assert {each.carrier for each in records[0].value.shipments} == {"DHL"}
