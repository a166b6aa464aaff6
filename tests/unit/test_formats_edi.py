"""X12 and EDIFACT: envelopes that hold, places in loops, acknowledgements, and what is refused."""

import io
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcflow.errors import EncodeError, FormatError, LayoutError
from fcflow.formats import Batch, edifact, load_layout, x12
from fcflow.formats.edifact import Marks
from fcflow.model import Address, Order, OrderLine, Problem, Record, ShippingLine, ShippingOrder

BATCH = Batch(number=42, at=datetime(2026, 3, 2, 9, 30, tzinfo=UTC), partner="leeds")


def shipping_order(order_id="A1", name="Ada Byron", **skus):
    lines = [
        OrderLine(line_id=str(n), sku=sku, quantity=q) for n, (sku, q) in enumerate((skus or {"MUG": 1}).items(), 1)
    ]
    order = Order(order_id=order_id, lines=lines, ship_to=Address(name=name, town="Leeds", country="GB"))
    parts = [ShippingLine(line_id=line.line_id, sku=line.sku, quantity=line.quantity) for line in lines]
    return ShippingOrder(fulfilment_id=order_id, order=order, location="leeds", lines=parts)


def with_codec(name, **codec):
    document = dict(load_layout(name).document)
    return load_layout({**document, "codec": {**document["codec"], **codec}})


def interchange(*sets, delimiters="*>~", group="SW", control="905", break_="\n"):
    """Transactions of 945 in one group, each given as its segments without ST and SE."""
    e, c, s = delimiters
    isa = [
        "ISA",
        "00",
        " " * 10,
        "00",
        " " * 10,
        "ZZ",
        f"{'WAREHOUSE':15}",
        "ZZ",
        f"{'SELLER':15}",
        "260302",
        "0930",
        "U",
    ]
    lines = [e.join([*isa, "00401", f"{control:0>9}", "0", "P", c])]
    lines.append(e.join(["GS", group, "WAREHOUSE", "SELLER", "20260302", "0930", control, "X", "004010"]))
    for number, segments in enumerate(sets, 1):
        lines.append(e.join(["ST", "945", f"{number:04}"]))
        lines += [each.replace("*", e) for each in segments]
        lines.append(e.join(["SE", str(len(segments) + 2), f"{number:04}"]))
    lines += [e.join(["GE", str(len(sets)), control]), e.join(["IEA", "1", f"{control:0>9}"])]
    return "".join(line + s + break_ for line in lines).encode()


A1 = ["W06*F*A1*20260302", "LX*1", "MAN*CP*T1", "W12*CC*1*1*0*EA**VN*MUG", "W03*1"]
A2 = ["W06*F*A2*20260302", "LX*1", "MAN*CP*T2", "W12*CC*1*1*0*EA**VN*CUP", "W03*1"]


# ------------------------------------------------------------------ X12


def test_an_interchange_is_written_with_its_counts_and_numbers():
    """
    One transaction set an order, in the order of the layout's places, numbered by the payload.
    """
    layout = with_codec(
        "x12-940", envelope={"sender_id": "SELLER", "receiver_id": "WAREHOUSE", "sender_qualifier": "12"}
    )
    payload = layout.encode([shipping_order("A1", MUG=2, CUP=1), shipping_order("A2")], batch=BATCH).decode()

    assert payload.splitlines() == [
        "ISA*00*          *00*          *12*SELLER         *ZZ*WAREHOUSE      *260302*0930*U*00401*000000042*0*P*>~",
        "GS*OW*SELLER*WAREHOUSE*20260302*0930*42*X*004010~",
        "ST*940*0001~",
        "W05*N*A1~",
        "N1*ST*Ada Byron~",
        "N4*Leeds***GB~",
        "PER*IC**TE**EM~",
        "W66*PP*M~",
        "LX*1~",
        "W01*2*EA**VN*MUG~",
        "N9*LI*1~",
        "LX*2~",
        "W01*1*EA**VN*CUP~",
        "N9*LI*2~",
        "W76*3~",
        "SE*14*0001~",
        "ST*940*0002~",
        "W05*N*A2~",
        "N1*ST*Ada Byron~",
        "N4*Leeds***GB~",
        "PER*IC**TE**EM~",
        "W66*PP*M~",
        "LX*1~",
        "W01*1*EA**VN*MUG~",
        "N9*LI*1~",
        "W76*1~",
        "SE*11*0002~",
        "GE*2*42~",
        "IEA*1*000000042~",
    ]
    assert "*T*>~" in layout.encode([shipping_order()], batch=Batch(number=1, at=BATCH.at, test=True)).decode()
    assert [each.value.fulfilment_id for each in layout.read(payload.encode())[0]] == ["A1", "A2"]


