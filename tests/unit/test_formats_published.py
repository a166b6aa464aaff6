"""Layouts that partners publish, as far as they are about the meaning of fields; each with its source."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import evolve

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


def shipped(made: Layout, payload: str) -> list[tuple[Any, ...]]:
    """What a file of statuses says of each order: its status, parcels and what left of each line."""
    records, problems = made.read(payload.encode())
    assert problems == []
    return [
        (
            each.value.reference,
            str(each.value.status),
            [number for parcel in each.value.shipments for number in parcel.tracking_numbers],
            [(line.sku, line.shipped) for line in each.value.lines],
        )
        for each in records
    ]


def test_dropstream_pick_tickets():
    """
    A row for the order and one for each line, every cell in quotes, the order number on both.

    Source: https://support.getdropstream.com/hc/en-us/articles/360016217033-DSFX-File-Format-Specifications
    """
    types = {"order": {"equals": "PH"}, "item": {"equals": "PD", "in": "order"}}
    dropstream = layout(
        "orders",
        {"type": "records", "types": types, "delimiter": ",", "quote_all": True},
        [
            {"at": "order/2", "field": "fulfilment_id", "required": True},
            {"at": "order/4", "field": "ship_to.name", "required": True},
            {"at": "order/7", "field": "ship_to.town"},
            {"at": "order/9", "field": "ship_to.postcode"},
            {"at": "order/10", "field": "ship_to.country"},
            {"at": "order/11", "field": "received_at", "pattern": "%Y-%m-%dT%H:%M:%SZ"},
            {"at": "order/12", "constant": ""},
            {"at": "item/2", "field": "fulfilment_id", "direction": "write"},
            {"at": "item/3", "field": "line.line_id"},
            {"at": "item/4", "field": "line.partner_sku", "required": True},
            {"at": "item/5", "field": "line.quantity", "required": True},
        ],
    )
    order = shipping_order(name='Ada "The Count" Byron', town="Leeds, Yorks", postcode="LS1 1AA", country="GB")

    written = dropstream.encode([order])
    assert written.decode().splitlines() == [
        '"PH","1000","","Ada ""The Count"" Byron","","","Leeds, Yorks","","LS1 1AA","GB","2026-01-20T12:00:00Z",""',
        '"PD","1000","1","MUG","1"',
        '"PD","1000","2","SOFA","2"',
    ]
    assert [each.value for each in dropstream.read(written)[0]] == [dropstream.project(order)]


def test_orderlogix_ship_confirmation():
    """
    The status follows from how many lines of the shipment went out whole; lines end in a bare carriage return.

    Source: https://support.orderlogix.com/portal/en/kb/articles/olx-ship-confirmation-import-v5-0
    """
    types = {"shipment": {"equals": "O"}, "line": {"equals": "L", "in": "shipment"}}
    orderlogix = layout(
        "status",
        {"type": "records", "types": types, "delimiter": ",", "quote_all": True, "line_end": "cr"},
        [
            {"at": "shipment/2", "field": "reference", "required": True},
            {"at": "shipment/4", "field": "shipped_at", "pattern": "%m/%d/%Y"},
            {"at": "shipment/5", "field": "carrier"},
            {"at": "shipment/6", "field": "tracking_numbers", "split": "|"},
            {"at": "shipment/8", "field": "aside.lines", "type": "integer"},
            {"at": "shipment/9", "field": "aside.whole", "type": "integer"},
            {"at": "line/4", "field": "line.line_id"},
            {"at": "line/5", "field": "line.sku"},
            {"at": "line/6", "field": "line.ordered"},
            {"at": "line/7", "field": "line.shipped"},
        ],
        group="reference",
        derive=[
            {
                "field": "status",
                "cases": [
                    {"when": {"field": "aside.whole", "op": "eq", "than": "aside.lines"}, "then": "shipped"},
                    {"when": {"field": "aside.whole", "op": "ge", "value": 1}, "then": "part_shipped"},
                ],
                "else": "cancelled",
            }
        ],
    )

    assert shipped(
        orderlogix,
        '"O","77","W1","03/02/2026","UPS","1Z1|1Z2","GND","2","1","0",""\r'
        '"L","77","W1","1","MUG","2","2"\r"L","77","W1","2","CUP","3","0"\r'
        '"O","78","","03/03/2026","","","","1","0","",""\r',
    ) == [("77", "part_shipped", ["1Z1", "1Z2"], [("MUG", 2), ("CUP", 0)]), ("78", "cancelled", [], [])]


def test_oracle_retail_stock_count():
    """
    A head with the store, rows of a SKU by area that add up, and a tail with their count; the time is in each row.

    Source: https://docs.oracle.com/cd/F32622_01/doc.191/f32614/appendix_batchfilelayout.htm
    """
    types = {
        "head": {"equals": "FHEAD", "in": "file"},
        "row": {"equals": "FDETL"},
        "tail": {"equals": "FTAIL", "trailer": {"count_at": 2, "counts": "row"}},
    }
    oracle = layout(
        "stock",
        {"type": "records", "types": types, "delimiter": "|", "quote": None},
        [
            {"at": "head/2", "field": "location", "required": True},
            {"at": "row/2", "field": "as_of", "pattern": "%Y%m%d%H%M%S", "zone": "America/Chicago"},
            {"at": "row/3", "field": "aside.area"},
            {"at": "row/4", "field": "sku", "required": True},
            {"at": "row/5", "field": "on_hand"},
        ],
        group="sku",
        rows="anywhere",
    )

    assert values(
        oracle,
        "FHEAD|1111|9\nFDETL|20260302090000|A1|MUG|5\nFDETL|20260302091500|A1|CUP|1\n"
        "FDETL|20260302093000|B7|MUG|7.00\nFTAIL|3\n",
    ) == [
        StockLevel(sku="MUG", location="1111", on_hand=12, as_of=datetime(2026, 3, 2, 15, tzinfo=UTC)),
        StockLevel(sku="CUP", location="1111", on_hand=1, as_of=datetime(2026, 3, 2, 15, 15, tzinfo=UTC)),
    ]


def test_syteline_flat_file():
    """
    Fixed lines whose type stands at position 40, padded to one length, with three implied decimals.

    Source: https://docs.infor.com/csi/2023.x/en-us/csbiolh/edi_user_cl_sl/lsm1454144076786.html
    """
    types = {
        "order": {"equals": "100"},
        "text": {"equals": "110", "in": "order"},
        "item": {"equals": "300", "in": "order"},
    }
    syteline = layout(
        "orders",
        {"type": "records", "fixed": True, "type_at": 40, "type_width": 3, "length": 72, "types": types},
        [
            {"at": "order/1", "width": 2, "constant": "AC"},
            {"at": "order/3", "width": 22, "field": "fulfilment_id"},
            {"at": "order/25", "width": 8, "field": "received_at", "pattern": "%Y%m%d"},
            {"at": "text/1", "width": 2, "constant": "AC"},
            {"at": "text/43", "width": 30, "field": "notes", "if_differs": "join"},
            {"at": "item/1", "width": 2, "constant": "AC"},
            {"at": "item/43", "width": 10, "field": "line.sku"},
            {"at": "item/53", "width": 12, "field": "line.quantity", "pad": "0", "implied_decimals": 3},
        ],
    )
    order = evolve(shipping_order(), notes="fragile")

    written = syteline.encode([order])
    assert written.decode().splitlines() == [
        f"AC{'1000':22}20260120{'':7}100{'':30}",
        f"AC{'':37}110{'fragile':30}",
        f"AC{'':37}300{'MUG':10}000000001000{'':8}",
        f"AC{'':37}300{'SOFA':10}000000002000{'':8}",
    ]
    assert [each.value for each in syteline.read(written)[0]] == [syteline.project(order)]
    two = written.replace(b"fragile", b"handle ").decode() + f"AC{'':37}110{'with care':30}\n"
    assert syteline.read(two.encode())[0][0].value.notes == "handle with care"


def test_wefulfillit_batch_file():
    """
    One row for an order without any header; three columns come again for each product.

    Source: http://mis.wefulfillit.com/helpstation/transferbatch.html
    """
    wefulfillit = layout(
        "orders",
        {"delimiter": "\t", "quote": None, "header": False, "repeat": {"at": 6, "columns": 3, "most": 3}},
        [
            {"at": 1, "field": "ship_to.name"},
            {"at": 2, "field": "ship_to.company", "fallback": ["ship_to.name"]},
            {"at": 3, "field": "ship_to.country"},
            {"at": 4, "field": "fulfilment_id"},
            {"at": 5, "constant": ""},
            {"at": 6, "field": "line.sku"},
            {"at": 7, "field": "line.quantity"},
            {"at": 8, "field": "line.unit_price"},
        ],
    )
    order = shipping_order(name="Ada", country="US")

    written = wefulfillit.encode([order])
    assert written == b"Ada\tAda\tUS\t1000\t\tMUG\t1\t\tSOFA\t2\t\t\t\t\n"
    assert [each.value for each in wefulfillit.read(written)[0]] == [wefulfillit.project(order)]
    records, problems = wefulfillit.read(b"Bo\t\tUS\t1001\t\t" + b"\t".join([b"MUG\t1\t7.5"] * 4) + b"\n")
    assert (len(records[0].value.lines), problems) == (4, [])


def test_zalando_stock_report_of_tradebyte():
    """
    A row for each state of an article; what cannot be offered is there, and cannot be promised.

    Source: https://help.tradebyte.com/mp-za-zfs-stockrep.html
    """
    tradebyte = layout(
        "stock",
        {"delimiter": ";", "encoding": "cp1252"},
        [
            {"at": "ean", "field": "sku"},
            {"at": "stock_location_id", "field": "location"},
            {"at": "status", "field": "aside.status"},
            {"at": "amount", "field": "aside.amount", "type": "integer"},
        ],
        group="sku",
        rows="anywhere",
        derive=[
            {"field": "on_hand", "sum": ["aside.amount"]},
            {
                "field": "frozen",
                "sum": ["aside.amount"],
                "when": {"field": "aside.status", "op": "eq", "value": "NON_OFFERABLE"},
            },
        ],
    )
    records, problems = tradebyte.read(
        "ean;stock_location_id;stock_location_name;status;amount\n"
        "401;2;Mönchengladbach;OFFERABLE;5\n402;2;Mönchengladbach;OFFERABLE;0\n"
        "401;2;Mönchengladbach;NON_OFFERABLE;2\n".encode("cp1252")
    )
    assert problems == []
    assert [each.value for each in records] == [
        StockLevel(sku="401", location="2", on_hand=7, reserved=2),
        StockLevel(sku="402", location="2", on_hand=0),
    ]


def test_barmate_order_in_two_tables():
    """
    The order and its items in two tables that begin with their names, and a row of nothing but commas between them.

    Source: https://connect.yourbarmate.com/docs/csv/order-format
    """
    barmate = layout(
        "orders",
        {
            "type": "records",
            "types": {"order": {"header": True}, "item": {"header": True, "in": "order"}},
            "delimiter": ",",
        },
        [
            {"at": "order/Delivery ID", "field": "fulfilment_id"},
            {"at": "order/Company", "field": "ship_to.company"},
            {"at": "order/Message", "field": "notes"},
            {"at": "item/Delivery ID", "field": "fulfilment_id", "direction": "write"},
            {"at": "item/Item ID", "field": "line.sku"},
            {"at": "item/Count", "field": "line.quantity"},
        ],
    )

    [record], problems = barmate.read(
        b'Delivery ID,Type,Company,Message\n1,DELIVERY,Acme,"two\nlines"\n,,,\n'
        b"Delivery ID,Item ID,Item name,Count\n1,MUG,Mug,2\n1,CUP,Cup,1\n"
    )
    assert problems == []
    assert record.value.notes == "two\nlines"
    assert [(line.sku, line.quantity) for line in record.value.lines] == [("MUG", 2), ("CUP", 1)]
    assert barmate.encode([shipping_order(company="Acme")]).decode().splitlines() == [
        "Delivery ID,Company,Message",
        "1000,Acme,",
        "Delivery ID,Item ID,Count",
        "1000,MUG,1",
        "1000,SOFA,2",
    ]


def test_yamato_b2_cloud():
    """
    The encoding of Japanese Windows, times of Tokyo, an address over two columns, items joined in one.

    Source: https://manual.aiship.jp/csv%E3%83%AC%E3%82%A4%E3%82%A2%E3%82%A6%E3%83%88
    """
    yamato = layout(
        "orders",
        {"encoding": "cp932", "if_unencodable": "replace"},
        [
            {"at": "お客様管理番号", "field": "fulfilment_id"},
            {"at": "出荷予定日", "field": "received_at", "pattern": "%Y/%m/%d", "zone": "Asia/Tokyo"},
            {"at": "お届け先郵便番号", "field": "ship_to.postcode"},
            {"at": ["住所", "建物"], "join_fields": ["ship_to.address1", "ship_to.address2"], "max_length": 16},
            {"at": "お届け先名", "field": "ship_to.name"},
            {"at": "敬称", "constant": "様"},
            {"at": "品名", "field": "line.sku", "join": "、"},
            {"at": "個数", "field": "line.quantity", "join": "、"},
        ],
        one_row_per="order",
    )
    order = shipping_order(name="山田 太郎", address1="千代田区千代田1-1", address2="第2ビル", postcode="100-0001")

    written = yamato.encode([order])
    assert written.decode("cp932").splitlines()[1] == (
        "1000,2026/01/20,100-0001,千代田区千代田1-1,第2ビル,山田 太郎,様,MUG、SOFA,1、2"
    )
    assert [each.value for each in yamato.read(written)[0]] == [yamato.project(order)]


def test_kaufland_order_commands():
    """
    The first cell is what happened; what stands in the others, and how many there are, depends on it.

    Source: https://sellerapi.kaufland.com/?page=order-files
    """
    cancelled = {"field": "status", "op": "eq", "value": "cancelled"}
    kaufland = layout(
        "status",
        {"delimiter": ";", "header": False, "short_rows": "pad"},
        [
            {"at": 1, "field": "status", "map": {"MARK_UNIT_SENT": "shipped", "MARK_UNIT_CANCELLED": "cancelled"}},
            {"at": 2, "field": "reference"},
            {"at": 3, "field": "aside.third"},
            {"at": 4, "field": "tracking_numbers"},
        ],
        derive=[
            {"field": "message", "first_of": ["aside.third"], "when": cancelled},
            {"field": "carrier", "first_of": ["aside.third"], "when": {"not": cancelled}},
        ],
    )

    records, problems = kaufland.read(b"MARK_UNIT_SENT;1;DHL;T1\nMARK_UNIT_CANCELLED;2;NoStock\n")
    assert problems == []
    first, second = (each.value for each in records)
    assert (str(first.status), first.message, first.shipments[0].carrier) == ("shipped", None, "DHL")
    assert (str(second.status), second.message, second.shipments) == ("cancelled", "NoStock", ())
