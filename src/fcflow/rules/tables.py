"""
Decision tables: a rule set as a table of one rule a row, first hit, as a spreadsheet holds it; to rules and back.

A heading names a field, and maybe an operator; a blank cell asks nothing. Rows above the headings whose first cell ends
in a colon (``currency:``, ``list highlands:``) say what holds for all rules.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen
from immutabledict import immutabledict

from fcflow.errors import Fault, RuleError
from fcflow.rules.cells import Column, condition_of, items, placed, quoted, read_heading, unquoted
from fcflow.rules.extensions import EffectType, Extensions, RuleField
from fcflow.rules.faults import nearest, path_text
from fcflow.rules.operators import OperatorType
from fcflow.rules.ruleset import RuleSet, load_rules
from fcflow.rules.sheets import Row, read_rows, rows_of
from fcflow.rules.source import plain
from fcflow.rules.values import Bad

__all__ = ["from_table", "to_table"]

_SETTINGS = ("name", "about", "currency", "zone")
_RULE = ("rule", "about", "enabled", "if unknown", "examples")
_ALLOCATE = ("allocate to", "strategy", "options", "split", "if short")
_DECIDE = (*_ALLOCATE, "hold", "keep")
_EFFECTS = {"tag": "tag", "service": "set_service", "note": "note"}
_PROPERTY = "set property "
_YES_NO = {**dict.fromkeys(("yes", "true", "y", "x", "1"), True), **dict.fromkeys(("no", "false", "n", "0"), False)}
_NOTHING: Mapping[str, Any] = immutabledict()


# ------------------------------------------------------------------ where a fault stands


@define
class _Notes:
    """The faults found so far, and which cell each part of the document came from."""

    name: str
    faults: list[Fault] = field(factory=list)
    cells: dict[str, tuple[int, int, str]] = field(factory=dict)

    def add(self, bad: Bad, line: int, column: int, heading: str) -> None:
        self.faults.append(_fault(bad.message, (line, column, heading), bad.found, bad.expected))

    def came_from(self, path: tuple[str | int, ...], line: int, column: int, heading: str) -> None:
        self.cells[path_text(path)] = (line, column, heading)

    def at_cell(self, fault: Fault) -> Fault:
        """*fault* of the document as a fault of the cell that it came from."""
        path = fault.path
        while path and path not in self.cells:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return _fault(fault.message, self.cells[path], fault.found, fault.expected) if path else fault

    def stop(self) -> None:
        if self.faults:
            raise RuleError(self.name, sorted(self.faults, key=lambda each: (each.line or 0, each.column or 0)))


def _fault(message: str, place: tuple[int, int, str], found: object, expected: str | None) -> Fault:
    line, column, heading = place
    return Fault(message, path=heading, line=line, column=column, found=found, expected=expected)


# ------------------------------------------------------------------ from a table


def from_table(
    source: str | os.PathLike[str] | Iterable[Sequence[object]],
    *,
    sheet: str | None = None,
    base: Mapping[str, Any] = immutabledict(),
    operators: Mapping[str, OperatorType] = _NOTHING,
    fields: Mapping[str, RuleField] = _NOTHING,
    effects: Mapping[str, EffectType] = _NOTHING,
) -> RuleSet:
    """
    Read, check and compile a decision table; its `RuleSet.document` is the rule set as JSON.

    Args:
        source: Path of a CSV file or a spreadsheet (``.xlsx``, extra ``xlsx``), or the rows themselves.

        sheet: Of a spreadsheet; its first one, unless said.

        base: What a rule set has beside its rules (``currency``, ``lists``, ...), where the table does not say it.

        operators, fields: Those of plugins, by name, which headings may name.

        effects: Those of plugins, which *base* may name.

    Raises:
        RuleError: With every fault at once, each with its line and column.

        MissingExtraError: A spreadsheet, and openpyxl is not installed.

    Example:
        >>> rules = from_table([
        ...     ["currency:", "GBP"],
        ...     ["rule", "ship_to.country", "total >=", "any line.sku", "allocate to", "tag"],
        ...     ["big", "GB|IE", "200", "", "leeds", "gift"],
        ...     ["rest", "not US", "", "MUG", "york|leeds", ""],
        ... ])
        >>> rules.document["rules"][1]["when"]["all"][0]
        {'field': 'ship_to.country', 'op': 'ne', 'value': 'US'}
        >>> from_table([["rule", "ship_to.contry", "keep"], ["r1", "GB", "yes"]])
        Traceback (most recent call last):
        fcflow.errors.RuleError: table: 1 fault
          line 1, column 2 (ship_to.contry): unknown field: expected ship_to.country, got 'ship_to.contry'
    """
    if isinstance(source, str | os.PathLike):
        notes, rows = _Notes(os.fspath(source)), read_rows(source, sheet=sheet)
    else:
        notes, rows = _Notes("table"), rows_of(source)
    extensions = Extensions(operators, fields, effects)
    document = _document(rows, base, notes, extensions)
    notes.stop()
    try:
        return load_rules(document, operators=operators, fields=fields, effects=effects)
    except RuleError as error:
        raise RuleError(notes.name, [notes.at_cell(fault) for fault in error.faults]) from None


def _document(rows: Sequence[Row], base: Mapping[str, Any], notes: _Notes, extensions: Extensions) -> dict[str, Any]:
    above = 0
    while above < len(rows) and rows[above].cells[0].endswith(":"):
        above += 1
    document = {"fcflow": "ruleset/1", **base, "rules": []}
    for row in rows[:above]:
        _read_setting(row, document, notes)
    if above == len(rows):
        raise RuleError(notes.name, [Fault("no headings", expected="a row with rule, fields and what is to be done")])
    table = _Table.of(rows[above], notes, extensions)
    below = [row for row in rows[above + 1 :] if not row.cells[0].startswith("#")]
    for row in below:
        _read_row(row, table, document, notes, is_last=row is below[-1])
    return document


def _read_setting(row: Row, document: dict[str, Any], notes: _Notes) -> None:
    word, text = row.cells[0].rstrip(":").strip(), row.cells[1] if len(row.cells) > 1 else ""
    kind, _, name = word.partition(" ")
    try:
        if word in _SETTINGS:
            document[word] = unquoted(text)
            notes.came_from((word,), row.line, 2, word)
        elif kind in _NAMED and name:
            part, read = _NAMED[kind]
            document[part] = {**document.get(part, {}), unquoted(name): read(text)}
            notes.came_from((part, unquoted(name)), row.line, 2, word)
        else:
            known = (*_SETTINGS, "list <name>", "numbers <name>", "condition <name>")
            raise Bad("unknown setting", found=word, expected=nearest(word, known) or " or ".join(known))
    except Bad as bad:
        notes.add(bad, row.line, 1 if bad.message == "unknown setting" else 2, word)


def _number(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise Bad("wrong value", found=text, expected="a number")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Bad("not JSON", found=text) from None


_NAMED: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "list": ("lists", lambda text: [item.text for item in items(text)]),
    "numbers": ("lists", lambda text: [_number(item.text) for item in items(text)]),
    "condition": ("conditions", _json),
}


@frozen
class _Table:
    """The headings: what each column asks, or the word for what it says or does."""

    headings: tuple[str, ...]
    columns: tuple[Column | str | None, ...]

    @classmethod
    def of(cls, row: Row, notes: _Notes, extensions: Extensions) -> _Table:
        columns: list[Column | str | None] = []
        for number, text in enumerate(row.cells, start=1):
            try:
                columns.append(_read_column(text, extensions))
            except Bad as bad:
                columns.append(None)
                notes.add(bad, row.line, number, text)
        if "rule" not in columns:
            missing = Bad("no column rule", expected="an id for every rule, which the audit trail can name for good")
            notes.add(missing, row.line, 1, "rule")
            notes.stop()
        return cls(row.cells, tuple(columns))


def _read_column(text: str, extensions: Extensions) -> Column | str | None:
    word = " ".join(text.split())
    if not word or word.startswith("#"):
        return word
    if word.lower().startswith(_PROPERTY):
        return _PROPERTY + unquoted(word[len(_PROPERTY) :])
    known = (*_RULE, *_DECIDE, *_EFFECTS)
    if word.lower() in known:
        return word.lower()
    try:
        return read_heading(word, extensions.operators, extensions.fields)
    except Bad as bad:
        close = nearest(word, known)
        if bad.message == "unknown field" and bad.expected is None and close:
            raise Bad("unknown heading", found=word, expected=close) from None
        raise


def _read_row(row: Row, table: _Table, document: dict[str, Any], notes: _Notes, *, is_last: bool) -> None:
    made, before = _Row(row, len(document["rules"]), notes), len(notes.faults)
    for number, text in enumerate(row.cells, start=1):
        column = table.columns[number - 1] if number <= len(table.columns) else ""
        heading = table.headings[number - 1] if number <= len(table.headings) else ""
        if text and column is not None:
            try:
                made.take(column, text, number, heading)
            except Bad as bad:
                notes.add(bad, row.line, number, heading)
    if len(notes.faults) > before or None in table.columns:
        return
    try:
        made.put(document, is_last)
    except Bad as bad:
        notes.add(bad, row.line, 1, "rule")


@define
class _Row:
    """One row on its way to a rule."""

    row: Row
    index: int
    notes: _Notes
    rule: dict[str, Any] = field(factory=dict)
    asked: list[tuple[Any, int, str]] = field(factory=list)
    effects: list[dict[str, Any]] = field(factory=list)
    allocate: dict[str, Any] = field(factory=dict)
    decided: list[dict[str, Any]] = field(factory=list)
    is_otherwise: bool = False

    def take(self, column: Column | str, text: str, number: int, heading: str) -> None:
        """Take one cell that is not blank."""
        if isinstance(column, Column):
            self.asked.append((condition_of(column, text), number, heading))
        elif not column:
            raise Bad("a cell without a heading", found=text)
        elif column in _RULE:
            self._say(column, text)
        elif not column.startswith("#"):
            self._do(column, text)

    def _say(self, column: str, text: str) -> None:
        match column:
            case "rule":
                self.rule["id"] = unquoted(text)
                self.is_otherwise = text == "otherwise"
            case "about":
                self.rule["about"] = unquoted(text)
            case "enabled":
                self.rule["enabled"] = _word(text, _YES_NO)
            case "if unknown":
                self.rule["if_unknown"] = _word(text, {"match": "match", "no match": "no_match"})
            case _:
                self.rule["examples"] = _json(text)

    def _do(self, column: str, text: str) -> None:
        if column in _EFFECTS:
            texts = [item.text for item in items(text)] if column == "tag" else [unquoted(text)]
            self.effects += [{_EFFECTS[column]: each} for each in texts]
        elif column.startswith(_PROPERTY):
            name = column.removeprefix(_PROPERTY)
            self.effects.append({"set_property": {"name": name, "value": unquoted(text)}})
        elif column == "hold":
            self.decided.append({"hold": {"reason": unquoted(text)}})
        elif column == "keep":
            self.decided += [{"keep": {}}] if _word(text, _YES_NO) else []
        else:
            self.allocate[column] = _ALLOCATION[column](text)

    def put(self, document: dict[str, Any], is_last: bool) -> None:
        """Add the rule, or what happens otherwise, to *document*."""
        decided = [*self.decided, *([{"allocate": self._allocation()}] if self.allocate else [])]
        if "id" not in self.rule:
            raise Bad("no id", expected="one in every row")
        if len(decided) > 1:
            words = " and ".join(next(iter(each)) for each in decided)
            raise Bad("a second decision", found=words, expected="one of allocate to, hold, keep")
        then = [*self.effects, *decided]
        if not then:
            raise Bad("nothing is done", expected="allocate to, hold, keep, tag, service, note or set property")
        if self.is_otherwise:
            self._put_otherwise(document, then, is_last)
        else:
            self._map()
            document["rules"].append({**self.rule, "when": self._when(), "then": then})

    def _allocation(self) -> dict[str, Any]:
        to = {"to": self.allocate["allocate to"]} if self.allocate.get("allocate to") else {}
        rest = {name.replace(" ", "_"): value for name, value in self.allocate.items() if name != "allocate to"}
        if rest and "allocate to" not in self.allocate:
            word = next(iter(self.allocate))
            raise Bad(f"{word} without allocate to", expected="location codes, or * for any location")
        return {**to, **rest}

    def _put_otherwise(self, document: dict[str, Any], then: list[Any], is_last: bool) -> None:
        if self.asked or not is_last or set(self.rule) - {"id"}:
            expected = "it in the last row, with nothing asked; a rule of this name is written in quotes"
            raise Bad("otherwise is what happens to all other orders", expected=expected)
        self.notes.came_from(("otherwise",), self.row.line, 1, "rule")
        document["otherwise"] = then

    def _when(self) -> Any:
        conditions = [condition for condition, _, _ in self.asked]
        if not conditions:
            return True
        return conditions[0] if len(conditions) == 1 else {"all": conditions}

    def _map(self) -> None:
        where = ("rules", self.index)
        self.notes.came_from(where, self.row.line, 1, "rule")
        for position, (_, number, heading) in enumerate(self.asked):
            path = (*where, "when", "all", position) if len(self.asked) > 1 else (*where, "when")
            self.notes.came_from(path, self.row.line, number, heading)


def _word(text: str, words: Mapping[str, Any]) -> Any:
    word = " ".join(text.lower().replace("_", " ").split())
    if word not in words:
        raise Bad("wrong value", found=text, expected=nearest(word, words) or " or ".join(list(words)[:3]))
    return words[word]


def _places(text: str) -> list[str]:
    return [] if text == "*" else [item.text for item in items(text)]


def _split(text: str) -> Any:
    return _word(text, {"never": "never", "by line": "by_line", "by unit": "by_unit"})


def _if_short(text: str) -> Any:
    return _word(text, {"next rule": "next_rule", "backorder": "backorder", "hold": "hold"})


_ALLOCATION: Mapping[str, Callable[[str], Any]] = {
    "allocate to": _places,
    "strategy": unquoted,
    "options": _json,
    "split": _split,
    "if short": _if_short,
}


# ------------------------------------------------------------------ to a table


def to_table(rules: RuleSet) -> list[list[str]]:
    """
    A rule set as rows of text, the headings among them; `from_table` reads them back to rules that decide the same.

    Raises:
        RuleError: A rule does not fit one row; with the reason for each.

    Example:
        >>> rules = load_rules({"fcflow": "ruleset/1", "rules": [
        ...     {"id": "uk", "when": {"field": "ship_to.country", "op": "in", "value": ["GB", "IM"]},
        ...      "then": [{"allocate": {"to": "leeds"}}]}], "otherwise": [{"hold": {"reason": "where to?"}}]})
        >>> for row in to_table(rules):
        ...     print(row)
        ['rule', 'ship_to.country', 'allocate to', 'hold']
        ['uk', 'GB|IM', 'leeds', '']
        ['otherwise', '', '', 'where to?']
    """
    document = rules.document
    writer = _Writer()
    settings = list(writer.settings(document))
    for index, rule in enumerate(document["rules"]):
        writer.rule(rule, index)
    if "otherwise" in document:
        writer.begin("otherwise", ("otherwise",))
        writer.actions(document["otherwise"])
    if writer.faults:
        raise RuleError(rules.name or "rules", writer.faults)
    return [*settings, *writer.table()]


@define
class _Writer:
    """
    Rows on their way out. A cell goes under the first heading of its kind that is still free in its row, behind the
    cells that it must follow; where there is none, a column is added.
    """

    said: list[str] = field(factory=lambda: ["rule"])
    tests: list[str] = field(factory=list)
    effects: list[str] = field(factory=list)
    decisions: list[str] = field(factory=list)
    rows: list[dict[tuple[str, int], str]] = field(factory=list)
    faults: list[Fault] = field(factory=list)
    path: tuple[str | int, ...] = ()

    def settings(self, document: Mapping[str, Any]) -> Iterator[list[str]]:
        for key, value in document.items():
            if key in _SETTINGS:
                yield [f"{key}:", quoted(value)]
            elif key == "lists":
                for name, values in value.items():
                    yield self._list(name, values)
            elif key == "conditions":
                for name, condition in value.items():
                    yield [f"condition {quoted(name)}:", json.dumps(condition)]
            elif key not in ("fcflow", "$schema", "rules", "otherwise"):
                self.refuse((key,), f"{key} does not stand in a table")

    def _list(self, name: str, values: list[Any]) -> list[str]:
        texts = [value for value in values if isinstance(value, str)]
        if texts and len(texts) < len(values):
            self.refuse(("lists", name), "a list of texts and numbers does not stand in a table")
        if texts:
            return [f"list {quoted(name)}:", "|".join(map(quoted, texts))]
        return [f"numbers {quoted(name)}:", "|".join(map(json.dumps, values))]

    def refuse(self, path: tuple[str | int, ...], message: str) -> None:
        self.faults.append(Fault(message, path=path_text(path)))

    def begin(self, name: str, path: tuple[str | int, ...]) -> None:
        self.path = path
        self.rows.append({("rule", 0): name})

    def rule(self, rule: Mapping[str, Any], index: int) -> None:
        """One rule as a row."""
        self.begin('"otherwise"' if rule["id"] == "otherwise" else quoted(rule["id"]), ("rules", index))
        for key in rule:
            if key not in ("id", "when", "then", *_RULE_CELLS):
                self.refuse((*self.path, key), f"{key} does not stand in a table")
            elif key in _RULE_CELLS:
                self._put(self.said, key.replace("_", " "), _RULE_CELLS[key](rule[key]))
        for path, condition in _conditions(rule["when"], (*self.path, "when")):
            self._condition(condition, path)
        self.actions(rule["then"])

    def _condition(self, condition: Any, path: tuple[str | int, ...]) -> None:
        found = placed(condition)
        if found is None:
            self.refuse(path, f"{_what(condition)} does not fit one cell")
        else:
            self._put(self.tests, found[0].heading, found[1])

    def actions(self, actions: Iterable[Mapping[str, Any]]) -> None:
        after = -1
        for action in actions:
            ((kind, body),) = action.items()
            if kind in ("allocate", "hold", "keep"):
                self._decision(kind, body)
            elif kind in ("tag", "set_service", "note", "set_property"):
                heading, cell = _effect_cell(kind, body)
                after = self._put(self.effects, heading, cell, after, joins=kind == "tag")
            else:
                self.refuse((*self.path, "then"), f"{kind} does not stand in a table")

    def _decision(self, kind: str, body: Mapping[str, Any]) -> None:
        if kind != "allocate":
            self._put(self.decisions, kind, quoted(body["reason"]) if kind == "hold" else "yes")
            return
        to = body.get("to", ())
        places = [to] if isinstance(to, str) else to
        self._put(self.decisions, "allocate to", "|".join(map(quoted, places)) or "*")
        for key in body:
            heading = key.replace("_", " ")
            if heading in _ALLOCATE:
                written = json.dumps(body[key]) if key == "options" else quoted(body[key]).replace("_", " ")
                self._put(self.decisions, heading, quoted(body[key]) if key == "strategy" else written)
            elif key != "to":
                self.refuse((*self.path, "then"), f"{key} does not stand in a table")

    def _put(self, columns: list[str], heading: str, cell: str, after: int = -1, *, joins: bool = False) -> int:
        row = self.rows[-1]
        here = after if joins and after >= 0 and columns[after] == heading else None
        if here is not None:
            key = (heading, columns[: here + 1].count(heading) - 1)
            row[key] = f"{row[key]}|{cell}"
            return here
        for position in range(after + 1, len(columns)):
            key = (columns[position], columns[:position].count(columns[position]))
            if columns[position] == heading and key not in row:
                row[key] = cell
                return position
        row[heading, columns.count(heading)] = cell
        columns.append(heading)
        return len(columns) - 1

    def table(self) -> Iterator[list[str]]:
        """The headings, then the rows."""
        headings = [*self.said, *self.tests, *sorted(self.decisions, key=_DECIDE.index), *self.effects]
        keys = [(heading, headings[:number].count(heading)) for number, heading in enumerate(headings)]
        yield headings
        yield from ([row.get(key, "") for key in keys] for row in self.rows)


def _conditions(condition: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """The conditions that must all be true, nested ones too."""
    if condition is True:
        return
    if isinstance(condition, dict) and "all" in condition:
        for index, part in enumerate(condition["all"]):
            yield from _conditions(part, (*path, "all", index))
    else:
        yield path, condition


def _what(condition: Mapping[str, Any]) -> str:
    kind = next((key for key in condition if key not in ("about", "value", "op")), "it")
    return f"a test of {condition['field']} by {condition['op']}" if kind == "field" else f"a condition {kind}"


def _effect_cell(kind: str, body: Any) -> tuple[str, str]:
    if kind == "set_property":
        return _PROPERTY + quoted(body["name"]), quoted(body["value"])
    heading = next(word for word, name in _EFFECTS.items() if name == kind)
    return heading, quoted(body)


_RULE_CELLS: Mapping[str, Callable[[Any], str]] = {
    "about": quoted,
    "enabled": lambda value: "yes" if value else "no",
    "if_unknown": lambda value: str(value).replace("_", " "),
    "examples": lambda value: json.dumps(plain(value)),
}
