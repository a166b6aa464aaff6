"""
The three simulated partners: each reads our bytes with its own parser and answers in its own dialect.

They know nothing of fcflow's codecs and layouts on purpose: what they cannot read is a complaint, and a complaint fails
the demonstration. They also misbehave as partners do, a bounded number of times.
"""

from __future__ import annotations

import csv
import io
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from fcflow.demo.books import FATES, Books, Report
from fcflow.demo.catalogue import aliases_of, stock_of
from fcflow.demo.servers import serve_ftp, serve_sftp

__all__ = ["Dropco", "FilePartner", "Leeds", "Postal", "SimulatedPartner", "partners_at_work"]


class SimulatedPartner:
    """
    A partner with books and a copy of everything that was exchanged.

    Args:
        exchanged: Folder for the copies, numbered in the order in which they crossed.
    """

    def __init__(self, books: Books, exchanged: Path) -> None:
        self.books = books
        self.complaints: list[str] = []
        self._exchanged = exchanged
        self._count = 0
        self._done: set[str] = set()
        exchanged.mkdir(parents=True)

    @property
    def code(self) -> str:
        """Of the partner in the configuration."""
        return self.books.code

    def open_day(self) -> None:
        """Say what is on the shelves."""

    def work(self) -> int:
        """Take what was sent, work on it, and say so; returns how many orders were worked on."""
        raise NotImplementedError

    def _keep(self, direction: str, name: str, content: bytes) -> None:
        self._count += 1
        (self._exchanged / f"{self._count:03}-{direction}-{name}").write_bytes(content)

    def _once(self, what: str) -> bool:
        is_first = what not in self._done
        self._done.add(what)
        return is_first


# ------------------------------------------------------------------ partners with a folder


class FilePartner(SimulatedPartner):
    """
    A partner whose server has folders for orders, statuses and stock.

    Args:
        root: What its server serves.
    """

    inbox: ClassVar[str]
    outbox: ClassVar[str]
    shelf: ClassVar[str]
    encoding: ClassVar[str]

    def __init__(self, books: Books, exchanged: Path, root: Path) -> None:
        super().__init__(books, exchanged)
        self.root = root
        self.rounds = 0
        self._told: list[bytes] = []
        for folder in (self.inbox, self.outbox, self.shelf):
            (root / folder).mkdir(parents=True)

    def open_day(self) -> None:
        self._say_stock()

    def work(self) -> int:
        self.rounds += 1
        self._collect()
        reports = list(self.books.work())
        if reports:
            self._say(reports)
        self._misbehave()
        self._say_stock()
        return len(reports)

    def _collect(self) -> None:
        """Take every whole file and delete it, as partners do."""
        for path in sorted((self.root / self.inbox).iterdir()):
            if path.is_file() and not path.name.endswith(".part"):
                content = path.read_bytes()
                self._keep("to-partner", path.name, content)
                try:
                    self._book(content.decode(self.encoding))
                except (ValueError, KeyError) as error:
                    self.complaints.append(f"{path.name}: cannot be read: {error!r}")
                path.unlink()

    def _book(self, text: str) -> None:
        """Read an order file in this partner's dialect."""
        raise NotImplementedError

    def _say(self, reports: Sequence[Report]) -> None:
        """Write a status file."""
        raise NotImplementedError

    def _say_stock(self) -> None:
        """Write a stock file."""
        raise NotImplementedError

    def _misbehave(self) -> None:
        """Do what partners should not do."""

    def _publish(self, folder: str, name: str, content: bytes) -> None:
        target = self.root / folder / name
        hidden = target.with_name(name + ".part")
        hidden.write_bytes(content)
        os.replace(hidden, target)
        self._keep("from-partner", name, content)


def _grouped(rows: Iterator[tuple[str, str, int]]) -> dict[str, Counter[str]]:
    """Order to SKU to units, out of one row a line."""
    orders: dict[str, Counter[str]] = defaultdict(Counter)
    for reference, sku, units in rows:
        if not reference or not sku or units < 1:
            raise ValueError(f"order {reference!r}, article {sku!r}, quantity {units}")
        orders[reference][sku] += units
    return orders


