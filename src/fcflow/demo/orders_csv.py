"""
Writes the order export that ships with the demonstration: 500 orders of an invented shop, as Shopify exports them.

Every run with one seed writes the same bytes. ``python -m fcflow.demo.orders_csv > FILE`` writes the file anew.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

from attrs import frozen

from fcflow.demo.catalogue import Article, catalogue

__all__ = ["COLUMNS", "ORDERS", "SEED", "export_csv"]

SEED = 2026
ORDERS = 500

COLUMNS = (
    *("Name", "Email", "Financial Status", "Paid at", "Fulfillment Status", "Fulfilled at", "Accepts Marketing"),
    *("Currency", "Subtotal", "Shipping", "Taxes", "Total", "Discount Code", "Discount Amount", "Shipping Method"),
    *("Created at", "Lineitem quantity", "Lineitem name", "Lineitem price", "Lineitem compare at price"),
    *("Lineitem sku", "Lineitem requires shipping", "Lineitem taxable", "Lineitem fulfillment status"),
    *("Billing Name", "Billing Street", "Billing Address1", "Billing Address2", "Billing Company", "Billing City"),
    *("Billing Zip", "Billing Province", "Billing Country", "Billing Phone"),
    *("Shipping Name", "Shipping Street", "Shipping Address1", "Shipping Address2", "Shipping Company"),
    *("Shipping City", "Shipping Zip", "Shipping Province", "Shipping Country", "Shipping Phone"),
    *("Notes", "Note Attributes", "Cancelled at", "Payment Method", "Payment Reference", "Refunded Amount", "Vendor"),
    *("Outstanding Balance", "Employee", "Location", "Device ID", "Id", "Tags", "Risk Level", "Source"),
    *("Lineitem discount", "Tax 1 Name", "Tax 1 Value", "Tax 2 Name", "Tax 2 Value", "Tax 3 Name", "Tax 3 Value"),
    *("Tax 4 Name", "Tax 4 Value", "Tax 5 Name", "Tax 5 Value", "Phone", "Receipt Number", "Duties"),
    *("Billing Province Name", "Shipping Province Name", "Payment ID", "Payment Terms Name", "Next Payment Due At"),
    "Payment References",
)

_FIRST = (
    *("Amelia", "Arthur", "Beatrice", "Bilal", "Catrin", "Dafydd", "Eilidh", "Farah", "George", "Hamish", "Imogen"),
    *("Jasmine", "Kwame", "Leila", "Morag", "Niamh", "Oliver", "Priya", "Rhys", "Saoirse", "Tariq", "Una", "Zoë"),
)
_LAST = (
    *("Abbott", "Ahmed", "Bell", "Campbell", "Davies", "Evans", "Fraser", "Gray", "Hughes", "Iqbal", "Jones", "Khan"),
    *("Lewis", "MacLeod", "Murphy", "O'Brien", "Okafor", "Patel", "Reid", "Shah", "Taylor", "Walker", "Wright"),
)
_ROADS = ("Mill Lane", "Church Road", "Station Street", "The Green", "Castle Hill", "Victoria Terrace", "Beech Close")
_BRITISH = (
    *(("London", "SW1Y", "ENG"), ("London", "E17", "ENG"), ("Leeds", "LS6", "ENG"), ("Manchester", "M20", "ENG")),
    *(("Bristol", "BS3", "ENG"), ("York", "YO1", "ENG"), ("Norwich", "NR2", "ENG"), ("Exeter", "EX4", "ENG")),
    *(("Cardiff", "CF10", "WLS"), ("Aberystwyth", "SY23", "WLS"), ("Edinburgh", "EH3", "SCT")),
    *(("Glasgow", "G12", "SCT"), ("Belfast", "BT9", "NIR"), ("Newcastle upon Tyne", "NE2", "ENG")),
)
_HIGHLAND = (
    ("Inverness", "IV2", "SCT"),
    ("Stornoway", "HS1", "SCT"),
    ("Wick", "KW1", "SCT"),
    ("Lerwick", "ZE1", "SCT"),
)
_EUROPEAN = (
    ("Zoé Lefèvre", "12 rue des Tanneurs", "Lyon", "'69002", "", "FR"),
    ("Benoît Marchand", "5 place de l'Église", "Nantes", "'44000", "", "FR"),
    ("Jürgen Groß", "Schloßstraße 8", "Köln", "'50667", "", "DE"),
    ("Käthe Müller", "Am Bühl 3", "Freiburg", "'79098", "", "DE"),
    ("Aoife Ní Bhriain", "4 Shop Street", "Galway", "H91 AX2P", "G", "IE"),
    ("Sanne de Vries", "Oudegracht 101", "Utrecht", "3511 AE", "", "NL"),
    ("Íñigo Muñoz", "Calle Mayor 7, 2º", "Pamplona", "'31001", "NA", "ES"),
    ("Åsa Lindström", "Storgatan 21", "Uppsala", "753 20", "", "SE"),
    ("Chiara D'Angelo", "Via Garibaldi 9", "Torino", "'10122", "TO", "IT"),
)
_FAR = (
    ("Grace Whitfield", "214 Maple Avenue", "Portland", "'97205", "OR", "US"),
    ("Jack Nguyen", "8 Harbour Parade", "Hobart", "'7000", "TAS", "AU"),
    ("Regula Bürgi", "Seestrasse 40", "Zürich", "'8002", "ZH", "CH"),
)
_POLISH = ("Łukasz Wójcik", "ul. Świętokrzyska 14", "Łódź", "90-001", "", "PL")
_LETTERS = 250
"""The order whose address has letters that cp1252 lacks."""
_NOTES = (
    "Please leave in the porch",
    "Gift: no invoice please",
    "Ring twice; the bell is quiet",
    'For "the cottage", not the house',
    "Gift for Mum\nPlease write: Happy birthday, love from us all",
    "Call before delivery, gate is locked",
)
_BASKETS = (
    *(("light",) * 44, ("home",) * 30, ("garden",) * 11, ("bulky",) * 4),
    *(("light", "home") * 3, ("home", "garden") * 3),
)


@frozen(kw_only=True)
class _Address:
    name: str
    street: str
    town: str
    postcode: str
    province: str
    country: str
    phone: str = ""

    def cells(self, prefix: str) -> dict[str, str]:
        parts = {
            "Name": self.name,
            "Street": self.street,
            "Address1": self.street,
            "City": self.town,
            "Zip": self.postcode,
            "Province": self.province,
            "Country": self.country,
            "Phone": self.phone,
        }
        return {f"{prefix} {part}": text for part, text in parts.items()}


def export_csv(seed: int = SEED, orders: int = ORDERS) -> bytes:
    """
    The export: UTF-8, one row per order line, an order's own values on its first row only.

    Example:
        >>> export_csv(orders=1).decode().splitlines()[0][:31]
        'Name,Email,Financial Status,Pai'
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for number in range(orders):
        # One generator an order: a change of one leaves the others as they are.
        writer.writerows(_order(number, Random(f"{seed}:{number}")))  # noqa: S311  # invented data
    return text.getvalue().encode()


