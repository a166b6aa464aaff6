"""
Decision tables: what a heading and a cell mean, where each fault stands, and that tables and rule sets come back whole.
"""

import csv
import io
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow.errors import RuleError
from fcflow.model import Address, Order, OrderLine
from fcflow.rules import load_rules
from fcflow.rules.cells import condition_of, items, placed, quoted, read_heading, unquoted
from fcflow.rules.sheets import csv_text, read_rows, rows_of, write_rows
from fcflow.rules.tables import from_table, to_table
from fcflow.rules.values import Bad
from fcflow.testing.oracle import Oracle

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def when(heading, cell):
    """The condition of a table with one row and one column."""
    head = [["currency:", "GBP"], ["zone:", "Europe/London"], ["list small:", "A|B"], ["numbers few:", "1|2"]]
    rules = from_table([*head, ["rule", heading, "keep"], ["r1", cell, "yes"]])
    return rules.document["rules"][0]["when"]


def faults(*rows):
    """The faults of a table, each as line, column and text."""
    with pytest.raises(RuleError) as caught:
        from_table(rows)
    return [(fault.line, fault.column, str(fault)) for fault in caught.value.faults]


@contextmanager
def refused(said):
    """The block is refused with a fault that says *said*."""
    with pytest.raises(RuleError) as caught:
        yield
    assert said in str(caught.value)


def test(field, op, *value, **more):
    """A test as JSON."""
    return {"field": field, "op": op, **({"value": value[0]} if value else {}), **more}


test.__test__ = False


# ------------------------------------------------------------------ what a cell means


@pytest.mark.parametrize(
    ("heading", "cell", "condition"),
    [
        ("ship_to.country", "GB", test("ship_to.country", "eq", "GB")),
        ("SHIP_TO.Country", " GB | IE ", test("ship_to.country", "in", ["GB", "IE"])),
        ("ship_to.country", "not GB", test("ship_to.country", "ne", "GB")),
        ("ship_to.country not in", "GB|IE", test("ship_to.country", "not_in", ["GB", "IE"])),
        ("channel", '"not me"', test("channel", "eq", "not me")),
        ("channel", "(absent)", test("channel", "absent")),
        ("channel exists", "no", test("channel", "absent")),
        ("channel", "list:small", test("channel", "in", {"list": "small"})),
        ("channel [ignore case]", "Ebay", test("channel", "eq", "Ebay", ignore_case=True)),
        ("ship_to.postcode starts with", "IV|HS", test("ship_to.postcode", "starts_with", ["IV", "HS"])),
        ("ship_to.postcode matches", "^IV|^HS", test("ship_to.postcode", "matches", "^IV|^HS")),
        ("total >=", "19.99", test("total", "ge", 19.99)),
        ("total", "10..20", test("total", "between", [10, 20])),
        ("total", "10..", test("total", "ge", 10)),
        ("total", "..20", test("total", "le", 20)),
        ("total [EUR]", "<20", test("total", "lt", 20, currency="EUR")),
        ("total", "not 10..20", {"not": test("total", "between", [10, 20])}),
        ("line_count", "list:few", test("line_count", "in", {"list": "few"})),
        ("line_count <>", "1", test("line_count", "ne", 1)),
        ("tags contains", "a|b", test("tags", "contains_any", ["a", "b"])),
        ("tags", "not vip", {"not": test("tags", "contains", "vip")}),
        ("payment", "paid", test("payment", "eq", "paid")),
        ("properties.gift wrap", "yes", test("properties.gift wrap", "eq", "yes")),
        ("any line.sku in", "MUG|PEN", {"any_line": test("line.sku", "in", ["MUG", "PEN"])}),
        ("every line.weight_g <", "2000", {"every_line": test("line.weight_g", "lt", 2000)}),
        ("no line.sku starts_with", "HAZ-", {"no_line": test("line.sku", "starts_with", "HAZ-")}),
        ("sum line.quantity", ">=10", {"sum_lines": test("line.quantity", "ge", 10)}),
        ("dispatch_by within next", "1 day 12 hours", test("dispatch_by", "within_next", {"days": 1, "hours": 12})),
        ("received_at before", "now", test("received_at", "before", "now")),
        ("now weekday in", "sat..mon", test("now", "weekday_in", ["sat", "sun", "mon"])),
        ("now time between", "09:00..17:30", test("now", "time_between", ["09:00", "17:30"])),
        ("stock covers all", "leeds|york", {"stock": {"at": ["leeds", "york"], "covers": "all"}}),
    ],
)
def test_a_cell_becomes_this_condition(heading, cell, condition):
    """
    Every kind of heading and cell has one meaning, and it is this one.
    """
    assert when(heading, cell) == condition


