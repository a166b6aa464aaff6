"""A partner's codes for our SKUs: packs and parts, in statuses and in files of aliases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcflow.aliases import as_sent, in_sent_lines, sent_lines
from fcflow.config.aliases import read_aliases
from fcflow.errors import ConfigError
from fcflow.lifecycle import facts_of
from fcflow.model import Alias, FulfilmentLine, FulfilmentOrder, Partner, Shipment, StatusLine, StatusUpdate
from fcflow.phases.progress import progress_of

SET = {"parts": {"L-MUG": 2, "L-CUP": 1}}
PARTNER = Partner(
    code="leeds",
    aliases={"MUG": "L-MUG", "EGG": {"sku": "L-EGG-6", "pack": 6}, "SET": SET, "PAIR": {"parts": {"L-X": 2}}},
)


def lines(*units):
    return [FulfilmentLine(line_id=str(n), sku=sku, quantity=quantity) for n, (sku, quantity) in enumerate(units, 1)]


def said(*given, status="shipped", parcels=()):
    return StatusUpdate(reference="A1", status=status, lines=given, shipments=parcels)


def counted(ordered, *updates):
    """Shipped, short and cancelled units of every line, and every text for a person, after so many messages."""
    order = FulfilmentOrder(fulfilment_id="A1", order_id="A1", location="leeds", lines=ordered)
    known, texts = [], []
    for update in updates:
        facts, messages = facts_of(in_sent_lines(PARTNER, update, order), as_sent(PARTNER, order))
        known += facts
        texts += messages
    progress = progress_of(PARTNER, order, known)
    return [(line.shipped, line.short, line.cancelled) for line in progress.lines], [*texts, *progress.conflicts]


def test_a_pack_counts_as_many_units_as_are_in_it():
    """
    Their 2 of six are our 12, told by SKU or by line.
    """
    ordered = lines(("EGG", 18))
    for line in (StatusLine(sku="L-EGG-6", shipped=2), StatusLine(line_id="1", shipped=2)):
        assert counted(ordered, said(line)) == ([(12, 0, 0)], [])


def test_our_own_sku_speaks_of_our_own_units():
    """
    A partner that quotes our SKU counts as we do; our bundle is all its parts.
    """
    assert counted(lines(("EGG", 18)), said(StatusLine(sku="EGG", shipped=6))) == ([(6, 0, 0)], [])
    assert counted(lines(("SET", 3)), said(StatusLine(sku="SET", shipped=2))) == ([(2, 0, 0)], [])
    assert counted(lines(("SET", 3)), said(StatusLine(line_id="1"))) == ([(3, 0, 0)], [])


def test_a_bundle_has_left_when_all_its_parts_have():
    """
    Parts are told by SKU, by line, or named without a count, in one message or in one each.
    """
    ordered = lines(("SET", 3))
    for told in (
        [StatusLine(sku="L-MUG", shipped=6), StatusLine(sku="L-CUP", shipped=3)],
        [StatusLine(line_id="1.1", shipped=6), StatusLine(line_id="1.2", shipped=3)],
        [StatusLine(sku="L-MUG"), StatusLine(sku="L-CUP")],
    ):
        assert counted(ordered, said(*told)) == ([(3, 0, 0)], [])
        assert counted(ordered, *map(said, told)) == ([(3, 0, 0)], [])


def test_a_bundle_whose_parts_are_on_their_way_waits_for_the_rest():
    """
    Four mugs and no cup are no set yet, and nobody is asked.
    """
    assert counted(lines(("SET", 3)), said(StatusLine(sku="L-MUG", shipped=4))) == ([(0, 0, 0)], [])


def test_the_whole_order_shipped_ships_its_bundles():
    """
    A status that names no line speaks of every part.
    """
    assert counted(lines(("SET", 3), ("EGG", 6)), said()) == ([(3, 0, 0), (6, 0, 0)], [])


def test_a_bundle_is_short_as_often_as_any_part_is_and_what_is_left_over_goes_to_a_person():
    """
    Two mugs of six are missing: one set is short, two have left; the third cup left all the same, or it did not.
    """
    mugs = StatusLine(sku="L-MUG", shipped=4, short=2)
    even = said(mugs, StatusLine(sku="L-CUP", shipped=2, short=1), status="part_shipped")
    assert counted(lines(("SET", 3)), even) == ([(2, 1, 0)], [])
    odd = said(mugs, StatusLine(sku="L-CUP", shipped=3), status="part_shipped")
    texts = ["bundle SET: what was shipped of its parts makes no whole ones"]
    assert counted(lines(("SET", 3)), odd) == ([(2, 1, 0)], texts)


def test_units_of_a_code_that_lines_share_are_spread_in_line_order_and_excess_goes_to_a_person():
    """
    The set takes its two mugs first, then the single ones; the seventh mug is nobody's.
    """
    ordered = lines(("SET", 1), ("MUG", 4))
    cup = StatusLine(sku="L-CUP", shipped=1)
    assert counted(ordered, said(StatusLine(sku="L-MUG", shipped=6), cup)) == ([(1, 0, 0), (4, 0, 0)], [])
    done, texts = counted(ordered, said(StatusLine(sku="L-MUG", shipped=7), cup))
    assert (done, len(texts)) == ([(1, 0, 0), (4, 0, 0)], 1)
    assert "expected at most 6 units, got 7" in texts[0]


def test_ids_of_parts_never_meet_those_of_lines():
    """
    A line that is called as a part would be moves the part.
    """
    ordered = [
        FulfilmentLine(line_id="1", sku="SET", quantity=1),
        FulfilmentLine(line_id="1.1", sku="MUG", quantity=1),
    ]
    assert [sent.line_id for sent in sent_lines(PARTNER, ordered)] == ["1..1", "1..2", "1.1"]


SKUS = st.sampled_from(["MUG", "EGG", "SET", "PAIR", "HAT"])


@given(st.lists(st.tuples(SKUS, st.integers(1, 9)), min_size=1, max_size=6), st.booleans(), st.sampled_from("mrp"))
def test_what_was_sent_and_is_shipped_comes_back_whole(units, by_line, how):
    """
    A partner that ships all it was sent, in its own codes and units, has shipped all that was ordered: in one message,
    in a row for each line, or in a parcel for each.
    """
    ordered = lines(*((sku, units * 6 if sku == "EGG" else units) for sku, units in units))
    told = [
        StatusLine(line_id=each.line_id, shipped=each.quantity)
        if by_line
        else StatusLine(sku=each.partner_sku or each.sku, shipped=each.quantity)
        for each in sent_lines(PARTNER, ordered)
    ]
    parcels = [Shipment(tracking_numbers=[f"T{n}"], lines=[line]) for n, line in enumerate(told)]
    updates = {
        "m": [said(*told)],
        "r": [said(parcels=[parcel]) for parcel in parcels],
        "p": [said(parcels=parcels)],
    }[how]
    assert counted(ordered, *updates) == ([(line.quantity, 0, 0) for line in ordered], [])


def test_a_csv_of_aliases_tells_packs_and_parts(tmp_path):
    """
    Rows with a quantity are parts; a pack says how many of ours are in it.
    """
    rows = "sku,partner_sku,pack,quantity\nMUG,L-MUG,,\nEGG,L-EGG-6,6,\nSET,L-MUG,,2\nSET,L-CUP,,1\n"
    (tmp_path / "a.csv").write_text(rows)
    assert read_aliases(tmp_path / "a.csv") == {
        "MUG": "L-MUG",
        "EGG": Alias.of({"sku": "L-EGG-6", "pack": 6}),
        "SET": Alias.of(SET),
    }


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("MUG,L-1,0,", "pack: expected a whole number above 0, got '0'"),
        ("MUG,L-1,,x", "quantity: expected a whole number above 0, got 'x'"),
        ("MUG,L-1,6,2", "pack: expected none beside a quantity"),
        ("SET,L-2,,", "a SKU of ours stands twice"),
        ("SET,L-MUG,,1", "a SKU of ours stands twice"),
    ],
)
def test_a_row_of_aliases_that_cannot_be_is_told_with_its_line(tmp_path, row, expected):
    """
    The others are not blamed.
    """
    (tmp_path / "a.csv").write_text(f"sku,partner_sku,pack,quantity\nSET,L-MUG,,2\n{row}\n")
    with pytest.raises(ConfigError) as refused:
        read_aliases(tmp_path / "a.csv")
    [fault] = refused.value.faults
    assert fault.line == 3
    assert expected in str(fault)


@pytest.mark.parametrize("said", [{"parts": {}}, {"parts": {"A": 0}}, {"parts": {"A": 1, "B": 1}, "pack": 2}])
def test_an_alias_that_means_nothing_is_refused(said):
    """
    No parts, none of a part, packs of bundles.
    """
    with pytest.raises(ValueError, match="expected"):
        Alias.of(said)