def _order(number: int, chance: Random) -> Iterator[dict[str, str]]:
    created = datetime(2026, 11, 1, 7, tzinfo=UTC) + timedelta(minutes=17 * number + chance.randrange(15))
    items = _items(number, chance)
    first = _first_row(number, created, items, chance)
    for index, (article, units) in enumerate(items):
        row = {"Name": first["Name"], "Email": first["Email"], "Created at": first["Created at"]}
        yield (first if index == 0 else row) | _line(article, units)


def _items(number: int, chance: Random) -> list[tuple[Article, int]]:
    goods = catalogue()
    if number % 125 == 60:
        return [(goods["SEE-MEADOW"], 2)]
    if number % 200 == 90:
        return [(goods["BOX-MYSTERY"], 1)]
    if number == _LETTERS:
        return [(goods["JUG-1L"], 1)]
    kinds = chance.choice([kind for group in _BASKETS for kind in _paired(group)])
    pool = [[article for article in goods.values() if article.sold_as == kind] for kind in kinds]
    wanted = max(len(kinds), chance.choice((1, 1, 1, 1, 1, 2, 2, 2, 3, 4)))
    if "bulky" in kinds:
        wanted = 1
    picked = {article.sku: article for index in range(wanted) for article in [chance.choice(pool[index % len(pool)])]}
    return [(article, _units(article, chance)) for article in picked.values()]