def test_a_blank_cell_asks_nothing_and_cells_of_a_row_all_hold():
    """
    A row without conditions matches every order, a row with several matches where all of them do.
    """
    rules = from_table(
        [
            ["rule", "channel", "ship_to.country", "hold", "keep"],
            ["both", "ebay", "GB", "look", ""],
            ["rest", "", None, "", "yes"],
        ]
    )

    both, rest = rules.document["rules"]
    assert both["when"] == {"all": [test("channel", "eq", "ebay"), test("ship_to.country", "eq", "GB")]}
    assert rest["when"] is True


def test_what_is_done_stands_in_the_columns_to_the_right():
    """
    Every action has a column; effects keep the order of their columns.
    """
    head = ["rule", "note", "allocate to", "strategy", "options", "split", "if short", "tag", "service"]
    row = ["r1", "mind | glass", "leeds|york", "nearest", "{}", "by line", "next rule", "a|b", "next day"]

    rules = from_table([[*head, "set property gift wrap", "enabled", "about"], [*row, "red", "no", "why"]])

    assert rules.document["rules"] == [
        {
            "id": "r1",
            "enabled": False,
            "about": "why",
            "when": True,
            "then": [
                {"note": "mind | glass"},
                {"tag": "a"},
                {"tag": "b"},
                {"set_service": "next day"},
                {"set_property": {"name": "gift wrap", "value": "red"}},
                {
                    "allocate": {
                        "to": ["leeds", "york"],
                        "strategy": "nearest",
                        "options": {},
                        "split": "by_line",
                        "if_short": "next_rule",
                    }
                },
            ],
        }
    ]


def test_the_last_row_may_say_what_happens_otherwise():
    """
    A last row called otherwise is the rule set's otherwise; the same word in quotes is an id.
    """
    rules = from_table([["rule", "hold", "keep"], ['"otherwise"', "", "no"], ["otherwise", "where to?", ""]][::2])
    named = from_table([["rule", "keep"], ['"otherwise"', "yes"]])

    assert rules.document["otherwise"] == [{"hold": {"reason": "where to?"}}]
    assert named.rules[0].id == "otherwise"


# ------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([["rule", "ship_to.contry", "keep"]], (1, 2, "unknown field: expected ship_to.country")),
        ([["rule", "total contains", "keep"]], (1, 2, "does not fit total")),
        ([["rule", "channel startswith", "keep"]], (1, 2, "unknown operator: expected starts")),
        ([["rule", "line.sku", "keep"]], (1, 2, "a field of a line")),
        ([["rule", "some line.sku", "keep"]], (1, 2, "expected any, every, no or sum")),
        ([["rule", "received_at", "keep"]], (1, 2, "received_at without an operator")),
        ([["rule", "alocate to"], ["a", "leeds"]], (1, 2, "expected allocate to")),
        ([["channel", "keep"], ["ebay", "yes"]], (1, 1, "no column rule")),
        ([["rule", "line_count", "keep"], ["a", "two", "yes"]], (2, 2, "expected a whole number, got 'two'")),
        ([["rule", "channel", "keep"], ["a", "10..20", "yes"]], (2, 2, "a range does not fit channel")),
        ([["rule", "channel", "keep"], ["a", ">5", "yes"]], (2, 2, "a comparison does not fit channel")),
        ([["rule", "channel", "keep"], ["a", "A||B", "yes"]], (2, 2, "an empty entry")),
        ([["rule", "channel", "keep"], ["a", '"A', "yes"]], (2, 2, "never closed")),
        ([["rule", "ship_to.country", "keep"], ["a", "UK", "yes"]], (2, 2, "expected GB")),
        ([["rule", "channel", "ship_to.country", "keep"], ["a", "x", "UK", "yes"]], (2, 3, "expected GB")),
        ([["rule", "channel", "keep"], ["a", "list:lsit", "yes"]], (2, 2, "unknown list")),
        ([["rule", "total >=", "keep"], ["a", "5", "yes"]], (2, 2, "money without a currency")),
        ([["rule", "keep"], ["a", "maybe"]], (2, 2, "expected yes or")),
        ([["rule", "keep", "hold"], ["a", "yes", "why"]], (2, 1, "a second decision")),
        ([["rule", "keep"], ["a", ""]], (2, 1, "nothing is done")),
        ([["rule", "split"], ["a", "never"]], (2, 1, "split without allocate to")),
        ([["rule", "keep"], ["a", "yes"], ["a", "yes"]], (3, 1, "also the id of")),
        ([["rule", "keep"], ["a", "yes", "stray"]], (2, 3, "a cell without a heading")),
        ([["rule", "keep"], ["otherwise", "yes"], ["a", "yes"]], (2, 1, "otherwise is what happens")),
        ([["curency:", "GBP"], ["rule", "keep"]], (1, 1, "expected currency")),
        ([["zone:", "Europe/Lodnon"], ["rule", "keep"], ["a", "yes"]], (1, 2, "Europe/London")),
        ([["condition big:", "{"], ["rule", "keep"]], (1, 2, "not JSON")),
        ([["numbers few:", "1|x"], ["rule", "keep"]], (1, 2, "expected a number")),
    ],
)
def test_a_fault_stands_at_its_cell(rows, expected):
    """
    A fault names line, column and heading, and what was expected there.
    """
    line, column, said = expected

    ((found_line, found_column, text),) = faults(*rows)

    assert (found_line, found_column) == (line, column)
    assert said in text


