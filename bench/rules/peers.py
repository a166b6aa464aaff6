"""
Other rule engines that a Python program can install, each given the workload in its own language.

Every engine answers with the number of the first rule that matches. What it needs once (parsing, compiling) is outside
its time; what it needs for every order (taking over the order's values) is inside.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from attrs import frozen

from rules.workload import Cond

Decide = Callable[[Mapping[str, Any]], int]


@frozen
class Peer:
    """
    An engine.

    Args:
        package: What `pip` calls it.

        make: From rules to the function that decides.

        most: The longest list of rules that it is asked to decide by.
    """

    name: str
    package: str
    make: Callable[[Sequence[Cond]], Decide]
    most: int = 10_000

    def version(self) -> str | None:
        """The installed version; ``None`` where it is missing."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None


# ------------------------------------------------------------------ JsonLogic


def json_logic(cond: Cond) -> Any:
    """*cond* in JsonLogic."""
    match cond:
        case ("all" | "any" as kind, parts):
            return {"and" if kind == "all" else "or": [json_logic(part) for part in parts]} if parts else True
        case ("not", part):
            return {"!": [json_logic(part)]}
        case ("is", field, value):
            return {"===": [{"var": field}, value]}
        case ("in", field, values):
            return {"in": [{"var": field}, values]}
        case ("range", field, low, high):
            return {"<=": [low, {"var": field}, high]}
        case ("prefix", text):
            return {"===": [{"substr": [{"var": "postcode"}, 0, len(text)]}, text]}
        case ("tags", tags):
            return {"some": [{"var": "tags"}, {"in": [{"var": ""}, tags]}]}
        case ("stock", place):
            return {"var": f"stock.{place}"}
        case ("skus", skus, least):
            by_sku = {"in": [{"var": "sku"}, skus]}
            pair = {"and": [by_sku, {">=": [{"var": "quantity"}, least]}]}
            return {"some": [{"var": "lines"}, by_sku if least == 1 else pair]}
    raise ValueError(f"not a condition of the workload: {cond!r}")


def _datalogic(rules: Sequence[Cond]) -> Decide:
    from datalogic_py import Engine

    branches = [each for number, cond in enumerate(rules) for each in (json_logic(cond), number)]
    evaluate: Decide = Engine().compile({"if": [*branches, -1]}).evaluate
    return evaluate


def _json_logic_qubit(rules: Sequence[Cond]) -> Decide:
    """One call a rule, until one matches: an *if* of thousands of branches would only add to its time."""
    from json_logic import jsonLogic

    written = [json_logic(cond) for cond in rules]
    return lambda data: next(number for number, rule in enumerate(written) if jsonLogic(rule, data))


# ------------------------------------------------------------------ ZEN


def zen(cond: Cond) -> str:
    """*cond* in ZEN's expression language."""
    match cond:
        case ("all" | "any" as kind, parts):
            return "(" + f" {'and' if kind == 'all' else 'or'} ".join(map(zen, parts)) + ")" if parts else "true"
        case ("not", part):
            return f"not ({zen(part)})"
        case ("is", field, value):
            return f"{field} == {json.dumps(value)}"
        case ("in", field, values):
            return f"{field} in {json.dumps(values)}"
        case ("range", field, low, high):
            return f"({field} >= {low} and {field} <= {high})"
        case ("prefix", text):
            return f"startsWith(postcode, {json.dumps(text)})"
        case ("tags", tags):
            return f"some(tags, # in {json.dumps(tags)})"
        case ("stock", place):
            return f"stock[{json.dumps(place)}]"
        case ("skus", skus, least):
            more = f" and #.quantity >= {least}" if least > 1 else ""
            return f"some(lines, #.sku in {json.dumps(skus)}{more})"
    raise ValueError(f"not a condition of the workload: {cond!r}")


_CELLS = {"channel": "c0", "country": "c1", "group": "c2"}


def _zen_row(number: int, cond: Cond) -> dict[str, str]:
    """A row of a decision table: equality in cells of its own, which ZEN indexes, the rest as an expression."""
    parts = cond[1] if cond[0] == "all" else [cond]
    row = {"_id": str(number), "c0": "", "c1": "", "c2": "", "rest": "", "out": str(number)}
    rest = []
    for part in parts:
        is_cell = part[0] in ("is", "in") and part[1] in _CELLS and not row[_CELLS[part[1]]]
        if is_cell:
            values = [part[2]] if part[0] == "is" else part[2]
            row[_CELLS[part[1]]] = ", ".join(map(json.dumps, values))
        else:
            rest.append(part)
    row["rest"] = zen(("all", rest)) if rest else ""
    return row


def _zen(rules: Sequence[Cond]) -> Decide:
    from zen import ZenDecisionContent, ZenEngine

    inputs = [{"id": cell, "name": field, "field": field} for field, cell in _CELLS.items()]
    content = {
        "hitPolicy": "first",
        "inputs": [*inputs, {"id": "rest", "name": "rest"}],
        "outputs": [{"id": "out", "name": "rule", "field": "rule"}],
        "rules": [_zen_row(number, cond) for number, cond in enumerate(rules)],
    }
    nodes = [
        {"id": "in", "name": "in", "type": "inputNode"},
        {"id": "table", "name": "table", "type": "decisionTableNode", "content": content},
        {"id": "out", "name": "out", "type": "outputNode"},
    ]
    ends = [("in", "table"), ("table", "out")]
    edges = [{"id": f"{a}-{b}", "sourceId": a, "targetId": b, "type": "edge"} for a, b in ends]
    document = ZenDecisionContent(json.dumps({"nodes": nodes, "edges": edges}))
    engine = ZenEngine({"loader": lambda key: document})
    return lambda data: int(engine.evaluate("rules", data)["result"]["rule"])


PEERS = (
    Peer("datalogic", "datalogic-py", _datalogic),
    Peer("ZEN, decision table", "zen-engine", _zen),
    Peer("JsonLogic in Python", "json-logic-qubit", _json_logic_qubit, most=1_000),
)