def _paired(group: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """A group of one kind stands for baskets of that kind; one of two for baskets that hold both."""
    if len(set(group)) == 1:
        yield from ((kind,) for kind in group)
    else:
        yield from [tuple(group[:2])] * (len(group) // 2)


def _units(article: Article, chance: Random) -> int:
    return 1 if article.price > 40 else chance.choice((1, 1, 1, 1, 2, 2, 3, 4))


def _line(article: Article, units: int) -> dict[str, str]:
    return {
        "Lineitem quantity": str(units),
        "Lineitem name": article.title,
        "Lineitem price": str(article.price),
        "Lineitem sku": article.sku,
        "Lineitem requires shipping": "true",
        "Lineitem taxable": "true",
        "Lineitem fulfillment status": "pending",
        "Lineitem discount": "0.00",
        "Vendor": "Hearth & Hollow",
    }


def _first_row(number: int, created: datetime, items: list[tuple[Article, int]], chance: Random) -> dict[str, str]:
    address = _address(number, chance)
    row = {
        "Name": f"#{1001 + number}",
        "Email": f"customer{1001 + number}@example.com",
        "Fulfillment Status": "unfulfilled",
        "Accepts Marketing": chance.choice(("yes", "no")),
        "Created at": _stamp(created),
        "Payment Method": chance.choice(("Shopify Payments", "PayPal Express Checkout")),
        "Id": str(6_204_118_000_000 + 7919 * number),
        "Tags": ", ".join(_tags(number, chance)),
        "Notes": chance.choice(_NOTES) if chance.random() < 0.12 else "",
        "Risk Level": "Low",
        "Source": "web",
    }
    row |= _payment(number, created)
    row |= _money(address, items, chance)
    return row | address.cells("Billing") | address.cells("Shipping")


def _stamp(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%S +0000")


def _payment(number: int, created: datetime) -> dict[str, str]:
    paid = {"Financial Status": "paid", "Paid at": _stamp(created + timedelta(seconds=40))}
    if number % 50 == 17:
        return {"Financial Status": "pending"}
    if number % 100 == 43:
        return {"Financial Status": "authorized"}
    if number % 100 == 71:
        return paid | {"Financial Status": "refunded"}
    if number % 100 == 26:
        return paid | {"Cancelled at": _stamp(created + timedelta(hours=2))}
    return paid


def _money(address: _Address, items: list[tuple[Article, int]], chance: Random) -> dict[str, str]:
    subtotal = sum((article.price * units for article, units in items), Decimal(0))
    method, postage = _postage(address, subtotal, chance)
    total = subtotal + postage
    taxes = (total / 6).quantize(Decimal("0.01"))
    return {
        "Currency": "GBP",
        "Subtotal": str(subtotal),
        "Shipping": str(postage),
        "Taxes": str(taxes),
        "Total": str(total),
        "Discount Amount": "0.00",
        "Shipping Method": method,
        "Refunded Amount": "0.00",
        "Outstanding Balance": "0.00",
        "Tax 1 Name": "VAT 20%",
        "Tax 1 Value": str(taxes),
    }


def _postage(address: _Address, subtotal: Decimal, chance: Random) -> tuple[str, Decimal]:
    if address.country != "GB":
        return "International", Decimal("12.90")
    if chance.random() < 0.1:
        return "Express", Decimal("7.95")
    return "Standard", Decimal("0.00") if subtotal >= 50 else Decimal("3.95")


def _tags(number: int, chance: Random) -> Iterator[str]:
    if number % 70 == 33:
        yield "review"
    if chance.random() < 0.05:
        yield "vip"
    if chance.random() < 0.08:
        yield "repeat customer"


def _address(number: int, chance: Random) -> _Address:
    where = chance.random()
    if number == _LETTERS:
        return _foreign(_POLISH)
    if where < 0.13:
        return _foreign(chance.choice(_EUROPEAN))
    if where < 0.16:
        return _foreign(chance.choice(_FAR))
    town, outward, province = chance.choice(_HIGHLAND if where < 0.19 else _BRITISH)
    inward = f"{chance.randrange(1, 10)}{chance.choice('ABDEFGHJLN')}{chance.choice('PQRSTUWXYZ')}"
    return _Address(
        name=f"{chance.choice(_FIRST)} {chance.choice(_LAST)}",
        street=f"{chance.randrange(1, 180)} {chance.choice(_ROADS)}",
        town=town,
        postcode=f"{outward} {inward}",
        province=province,
        country="GB",
        phone=f"+44 7700 {900000 + chance.randrange(1000)}",
    )


def _foreign(parts: Sequence[str]) -> _Address:
    name, street, town, postcode, province, country = parts
    return _Address(name=name, street=street, town=town, postcode=postcode, province=province, country=country)


if __name__ == "__main__":
    sys.stdout.buffer.write(export_csv())
