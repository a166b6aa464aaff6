"""A partner by e-mail, from the configuration of docs/how-to/work-by-e-mail.md to a shipped order."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from fcflow.config import load_config
from fcflow.synchronizer import Synchronizer
from fcflow.testing import servers
from fcflow.testing.faults import FaultProxy
from fcflow.testing.mail import Mailbox, files_of, written
from fcflow.testing.partners import order
from fcflow.testing.servers import Certificate, PostOffice, RunningServer

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "work-by-e-mail.md"
STATUS = b"OrderId,Status,TrackingNumber\n%s,SHIPPED,T-1\n"


def document() -> dict[str, Any]:
    """The configuration of the page."""
    found = re.search(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    loaded: dict[str, Any] = json.loads(found[1])
    return loaded


class Shop:
    """The shop's servers, and what it runs."""

    def __init__(self, office: PostOffice, smtp: RunningServer, box: Mailbox, imap: RunningServer) -> None:
        self.office, self.box = office, box
        self.config = document()
        self.config["store"] = {"url": "sqlite://"}
        acme = self.config["partners"]["acme"]
        acme["location"]["stock"] = {"tracked": False}
        acme["limits"] = {"tries": 1, "backoff_s": 0, "timeout_s": 10}
        for name, server, user in (("out", smtp, "shop"), ("in", imap, box.user)):
            way = acme["connections"][name]
            way["url"] = f"{server.scheme}://{user}@127.0.0.1:{server.port}/"
            way["secrets"] = {"password": {"env": f"MAIL_{name.upper()}"}}
            if server.certificate is not None:
                way.setdefault("options", {})["ca_file"] = str(server.certificate.ca)
            else:
                way["options"]["tls"] = "none"

    def open(self) -> Synchronizer:
        return Synchronizer.from_config(self.config)


