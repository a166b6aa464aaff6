"""The ancestor's three ways to a partner, through real servers and a configuration: FTP, SFTP, URL."""

from __future__ import annotations

import csv
import io
import threading
import urllib.parse
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fcflow.synchronizer import Synchronizer
from fcflow.testing import servers
from fcflow.testing.partners import order

RULES = {
    "fcflow": "ruleset/1",
    "name": "all to the partner",
    "rules": [{"id": "all", "when": True, "then": [{"allocate": {"to": ["centre"]}}]}],
}


def configuration(connection, feeds, **partner):
    return {
        "fcflow": "config/1",
        "store": {"url": "sqlite://"},
        "rules": RULES,
        "partners": {
            "centre": {
                "connection": connection,
                **feeds,
                "limits": {"backoff_s": 0, "timeout_s": 10},
                "location": {"kind": "fulfilment_centre", "stock": {"orders_count": True}},
                **partner,
            }
        },
    }


FILES = {
    "orders": {"layout": "linnworks-orders", "path": "in", "name": "orders-{counter}.csv"},
    "status": {"layout": "linnworks-status", "path": "out", "match": "status*.csv"},
    "stock": {"layout": "linnworks-stock", "path": "out", "match": "stock*.csv"},
}


def walk(sync, arrived, answer):
    """Stock in, order out, status back."""
    sync.add_orders([order("A1", MUG=2), order("A2", MUG=1)])
    answer("stock-1.csv", "SKU,Quantity\nMUG,2\n")
    report = sync.run()
    assert report.ok, str(report)
    assert report.partners["centre"].sent == ["A1"]
    assert arrived() == ["A1"]

    answer("status-1.csv", "OrderId,Status,TrackingNumber,ShippingService,Error\nA1,SHIPPED,T1,Next Day,\n")
    answer("stock-2.csv", "SKU,Quantity\nMUG,5\n")
    report = sync.run()
    assert report.ok, str(report)
    [parcel] = sync.order("A1").fulfilments[0].shipments
    assert (sync.order("A1").state.value, parcel.tracking_numbers, parcel.service) == ("closed", ("T1",), "Next Day")
    assert report.partners["centre"].sent == ["A2"]
    assert [event.data["raw_status"] for event in sync.audit(type="FULFIL_STATUS")] == ["SHIPPED"]


def file_ways(root: Path):
    def arrived():
        texts = [path.read_text() for path in (root / "in").glob("*.csv")]
        return sorted({row["OrderId"] for text in texts for row in csv.DictReader(io.StringIO(text))})

    def answer(name, text):
        temporary = root / "out" / f"{name}.part"
        temporary.write_text(text)
        temporary.rename(root / "out" / name)

    return arrived, answer


@contextmanager
def ftp_partner(tmp_path, monkeypatch):
    with servers.pyftpdlib_server(tmp_path) as server:
        monkeypatch.setenv("CENTRE_PASSWORD", server.password)
        yield server, {"url": server.url, "secrets": {"password": {"env": "CENTRE_PASSWORD"}}}


@contextmanager
def sftp_partner(tmp_path, monkeypatch):
    with servers.asyncssh_server(tmp_path) as server:
        monkeypatch.setenv("CENTRE_PASSWORD", server.password)
        options = {"host_key": server.host_key}
        yield server, {"url": server.url, "secrets": {"password": {"env": "CENTRE_PASSWORD"}}, "options": options}


@pytest.fixture(params=[ftp_partner, sftp_partner], ids=["ftp", "sftp"])
def file_partner(request, tmp_path, monkeypatch):
    with request.param(tmp_path, monkeypatch) as (server, connection):
        for name in ("in", "out"):
            (server.root / name).mkdir()
        yield server, connection


def test_orders_go_out_and_answers_come_back_over_ftp_and_sftp(file_partner):
    """
    Export, status and stock over a file server, with the ancestor's own columns.
    """
    server, connection = file_partner
    with Synchronizer.from_config(configuration(connection, FILES)) as sync:
        walk(sync, *file_ways(server.root))
    assert sorted(path.name for path in (server.root / "out" / "archive").iterdir()) == [
        "status-1.csv",
        "stock-1.csv",
        "stock-2.csv",
    ]


def test_a_wrong_password_is_reported_and_nothing_leaves(file_partner, monkeypatch):
    """
    The order stays where it is, says why, and leaves as soon as the password is right; the password shows nowhere.
    """
    server, connection = file_partner
    monkeypatch.setenv("CENTRE_PASSWORD", "wr0ng-canary")
    document = configuration(connection, FILES)
    document["partners"]["centre"]["location"]["stock"] = {"tracked": False}
    with Synchronizer.from_config(document) as sync:
        sync.add_orders([order("A1", MUG=1)])
        report = sync.run()
        assert {failure.code for _, failure in report.failures} == {"transport.login"}
        assert "wr0ng-canary" not in report.to_json() + str(sync.order("A1")) + repr(sync)
        assert sync.order("A1").fulfilments[0].label_error
        monkeypatch.setenv("CENTRE_PASSWORD", server.password)
        assert sync.run().partners["centre"].sent == ["A1"]


def test_an_unknown_host_key_is_refused_and_the_message_says_how_to_pin_it(tmp_path, monkeypatch):
    """
    No byte of an order goes to a server whose key nobody knows.
    """
    with sftp_partner(tmp_path, monkeypatch) as (server, connection):
        (server.root / "in").mkdir()
        (server.root / "out").mkdir()
        known = tmp_path / "known_hosts"
        known.write_text("")
        document = configuration({**connection, "options": {"known_hosts": str(known)}}, FILES)
        with Synchronizer.from_config(document) as sync:
            sync.add_orders([order("A1", MUG=1)], location="centre")
            report = sync.run()
        assert {failure.code for _, failure in report.failures} == {"transport.untrusted"}
        assert "SHA256:" in report.failures[0][1].message
        assert list((server.root / "in").iterdir()) == []