def test_all_faults_come_at_once():
    """
    A table with several faults names all of them, in the order in which they stand.
    """
    found = faults(["rule", "line_count", "channel", "keep"], ["a", "two", "A||B", "yes"], ["b", "2.5", "", "yes"])

    assert [place[:2] for place in found] == [(2, 2), (2, 3), (3, 2)]


@pytest.mark.parametrize("rows", [[], [["name:", "x"]], [["", ""]]])
def test_a_table_without_headings_is_refused(rows):
    """
    Nothing is never taken for a rule set that keeps every order.
    """
    with refused("no headings"):
        from_table(rows)


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_every_usual_csv_is_read(tmp_path, delimiter):
    """
    The delimiter is found, a byte order mark falls away, and a fault names the line of the file.
    """
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\r\n").writerows(
        [["rule", "about", "line_count", "keep"], ["a", "two\nlines", "1|2", "yes"], [], ["b", "", "x", "yes"]]
    )
    path = tmp_path / "rules.csv"
    path.write_text("\ufeff" + out.getvalue(), encoding="utf-8", newline="")

    with pytest.raises(RuleError) as caught:
        from_table(path)

    assert [(fault.line, fault.column) for fault in caught.value.faults] == [(5, 3)]


def test_a_file_that_is_no_text_is_refused(tmp_path):
    """
    Bytes of another encoding are a fault, not letters that are slightly wrong.
    """
    path = tmp_path / "rules.csv"
    path.write_bytes("rule,keep\nä,yes\n".encode("cp1252"))

    with refused("not UTF-8"):
        from_table(path)
    with refused("cannot be read"):
        from_table(tmp_path / "none.csv")


def test_a_spreadsheet_is_read_as_it_looks(tmp_path):
    """
    Numbers, blanks and other sheets of a workbook give what the person sees.
    """
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["nothing", "here"])
    sheet = book.create_sheet("rules")
    for row in (["currency:", "GBP"], ["rule", "total", "any line.sku", "keep"], [7, 20.5, 1001.0, True]):
        sheet.append(row)
    book.save(tmp_path / "rules.xlsx")

    rules = from_table(tmp_path / "rules.xlsx", sheet="rules")

    assert rules.document["rules"][0]["id"] == "7"
    assert rules.document["rules"][0]["when"] == {
        "all": [test("total", "eq", 20.5), {"any_line": test("line.sku", "eq", "1001")}]
    }
    with refused("there is no such sheet"):
        from_table(tmp_path / "rules.xlsx", sheet="rulez")


def test_cells_that_look_filled_and_read_blank_are_refused(tmp_path):
    """
    Merged cells and formulas without a value are faults: as blanks they would ask for less than the sheet shows.
    """
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["rule", "channel", "keep"], ["a", "ebay", "yes"], ["b", None, "yes"], ["c", '="eb"&"ay"', "yes"]):
        book.active.append(row)
    book.active.merge_cells("B2:B3")
    book.save(tmp_path / "rules.xlsx")

    with pytest.raises(RuleError) as caught:
        from_table(tmp_path / "rules.xlsx")

    assert [fault.message for fault in caught.value.faults] == ["merged cells", "a formula that was never worked out"]
    assert caught.value.faults[1].path == "B4"


