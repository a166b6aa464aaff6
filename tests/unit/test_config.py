"""The configuration: one document, every fault at once, no secret shown."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from fcflow.carriers import Carriers
from fcflow.config import Config, config_schema, load_config
from fcflow.errors import ConfigError
from fcflow.hookspecs import hookimpl
from fcflow.model import Address, LocationKind
from fcflow.plugins import collect_plugins, load_plugins, plugin_manager

PLUGINS = load_plugins([])
CANARY = "hunter2-canary"

RULES: dict[str, Any] = {
    "fcflow": "ruleset/1",
    "rules": [
        {
            "id": "uk",
            "when": {"field": "ship_to.country", "op": "eq", "value": "GB"},
            "then": [{"allocate": {"to": ["leeds", "studio"]}}],
        }
    ],
    "otherwise": [{"keep": {}}],
}

FULL: dict[str, Any] = {
    "fcflow": "config/1",
    "store": {"url": "postgresql+psycopg://shop@db/fcflow", "namespace": "shop", "password": {"env": "DB_PASSWORD"}},
    "currency": "GBP",
    "rules": RULES,
    "ready": {"field": "payment", "op": "in", "value": ["paid", "pending"]},
    "partners": {
        "leeds": {
            "name": "Leeds warehouse",
            "connections": {
                "default": {"url": "ftp://fcflow@ftp.leeds.example/base", "secrets": {"password": {"env": "LEEDS"}}},
                "web": {"url": "https://leeds.example/api", "secrets": {"token": {"file": "token.txt"}}},
            },
            "orders": {"layout": "linnworks-orders", "path": "in", "batch": 50},
            "status": {"layout": "linnworks-status", "path": "out", "match": "status*.csv"},
            "stock": {"layout": "canonical", "path": "out", "match": "stock*.csv", "options": {"min_age_s": 5}},
            "aliases": {"MUG": "LD-1"},
            "status_words": {"Despatched": "shipped"},
            "limits": {"max_attempts": 3, "timeout_s": 5},
            "location": {
                "name": "Leeds",
                "address": {"town": "Leeds", "country": "GB"},
                "latitude": 53.8,
                "longitude": -1.5,
                "stock": {"buffer": 1, "buffers": {"MUG": 4}},
                "capacity_per_day": 400,
                "calendar": {"zone": "Europe/London", "days": [1, 2], "holidays": ["2026-12-25"], "cut_off": "14:00"},
            },
        },
    },
    "locations": {"studio": {"name": "Studio"}, "york": {"partner": "leeds", "kind": "warehouse"}},
}


def full(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(FULL), **changes}


def load(document: Any, **options: Any) -> Config:
    return load_config(document, plugins=PLUGINS, **options)


def faults(document: Any, **options: Any) -> dict[str, str]:
    """The faults of *document* by path."""
    with pytest.raises(ConfigError) as caught:
        load(document, **options)
    return {fault.path: str(fault) for fault in caught.value.faults}


def partner(**changes: Any) -> dict[str, Any]:
    """A document with one partner, whose parts *changes* replaces or, where ``None``, takes away."""
    leeds = {
        "connection": {"url": "memory://leeds"},
        "orders": {"layout": "canonical-orders", "path": "in"},
        "location": {},
        **changes,
    }
    return {
        "fcflow": "config/1",
        "partners": {"leeds": {name: value for name, value in leeds.items() if value is not None}},
    }


# ------------------------------------------------------------------ what a document gives


def test_a_full_document_becomes_values(tmp_path: Path) -> None:
    """
    Every part of a document stands in the values, with the defaults for what it leaves out.
    """
    config = load(full(), base=tmp_path)
    leeds, place = config.partners["leeds"], config.locations["leeds"]

    assert (config.namespace, config.currency, config.base) == ("shop", "GBP", tmp_path)
    assert leeds.connections["web"].secrets["token"] == {"file": "token.txt"}
    assert (leeds.orders.batch, leeds.orders.connection, leeds.status.match) == (50, "default", "status*.csv")
    assert leeds.stock.options["min_age_s"] == 5
    assert (leeds.limits.max_attempts, leeds.limits.timeout_s, leeds.limits.tries) == (3, 5.0, 3)
    assert (dict(leeds.aliases), dict(leeds.status_words)) == ({"MUG": "LD-1"}, {"Despatched": "shipped"})
    assert (place.kind, place.partner, place.address) == (
        LocationKind.FULFILMENT_CENTRE,
        "leeds",
        Address(town="Leeds", country="GB"),
    )
    assert (place.stock.buffer_of("MUG"), place.stock.buffer_of("TRAY"), place.capacity_per_day) == (4, 1, 400)
    assert place.calendar.cut_off.isoformat() == "14:00:00"
    assert config.locations["studio"].kind is LocationKind.WAREHOUSE
    assert [location.code for location in config.locations_of("leeds")] == ["leeds", "york"]
    assert config.layout(leeds.orders).kind == "orders"
    assert config.rule_set().location_codes == {"leeds", "studio"}


def test_the_smallest_document_is_enough(tmp_path: Path) -> None:
    """
    A document that says only what it is has a store beside it and nothing else.
    """
    config = load({"fcflow": "config/1"}, base=tmp_path)

    assert config.store_url == f"sqlite:///{tmp_path}/fcflow.db"
    assert (dict(config.partners), dict(config.locations), config.rule_set()) == ({}, {}, None)
    assert config.ready_condition() is None


def test_paths_are_below_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Rules, layouts, aliases and the store are looked for beside the document, wherever we stand.
    """
    home = tmp_path / "home"
    home.mkdir()
    (home / "rules.json").write_text(json.dumps({**RULES, "rules": []}))
    (home / "sku.csv").write_text("sku,partner_sku\nMUG,LD-1\n")
    (home / "stock.json").write_text(json.dumps(STOCK_LAYOUT))
    document = partner(aliases="sku.csv", stock={"layout": "stock.json", "path": "out"})
    (home / "fcflow.json").write_text(json.dumps({**document, "rules": "rules.json"}))
    monkeypatch.chdir(tmp_path)

    config = load("home/fcflow.json")

    assert config.base == home
    assert config.rules == home / "rules.json"
    assert config.store_url == f"sqlite:///{home}/fcflow.db"
    assert config.partners["leeds"].aliases["MUG"] == "LD-1"
    assert config.layout(config.partners["leeds"].stock).kind == "stock"


