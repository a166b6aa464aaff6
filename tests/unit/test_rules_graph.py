"""
The pictures of a rule set show every rule, are well formed, and carry hostile texts as texts.
"""

import re
from html import unescape
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow.rules import load_rules
from fcflow.rules.graph import to_mermaid, to_svg
from fcflow.rules.shape import schema

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    '</text><script>alert(1)</script>"]',
    'x"] --> evil["pwn',
    "click r0 javascript:alert(1)",
    "]]><!--",
    "#quot;&lt;%%{init}%%",
    "a\nb; end",
    "`${x}` <br> \\",
    "\x00\x1b[2J\ufffe",
]


def rule_set(*rules, otherwise=None):
    """A rule set of these rules."""
    more = {"otherwise": otherwise} if otherwise else {}
    return load_rules({"fcflow": "ruleset/1", "name": "uk", "currency": "GBP", "rules": list(rules), **more})


def texts(picture):
    """Every text of an SVG, in its order."""
    return [element.text or "" for element in ET.fromstring(picture).iter(f"{SVG}text")]


def decoded(label):
    """A Mermaid label as it is shown."""
    return re.sub(r"#(\d+);", lambda match: chr(int(match[1])), label)


RULES = rule_set(
    {
        "id": "heavy",
        "when": {
            "all": [
                {"any_line": {"field": "line.weight_g", "op": "ge", "value": 20000}},
                {"not": {"field": "ship_to.country", "op": "in", "value": ["FR", "DE"]}},
                {"any": [{"field": "channel", "op": "exists"}, {"stock": {"at": ["a", "b"], "covers": "all"}}]},
            ]
        },
        "then": [{"tag": "two-man"}, {"allocate": {"to": ["leeds", "york"], "split": "by_line"}}],
    },
    {"id": "vip", "when": {"field": "tags", "op": "contains", "value": "vip"}, "then": [{"note": "be quick"}]},
    {"id": "off", "enabled": False, "when": True, "then": [{"keep": {}}]},
    {"id": "rest", "when": {"field": "total", "op": "lt", "value": 5}, "then": [{"hold": {"reason": "too small"}}]},
)


def test_every_rule_is_said_in_words():
    """
    Conditions and actions stand in the picture as people say them.
    """
    said = " ".join(texts(to_svg(RULES)))

    assert "any line has line.weight_g ≥ 20000 and not (ship_to.country in FR, DE)" in said
    assert "(channel exists or a or b has every line in stock)" in said
    assert "tag two-man; allocate to leeds or york (split by line)" in said
    assert "hold: too small" in said
    assert [each for each in texts(to_svg(RULES)) if each in ("heavy", "vip", "off", "rest", "otherwise")] == [
        *("heavy", "vip", "off", "rest", "otherwise")
    ]


def test_mermaid_shows_where_evaluation_goes():
    """
    A rule that only adds something leads on, one that may run short leads on where it does, a hold leads nowhere.
    """
    lines = [line.strip() for line in to_mermaid(RULES).splitlines()]

    assert lines[:2] == ["flowchart TD", 'start(["order"]) --> r0']
    assert "d0 -. short .-> r1" in lines
    assert "d1 --> r2" in lines
    assert any(line.startswith("r2[") and line.endswith("-.-> r3") for line in lines)
    assert not [line for line in lines if line.startswith("d3 ")]
    assert "r3 -- no --> last" in lines


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_stays_a_text(text):
    """
    Whatever a text of the rule set holds, the pictures have the elements and edges that the rules make, no other.
    """
    harmless = rule_set({"id": "x", "when": True, "then": [{"tag": "x"}]}, otherwise=[{"hold": {"reason": "x"}}])
    hostile = rule_set({"id": text, "when": True, "then": [{"tag": text}]}, otherwise=[{"hold": {"reason": text}}])

    kinds = [element.tag for element in ET.fromstring(to_svg(hostile)).iter()]
    assert set(kinds) == {element.tag for element in ET.fromstring(to_svg(harmless)).iter()}
    assert "script" not in {kind.removeprefix(SVG) for kind in kinds}
    shape = re.compile('"[^"\n]*"')
    assert shape.sub("", to_mermaid(hostile)) == shape.sub("", to_mermaid(harmless))
    assert len(to_mermaid(hostile).splitlines()) == len(to_mermaid(harmless).splitlines())


@settings(max_examples=150)
@given(st.text(min_size=1, max_size=40))
def test_a_text_is_shown_as_it_is(text):
    """
    What can be seen of a text is seen in both pictures, letter by letter.
    """
    rules = rule_set({"id": text, "when": True, "then": [{"keep": {}}]})
    shown = "".join(each if each.isprintable() else " " for each in text)

    labels = re.findall(r'r0\{"(.*)<br>', to_mermaid(rules))
    assert [decoded(label) for label in labels] == [shown]
    assert texts(to_svg(rules))[1] == shown
    assert unescape(to_svg(rules)).count("<svg") == 1 + text.count("<svg")


def test_long_texts_are_cut():
    """
    A condition with thousands of values makes no picture of a mile.
    """
    values = [f"SKU-{number}" for number in range(5000)]
    condition = {"any_line": {"field": "line.sku", "op": "in", "value": values}}
    rules = rule_set({"id": "a", "when": condition, "then": [{"keep": {}}]})

    assert len(to_svg(rules)) < 5000
    assert "…" in decoded(to_mermaid(rules))


def test_every_condition_and_action_has_words():
    """
    No kind of condition or action of the schema is missing in the pictures.
    """
    line = {"field": "line.quantity", "op": "ge", "value": 2}
    written = {
        "all": [True],
        "any": [True],
        "not": True,
        "use": "named",
        "any_line": line,
        "every_line": line,
        "no_line": line,
        "count_lines": {"where": line, "op": "ge", "value": 2},
        "sum_lines": {"field": "line.quantity", "where": line, "op": "between", "value": [1, 2]},
        "stock": {"at": "leeds", "covers": "any"},
        "stock_age": {"at": "leeds", "op": "lt", "value": {"hours": 4}},
        "behaviour": {"at": "leeds", "measure": "late_rate", "op": "gt", "value": "0.1"},
    }
    actions = [{"tag": "t"}, {"set_property": {"name": "a", "value": "b"}}, {"set_service": "s"}, {"note": "n"}]
    condition = schema()["$defs"]["condition"]["then"]
    kinds = {branch["required"][0] for branch in condition["oneOf"]}

    rules = load_rules(
        {
            "fcflow": "ruleset/1",
            "conditions": {"named": True},
            "rules": [{"id": kind, "when": {kind: body}, "then": actions} for kind, body in written.items()],
        }
    )

    assert kinds - {"field"} <= written.keys()
    assert len(texts(to_svg(rules))) > 3 * len(written)
    assert "stock picture of leeds < 4 hours old" in texts(to_svg(rules))