def test_a_delimiter_inside_a_text_is_refused_or_replaced():
    """
    X12 has no way to release one.
    """
    with pytest.raises(EncodeError, match=r"order A1, 'party.*expected text without the delimiters"):
        load_layout("x12-940").encode([shipping_order(name="Ada * Byron")])
    assert b"N1*ST*Ada - Byron~" in with_codec("x12-940", replace_delimiters="-").encode(
        [shipping_order(name="Ada * Byron")]
    )


@pytest.mark.parametrize("delimiters", ["*>~", "|:~", "^\\\n", "\x1d\x1f\x1c"])
def test_an_interchange_says_its_own_delimiters(delimiters):
    """
    Whatever they are, with line breaks behind segments or without; two interchanges may differ.
    """
    layout = load_layout("x12-945")
    payload = interchange(A1, A2, delimiters=delimiters, break_="" if delimiters.endswith("\n") else "\r\n")
    for content in (payload, payload + interchange(A1), b"\r\n" + payload + b"\r\n"):
        records, problems = layout.read(content)
        assert not problems
        assert [each.value.reference for each in records][:2] == ["A1", "A2"]


def test_a_transaction_that_does_not_hold_is_a_problem_and_the_others_are_read():
    """
    Its own count or number; other transaction sets of the same payload are passed over.
    """
    payload = interchange(A1, A2).replace(b"SE*7*0001", b"SE*8*0001")
    found = list(load_layout("x12-945").decode(payload))
    assert [str(each) for each in found if isinstance(each, Problem)] == [
        "line 3: transaction 0001: SE says '8' segments, got 7"
    ]
    assert [each.value.reference for each in found if isinstance(each, Record)] == ["A2"]
    assert load_layout("x12-945").read(interchange(A1).replace(b"ST*945", b"ST*856")) == ([], [])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"ISA*00*", b"ISB*00*", "an interchange that begins with ISA"),
        (b"GE*2*905", b"GE*3*905", "segment 17: GE says '3', got 2"),
        (b"GE*2*905", b"GE*2*906", "expected GE to close '905', got '906'"),
        (b"IEA*1*", b"IEA*2*", "IEA says '2', got 1"),
        (b"GS*SW", b"XX*SW", "expected ST, SE, GS, GE or IEA, got 'XX'"),
        (b"ST*945*0001", b"W06*945*0001", "expected ST, SE, GS, GE or IEA, got 'W06'"),
        (b"SE*7*0001~\n", b"", "expected SE before the next ST"),
        (b"IEA*1*000000905~\n", b"", "expected IEA, got the end of the payload"),
        (b"IEA*1*000000905~\n", b"IEA*1", "expected '~', got the end of the payload"),
        (b"*A1*", b"*\xff*", "byte 0xFF: expected text in utf-8"),
    ],
)
def test_an_envelope_that_does_not_hold_refuses_the_payload(old, new, said):
    """
    With the segment, and what was expected.
    """
    payload = interchange(A1, A2)
    assert old in payload
    with pytest.raises(FormatError, match=re.escape(said)):
        load_layout("x12-945").read(payload.replace(old, new, 1))


def test_a_segment_that_never_ends_is_refused():
    """
    However much comes.
    """
    with pytest.raises(FormatError, match="expected '~' within 1048576 characters"):
        load_layout("x12-945").read(interchange(A1)[:150] + b"x" * 3_000_000)
    with pytest.raises(FormatError, match="begins with ISA, got nothing"):
        load_layout("x12-945").read(b"")


def test_a_997_answers_every_group():
    """
    Taken, rejected by us, or wrong in itself; sender and receiver change places; no answer to an answer.
    """
    payload = interchange(A1, A2).replace(b"SE*7*0002", b"SE*9*0002")
    lines = x12.acknowledgement(io.BytesIO(payload), BATCH).decode().splitlines()
    assert lines[0].startswith("ISA*00*          *00*          *ZZ*SELLER         *ZZ*WAREHOUSE      *260302*0930")
    assert lines[2:-2] == [
        "ST*997*0001~",
        "AK1*SW*905~",
        "AK2*945*0001~",
        "AK5*A~",
        "AK2*945*0002~",
        "AK5*R*4~",
        "AK9*P*2*2*1~",
        "SE*8*0001~",
    ]
    refused = x12.acknowledgement(io.BytesIO(interchange(A1)), BATCH, rejected={"0001": "no such order"}).decode()
    assert "AK5*R*5~\nAK9*R*1*1*0~" in refused
    assert x12.envelopes(io.BytesIO(refused.encode()))[0].groups[0].code == "FA"
    assert x12.acknowledgement(io.BytesIO(refused.encode()), BATCH) == b""


# ------------------------------------------------------------------ EDIFACT

PIECES = st.lists(st.text("ab:+?' \n", max_size=6), min_size=1, max_size=4)