def test_what_is_no_spreadsheet_is_refused(tmp_path):
    """
    A file that only has the name of a spreadsheet is one fault.
    """
    pytest.importorskip("openpyxl")
    (tmp_path / "rules.xlsx").write_text("rule,keep\n")

    with refused("not a spreadsheet"):
        from_table(tmp_path / "rules.xlsx")


@pytest.mark.parametrize("name", ["rules.csv", "rules.xlsx"])
def test_a_file_written_is_read_back(tmp_path, name):
    """
    Cells that a spreadsheet program would take for formulas, numbers or dates come back as the texts they are.
    """
    pytest.importorskip("openpyxl")
    rows = [["rule", "a", "b"], ["=1+1", "0012", "2026-03-02"], ["", "two\nlines", 'say "x"|y']]

    write_rows(rows, tmp_path / name)

    assert [list(row.cells) for row in read_rows(tmp_path / name)] == rows


def test_what_begins_like_a_formula_is_written_in_quotation_marks():
    """
    No text of a rule set becomes a formula in the program that opens the table.
    """
    rules = load_rules(
        {"fcflow": "ruleset/1", "rules": [{"id": "=1", "when": True, "then": [{"tag": "@x"}, {"note": "+44"}]}]}
    )

    assert not [cell for row in to_table(rules) for cell in row if cell[:1] in "=+-@" and cell]


# ------------------------------------------------------------------ there and back


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4))
def test_entries_come_back(texts):
    """
    Whatever stands in an entry, quoting keeps it.
    """
    assert [item.text for item in items("|".join(map(quoted, texts)))] == texts
    assert [unquoted(quoted(text)) for text in texts] == texts


def _maybe(values):
    return st.none() | values


def _some(values):
    return st.lists(values, min_size=1, max_size=3)


WORDS = st.sampled_from(["GB", "A", "ab", "not a", "x|y", '"', "10..20", ">5", "list:x", "=1", " a ", "(absent)", "*"])
SKUS = st.sampled_from(["MUG", "PEN", "not MUG"])
AMOUNTS = st.sampled_from([0, 5, 19.99, 20, "7.50"])
ORDERED = ["eq", "ne", "lt", "le", "gt", "ge"]


def _tests(fields, ops, values, **more):
    return st.fixed_dictionaries(
        {"field": st.sampled_from(fields), "op": st.sampled_from(ops), "value": values}, optional=more
    )