class Leeds(FilePartner):
    """A warehouse: FTP, semicolons, cp1252, ``dd/mm/yyyy``, decimal comma, one row a line."""

    inbox, outbox, shelf = "in", "out", "stock"
    encoding = "cp1252"
    words: ClassVar[dict[str, str]] = {
        "accepted": "BOOKED",
        "part": "PART DESPATCHED",
        "shipped": "DESPATCHED",
        "cancelled": "CANCELLED",
        "error": "QUERY",
    }
    head: ClassVar[tuple[str, ...]] = (
        *("Order", "State", "Carrier", "Tracking", "Date", "Article", "Shipped", "Message"),
    )

    def _book(self, text: str) -> None:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=";", strict=True)
        for reference, lines in _grouped(self._line(row) for row in reader).items():
            self.books.receive(reference, lines)

    def _line(self, row: dict[str, str]) -> tuple[str, str, int]:
        datetime.strptime(row["Order date"], "%d/%m/%Y")  # noqa: DTZ007  # a date alone
        euros, comma, cents = row["Unit price"].partition(",")
        if not (euros.isdecimal() and comma and len(cents) == 2 and row["Postcode"] and row["Country"]):
            raise ValueError(f"order {row['Order']}: price {row['Unit price']!r}, postcode {row['Postcode']!r}")
        if row["Article"] not in self.books.opening:
            self.complaints.append(f"order {row['Order']}: we do not stock {row['Article']!r}")
        return row["Order"], row["Article"], int(row["Quantity"])

    def _say(self, reports: Sequence[Report]) -> None:
        rows = [row for report in reports for row in self._rows(report)]
        if self._once("garbage"):
            rows.insert(len(rows) // 2, ["#### printer out of paper ####"])
            rows.append([reports[0].reference, "ON THE MOON", "", "", self._today(), "", "", ""])
        content = self._text([self.head, *rows])
        self._told.append(content)
        self._publish(self.outbox, f"ST-{len(self._told):03}.csv", content)

    def _rows(self, report: Report) -> Iterator[list[str]]:
        start = [report.reference, self.words[report.word]]
        parcel = report.parcel
        if parcel is None:
            yield [*start, "", "", self._today(), "", "", report.message]
        elif parcel.contents == self.books.orders[report.reference].lines:
            yield [*start, "Parcelforce", parcel.tracking, self._today(), "", "", ""]
        else:
            for sku, units in parcel.contents.items():
                yield [*start, "Parcelforce", parcel.tracking, self._today(), sku, str(units), ""]

    def _misbehave(self) -> None:
        if self.rounds == 2:
            unknown = self._text([self.head, ["#9999", "DESPATCHED", "Parcelforce", "LE0", self._today(), "", "", ""]])
            self._publish(self.outbox, "ST-900.csv", unknown)
            self._publish(self.outbox, "ST-001.csv", self._told[0])

    def _say_stock(self) -> None:
        rows = [[sku, str(units)] for sku, units in self.books.levels().items()]
        if self._once("stock"):
            rows.append(["OLD-CATALOGUE", "plenty"])
        self._publish(self.shelf, f"STOCK-{self.rounds:03}.csv", self._text([("Article", "Free"), *rows]))

    def _text(self, rows: Sequence[Sequence[str]]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=";", lineterminator="\r\n").writerows(rows)
        return text.getvalue().encode(self.encoding)

    def _today(self) -> str:
        return datetime.now(UTC).strftime("%d/%m/%Y %H:%M:%S")


class Dropco(FilePartner):
    """A drop shipper: SFTP, tabs, UTF-8, its own article codes."""

    inbox, outbox, shelf = "inbox", "outbox", "inventory"
    encoding = "utf-8"
    words: ClassVar[dict[str, str]] = {
        "accepted": "Acknowledged",
        "part": "Partially Shipped",
        "shipped": "Shipped",
        "cancelled": "Canceled",
        "error": "Exception",
    }
    head: ClassVar[tuple[str, ...]] = (
        *("po_number", "item", "status", "qty_shipped", "carrier", "tracking_no", "ship_date", "reason"),
    )

    def _book(self, text: str) -> None:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", strict=True)
        rows = ((row["po_number"], row["item"], int(row["qty"])) for row in reader if self._is_complete(row))
        for reference, lines in _grouped(rows).items():
            self.books.receive(reference, lines)

    def _is_complete(self, row: dict[str, str]) -> bool:
        if row["item"] not in self.books.opening:
            self.complaints.append(f"order {row['po_number']}: {row['item']!r} is no article of ours")
        if not (row["ship_to_name"] and row["postal_code"] and len(row["country_code"]) == 2):
            self.complaints.append(f"order {row['po_number']}: the address is not complete")
        return True

    def _say(self, reports: Sequence[Report]) -> None:
        rows = [row for report in reports for row in self._rows(report)]
        content = self._text([self.head, *rows])
        self._told.append(content)
        self._publish(self.outbox, f"ACK_{len(self._told):03}.txt", content)

    def _rows(self, report: Report) -> Iterator[list[str]]:
        word, today = self.words[report.word], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        parcel = report.parcel
        if parcel is None:
            yield [report.reference, "", word, "", "", "", today, report.message]
            return
        for sku, units in parcel.contents.items():
            yield [report.reference, sku, word, str(units), "DPD", parcel.tracking, today, ""]

    def _misbehave(self) -> None:
        if self.rounds == 1:
            self._publish(self.outbox, "ACK_900.txt", b"\x00\x01\x02PK\x03\x04 not what you expect \xff\xfe")
            (self.root / self.outbox / "ACK_901.txt.part").write_bytes(b"po_number\titem\tsta")
        if self.rounds == 2:
            self._publish(self.outbox, "ACK_902.txt", self._told[0])

    def _say_stock(self) -> None:
        rows = [[sku, str(units)] for sku, units in self.books.levels().items()]
        self._publish(self.shelf, f"inventory-{self.rounds:03}.txt", self._text([("item", "available"), *rows]))

    def _text(self, rows: Sequence[Sequence[str]]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
        return text.getvalue().encode(self.encoding)


# ------------------------------------------------------------------ a partner with a URL


class Postal(SimulatedPartner):
    """A service that speaks the ancestor's URL protocol: one form post per order, then asked for status and stock."""

    refused_sku = "SEE-MEADOW"
    words: ClassVar[dict[str, str]] = {
        "accepted": "PROCESSING",
        "shipped": "SHIPPED",
        "cancelled": "CANCELLED",
        "error": "ERROR",
    }

    def __init__(self, books: Books, exchanged: Path, token: str) -> None:
        super().__init__(books, exchanged)
        self._token = token
        self._lock = threading.Lock()
        self.posts = 0
        self.keys: dict[str, str] = {}
        self._booked_keys: set[str] = set()

    def work(self) -> int:
        with self._lock:
            return len(list(self.books.work()))

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> tuple[int, str]:
        """The status and the text of an answer; a status of 0 hangs up instead."""
        with self._lock:
            if headers.get("Authorization") != f"Bearer {self._token}":
                return 401, "who are you"
            url = urlsplit(target)
            values = dict(parse_qsl(url.query))
            routes: dict[tuple[str, str], Callable[[], tuple[int, str]]] = {
                ("POST", "/order.php"): lambda: self._order(body, headers),
                ("GET", "/order.php"): lambda: self._known(values.get("OrderId", "")),
                ("GET", "/status.php"): lambda: self._status(values.get("OrderId", "")),
                ("GET", "/stock.php"): self._stock,
                ("HEAD", "/"): lambda: (200, ""),
            }
            route = routes.get((method, url.path))
            status, text = route() if route else (404, "no such page")
            self._keep("from-partner", f"{method}-{url.path.strip('/')}-{status}.txt", text.encode())
            return status, text

    def _order(self, body: bytes, headers: Any) -> tuple[int, str]:
        self._keep("to-partner", "POST-order.php.txt", body)
        self.posts += 1
        if self.posts == 5:
            return 503, "back in a moment"
        try:
            reference, lines = _form(body)
        except (ValueError, KeyError) as error:
            self.complaints.append(f"post {self.posts}: cannot be read: {error!r}")
            return 200, "cannot read this order"
        if self.refused_sku in lines:
            return 200, f"Unknown SKU {self.refused_sku}"
        self._count_arrival(headers["Idempotency-Key"], reference, lines)
        return (0, "") if self.posts == 9 else (200, "OK")

    def _count_arrival(self, key: str, reference: str, lines: Counter[str]) -> None:
        """Book an order; the same key again is the same post again, which this partner recognises."""
        if self.keys.setdefault(key, reference) != reference:
            self.complaints.append(f"order {reference}: the key of order {self.keys[key]}")
        elif key not in self._booked_keys:
            self._booked_keys.add(key)
            self.books.receive(reference, lines)

    def _known(self, reference: str) -> tuple[int, str]:
        return (200, "known") if reference in self.books.orders else (404, "unknown")

    def _status(self, reference: str) -> tuple[int, str]:
        booked = self.books.orders.get(reference)
        if booked is None:
            return 404, "unknown order"
        if booked.last is None:
            return 200, ""
        if self._once("weird word"):
            return 200, _tabs([_STATUS_HEAD, [reference, "TELEPORTED", "", "", ""]])
        if self._once("server error"):
            return 500, "<html>Fatal error: out of memory</html>"
        tracking = booked.last.parcel.tracking if booked.last.parcel else ""
        service = "Royal Mail Tracked 48" if tracking else ""
        return 200, _tabs(
            [_STATUS_HEAD, [reference, self.words[booked.last.word], tracking, service, booked.last.message]]
        )

    def _stock(self) -> tuple[int, str]:
        rows = [[sku, str(units)] for sku, units in self.books.levels().items()]
        return 200, _tabs([["SKU", "Quantity"], *rows])


_STATUS_HEAD = ["OrderId", "Status", "TrackingNumber", "ShippingService", "Error"]


def _tabs(rows: Sequence[Sequence[str]]) -> str:
    return "".join("\t".join(row) + "\r\n" for row in rows)


def _form(body: bytes) -> tuple[str, Counter[str]]:
    """Order and lines out of a posted form; items are numbered from 1."""
    values = dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True))
    lines: Counter[str] = Counter()
    number = 1
    while f"Item{number}SKU" in values:
        lines[values[f"Item{number}SKU"]] += int(values[f"Item{number}Quantity"])
        number += 1
    if not lines or not values["OrderId"]:
        raise ValueError(f"no items or no id among {sorted(values)}")
    return values["OrderId"], lines


