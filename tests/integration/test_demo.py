"""
The demonstration, run once from the shop's export to the last parcel, and the comparison of books that judges it.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve, frozen
from rich.console import Console

from fcflow import Synchronizer
from fcflow.demo import runner
from fcflow.demo.account import differences, end_of
from fcflow.demo.books import Books, Parcel
from fcflow.demo.orders_csv import COLUMNS, export_csv
from fcflow.demo.runner import run_demo
from fcflow.errors import StoreError
from fcflow.model import FulfilmentState, OrderState
from fcflow.rules import load_rules
from fcflow.stock import StockSummary
from fcflow.store import OrderView

pytestmark = pytest.mark.timeout(300)


@frozen
class Done:
    """A day that is over."""

    folder: Path
    status: int
    shown: str
    partners: Sequence[Any]
    passwords: Sequence[str]
    orders: Sequence[OrderView]
    stock: Sequence[StockSummary]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """One day, run as a person runs it."""
    folder = tmp_path_factory.mktemp("demo") / "day"
    screen = io.StringIO()
    seen: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "partners_at_work", _watched(runner.partners_at_work, seen))
        status = run_demo(folder, console=Console(file=screen, width=140))
    with Synchronizer.from_config(folder / "fcflow.json") as sync:
        orders, stock = sync.orders(), sync.stock()
    return Done(folder, status, screen.getvalue(), seen["partners"], seen["passwords"], orders, stock)


def _watched(partners_at_work: Any, seen: dict[str, Any]) -> Any:
    @contextmanager
    def watched(folder: Path, **kwargs: Any) -> Iterator[Any]:
        with partners_at_work(folder, **kwargs) as (partners, found):
            seen.update(partners=partners, passwords=list(kwargs["passwords"].values()))
            yield partners, found

    return watched


# ------------------------------------------------------------------ what the shop exports


def _shipped_csv() -> bytes:
    return files("fcflow.demo").joinpath("data/shopify-orders.csv").read_bytes()


def test_the_generator_writes_the_export_that_ships() -> None:
    """
    Byte for byte, so that nobody edits the file and forgets the generator.
    """
    assert export_csv() == _shipped_csv()


def test_the_export_is_like_a_shops() -> None:
    """
    500 orders, about half of them with many rows, an order's own values on its first row, unpaid and cancelled ones.
    """
    reader = csv.DictReader(io.StringIO(_shipped_csv().decode(), newline=""))
    assert tuple(reader.fieldnames or ()) == COLUMNS
    rows = list(reader)
    counts = Counter(row["Name"] for row in rows)
    first = {row["Name"]: row for row in reversed(rows)}

    assert len(counts) == 500
    assert 200 <= sum(count > 1 for count in counts.values()) <= 300
    assert sum(bool(row["Financial Status"]) for row in rows) == 500
    assert {row["Financial Status"] for row in first.values()} == {"paid", "pending", "authorized", "refunded"}
    assert {"GB", "FR", "DE", "US"} <= {row["Shipping Country"] for row in first.values()}
    assert any("review" in row["Tags"] for row in first.values())
    assert any(row["Cancelled at"] for row in first.values())
    assert any("\n" in row["Notes"] for row in first.values())


def test_there_are_at_least_eight_rules_that_say_what_they_are_for() -> None:
    """
    Each with its reason and with examples, which loading has run.
    """
    document = load_rules(str(files("fcflow.demo").joinpath("data/rules.json"))).document

    assert len(document["rules"]) >= 8
    assert all(rule["about"] and rule["examples"] for rule in document["rules"])


# ------------------------------------------------------------------ the day


def test_every_order_is_accounted_for(done: Done) -> None:
    """
    Exit status 0: each of the 500 ended somewhere, with a reason, and both sides' books agree.
    """
    assert done.status == 0, done.shown
    ends = Counter(end_of(order).end for order in done.orders)
    assert ends["unaccounted"] == 0
    assert sum(ends.values()) + 5 == 500
    assert all(ends[end] for end in ("shipped", "held", "backordered", "waiting", "person"))
    assert all(end_of(order).why for order in done.orders if order.state is not OrderState.CLOSED)
    assert differences(done.partners, done.orders, done.stock) == []


def test_every_partner_shipped_in_parts_and_cancelled(done: Done) -> None:
    """
    Orders left over all three ways in, and what one partner cancelled was given to another.
    """
    views = [view for order in done.orders for view in order.fulfilments]
    for code in ("leeds", "dropco", "postal"):
        states = Counter(view.state for view in views if view.partner == code)
        assert states[FulfilmentState.SHIPPED] > 20
        assert states[FulfilmentState.CANCELLED] > 0
    assert any(len(view.shipments) > 1 for view in views if view.partner == "leeds")
    assert any(len(view.shipments) > 1 for view in views if view.partner == "dropco")
    cancelled = {v.order_id: v.partner for v in views if v.state is FulfilmentState.CANCELLED}
    assert any(v.state is FulfilmentState.SHIPPED and cancelled.get(v.order_id, v.partner) != v.partner for v in views)


@pytest.mark.parametrize(
    "said",
    [
        "STOCK-000.csv: line 23, column 2 (on_hand): expected digits, got 'plenty'",
        "got 'ON THE MOON'",
        "got 'TELEPORTED'",
        "got '#9999'",
        "ACK_900.txt: refused",
        "1 columns, expected 8 columns",
    ],
)
def test_what_partners_got_wrong_is_in_the_report(done: Done, said: str) -> None:
    """
    Nonsense is kept and shown, and did not stop the day.
    """
    assert said in _text_of(done.folder / "report.html")


@pytest.mark.parametrize("said", ["Unknown SKU SEE-MEADOW", "cp1252", "address not found by the carrier"])
def test_orders_for_a_person_say_why(done: Done, said: str) -> None:
    """
    A refusal, a name that the partner's encoding lacks, a partner's complaint: each is listed with its reason.
    """
    assert any(said in end_of(order).why for order in done.orders if end_of(order).end == "person")
    assert said in done.shown


def test_a_lost_answer_did_not_send_an_order_twice(done: Done) -> None:
    """
    The post room hung up after it had taken an order; it was looked up, not posted again as a new one.
    """
    postal = next(partner for partner in done.partners if partner.code == "postal")
    assert all(booked.arrivals == 1 for booked in postal.books.orders.values())
    with sqlite3.connect(f"file:{done.folder / 'fcflow.db'}?mode=ro", uri=True) as database:
        states = dict(database.execute("select state, count(*) from fcflow_outbox group by state").fetchall())
    database.close()
    assert "unclear" not in states
    assert postal.posts > len(postal.books.orders)


def test_everything_is_left_behind(done: Done) -> None:
    """
    The store, the configuration, and a copy of every file and answer that crossed, both ways.
    """
    for name in ("fcflow.db", "fcflow.json", "rules.json", "report.html", "shopify-orders.csv"):
        assert (done.folder / name).stat().st_size > 0
    for code in ("leeds", "dropco", "postal"):
        crossed = [path.name for path in (done.folder / "exchanged" / code).iterdir()]
        assert any("to-partner" in name for name in crossed)
        assert any("from-partner" in name for name in crossed)
    assert not list((done.folder / "partners" / "leeds" / "in").glob("*.csv"))


def test_the_day_is_there_for_programs_too(done: Done) -> None:
    """
    `day.json` says what the screen says.
    """
    day = json.loads((done.folder / "day.json").read_text(encoding="utf-8"))
    assert day["accounted_for"] is True
    assert day["orders"] == sum(day["ends"].values()) == 500
    assert {partner["code"] for partner in day["partners"]} == {"leeds", "dropco", "postal"}
    assert day["stock_after"]["leeds"]["JUG-1L"] < day["stock_before"]["leeds"]["JUG-1L"]


def test_each_partner_was_sent_its_own_dialect(done: Done) -> None:
    """
    Semicolons, decimal comma and cp1252 to Leeds; tabs and own codes to Dropco; a form to the post room.
    """
    exchanged = done.folder / "exchanged"
    leeds = next((exchanged / "leeds").glob("*to-partner*")).read_bytes().decode("cp1252")
    assert re.search(r";\d+,\d\d;\d\d/\d\d/\d{4};", leeds)
    dropco = next((exchanged / "dropco").glob("*to-partner*")).read_text(encoding="utf-8")
    assert re.search(r"^#\d+\tDC-\d{5}\t", dropco, re.MULTILINE)
    assert "GDN-" not in dropco
    postal = next((exchanged / "postal").glob("*to-partner*")).read_bytes()
    assert postal.startswith(b"OrderId=%23")


def test_no_secret_is_left_behind(done: Done) -> None:
    """
    The partners' passwords are in no file, and not on the screen.
    """
    assert len(done.passwords) == 3
    content = b"".join(path.read_bytes() for path in done.folder.rglob("*") if path.is_file()) + done.shown.encode()
    assert not [password for password in done.passwords if password.encode() in content]


class _Page(HTMLParser):
    """Tags that stay open, texts, and everything that a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.fetched: list[str] = []
        self.tags: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def _page(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    return page


def _text_of(path: Path) -> str:
    return " ".join(_page(path).words)


def test_the_report_is_one_file_that_opens_offline(done: Done) -> None:
    """
    Well-formed, without a script and without anything to fetch.
    """
    page = _page(done.folder / "report.html")
    source = (done.folder / "report.html").read_text(encoding="utf-8")
    assert page.open == []
    assert page.fetched == []
    assert page.tags["script"] == page.tags["link"] == 0
    assert "url(" not in source
    assert "@import" not in source


def test_the_report_shows_states_per_partner_and_the_flow_of_one_order(done: Done) -> None:
    """
    The charts hold the numbers of the store.
    """
    source = (done.folder / "report.html").read_text(encoding="utf-8")
    views = [view for order in done.orders for view in order.fulfilments]
    for code, way in (("leeds", "FTP"), ("dropco", "SFTP"), ("postal", "HTTP")):
        shipped = sum(view.partner == code and view.state is FulfilmentState.SHIPPED for view in views)
        assert f"<title>{code} ({way}): {shipped} shipped</title>" in source
    flow = source[source.index("The flow of order") :]
    assert "order taken over" in flow
    assert re.search(r"#\d+(-\d+)? is sent", flow)
    assert "closed" in flow


# ------------------------------------------------------------------ the folder


def test_an_earlier_day_is_replaced_and_a_strangers_folder_is_not(tmp_path: Path) -> None:
    """
    Only what the demonstration made itself is ever deleted.
    """
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(StoreError, match="not of an earlier demonstration"):
        run_demo(tmp_path)
    assert (tmp_path / "keep.txt").read_text() == "mine"

    (tmp_path / "day").mkdir()
    runner._make_folder(tmp_path / "day")
    (tmp_path / "day" / "old").write_text("old")
    runner._make_folder(tmp_path / "day")
    assert not (tmp_path / "day" / "old").exists()


# ------------------------------------------------------------------ the comparison bites


def _first(books: Books, *, parcels: bool = True) -> Any:
    return next(booked for booked in books.orders.values() if bool(booked.parcels) is parcels)


def _arrived_twice(books: Books) -> None:
    _first(books).arrivals = 2


def _lost(books: Books) -> None:
    del books.orders[_first(books).reference]


def _foreign(books: Books) -> None:
    books.receive("#0000", {next(iter(books.opening)): 1})


def _shipped_more(books: Books) -> None:
    booked = _first(books)
    booked.parcels.append(Parcel(tracking="X", contents={next(iter(booked.lines)): 1}))


def _other_tracking(books: Books) -> None:
    booked = _first(books)
    booked.parcels[0] = Parcel(tracking="X", contents=booked.parcels[0].contents)


def _read_other_units(books: Books) -> None:
    booked = _first(books)
    booked.lines[next(iter(booked.lines))] += 1


def _cancelled_there(books: Books) -> None:
    _first(books).is_cancelled = True


def _other_level(books: Books) -> None:
    books.opening[next(iter(books.opening))] += 1


def _oversold(books: Books) -> None:
    books.oversold.append("#1001")


@pytest.mark.parametrize("code", ["leeds", "dropco", "postal"])
@pytest.mark.parametrize(
    "tamper",
    [
        _arrived_twice,
        _lost,
        _foreign,
        _shipped_more,
        _other_tracking,
        _read_other_units,
        _cancelled_there,
        _other_level,
        _oversold,
    ],
)
def test_any_difference_between_the_books_is_found(done: Done, code: str, tamper: Callable[[Books], None]) -> None:
    """
    Each way in which a partner's books can disagree with ours is noticed, and named with the partner.
    """
    books = copy.deepcopy(next(partner.books for partner in done.partners if partner.code == code))
    tamper(books)
    others = [partner for partner in done.partners if partner.code != code]
    found = differences([*others, SimpleNamespace(code=code, books=books, complaints=[])], done.orders, done.stock)

    assert found
    assert all(text.startswith(f"{code}: ") for text in found)


def test_a_complaint_is_a_difference(done: Done) -> None:
    """
    A file that the partner could not read fails the day.
    """
    stand_in = SimpleNamespace(code="leeds", books=done.partners[0].books, complaints=["LE-1.csv: cannot be read"])

    assert differences([stand_in], done.orders, done.stock) == ["leeds: LE-1.csv: cannot be read"]


def test_an_order_that_ended_nowhere_is_unaccounted_for(done: Done) -> None:
    """
    Sent and never answered is no end.
    """
    order = next(order for order in done.orders if order.state is OrderState.CLOSED)
    view = evolve(order.fulfilments[0], state=FulfilmentState.SENT)
    stored = evolve(order.stored, state=OrderState.IN_FULFILMENT)

    assert end_of(evolve(order, stored=stored, fulfilments=(view,))).end == "unaccounted"


def test_a_closed_order_that_did_not_leave_whole_is_found(done: Done) -> None:
    """
    The state alone is not believed; units are counted.
    """
    order = next(order for order in done.orders if order.state is OrderState.CLOSED)
    found = differences([], [evolve(order, fulfilments=())], done.stock)

    assert found
    assert found[0].startswith(f"order {order.order_id}: line ")