@pytest.fixture
def shop(identity: Certificate, server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with servers.aiosmtpd_server(office := PostOffice(), identity=identity) as smtp:
        monkeypatch.setenv("MAIL_OUT", smtp.password)
        monkeypatch.setenv("MAIL_IN", server.password)
        with contextlib.closing(Mailbox(server)) as box:
            yield Shop(office, smtp, box, server)


pytestmark = [pytest.mark.real_server, pytest.mark.parametrize("server", ["dovecot"], indirect=True)]


def mail(shop: Shop, sender: str = "Desk <desk@acme.example>", **files: bytes) -> None:
    shop.box.put(written({name.replace("_", "."): content for name, content in files.items()}, sender), "INBOX")


def test_orders_leave_by_smtp_and_news_comes_by_imap(shop: Shop) -> None:
    """
    One message out; one message in, with statuses and stock, which is put away when both were read.
    """
    with shop.open() as sync:
        assert [finding.level for finding in sync.check(connect=True) if finding.level != "ok"] == []
        sync.add_orders([order("A1", MUG=2), order("A2", HAT=1)])
        plan = sync.plan()
        assert (len(plan.deliveries), shop.office.messages) == (1, [])
        assert sorted(sync.run().partner("acme").sent) == ["A1", "A2"]

        [message] = shop.office.messages
        assert (message["Subject"], message["To"]) == ("2 orders in orders-0001.csv", "Acme desk <desk@acme.example>")
        assert files_of(message) == {"orders-0001.csv": plan.deliveries[0].content}

        mail(shop, status_csv=STATUS % b"A1", stock_csv=b"SKU,Quantity\nMUG,7\n")
        mail(shop, "Desk <desk@evil.example>", status_csv=STATUS % b"A2")
        report = sync.run().partner("acme")
        assert (report.shipped, report.files_received, report.problems) == (["A1"], 2, [])
        assert report.stock_levels == 1
        assert sorted(shop.box.files("Processed")) == ["status.csv", "stock.csv"]
        assert [message["From"] for _, _, message in shop.box.messages("INBOX")] == ["Desk <desk@evil.example>"]

        again = sync.run().partner("acme")
        assert (again.sent, again.files_received, len(shop.office.messages)) == ([], 0, 1)


def test_a_file_that_cannot_be_read_goes_to_the_failed_folder(shop: Shop) -> None:
    """
    With the message it came in; the good one beside it counts.
    """
    with shop.open() as sync:
        sync.add_orders([order("A1", MUG=1)])
        sync.run()
        mail(shop, status_csv=STATUS % b"A1", stock_csv=b"\x00\x01 no stock file")
        report = sync.run().partner("acme")
    assert (report.shipped, report.files_refused) == (["A1"], 1)
    assert (shop.box.messages("INBOX"), sorted(shop.box.files("Failed"))) == ([], ["status.csv", "stock.csv"])


@contextlib.contextmanager
def _clear(shop: Shop, server: RunningServer) -> Iterator[tuple[Shop, FaultProxy]]:
    """The same shop with a mail server in clear, behind a proxy that can swallow what it says."""
    with (
        servers.aiosmtpd_server(shop.office, tls=None) as clear,
        FaultProxy(("127.0.0.1", clear.port)) as proxy,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("MAIL_OUT", clear.password)
        yield Shop(shop.office, attrs.evolve(clear, port=proxy.port), shop.box, server), proxy


def test_a_lost_answer_waits_for_a_person(shop: Shop, server: RunningServer) -> None:
    """
    The message left, nobody heard so and nobody can look: it is not sent again until somebody says so.
    """
    with _clear(shop, server) as (own, proxy), own.open() as sync:
        sync.add_orders([order("A1", MUG=1)])
        proxy.swallow_reply(b"250 queued")
        assert sync.run().partner("acme").unclear == ["A1"]
        sync.run()
        assert len(shop.office.messages) == 1

        [waiting] = sync.orders(needs_person=True)
        assert waiting.fulfilments[0].state == "unclear"
        assert sync.resolve(["A1"], "not_sent", "Acme has no such message").ok
        assert sync.run().partner("acme").sent == ["A1"]
    assert len(shop.office.messages) == 2


def test_a_status_settles_what_was_unclear(shop: Shop, server: RunningServer) -> None:
    """
    A partner that speaks of the order has it.
    """
    with _clear(shop, server) as (own, proxy), own.open() as sync:
        sync.add_orders([order("A1", MUG=1)])
        proxy.swallow_reply(b"250 queued")
        sync.run()
        mail(shop, status_csv=STATUS % b"A1", stock_csv=b"SKU,Quantity\nMUG,7\n")
        sync.run()
        assert sync.order("A1").fulfilments[0].state == "shipped"
    assert len(shop.office.messages) == 1


def test_a_repeat_that_the_partner_recognises_is_sent_again(shop: Shop, server: RunningServer) -> None:
    """
    Where the feed says so; it is the same message, with the same Message-ID.
    """
    with _clear(shop, server) as (own, proxy):
        own.config["partners"]["acme"]["orders"]["repeats"] = "recognised"
        with own.open() as sync:
            sync.add_orders([order("A1", MUG=1)])
            proxy.swallow_reply(b"250 queued")
            sync.run()
            sync.run()
            assert sync.order("A1").fulfilments[0].state == "sent"
    one, other = shop.office.messages
    assert one["Message-ID"] == other["Message-ID"]
    assert files_of(one) == files_of(other)


def test_a_stock_file_that_was_left_counts_once(shop: Shop) -> None:
    """
    A mailbox that fcflow only reads: what was taken is known by the message's number.
    """
    shop.config["partners"]["acme"]["location"]["stock"] = {}
    for name in ("status", "stock"):
        shop.config["partners"]["acme"][name]["after"] = "leave"
    with shop.open() as sync:
        for level in (5, 3, 5):
            mail(shop, stock_csv=b"SKU,Quantity\nMUG,%d\n" % level)
            assert sync.run().partner("acme").files_received == 1
            assert sync.run().partner("acme").files_received == 0
            assert [each.level for row in sync.stock() for each in row.locations] == [level]
    assert len(shop.box.messages("INBOX")) == 3


def test_the_configuration_of_the_page_is_sound(server: RunningServer) -> None:
    """
    Before any address of it is replaced.
    """
    config = load_config(document())
    assert [feed.connection for feed in config.partners["acme"].feeds] == ["out", "in", "in"]
