"""What a hostile or broken partner leaves or answers: refused or reported, bounded, nothing else harmed."""

import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from attrs import evolve

from fcflow.cli.output import print_json
from fcflow.errors import DocumentError
from fcflow.formats import load_layout
from fcflow.formats.text import normal_encoding
from fcflow.model import Connection, PartnerLimits
from fcflow.rules import load_rules
from fcflow.testing import partners
from fcflow.testing.partners import SimulatedPartner, World, order

HEAD = b"id;status;tracking;service;error;sku;shipped;cancelled\r\n"
GOOD = b"A1;SHIPPED;T1;;;;;\r\n"
STATUS_LINES = load_layout(
    {
        "fcflow": "layout/1",
        "name": "status-lines",
        "kind": "status",
        "codec": {"type": "json_lines"},
        "fields": [
            {"at": "id", "field": "reference", "required": True},
            {"at": "status", "field": "status"},
            {"at": "tracking", "field": "tracking_numbers"},
            {"at": "error", "field": "message"},
            {"at": "lines[].sku", "field": "line.sku"},
            {"at": "lines[].shipped", "field": "line.shipped"},
        ],
    }
)
SHIPPED_LINE = b'{"id": "A1", "status": "SHIPPED"}'


@contextmanager
def sent_world(**changes):
    """A world in which order A1 is at leeds."""
    with World("leeds", changes={"leeds": changes}) as world:
        world.sync.add_orders([order("A1", MUG=2)])
        assert world.run().partners["leeds"].sent == ["A1"]
        yield world


@pytest.fixture
def lines_feed(monkeypatch):
    """A status feed of JSON lines."""
    monkeypatch.setattr(partners, "LAYOUTS", {**partners.LAYOUTS, "status-lines": STATUS_LINES})
    return evolve(SimulatedPartner("leeds").partner().status, layout="status-lines")


def taken(world, content, name="s.csv"):
    """The partner's report of the run that takes *content* in; no phase fails."""
    world.partners["leeds"].put(f"status/{name}", content)
    report = world.run()
    assert not report.failures
    return report.partners["leeds"]


# ------------------------------------------------------------------ contents


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\0" * 1_000_000, "at most 131072 characters"),
        (b"a" * 5_000_000, "at most 1048576 characters"),
        (HEAD + b'"' + b"a\n" * 1_000_000, "at most 131072 characters"),
        (HEAD + b'A1;SHIPPED;"T1;;;;;\r\n', "expected a closing quote"),
        ((HEAD + GOOD).decode().encode("utf-16-le"), "without control characters"),
        ((HEAD + GOOD).decode().encode("utf-32"), "without control characters"),
        ((HEAD + GOOD).decode().encode("utf-16") + b"x", "expected text in utf-16"),
        (b"<html><body>Log in</body></html>", "expected columns"),
    ],
    ids=["nuls", "one line", "open quote", "open quote at the end", "utf-16", "utf-32", "half a character", "html"],
)
def test_a_file_that_cannot_be_framed_is_refused_with_the_reason(content, said):
    """The file is refused as a whole, the report says why, and the next file is taken in."""
    with sent_world() as world:
        report = taken(world, content)
        assert report.files_refused == 1
        assert said in report.problems[0]
        assert world.state("A1") == "in_fulfilment"
        taken(world, HEAD + GOOD, "next.csv")
        assert world.state("A1") == "closed"


BAD_ROWS = [
    "A1;SHIPPED;;;;MUG;1e400;",
    "A1;SHIPPED;;;;MUG;NaN;",
    "A1;SHIPPED;;;;MUG;Infinity;",
    "A1;SHIPPED;;;;MUG;٢;",
    "A1;SHIPPED;;;;MUG;-2;",
    "A1;SHIPPED;;;;MUG;" + "9" * 5000 + ";",
    "A1;SHIPPED;T\0;;;;;",
    "A1;SHIPPED;T\x1b[2J;;;;;",
    "A1' OR 1=1 --;SHIPPED;;;;;;",
    "{0.__class__}%s%n;SHIPPED;;;;;;",
    "A" * 100_000 + ";SHIPPED;;;;;;",
]