TEXTS = ["channel", "ship_to.town", "properties.a", "properties.b not"]
FOLD = {"ignore_case": st.booleans()}
ORDER_TESTS = st.one_of(
    _tests(TEXTS, ["eq", "ne", "contains", "starts_with", "ends_with"], WORDS, **FOLD),
    _tests(TEXTS, ["in", "not_in", "contains_any", "contains_all", "ends_with"], _some(WORDS), **FOLD),
    _tests(TEXTS, ["in", "not_in", "starts_with"], st.just({"list": "words"})),
    _tests(["channel"], ["matches"], st.sampled_from(["^A|b$", '"', "not a"])),
    _tests(["tags"], ["contains_any", "contains_all"], _some(WORDS), **FOLD),
    _tests(["tags"], ["contains"], WORDS),
    _tests(["total_quantity", "line_count", "total_weight_g"], ORDERED, st.integers(-1, 4)),
    _tests(["line_count"], ["in", "not_in"], _some(st.integers(0, 3)) | st.just({"list": "few"})),
    _tests(["line_count"], ["between"], st.just([1, 2])),
    _tests(["total", "goods_total"], ORDERED, AMOUNTS, currency=st.sampled_from(["GBP", "EUR"])),
    _tests(["total"], ["between"], st.just([5, 19.99])),
    _tests(["received_at"], ["before", "after"], st.sampled_from(["now", NOW.isoformat()])),
    _tests(["received_at"], ["within_last", "within_next"], st.just({"days": 1, "hours": 2})),
    _tests(["received_at", "now"], ["weekday_in"], st.just(["sat", 1, 2]), zone=st.just("Europe/Berlin")),
    _tests(["now"], ["time_between"], st.just(["22:00", "12:30"])),
    st.sampled_from(["exists", "absent"]).map(lambda op: {"field": "channel", "op": op}),
)
LINE_TESTS = st.one_of(
    _tests(["line.sku"], ["eq", "ne", "starts_with"], SKUS),
    _tests(["line.sku", "line.title"], ["in", "not_in"], _some(SKUS)),
    _tests(["line.quantity", "line.weight_g"], ORDERED, st.integers(0, 3)),
)
OVER_LINES = st.one_of(
    st.tuples(st.sampled_from(["any_line", "every_line", "no_line"]), LINE_TESTS).map(lambda pair: dict([pair])),
    _tests(["line.quantity", "line.weight_g"], ORDERED, st.integers(0, 6)).map(lambda body: {"sum_lines": body}),
)
LEAVES = st.one_of(ORDER_TESTS, OVER_LINES, st.just({"use": "named"}))
CELLS = LEAVES | LEAVES.map(lambda leaf: {"not": leaf})
WHEN = st.recursive(
    st.just(True) | CELLS, lambda parts: st.lists(parts, min_size=1, max_size=3).map(lambda all_: {"all": all_})
)
EFFECTS = st.one_of(
    WORDS.map(lambda word: {"tag": word}),
    WORDS.map(lambda word: {"set_service": word}),
    WORDS.map(lambda word: {"note": word}),
    st.tuples(WORDS.filter(str.strip), st.just("") | WORDS).map(
        lambda pair: {"set_property": {"name": pair[0], "value": pair[1]}}
    ),
)
ALLOCATE = st.fixed_dictionaries(
    {},
    optional={
        "to": st.sampled_from(["leeds", "*", ["york", "a|b"]]),
        "strategy": st.sampled_from(["nearest", "acme:x"]),
        "options": st.just({"a": [1]}),
        "split": st.sampled_from(["never", "by_line"]),
        "if_short": st.sampled_from(["next_rule", "hold"]),
    },
)
DECISIONS = st.one_of(
    ALLOCATE.map(lambda body: {"allocate": body}), WORDS.map(lambda r: {"hold": {"reason": r}}), st.just({"keep": {}})
)


@st.composite
def rule_sets(draw):
    """Rule sets whose rules fit a row each."""
    rules = []
    for number in range(draw(st.integers(0, 4))):
        then = draw(st.lists(EFFECTS, max_size=4)) + draw(st.lists(DECISIONS, max_size=1))
        rule = {"id": draw(WORDS) + str(number), "when": draw(WHEN), "then": then or [{"tag": "t"}]}
        extra = {"enabled": st.booleans(), "if_unknown": st.sampled_from(["match", "no_match"]), "about": WORDS}
        rules.append({**rule, **draw(st.fixed_dictionaries({}, optional=extra))})
    document = {
        "fcflow": "ruleset/1",
        "name": draw(WORDS),
        "currency": "GBP",
        "zone": "Europe/London",
        "lists": {"words": ["GB", "a|b"], "few": [1, 2]},
        "conditions": {"named": {"field": "channel", "op": "eq", "value": "A"}},
        "rules": rules,
    }
    if draw(st.booleans()):
        document["otherwise"] = [*draw(st.lists(EFFECTS, max_size=2)), draw(DECISIONS)]
    return document


ORDERS = st.builds(
    Order,
    order_id=st.just("A1"),
    channel=_maybe(WORDS),
    currency=st.sampled_from(["GBP", "EUR", None]),
    total=_maybe(AMOUNTS.map(str)),
    received_at=_maybe(st.sampled_from([NOW - timedelta(days=2), NOW, NOW + timedelta(hours=1)])),
    ship_to=st.builds(Address, town=_maybe(WORDS)),
    tags=st.frozensets(WORDS, max_size=2),
    properties=st.dictionaries(st.sampled_from(["a", "b not"]), WORDS),
    lines=st.lists(st.tuples(SKUS, st.integers(1, 3), _maybe(SKUS), _maybe(st.integers(0, 3))), max_size=2).map(
        lambda lines: tuple(
            OrderLine(line_id=str(number), sku=sku, quantity=quantity, title=title, weight_g=weight)
            for number, (sku, quantity, title, weight) in enumerate(lines)
        )
    ),
)