@given(PIECES)
def test_released_marks_come_back(pieces):
    """
    Components and elements of any text come back from their element and their segment.
    """
    marks = Marks()
    while len(pieces) > 1 and not pieces[-1]:
        pieces.pop()
    element = marks.joined(pieces)
    assert marks.components(element) == pieces
    assert marks.elements(f"TAG+{element}+x") == ["TAG", element, "x"]


def test_a_message_is_written_and_read_back():
    """
    Marks inside a text are released, letters go by the syntax, counts and references hold.
    """
    layout = with_codec(
        "edifact-orders", envelope={"sender_id": "SELLER", "sender_qualifier": "14", "receiver_id": "W"}
    )
    order = shipping_order("A1", name="O'Neill + Söhne: ?", MUG=2)
    payload = layout.encode([order], batch=BATCH)
    lines = payload.decode("latin-1").splitlines()

    assert lines[:3] == ["UNA:+.? '", "UNB+UNOC:3+SELLER:14+W+260302:0930+42'", "UNH+1+ORDERS:D:96A:UN'"]
    assert "NAD+DP+++O?'Neill ?+ Söhne?: ??++Leeds+++GB'" in lines
    assert lines[-2:] == [f"UNT+{len(lines) - 3}+1'", "UNZ+1+42'"]
    [record], problems = layout.read(payload)
    assert not problems
    assert record.value.order.ship_to.name == "O'Neill + Söhne: ?"
    with pytest.raises(EncodeError, match="expected text that iso8859-1 can hold"):
        layout.encode([shipping_order(name="Жуков")])


STOCK = (
    "UNB+UNOC:3+W+S+260302:0930+77'UNH+1+INVRPT:D:96A:UN'BGM+35+I9+9'DTM+137:202603020915:203'"
    "LIN+1++MUG:SA'QTY+145:12'UNT+6+1'UNZ+1+77'"
)


def test_una_says_other_marks():
    """
    And without UNA the usual ones hold; two interchanges may differ.
    """
    other = "UNA|;,! ~" + STOCK.translate(str.maketrans(":+'", "|;~"))
    for payload in (STOCK, other, STOCK + "\r\n" + other):
        records, problems = load_layout("edifact-invrpt").read(payload.encode())
        assert not problems
        assert {(each.value.sku, each.value.on_hand) for each in records} == {("MUG", 12)}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("UNB+UNOC", "XNB+UNOC", "begins with UNA or UNB"),
        ("UNOC:3", "UNOX:3", "expected a set of letters such as UNOC, got 'UNOX'"),
        ("UNZ+1+77", "UNZ+2+77", "expected UNZ to say 1, got '2'"),
        ("UNZ+1+77", "UNZ+1+78", "expected UNZ to close '77', got '78'"),
        ("UNT+6+1'", "", "expected UNT before UNZ"),
        ("UNZ+1+77'", "", "expected UNZ, got the end of the payload"),
        ("UNH+1+INVRPT:D:96A:UN'", "", "expected UNH, UNT or UNZ, got 'BGM'"),
    ],
)
def test_an_interchange_that_does_not_hold_is_refused(old, new, said):
    """
    With the segment, and what was expected.
    """
    assert old in STOCK
    with pytest.raises(FormatError, match=re.escape(said)):
        load_layout("edifact-invrpt").read(STOCK.replace(old, new, 1).encode())


def test_contrl_answers_an_interchange():
    """
    Taken as a whole, message by message; what does not hold is rejected; no answer to an answer.
    """
    said = edifact.acknowledgement(io.BytesIO(STOCK.encode()), BATCH).decode().splitlines()
    assert said[1:] == [
        "UNB+UNOC:3+S+W+260302:0930+42'",
        "UNH+1+CONTRL:2:2:UN'",
        "UCI+77+W+S+7'",
        "UCM+1+INVRPT:D:96A:UN+7'",
        "UNT+4+1'",
        "UNZ+1+42'",
    ]
    bad = edifact.acknowledgement(io.BytesIO(STOCK.replace("UNT+6", "UNT+5").encode()), BATCH).decode()
    assert "UCM+1+INVRPT:D:96A:UN+4+29'" in bad
    assert (
        "UCM+1+INVRPT:D:96A:UN+4'"
        in edifact.acknowledgement(io.BytesIO(STOCK.encode()), BATCH, rejected={"1": "unknown"}).decode()
    )
    assert edifact.acknowledgement(io.BytesIO(bad.encode()), BATCH) == b""