class _PostalHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    partner: ClassVar[Postal]

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, text = self.partner.answer(self.command, self.path, self.headers, body)
        if status == 0:
            self.close_connection = True
            return
        content = text.encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        if status == 503:
            self.send_header("Retry-After", "1")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_POST = do_GET = do_HEAD = _handle  # noqa: N815  # names of the base class


@contextmanager
def _serve_http(partner: Postal) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Handler", (_PostalHandler,), {"partner": partner}))
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="demo-http", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# ------------------------------------------------------------------ all of them


@contextmanager
def partners_at_work(
    folder: Path, *, seed: int, passwords: dict[str, str]
) -> Iterator[tuple[Sequence[SimulatedPartner], dict[str, str]]]:
    """
    Start the three partners below *folder* and give them with what a configuration must know of them.

    Args:
        passwords: By partner code.
    """
    names = aliases_of("dropco")
    dropco_stock = {names[sku]: units for sku, units in stock_of("dropco").items()}
    by_post = {fate: share for fate, share in FATES.items() if fate != "part"}
    leeds = Leeds(
        Books("leeds", seed=seed, stock=stock_of("leeds"), falls="shipped"),
        folder / "exchanged" / "leeds",
        folder / "partners" / "leeds",
    )
    dropco = Dropco(
        Books("dropco", seed=seed, stock=dropco_stock, falls="received"),
        folder / "exchanged" / "dropco",
        folder / "partners" / "dropco",
    )
    postal = Postal(
        Books("postal", seed=seed, stock=stock_of("postal"), falls="received", fates=by_post),
        folder / "exchanged" / "postal",
        passwords["postal"],
    )
    with ExitStack() as stack:
        ftp_port = stack.enter_context(serve_ftp(leeds.root, "seller", passwords["leeds"]))
        sftp = stack.enter_context(serve_sftp(dropco.root, "seller", passwords["dropco"]))
        http_port = stack.enter_context(_serve_http(postal))
        found = {
            "leeds_port": str(ftp_port),
            "dropco_port": str(sftp.port),
            "dropco_host_key": sftp.host_key,
            "postal_port": str(http_port),
        }
        yield (leeds, dropco, postal), found