@settings(max_examples=80, deadline=None)
@given(document=rule_sets(), orders=st.lists(ORDERS, min_size=1, max_size=4))
def test_a_table_decides_as_its_rules(document, orders):
    """
    Rules that went through a table and back, as rows and as CSV, give every order the same decisions and effects.
    """
    rules = load_rules(document)
    rows = to_table(rules)
    back = from_table(rows)
    oracle = Oracle(document)

    again = from_table(csv.reader(io.StringIO(csv_text(rows), newline="")))
    assert again.hash == back.hash
    for order in orders:
        decisions = list(rules.decisions(order, now=NOW))
        assert list(back.decisions(order, now=NOW)) == decisions
        named = [(each["rule"], each["action"]) for each in oracle.decisions(order, None, NOW)]
        assert named == [(each.rule_id, each.action) for each in decisions]
        verdicts = [(each.rule_id, each.verdict) for each in rules.explain(order, now=NOW).rules]
        assert [(each.rule_id, each.verdict) for each in back.explain(order, now=NOW).rules] == verdicts


@settings(max_examples=150)
@given(CELLS)
def test_a_condition_of_one_cell_comes_back(condition):
    """
    Each condition that fits a cell is read back from it, and its heading is one that people can type.
    """
    found = placed(condition)

    if found is None:
        assert "properties.b not" in str(condition)
    else:
        assert condition_of(read_heading(found[0].heading), found[1])


@pytest.mark.parametrize(
    ("when_", "path", "said"),
    [
        ({"any": [test("channel", "eq", "A"), test("channel", "eq", "B")]}, "$.rules[0].when", "any"),
        ({"all": [True, {"not": {"all": [True]}}]}, "$.rules[0].when.all[1]", "not"),
        ({"any_line": {"all": [test("line.sku", "eq", "A")]}}, "$.rules[0].when", "any_line"),
        ({"count_lines": {"op": "ge", "value": 2}}, "$.rules[0].when", "count_lines"),
        ({"stock_age": {"at": "leeds", "op": "lt", "value": {"hours": 1}}}, "$.rules[0].when", "stock_age"),
        (
            {"behaviour": {"at": "leeds", "measure": "late_rate", "op": "lt", "value": 1}},
            "$.rules[0].when",
            "behaviour",
        ),
    ],
)
def test_what_does_not_fit_a_row_is_refused(when_, path, said):
    """
    A condition that a row cannot say is named with its place; it is never left out.
    """
    rules = load_rules({"fcflow": "ruleset/1", "rules": [{"id": "a", "when": when_, "then": [{"keep": {}}]}]})

    with pytest.raises(RuleError) as caught:
        to_table(rules)

    (fault,) = caught.value.faults
    assert fault.path == path
    assert said in fault.message


def test_examples_stay_with_their_rules():
    """
    The examples of a rule stand in a cell of their own and are run again when the table is read.
    """
    example = {"order": {"channel": "ebay"}, "matches": True}
    rule = {"id": "a", "when": test("channel", "eq", "ebay"), "then": [{"keep": {}}], "examples": [example]}
    rows = to_table(load_rules({"fcflow": "ruleset/1", "rules": [rule]}))

    assert from_table(rows).document["rules"][0]["examples"] == [example]
    with refused("the example fails"):
        from_table(
            [[cell.replace("ebay", "etsy") if number == 2 else cell for number, cell in enumerate(row)] for row in rows]
        )


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.text(max_size=12) | st.sampled_from(["rule", "keep", "total", "yes", '"']), max_size=4)))
def test_no_table_does_more_than_be_refused(rows):
    """
    Whatever stands in a table, it is a rule set or a `RuleError`.
    """
    try:
        from_table(rows)
    except RuleError as error:
        assert error.faults  # noqa: PT017  # most of these are refused, not all


def test_rows_in_hand_are_read_like_a_sheet():
    """
    Values that are not text are read as a spreadsheet shows them.
    """
    (row,) = rows_of([[True, 1.5, 3.0, NOW, None]])

    assert row.cells == ("yes", "1.5", "3", "2026-03-02T12:00:00+00:00", "")


def test_a_heading_cannot_be_misread():
    """
    A property whose name looks like an operator is refused as a column rather than read as another one.
    """
    assert placed(test("properties.a not", "in", ["x"])) is None or condition_of(
        read_heading(placed(test("properties.a not", "in", ["x"]))[0].heading), "x|y"
    ) == test("properties.a not", "in", ["x", "y"])
    with pytest.raises(Bad, match="unknown field"):
        read_heading("propertie.x")