STOCK_LAYOUT: dict[str, Any] = {
    "fcflow": "layout/1",
    "kind": "stock",
    "codec": {"type": "delimited"},
    "fields": [{"at": "SKU", "field": "sku"}, {"at": "Quantity", "field": "on_hand"}],
}


@pytest.mark.parametrize(
    ("url", "absolute"),
    [
        ("sqlite:///shop.db", "sqlite:////srv/shop.db"),
        ("sqlite:///data/shop.db?timeout=5", "sqlite:////srv/data/shop.db?timeout=5"),
        ("sqlite:////var/shop.db", "sqlite:////var/shop.db"),
        ("sqlite://", "sqlite://"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql://shop@db/fcflow", "postgresql://shop@db/fcflow"),
    ],
)
def test_a_relative_store_is_below_the_document(url: str, absolute: str) -> None:
    """
    A relative SQLite file is put below the document's folder, any other store stays as it is.
    """
    assert load({"fcflow": "config/1", "store": url}, base=Path("/srv")).store_url == absolute


def test_the_store_password_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The store's password is resolved only when the address is asked for, and is not in the value's text.
    """
    monkeypatch.setenv("DB_PASSWORD", CANARY)
    config = load(full())

    assert config.store_address() == f"postgresql+psycopg://shop:{CANARY}@db/fcflow"
    assert CANARY not in repr(config)


def test_what_a_partner_runs_is_a_fulfilment_centre() -> None:
    """
    A location that names a partner ships for us unless it says otherwise; any other is a warehouse of our own.
    """
    document = partner()
    document["locations"] = {"two": {"partner": "leeds"}, "ours": {}, "yard": {"partner": "leeds", "kind": "warehouse"}}

    kinds = {code: location.kind.value for code, location in load(document).locations.items()}

    assert kinds == {
        "leeds": "fulfilment_centre",
        "two": "fulfilment_centre",
        "ours": "warehouse",
        "yard": "warehouse",
    }


def test_the_only_connection_is_the_feeds_connection() -> None:
    """
    A feed that names no connection takes the only one there is, whatever its name.
    """
    config = load(partner(connection=None, connections={"main": {"url": "memory://leeds"}}))

    assert config.partners["leeds"].orders.connection == "main"


def test_about_may_stand_in_any_object() -> None:
    """
    A comment in any described object changes nothing but the document.
    """
    commented = full()
    for thing in _described(commented):
        thing["about"] = "a word to people"

    config, plain = load(commented), load(full())

    assert (config.partners, config.locations) == (plain.partners, plain.locations)


def _described(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    leeds = document["partners"]["leeds"]
    place = leeds["location"]
    yield from (document, document["store"], leeds, *leeds["connections"].values(), leeds["limits"])
    yield from (leeds["orders"], leeds["status"], leeds["stock"], leeds["stock"]["options"])
    yield from (place, place["address"], place["stock"], place["calendar"], document["locations"]["studio"])


def test_rules_without_a_currency_take_the_sellers() -> None:
    """
    A rule set that compares money and names no currency does so in the configuration's.
    """
    rule = {"id": "dear", "when": {"field": "total", "op": "gt", "value": "50"}, "then": [{"keep": {}}]}
    rules = {"fcflow": "ruleset/1", "rules": [rule], "otherwise": [{"keep": {}}]}

    config = load({"fcflow": "config/1", "currency": "EUR", "rules": rules})

    assert config.rule_set().document["currency"] == "EUR"


# ------------------------------------------------------------------ faults


def test_every_fault_is_reported_at_once() -> None:
    """
    Faults of shape, of names and of the files that are named come in one error.
    """
    document = full(
        stroe={}, rules={**RULES, "rules": [{**RULES["rules"][0], "then": [{"allocate": {"to": ["leds"]}}]}]}
    )
    leeds = document["partners"]["leeds"]
    leeds["connections"]["web"]["url"] = "httpz://leeds.example"
    leeds["orders"]["layout"] = "linnworks-ordres"
    leeds["limits"]["tries"] = 0
    leeds["status_words"]["Lost"] = "shiped"
    leeds["location"]["calendar"]["zone"] = "Europe/Lundon"
    document["locations"]["studio"]["partner"] = "lees"

    found = faults(document)

    assert list(found) == [
        "$.partners.leeds.connections.web.url",
        "$.partners.leeds.status_words.Lost",
        "$.partners.leeds.limits.tries",
        "$.partners.leeds.location.calendar.zone",
        "$.locations.studio.partner",
        "$.stroe",
        next(path for path in found if "linnworks-ordres" in path),
        "$.rules.rules[0]",
    ]


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"fcflow": "config/2"}, "$.fcflow", "expected config/1, got 'config/2'"),
        ({"ruels": {}}, "$.ruels", "unknown key: expected rules, got 'ruels'"),
        ({"currency": "pounds"}, "$.currency", "got 'pounds'"),
        ({"partners": {"le eds": {}}}, "$.partners['le eds']", "not a code"),
        ({"partners": []}, "$.partners", "expected an object"),
        ({"store": "mysql://db/fcflow"}, "$.store", "not a store"),
        (
            {"ready": {"field": "paymnt", "op": "eq", "value": "paid"}},
            "$.ready.field",
            "expected payment, got 'paymnt'",
        ),
        ({"locations": {"x": {"kind": "drop_shipper"}}}, "$.locations.x.partner", "a drop_shipper needs a partner"),
        ({"locations": {"x": {"address": {"country": "gb"}}}}, "$.locations.x.address.country", "alpha-2"),
        ({"locations": {"x": {"partner": "leeds"}}}, "$.locations.x.partner", "unknown partner, there is none"),
        ({"locations": {"x": {"calendar": {"cut_off": "half past two"}}}}, "$.locations.x.calendar.cut_off", "14:30"),
        ({"locations": {"x": {"calendar": {"days": [0]}}}}, "$.locations.x.calendar.days[0]", "at least 1"),
        ({"locations": {"x": {"code": "y"}}}, "$.locations.x.code", "another code than its key"),
    ],
)
def test_a_fault_says_where_and_what_is_right(change: dict[str, Any], path: str, said: str) -> None:
    """
    Each kind of fault has its JSON path, and says what would be right.
    """
    found = faults({"fcflow": "config/1", **change})

    assert list(found) == [path]
    assert said in found[path]


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"connection": {"url": "sfpt://h"}}, "$.partners.leeds.connection.url", "expected sftp, got 'sfpt'"),
        ({"connection": {"url": "ftp://h:port/"}}, "$.partners.leeds.connection.url", "not a URL"),
        ({"connection": {}}, "$.partners.leeds.connection.url", "missing"),
        (
            {"connection": {"url": "ftp://h", "options": {"pasive": True}}},
            "$.partners.leeds.connection.options.pasive",
            "unknown key",
        ),
        (
            {"connection": {"url": "ftp://h", "secrets": {"pasword": {"env": "X"}}}},
            "$.partners.leeds.connection.secrets.pasword",
            "unknown secret of ftp: expected password",
        ),
        (
            {"connection": {"url": "ftp://h", "secrets": {"password": {"vault": "x"}}}},
            "$.partners.leeds.connection.secrets.password.vault",
            "unknown kind of secret reference",
        ),
        (
            {"connections": {"default": {"url": "memory://x"}}},
            "$.partners.leeds.connection",
            "stands twice: here and as connections.default",
        ),
        ({"connection": None}, "$.partners.leeds.orders.connection", "unknown connection, there is none"),
        ({"orders": {"path": "in"}}, "$.partners.leeds.orders.layout", "missing"),
        ({"orders": {"layout": "canonical-stock"}}, "$.partners.leeds.orders.layout", "expected orders, got 'stock'"),
        (
            {"orders": {"layout": "canonical-orders", "connection": "dflt"}},
            "$.partners.leeds.orders.connection",
            "expected default, got 'dflt'",
        ),
        (
            {"orders": {"layout": "canonical-orders", "mode": "al_open"}},
            "$.partners.leeds.orders.mode",
            "expected all_open, got 'al_open'",
        ),
        (
            {"orders": {"layout": "canonical-orders", "name": "orders-{cuonter}.csv"}},
            "$.partners.leeds.orders.name",
            "cuonter",
        ),
        (
            {"stock": {"layout": "canonical-stock", "options": {"min_age": 3}}},
            "$.partners.leeds.stock.options.min_age",
            "expected min_age_s, got 'min_age'",
        ),
        ({"status_words": {"Weg": "shiped"}}, "$.partners.leeds.status_words.Weg", "expected shipped, got 'shiped'"),
        (
            {"status_words": {"Weg": "shipped", "WEG": "cancelled"}},
            "$.partners.leeds.status_words.WEG",
            "the same word as 'Weg'",
        ),
        ({"aliases": {"A": "X", "B": "X"}}, "$.partners.leeds.aliases.B", "'X' is the alias of 'A' already"),
        ({"location": None}, "$.partners.leeds", "has an orders feed, but no location"),
        ({"location": {"partner": "york"}}, "$.partners.leeds.location.partner", "inside another partner"),
    ],
)
def test_a_partners_fault_says_where_and_what_is_right(change: dict[str, Any], path: str, said: str) -> None:
    """
    Each kind of fault of a partner has its JSON path, and says what would be right.
    """
    found = faults(partner(**change))

    assert list(found) == [path]
    assert said in found[path]


def test_a_location_stands_once() -> None:
    """
    A location inside its partner and again among the locations is a fault that names both places.
    """
    document = partner()
    document["locations"] = {"leeds": {"partner": "leeds", "kind": "fulfilment_centre"}}

    assert "at $.partners.leeds.location" in faults(document)["$.locations.leeds"]


def test_a_partner_tells_its_locations_apart() -> None:
    """
    Two locations that the partner calls the same cannot be told apart in its files.
    """
    document = partner(location={"partner_code": "L1"})
    document["locations"] = {"two": {"partner": "leeds", "partner_code": "L1"}}

    assert "the partner calls leeds the same" in faults(document)["$.locations.two.partner_code"]


def test_feeds_never_share_files() -> None:
    """
    Two incoming feeds with one folder and one glob would take each other's files, and ours.
    """
    status = {"layout": "canonical-status", "path": "x/"}
    stock = {"layout": "canonical-stock", "path": "x"}
    orders = {"layout": "canonical-orders", "path": "x"}

    assert (
        "same files as the status feed" in faults(partner(status=status, stock=stock))["$.partners.leeds.stock.match"]
    )
    assert "our own order files" in faults(partner(status=status, orders=orders))["$.partners.leeds.status.match"]
    assert load(partner(status={**status, "match": "s*"}, stock={**stock, "match": "l*"}, orders=orders))


def test_partners_never_share_files() -> None:
    """
    Two partners whose answers lie in one folder under one glob would be taken for each other.
    """
    leeds = partner(status={"layout": "canonical-status", "path": "out"})["partners"]["leeds"]
    document = {"fcflow": "config/1", "partners": {"leeds": leeds, "york": copy.deepcopy(leeds)}}

    assert "the same files as partner leeds" in faults(document)["$.partners.york.status.match"]
    document["partners"]["york"]["status"]["match"] = "york-*"
    assert load(document).partners["york"].status.match == "york-*"


def test_a_stock_file_says_which_location_it_is_of() -> None:
    """
    Where a partner runs several locations, a stock layout without a field for them is a fault.
    """
    document = partner(stock={"layout": "linnworks-stock", "path": "out"})
    document["locations"] = {"two": {"partner": "leeds"}}

    assert "no field for them" in faults(document)["$.partners.leeds.stock.layout"]
    document["partners"]["leeds"]["stock"]["layout"] = "canonical-stok"
    assert [path.split(":")[0] for path in faults(document)] == ["layout canonical-stok"]
    document["partners"]["leeds"]["stock"]["layout"] = "canonical"
    assert len(load(document).locations_of("leeds")) == 2


def test_many_faults_take_no_longer_than_their_number() -> None:
    """
    Thousands of faults are all reported, in the order of the document.
    """
    aliases = {f"SKU-{number}": number for number in range(3000)}

    assert list(faults(partner(aliases=aliases))) == [f"$.partners.leeds.aliases['{sku}']" for sku in aliases]


def test_an_alias_that_is_another_sku_of_ours_needs_a_clear_word() -> None:
    """
    What the partner says must not be read as another SKU of ours, unless the feed reads the partner's only.
    """
    swapped = {"A": "B", "B": "C"}
    stock = {"layout": "canonical-stock", "path": "out"}

    assert "$.partners.leeds.aliases.A" in faults(partner(aliases=swapped, stock=stock))
    assert load(partner(aliases=swapped, stock={**stock, "match_sku": "partner"})).partners["leeds"].aliases == swapped


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "sku;partner_sku\nMUG;LD-1\nMUG;LD-2\n", "line 3: a SKU of ours stands twice"),
        ("a.csv", "sku,partner_sku\nMUG,\n", "line 2: a SKU is missing"),
        ("a.csv", "sku,theirs\nMUG,X\n", "line 1: a column is missing: expected partner_sku"),
        ("a.json", '{"MUG": 3}', "$.MUG: expected the partner's SKU as a text, got 3"),
        ("a.json", "[]", "expected an object of our SKU to the partner's"),
        ("gone.csv", None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_of_aliases_has_faults_of_its_own(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    """
    A file of aliases that cannot be used is reported with its name and line.
    """
    if text is not None:
        (tmp_path / name).write_text(text)

    [fault] = faults(partner(aliases=name), base=tmp_path).values()

    assert fault.startswith((f"aliases {name}", "line"))
    assert said in fault.replace(f" (aliases {name})", "")


@pytest.mark.parametrize("text", ["sku,partner_sku\nMUG,LD-1\n", "\ufeffPartner_SKU;Other;SKU\r\nLD-1;x;MUG\r\n\r\n"])
def test_a_csv_of_aliases_is_read_as_people_write_it(tmp_path: Path, text: str) -> None:
    """
    Delimiter, order of columns, further columns, a byte order mark and blank lines do not matter.
    """
    (tmp_path / "a.csv").write_bytes(text.encode())

    assert load(partner(aliases="a.csv"), base=tmp_path).partners["leeds"].aliases == {"MUG": "LD-1"}


def test_an_acknowledgement_feed_speaks_of_deliveries() -> None:
    """
    Its layout is one of statuses, and it is found by the running number of what was sent.
    """
    [feed] = [
        each
        for each in load(partner(acknowledgement={"layout": "x12-997", "path": "acks"})).partners["leeds"].feeds
        if each.kind == "acknowledgement"
    ]
    assert (feed.matches, feed.layout, feed.path) == ("delivery", "x12-997", "acks")
    wrong = faults(partner(acknowledgement={"layout": "x12-846", "path": "acks"}))
    assert list(wrong) == ["$.partners.leeds.acknowledgement.layout"]


@pytest.mark.parametrize(
    ("reply", "where"),
    [
        ({"kind": "acknowledgement"}, "kind"),
        ({"kind": "errors", "connection": "nowhere"}, "connection"),
        ({"kind": "errors", "name": "{order_id}.csv"}, "name"),
        ({"kind": "errors", "name": "{nothing}.csv"}, "name"),
        ({"kind": "shout"}, "kind"),
    ],
)
def test_a_reply_that_cannot_be_sent_is_a_fault(reply: dict[str, str], where: str) -> None:
    """
    A layout that has no acknowledgements, an unknown way out, a name that nothing gives.
    """
    stock = {"layout": "linnworks-stock", "path": "out", "reply": reply}
    assert list(faults(partner(stock=stock))) == [f"$.partners.leeds.stock.reply.{where}"]


MAIL = {
    "out": {"url": "smtp://mail.example", "options": {"from": "orders@shop.example", "to": "desk@acme.example"}},
    "in": {"url": "imaps://mail.example"},
}


def test_each_feed_may_have_a_connection_of_its_own() -> None:
    """
    By mail it must: one way only leads out, the other only in.
    """
    orders = {"layout": "linnworks-orders", "connection": "out"}
    status = {"layout": "linnworks-status", "connection": "in", "reply": {"kind": "errors", "connection": "out"}}
    found = load(partner(connection=None, connections=MAIL, orders=orders, status=status)).partners["leeds"]
    assert [feed.connection for feed in found.feeds] == ["out", "in"]


@pytest.mark.parametrize(
    ("kind", "changes", "path"),
    [
        ("orders", {"connection": "in"}, "connection"),
        ("status", {"connection": "out", "match": "s*"}, "connection"),
        ("status", {"connection": "in", "reply": {"kind": "errors"}}, "reply.connection"),
        ("status", {"connection": "in", "options": {"done_flag": "\\Deleted"}}, "options.done_flag"),
        ("orders", {"connection": "out", "options": {"subject": "a\r\nBcc: x"}}, "options.subject"),
        ("orders", {"connection": "out", "options": {"text": "{nothing}"}}, "options.text"),
    ],
)
def test_nothing_goes_the_wrong_way(kind: str, changes: dict[str, Any], path: str) -> None:
    """
    The fault is found before anything connects.
    """
    orders = {"layout": "linnworks-orders", "connection": "out"}
    document = partner(connection=None, connections=MAIL, orders=orders)
    document["partners"]["leeds"][kind] = {"layout": f"linnworks-{kind}", **changes}
    assert list(faults(document)) == [f"$.partners.leeds.{kind}.{path}"]


def test_a_mail_without_addresses_is_a_fault() -> None:
    """
    Who writes, and to whom, must be said.
    """
    found = faults(partner(connection={"url": "smtp://mail.example"}))
    assert sorted(found) == [f"$.partners.leeds.connection.options.{name}" for name in ("from", "to")]


def test_carriers_of_a_configuration_are_known_beside_the_usual_ones() -> None:
    """
    Its own ones by code, with an address to follow parcels; a partner's words beside the partner.
    """
    own = {"acme": {"about": "Our vans.", "tracking_url": "https://acme.example/{number}", "names": ["ACM"]}}
    config = load({**partner(carriers={"van": "acme"}), "carriers": own})
    assert Carriers(config.carriers).urls_of("acm", ["7"]) == ["https://acme.example/7"]
    assert dict(config.partners["leeds"].carriers) == {"van": "acme"}
    bad = {**partner(), "carriers": {"acme": {"tracking_url": "https://acme.example/"}}}
    assert list(faults(bad)) == ["$.carriers.acme.tracking_url"]


def test_faults_of_a_layout_are_reported_with_its_name(tmp_path: Path) -> None:
    """
    A layout that cannot be used is reported under its own name, with the paths inside it.
    """
    (tmp_path / "l.json").write_text(
        json.dumps({**STOCK_LAYOUT, "fields": [{"at": "SKU", "field": "skuu"}, {"at": "Quantity", "field": "on_hand"}]})
    )

    found = faults(partner(stock={"layout": "l.json", "path": "out"}), base=tmp_path)

    assert all(path.startswith("layout l.json: $") for path in found)
    assert any("sku" in said for said in found.values())


def test_faults_of_a_rule_file_are_reported_with_its_name(tmp_path: Path) -> None:
    """
    A rule set in a file is reported under the file's name; a syntax error with line and column.
    """
    (tmp_path / "shape.json").write_text(json.dumps({**RULES, "ruels": []}))
    (tmp_path / "syntax.json").write_text('{\n  "fcflow": }')
    base = {"fcflow": "config/1", "locations": {"leeds": {}, "studio": {}}}

    assert "shape.json: $.ruels" in faults({**base, "rules": "shape.json"}, base=tmp_path)
    [said] = faults({**base, "rules": "syntax.json"}, base=tmp_path).values()
    assert said.startswith("line 2, column 13 (syntax.json")


def test_codes_that_rules_name_must_exist() -> None:
    """
    A location or strategy that a rule names and nobody has is a fault with the nearest name.
    """
    rules = copy.deepcopy(RULES)
    rules["rules"][0]["then"] = [{"allocate": {"to": ["leds"], "strategy": "neerest"}}]

    with pytest.raises(ConfigError) as caught:
        load({"fcflow": "config/1", "rules": rules, "locations": {"leeds": {}}})

    assert [(fault.found, fault.expected) for fault in caught.value.faults] == [
        ("leds", "leeds"),
        ("neerest", "nearest"),
    ]


# ------------------------------------------------------------------ the text itself


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n  "fcflow" "config/1"\n}', "line 2, column 12"),
        ('{"fcflow": "config/1", "currency": "GBP", "currency": "EUR"}', "$.currency: stands twice in one object"),
        ('{"fcflow": "config/1", "partners": {"a": {"limits": {"backoff_s": NaN}}}}', "NaN is not a number of JSON"),
        ("[]", "$: expected an object, got 'list'"),
        ("", "line 1, column 1"),
    ],
)
def test_a_text_that_is_no_document_says_where(tmp_path: Path, text: str, said: str) -> None:
    """
    A text that is not JSON is reported with line and column, and so is a key that stands twice.
    """
    (tmp_path / "fcflow.json").write_text(text)

    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "fcflow.json")

    assert said in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "fcflow.json"))


def test_a_file_that_is_not_there_is_a_fault_of_ours(tmp_path: Path) -> None:
    """
    A missing file is a configuration error, not an error of the operating system.
    """
    with pytest.raises(ConfigError, match=r"gone\.json") as caught:
        load(tmp_path / "gone.json")

    assert "cannot be read: No such file" in str(caught.value)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    """
    A file that Windows wrote with a byte order mark is read.
    """
    (tmp_path / "fcflow.json").write_bytes(b'\xef\xbb\xbf{"fcflow": "config/1"}')

    assert load(tmp_path / "fcflow.json").namespace == ""


# ------------------------------------------------------------------ secrets


@pytest.mark.parametrize(
    "document",
    [
        {"fcflow": "config/1", "store": f"postgresql://shop:{CANARY}@db/x"},
        {"fcflow": "config/1", "store": {"url": "postgresql://shop@db/x", "password": CANARY}},
        partner(connection={"url": f"ftp://u:{CANARY}@h/"}),
        partner(connection={"url": f"https://h/?api_key={CANARY}"}),
        partner(connection={"url": "ftp://h", "password": CANARY}),
        partner(connection={"url": "ftp://h", "secrets": {"password": CANARY}}),
        partner(connection={"url": "ftp://h", "secrets": {"password": {"literal": CANARY}}}),
        partner(connection={"url": "ftp://h", "secrets": {"password": {"env": f"{CANARY} {CANARY}"}}}),
        partner(connection={"url": "ftp://h", "secrets": [CANARY]}),
        partner(connection={"url": "ftp://h", "options": {"password": CANARY}}),
        partner(connection={"url": "s3://b", "options": {"storage_options": {"secret": CANARY}}}),
        partner(connection={"url": "ftp://h", "options": {"passphrase": [CANARY]}}),
        partner(
            connection={"url": "https://h"},
            status={"layout": "canonical", "path": "s", "options": {"query": {"api_key": CANARY}}},
        ),
        partner(connection={"url": f"fpt://u:{CANARY}@h/"}),
    ],
)
def test_a_literal_secret_is_a_fault_and_never_shown(document: dict[str, Any]) -> None:
    """
    Wherever a secret stands itself, the document is refused without showing it.
    """
    with pytest.raises(ConfigError) as caught:
        load(document)

    shown = [str(caught.value), repr(caught.value), *(repr(vars(fault)) for fault in caught.value.faults)]
    assert all(CANARY not in text for text in shown)


def test_a_plugin_may_know_other_references() -> None:
    """
    With a host's resolver a reference of its own kind is not a fault.
    """

    class Vault:
        @hookimpl
        def fcflow_resolve_secret(self, reference: dict[str, Any]) -> str | None:
            return CANARY if "vault" in reference else None

    manager = plugin_manager([])
    manager.register(Vault())
    document = partner(connection={"url": "ftp://h", "secrets": {"password": {"vault": "leeds", "version": 2}}})

    config = load_config(document, plugins=collect_plugins(manager))

    assert config.endpoint(config.partners["leeds"].orders).secret("password") == CANARY


def test_check_finds_what_will_stop_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Secrets that stand for nothing and locations that never get stock are found without any connection.
    """
    monkeypatch.delenv("NOT_THERE", raising=False)
    document = partner(connection={"url": "ftp://h", "secrets": {"password": {"env": "NOT_THERE"}}})

    findings = load(document).check()

    assert [(finding.level, finding.code) for finding in findings] == [
        ("error", "secret.unresolved"),
        ("warning", "config.no_stock"),
    ]


# ------------------------------------------------------------------ laws


def test_the_schema_is_one_and_describes_everything() -> None:
    """
    The shipped schema is valid, and every property that people write has a description.
    """
    schema = config_schema()
    Draft202012Validator.check_schema(schema)

    for thing in [schema, *schema["$defs"].values()]:
        for name, described in thing.get("properties", {}).items():
            assert "description" in described or "$ref" in described, name


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "leeds", "\x00", "$", "a" * 300]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["url", "x", "about", "to"]), inner),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_document_raises_anything_else(data: st.DataObject) -> None:
    """
    Whatever stands anywhere in a document, loading gives a configuration or a ConfigError.
    """
    document = full()
    for _ in range(data.draw(st.integers(1, 2))):
        holder, key = data.draw(st.sampled_from(list(_places(document))))
        holder[key] = data.draw(JSON_VALUES)

    with suppress(ConfigError):
        assert load(document).document == document


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])