# ------------------------------------------------------------------ URL post and query


class Desk:
    """The partner's books behind the URL: what was posted, and what it will answer."""

    def __init__(self):
        self.posts = []
        self.answer = "OK"
        self.statuses = {}
        self.stock = "SKU\tQuantity\nMUG\t5\n"

    def post(self, body):
        fields = urllib.parse.parse_qs(body.decode("utf-8"))
        self.posts.append(fields["OrderId"][0])
        return self.answer

    def query(self, path, asked):
        if path == "/stock":
            return self.stock
        status = self.statuses.get(asked.get("OrderId", [""])[0])
        return "OrderId\tStatus\tTrackingNumber\tShippingService\tError\n" + status if status else ""


@pytest.fixture
def desk():
    books = Desk()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def _say(self, text):
            body = text.encode("utf-8")
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self._say(books.post(self.rfile.read(int(self.headers["Content-Length"]))))

        def do_GET(self):
            parts = urllib.parse.urlsplit(self.path)
            self._say(books.query(parts.path, urllib.parse.parse_qs(parts.query)))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    books.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield books
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def over_url(desk):
    feeds = {
        "orders": {
            "layout": "linnworks-url-order",
            "path": "orders",
            "batch": 1,
            "options": {"accept": {"body": "OK"}},
        },
        "status": {
            "layout": "linnworks-url-status",
            "path": "status",
            "options": {"per": "order", "query": {"OrderId": "{fulfilment_id}"}},
        },
        "stock": {"layout": "linnworks-url-stock", "path": "stock"},
    }
    with Synchronizer.from_config(configuration({"url": desk.url}, feeds)) as sync:
        yield sync


def test_an_order_is_posted_by_itself_and_OK_means_never_again(desk, over_url):
    """
    One form post an order; after OK it is never posted again.
    """
    over_url.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
    report = over_url.run()
    over_url.run()
    assert report.partners["centre"].sent == ["A1", "A2"]
    assert desk.posts == ["A1", "A2"]
    assert over_url.order("A1").fulfilments[0].label_printed_at is not None


@pytest.mark.parametrize("answer", ["unknown postcode", "ok", "OK!", "<html>OK</html>"])
def test_any_answer_but_OK_is_the_error_and_the_order_is_posted_again_next_time(desk, over_url, answer):
    """
    The text is shown at the label; one post a run, until the answer is OK.
    """
    desk.answer = answer
    over_url.add_orders([order("A1", MUG=1)])
    over_url.run()
    [view] = over_url.order("A1").fulfilments
    assert (view.state.value, desk.posts) == ("send_failed", ["A1"])
    assert answer in view.label_error

    desk.answer = "OK"
    over_url.run()
    assert desk.posts == ["A1", "A1"]
    assert over_url.order("A1").fulfilments[0].state.value == "sent"


def test_status_and_stock_come_in_from_a_url_query(desk, over_url):
    """
    Each open order is asked for; the stock answer sets the levels.
    """
    over_url.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
    over_url.run()
    desk.statuses = {"A1": "A1\tSHIPPED\tT1\tNext Day\t\n", "A2": "A2\tERROR\t\t\taddress unknown\n"}
    desk.stock = "SKU\tQuantity\nMUG\t3\n"
    report = over_url.run().partners["centre"]

    assert report.shipped == ["A1"]
    assert over_url.order("A2").fulfilments[0].problem == "address unknown"
    assert over_url.stock(sku="MUG")[0].level == 3


def test_a_refused_login_over_http_is_a_failure_of_the_partner_not_an_unclear_order(desk, over_url, monkeypatch):
    """
    401 says for certain that nothing was taken: the order stays movable and is posted when the way in is mended.
    """
    from fcflow.errors import TransportLoginError
    from fcflow.transports.http import HttpTransport

    def refused(self, delivery):
        delivery.publishing()
        raise TransportLoginError("401")

    over_url.add_orders([order("A1", MUG=1)])
    with monkeypatch.context() as patch:
        patch.setattr(HttpTransport, "send", refused)
        report = over_url.run()
    [view] = over_url.order("A1").fulfilments
    assert (view.state.value, view.attempts) == ("send_failed", 0)
    assert [failure.code for _, failure in report.failures] == ["transport.login"]
    assert over_url.run().partners["centre"].sent == ["A1"]


def test_a_post_that_the_server_is_still_working_on_is_not_posted_again(desk, over_url, monkeypatch):
    """
    A time-out, and a look that finds nothing yet, prove nothing: the order waits for a person, posted once.
    """
    from fcflow.errors import TransportUnclearError
    from fcflow.transports import Presence
    from fcflow.transports.http import HttpTransport

    real = HttpTransport.send

    def late(self, delivery):
        real(self, delivery)
        raise TransportUnclearError("no answer within 10 s")

    monkeypatch.setattr(HttpTransport, "send", late)
    monkeypatch.setattr(HttpTransport, "look_up", lambda self, delivery: Presence.ABSENT)
    over_url.add_orders([order("A1", MUG=1)])
    over_url.run()
    over_url.run()
    assert desk.posts == ["A1"]
    assert over_url.order("A1").fulfilments[0].state.value == "unclear"