def test_bad_rows_are_reported_one_by_one_and_the_good_one_after_them_applied():
    """Each has its problem with its line, and changes nothing else."""
    content = "".join(f"{row}\r\n" for row in BAD_ROWS).encode()
    with sent_world() as world:
        report = taken(world, HEAD + content)
        lines = {int(text.split("line ", 1)[1].split(",")[0].split(" ")[0].rstrip(":")) for text in report.problems}
        assert lines == set(range(2, 2 + len(BAD_ROWS)))
        assert len(report.problems) == len(BAD_ROWS)
        assert max(map(len, report.problems)) < 500
        assert world.state("A1") == "in_fulfilment"
        assert not taken(world, HEAD + GOOD, "next.csv").problems
        assert world.state("A1") == "closed"


BAD_OBJECTS = [
    b'{"id": "\\ud800", "status": "SHIPPED"}',
    b'{"id": "A1\\u0000", "status": "SHIPPED"}',
    b'{"id": "A1", "status": "\\udfff\\u0000"}',
    b'{"id": ' + b"[" * 90_000 + b"]" * 90_000 + b"}",
    b'{"id": ' + b"9" * 6000 + b', "status": "SHIPPED"}',
    b'{"id": "A1", "status": "SHIPPED", "lines": [{"sku": "MUG", "shipped": 1e400}]}',
    b'{"id": "A1", "status": "SHIPPED", "lines": [{"sku": "MUG", "shipped": NaN}]}',
]


def test_bad_objects_are_reported_one_by_one_and_the_good_one_after_them_applied(lines_feed):
    """An escaped NUL or half a surrogate pair in a reference once stopped the whole feed, at every run again."""
    with sent_world(status=lines_feed) as world:
        report = taken(world, b"\n".join([*BAD_OBJECTS, SHIPPED_LINE, b""]))
        assert len(report.problems) == len(BAD_OBJECTS)
        assert max(map(len, report.problems)) < 500
        assert world.state("A1") == "closed"


def test_a_shipment_whose_text_no_database_can_hold_is_still_a_shipment(lines_feed):
    """Characters that cannot be stored are replaced, in tracking numbers and messages alike."""
    line = b'{"id": "A1", "status": "SHIPPED", "tracking": ["T\\ud800", "U\\u0000"], "error": "\\udc00"}\n'
    with sent_world(status=lines_feed) as world:
        assert not taken(world, line).problems
        parcels = world.sync.order("A1").fulfilments[0].shipments
        assert parcels[0].tracking_numbers == ("T\ufffd", "U\ufffd")


def test_a_key_that_stands_twice_is_found_in_linear_time(lines_feed):
    """A line of 80,000 keys with one repeated took two minutes when each key was counted by itself."""
    keys = ",".join(f'"{number}": 1' for number in range(80_000))
    with sent_world(status=lines_feed) as world:
        began = time.monotonic()
        report = taken(world, f'{{{keys}, "79999": 2}}\n'.encode())
        assert "'79999' stands twice" in report.problems[0]
        assert time.monotonic() - began < 10


def test_a_flood_of_different_statuses_of_one_order_is_bounded():
    """What is beyond any real order is kept in the audit trail, reported, and a person is asked."""
    rows = b"".join(b"A1;ERROR;;;error %d;;;\r\n" % number for number in range(1100))
    with sent_world() as world:
        report = taken(world, HEAD + rows)
        assert len(report.problems) == 1100 - 1020
        assert "expected at most 1020 different statuses" in report.problems[0]
        assert "different statuses" in world.sync.order("A1").stored.needs_person
        assert len(world.sync.audit(order_id="A1", type="FULFIL_STATUS", limit=2000)) == 1100