# ------------------------------------------------------------------ places


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("W05", "a place such as W05-02"),
        ("W05-2", "a place such as W05-02"),
        ("W05-00", "counted from 01"),
        ("nowhere[]/W12-01", "unknown loop: expected line, got 'nowhere'"),
        ("line/W12-01", "a place such as W05-02"),
        ("lot[]/W12-01", "unknown loop"),
        ("line[]/W99-01", "W99 is no segment of loop line"),
    ],
)
def test_places_are_checked_at_load(at, said):
    """
    With the loops that there are.
    """
    codec = {"type": "x12", "transaction": "945", "loops": {"line": {"starts_with": "LX", "segments": ["W12"]}}}
    document = {"fcflow": "layout/1", "kind": "stock", "codec": codec, "fields": [{"at": at, "field": "sku"}]}
    with pytest.raises(LayoutError) as refused:
        load_layout(document)
    assert said in str(refused.value)


def test_loops_and_marks_are_checked_at_load():
    """
    A loop in a loop that is not there, or in itself; two marks that are one.
    """
    for codec, said in (
        ({"loops": {"a": {"starts_with": "LX", "in": "b"}}}, "$.codec.loops.a.in: unknown loop"),
        ({"loops": {"a": {"starts_with": "LX", "in": "a"}}}, "$.codec.loops.a.in: lies in itself"),
        ({"element": "~"}, "four marks that differ"),
    ):
        document = {"fcflow": "layout/1", "kind": "stock", "codec": {"type": "x12", "transaction": "846", **codec}}
        with pytest.raises(LayoutError) as refused:
            load_layout({**document, "fields": [{"at": "LIN-03", "field": "sku"}]})
        assert said in str(refused.value)


def test_a_hierarchy_goes_by_what_its_segments_say():
    """
    Loops that begin with the same segment are told apart, and lie in each other.
    """
    loops = {
        "order": {"starts_with": "HL", "where": {"03": "O"}, "segments": ["PRF"]},
        "pack": {"starts_with": "HL", "where": {"03": "P"}, "segments": ["MAN"], "in": "order"},
        "item": {"starts_with": "HL", "where": {"03": "I"}, "segments": ["LIN", "SN1"], "in": "pack"},
    }
    fields = [
        {"at": "order[]/PRF-01", "field": "reference"},
        {"at": "order[]/pack[]/MAN-02", "field": "tracking_numbers"},
        {"at": "order[]/pack[]/item[]/LIN-03", "field": "line.sku"},
        {"at": "order[]/pack[]/item[]/SN1-02", "field": "line.shipped"},
    ]
    codec = {"type": "x12", "transaction": "856", "loops": loops}
    layout = load_layout(
        {"fcflow": "layout/1", "kind": "status", "group": "reference", "codec": codec, "fields": fields}
    )
    head = ["BSN*00*1*20260302*0930", "HL*1**S", "HL*2*1*O", "PRF*A1"]
    first = ["HL*3*2*P", "MAN*CP*T1", "HL*4*3*I", "LIN**VN*MUG", "SN1**2*EA"]
    second = ["HL*5*2*P", "MAN*CP*T2", "HL*6*5*I", "LIN**VN*CUP", "SN1**1*EA"]
    payload = interchange([*head, *first, *second]).replace(b"ST*945", b"ST*856")
    [record], problems = layout.read(payload)

    assert not problems
    assert [(each.tracking_numbers, [line.sku for line in each.lines]) for each in record.value.shipments] == [
        (("T1",), ["MUG"]),
        (("T2",), ["CUP"]),
    ]


# ------------------------------------------------------------------ nothing of a line is lost

TWO_IN_A_CARTON = ["W06*F*A1*20260302", "LX*1", "MAN*CP*T1", "W12*CC*1*1*0*EA**VN*MUG", "W12*CC*2*2*0*EA**VN*CUP"]


def test_every_line_of_a_carton_is_read():
    """
    Several W12 stand in one LX, and share its tracking number.
    """
    [record], problems = load_layout("x12-945").read(interchange(TWO_IN_A_CARTON))

    assert problems == []
    assert [(line.sku, line.shipped) for line in record.value.lines] == [("MUG", 1), ("CUP", 2)]
    [parcel] = record.value.shipments
    assert (parcel.tracking_numbers, len(parcel.lines)) == (("T1",), 2)


def test_a_line_without_a_loop_of_its_own_is_a_problem():
    """
    A layout that reads one W12 a carton would lose the second; the other transactions are read.
    """
    loops = {"carton": {"starts_with": "LX", "segments": ["MAN", "W12"]}}
    fields = [
        {"at": "W06-02", "field": "reference"},
        {"at": "carton[]/W12-08", "field": "line.sku"},
        {"at": "carton[]/W12-03", "field": "line.shipped"},
    ]
    codec = {"type": "x12", "transaction": "945", "loops": loops}
    layout = load_layout({"fcflow": "layout/1", "kind": "status", "codec": codec, "fields": fields})

    records, problems = layout.read(interchange(TWO_IN_A_CARTON, A2))

    assert [record.value.reference for record in records] == ["A2"]
    assert [str(problem) for problem in problems] == [
        "line 3: transaction 0001: W12 comes again in one turn, where it needs a loop of its own"
    ]