def test_a_partner_cannot_speak_of_another_partners_order():
    """The word is reported as unmatched, and the order stays what it was."""
    with World("leeds", "corby") as world:
        world.sync.add_orders([order("A1", MUG=1)])
        world.run()
        world.partners["corby"].say("SHIPPED", "A1", tracking="STOLEN")
        report = world.run().partners["corby"]
        assert report.unmatched == 1
        assert world.states("A1") == {"A1": "sent"}
        assert not world.sync.order("A1").fulfilments[0].shipments


def test_stock_that_no_database_can_hold_is_reported_and_the_rest_taken_in():
    """A SKU of 50,000 characters and sums beyond 64 bits once could stop a feed at every run."""
    feed = evolve(SimulatedPartner("leeds").partner().stock, duplicates="sum")
    rows = "".join(f"CUP;{'9' * 18}\r\n" for _ in range(20))
    with World("leeds", changes={"leeds": {"stock": feed}}) as world:
        world.partners["leeds"].put("stock/s.csv", f"sku;quantity\r\n{'M' * 50_000};1\r\n{rows}MUG;5\r\n".encode())
        report = world.run()
        assert not report.failures
        assert len(report.partners["leeds"].problems) == 2
        with world.sync.store.reading() as tx:
            assert [(picture.sku, picture.on_hand) for picture in tx.pictures()] == [("MUG", 5)]


# ------------------------------------------------------------------ answers over HTTP


@contextmanager
def answering(answer):
    """The URL of a server that reads a request whole and sends *answer*, whatever it is."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                try:
                    _read_request(connection)
                    connection.sendall(answer)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


def _read_request(connection):
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(65536)
    head, _, body = head.partition(b"\r\n\r\n")
    sizes = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < sum(sizes):
        body += connection.recv(65536)


def over_http(url, kind):
    """The changes that let a partner's feed go over *url*."""
    partner = SimulatedPartner("leeds").partner()
    connections = {"default": partner.connections["default"], "web": Connection(url=url)}
    feed = evolve(getattr(partner, kind), connection="web")
    limits = PartnerLimits(backoff_s=0, timeout_s=2, tries=1, max_bytes=1_000_000)
    return {"connections": connections, kind: feed, "limits": limits}


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nOK",
        b"HTTP/1.1 302 x\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 1000 x\r\n\r\n",
        b"\0\0\0 garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"",
    ],
    ids=["two lengths", "bad address", "bad status", "garbage", "endless head", "nothing"],
)
def test_an_answer_that_is_no_http_leaves_a_post_unclear_and_never_sends_it_again(answer):
    """The order may have been taken: it is never called refused, which would send it a second time."""
    with answering(answer) as url, World("leeds", changes={"leeds": over_http(url, "orders")}) as world:
        world.sync.add_orders([order("A1", MUG=1)])
        for _ in range(2):
            world.run()
        assert world.states("A1") == {"A1": "unclear"}
        with world.sync.store.reading() as tx:
            assert len(tx.deliveries_with(["A1"])) == 1


def test_a_post_whose_accepted_answer_has_a_broken_body_is_accepted():
    """The status line decides; a chunk of negative size once left an unexpected error."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nfoo"
    with answering(answer) as url, World("leeds", changes={"leeds": over_http(url, "orders")}) as world:
        world.sync.add_orders([order("A1", MUG=1)])
        assert not world.run().failures
        assert world.states("A1") == {"A1": "sent"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nfoo", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nfoo", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nx", "at most 1000000 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 3_000_000, "at most 1000000 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nno gzip", "cut before its end"),
        (b"HTTP/1.1 302 x\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n", "not followed"),
        (b"HTTP/1.1 503 x\r\nRetry-After: \xb2\r\nContent-Length: 0\r\n\r\n", "retry after"),
        (b"HTTP/1.1 503 x\r\nRetry-After: " + b"9" * 39 + b"\r\nContent-Length: 0\r\n\r\n", "retry after"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>Log in</html>", "expected columns"),
    ],
)
def test_a_broken_answer_to_a_query_is_one_problem_that_says_what_was_wrong(answer, said):
    """Nothing is applied, nothing waits long, and no phase ends in an unexpected error."""
    with answering(answer) as url, sent_world(**over_http(url, "status")) as world:
        report = world.run()
        assert not report.failures
        assert said in report.partners["leeds"].problems[0]
        assert world.state("A1") == "in_fulfilment"


# ------------------------------------------------------------------ names in a folder


def test_only_plain_files_of_the_folder_itself_are_taken(tmp_path):
    """Links, folders and names that hold control characters are left alone; the good file beside them is applied."""
    root = tmp_path / "partner"
    for name in ("in", "status", "stock"):
        (root / name).mkdir(parents=True)
    (tmp_path / "outside.csv").write_bytes(HEAD + GOOD.replace(b"T1", b"OUTSIDE"))
    with sent_world(connections={"default": Connection(url=f"file://{root}")}) as world:
        status = root / "status"
        (status / "link.csv").symlink_to(tmp_path / "outside.csv")
        (status / "folder.csv").mkdir()
        (status / "a\nb.csv").write_bytes(HEAD + GOOD.replace(b"T1", b"NEWLINE"))
        (status / "\x1b[2J.csv").write_bytes(HEAD + GOOD.replace(b"T1", b"ESCAPE"))
        (status / "good.csv").write_bytes(HEAD + GOOD)
        assert not world.run().failures
        parcels = world.sync.order("A1").fulfilments[0].shipments
        assert [parcel.tracking_numbers for parcel in parcels] == [("T1",)]
        assert (tmp_path / "outside.csv").exists()


def test_an_order_id_that_is_a_path_stays_inside_a_row():
    """Ids name rows, not files: what leaves lies in the feed's folder."""
    with World("leeds") as world:
        world.sync.add_orders([order("../../etc/x", MUG=1)])
        world.run()
        assert [row["id"] for row in world.partners["leeds"].arrived()] == ["../../etc/x"]
        assert all("/" not in name and ".." not in name for name in world.partners["leeds"].files())


# ------------------------------------------------------------------ what people see


@pytest.mark.parametrize("character", ["\x1b", "\x7f", "\x9b", "\u202e", "\u2066", "\ud800", "\U000e0041"])
def test_json_output_holds_no_character_that_steers_a_terminal(capsys, character):
    """It is escaped, and reads back as it was."""
    document = {"message": f"é{character}[2J\n", character: ["日本"]}
    print_json(document)
    said = capsys.readouterr().out
    assert all(line.isprintable() for line in said.splitlines())
    assert "é" in said
    assert json.loads(said) == document


# ------------------------------------------------------------------ the careless seller


@pytest.mark.parametrize("name", ["idna", "punycode", "undefined", "rot13", "base64"])
def test_what_python_calls_an_encoding_and_no_file_is_in_is_refused(name):
    """A layout that names it is refused when it is loaded, not at the first file."""
    assert normal_encoding(name) is None


def test_nesting_and_repetition_without_end_are_refused_at_once():
    """Deep conditions, and named ones that double at every step, are faults of the rules and no crash."""
    when = True
    for _ in range(5000):
        when = {"not": when}
    leaf = {"field": "channel", "op": "eq", "value": "x"}
    doubled = {"c0": leaf, **{f"c{n}": {"all": [{"use": f"c{n - 1}"}] * 2} for n in range(1, 30)}}
    for conditions, chosen in (({}, when), (doubled, {"use": "c29"})):
        rule = {"id": "a", "when": chosen, "then": [{"keep": {}}]}
        with pytest.raises(DocumentError) as raised:
            load_rules({"fcflow": "ruleset/1", "name": "x", "conditions": conditions, "rules": [rule]})
        assert "expected at most" in str(raised.value)
