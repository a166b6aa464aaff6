"""
Propose a layout from a sample of a partner's file: how it is framed, which column is what, and what is to be decided.

A column is known by its name, in several languages, and by what stands in it. The proposal loads, and reads the sample.
"""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from attrs import field, frozen

from fcflow.carriers import Carriers
from fcflow.errors import FormatError
from fcflow.formats.countries import country_code
from fcflow.formats.fields import catalogue
from fcflow.formats.layout import Layout
from fcflow.formats.load import load_layout
from fcflow.formats.moments import moment_parse
from fcflow.formats.text import detected_encoding

__all__ = ["ColumnGuess", "Proposal", "infer"]

KINDS = ("orders", "status", "stock")
_DELIMITERS = (",", ";", "\t", "|")
_MOST_BYTES = 4 * 1024 * 1024
_MOST_ROWS = 2_000
_MOST_ABOVE = 20
_LEAST = 0.35

_NEEDED: Mapping[str, tuple[str, ...]] = {
    "orders": ("fulfilment_id", "line.partner_sku", "line.quantity"),
    "status": ("reference",),
    "stock": ("sku", "on_hand"),
}
_HOLDS: Mapping[str, str] = {"orders": "shipping_order", "status": "status_update", "stock": "stock_level"}
_SHIPS = ("status", "tracking_numbers", "shipped_at")

_DATES = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y",
    "%m/%d/%y", "%d.%m.%y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y",
)  # fmt: skip
_TIMES = ("", " %H:%M", " %H:%M:%S", "T%H:%M:%S", "T%H:%M")
_MOMENTS = ("epoch", "epoch_ms", "%Y%m%d%H%M%S", "%Y%m%d%H%M")
_SWAPPED = (("%d/%m/", "%m/%d/"), ("%d-%m-", "%m-%d-"))

_WHOLE = re.compile(r"[+-]?[0-9]{1,9}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+|[0-9]{1,3}(?:[., ][0-9]{3})+)(?:[.,][0-9]+)?")
_COMMA = re.compile(r"[+-]?[0-9. ]*[0-9],[0-9]{1,4}")
_TRACKING = re.compile(r"(?=(?:.*[0-9]){6})[A-Z0-9][A-Z0-9 .-]{7,38}")
_MAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


@frozen(kw_only=True)
class ColumnGuess:
    """
    What one column was taken for.

    Args:
        position: From 1.

        field: The field of the layout; ``None`` where nothing fits.

        sure: From 0 to 1.

        why: One clause.

        examples: Up to three values of it.
    """

    position: int
    name: str
    field: str | None
    sure: float
    why: str
    examples: tuple[str, ...] = ()


@frozen(kw_only=True)
class Proposal:
    """
    A layout for a sample, and how much of it is certain.

    Args:
        document: The layout as JSON; it loads.

        layout: The same, loaded.

        columns: Every column of the sample, in its order.

        decisions: What a person has to look at, one clause each; empty where nothing was doubtful.

        sure: The least certain of what had to be found, from 0 to 1.
    """

    document: Mapping[str, Any]
    layout: Layout = field(repr=False)
    columns: tuple[ColumnGuess, ...]
    decisions: tuple[str, ...]
    sure: float


def infer(payload: bytes, kind: str, *, name: str = "inferred") -> Proposal:
    """
    Propose a layout for a sample.

    Delimited text and JSON lines are understood; the first 4 MiB and 2,000 rows are looked at.

    Args:
        payload: The sample, as the partner's file is.

        kind: ``orders``, ``status`` or ``stock``.

        name: Of the layout.

    Raises:
        FormatError: It is of another format, or what such a layout must have is not in it; says what was found.

    Example:
        >>> sample = "Artikelnummer;Lagerbestand\\r\\nMUG;5\\r\\nCUP;12\\r\\n".encode()
        >>> proposal = infer(sample, "stock")
        >>> [(column.name, column.field) for column in proposal.columns]
        [('Artikelnummer', 'sku'), ('Lagerbestand', 'on_hand')]
        >>> proposal.layout.read(sample)[0][1].value.on_hand
        12
    """
    if kind not in KINDS:
        raise FormatError(f"expected one of {', '.join(KINDS)}, got {kind!r}")
    _refuse_other_formats(payload)
    sample = payload if len(payload) <= _MOST_BYTES else payload[: payload.rfind(b"\n", 0, _MOST_BYTES) + 1]
    table = _json_table(sample) if sample.lstrip()[:1] == b"{" else _delimited_table(sample, kind)
    guesses = _assigned(table, kind)
    _refuse_missing(table, guesses, kind)
    specs, decisions = [], list(table.decisions)
    for guess in guesses:
        if guess.field is not None:
            spec, doubts = _spec(guess, table, kind)
            specs.append(spec)
            decisions += doubts
    document = _document(table, specs, kind, name)
    layout = load_layout(document)
    found = {guess.field: guess.sure for guess in guesses}
    decisions += [*_of_fields(found, kind), *_left_over(guesses)]
    if len(payload) == len(sample):
        decisions += _of_reading(layout, payload)
    sure = min(found[each] for each in found if each in _NEEDED[kind])
    return Proposal(
        document=document, layout=layout, columns=tuple(guesses), decisions=tuple(decisions), sure=round(sure, 2)
    )


_STARTS = (
    (b"PK\x03\x04", "a zip file or spreadsheet"),
    (b"\x1f\x8b", "a gzip file"),
    (b"%PDF", "a PDF"),
    (b"ISA", "X12: begin from x12-940, x12-945 or x12-846"),
    (b"UNA", "EDIFACT: begin from edifact-orders, edifact-desadv or edifact-invrpt"),
    (b"UNB", "EDIFACT: begin from edifact-orders, edifact-desadv or edifact-invrpt"),
    (b"<", "XML"),
    (b"[", "a JSON document"),
)


def _refuse_other_formats(payload: bytes) -> None:
    head = payload[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    for start, what in _STARTS:
        if head.startswith(start):
            raise FormatError(f"expected delimited text or JSON lines, got {what}")
    if not head:
        raise FormatError("expected a sample with rows, got nothing")


# ------------------------------------------------------------------ the table of a sample


@frozen(kw_only=True)
class _Table:
    """A sample as names and rows."""

    codec: Mapping[str, Any]
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    headed: bool
    decisions: tuple[str, ...] = ()

    def column(self, index: int) -> list[str]:
        """The values of a column that say something."""
        return [row[index].strip() for row in self.rows if index < len(row) and row[index].strip()]


def _json_table(sample: bytes) -> _Table:
    rows: list[Mapping[str, Any]] = []
    for number, line in enumerate(sample.decode("utf-8-sig", "replace").splitlines()[:_MOST_ROWS], 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise FormatError(f"line {number}: expected a JSON object on one line") from None
        if not isinstance(row, dict) or any(isinstance(value, dict | list) for value in row.values()):
            raise FormatError(f"line {number}: expected a flat JSON object, got lists or objects in it")
        rows.append(row)
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    if not names:
        raise FormatError("expected objects with values, got none")
    texts = tuple(tuple(_text(row.get(name)) for name in names) for row in rows)
    return _Table(codec={"type": "json_lines"}, names=names, rows=texts, headed=True)


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _delimited_table(sample: bytes, kind: str) -> _Table:
    encoding = _encoding(sample)
    text = sample.decode(encoding, "replace").lstrip("\ufeff")
    if "\x00" in text:
        raise FormatError("expected text, got NUL characters")
    delimiter, records = _split(text)
    width = Counter(len(record) for record in records if len(record) > 1).most_common(1)[0][0]
    above = next(at for at, record in enumerate(records) if len(record) == width)
    header = _header_at(records[: above + _MOST_ABOVE], width, kind)
    codec: dict[str, Any] = {"type": "delimited", "delimiter": delimiter}
    decisions = []
    if encoding not in ("utf-8", "ascii"):
        codec["encoding"] = encoding
        decisions.append(f"the encoding was guessed: {encoding}")
    if header is None:
        codec["header"] = False
        decisions.append("there is no header: columns are known by their place")
        if above:
            codec["skip_lines"] = above
        names, rows = tuple(f"column {at + 1}" for at in range(width)), records[above:]
    else:
        names, rows = tuple(cell.strip() for cell in records[header]), records[header + 1 :]
        if header:
            codec["find_header"] = True
            decisions.append(f"{header} lines above the header are passed over")
    odd = sum(len(record) != width for record in rows)
    if odd:
        decisions.append(f"{odd} of {len(rows)} rows have another number of cells")
    return _Table(
        codec=codec,
        names=names,
        rows=tuple(map(tuple, rows)),
        headed=header is not None,
        decisions=tuple(decisions),
    )


def _encoding(sample: bytes) -> str:
    """The likeliest encoding; among those that give the same letters, the usual one."""
    found = detected_encoding(sample)
    try:
        same = sample.decode("cp1252") == sample.decode(found)
    except UnicodeError:
        return found
    return "cp1252" if same and found not in ("utf-8", "ascii") else found


def _split(text: str) -> tuple[str, list[list[str]]]:
    """The delimiter that cuts most rows into the same number of cells, more than one."""
    best: tuple[tuple[float, int], str, list[list[str]]] | None = None
    for delimiter in _DELIMITERS:
        records = _records(text, delimiter)
        widths = Counter(map(len, records))
        width, count = widths.most_common(1)[0] if widths else (0, 0)
        if width < 2:
            more = [(n, each) for each, n in widths.items() if each > 1]
            count, width = max(more, default=(0, 0))
        score = (round(count / max(1, len(records)), 2), width)
        if width > 1 and count and (best is None or score > best[0]):
            best = score, delimiter, records
    if best is None:
        raise FormatError("expected columns between commas, semicolons, tabs or bars, got none of them")
    return best[1], best[2]


def _records(text: str, delimiter: str) -> list[list[str]]:
    records: list[list[str]] = []
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, skipinitialspace=True)
    try:
        for record in reader:
            if any(cell.strip() for cell in record):
                records.append(record)
            if len(records) == _MOST_ROWS:
                break
    except csv.Error:
        return records
    return records


def _header_at(records: Sequence[Sequence[str]], width: int, kind: str) -> int | None:
    """Where the header stands: the row that names most columns we know, else a first row unlike the others."""
    known = {at: sum(bool(_named(cell, kind)) for cell in record) for at, record in enumerate(records)}
    best = max(known, key=lambda at: (known[at], -at), default=0)
    if known.get(best, 0) >= 2 or (known.get(best, 0) == 1 and width == 2):
        return best
    first = next((at for at, record in enumerate(records) if len(record) == width), 0)
    head, rest = records[first], [record for record in records[first + 1 :] if len(record) == width]
    unlike = not any(map(_is_number, head)) and any(_is_number(cell) for record in rest for cell in record)
    return first if unlike and len(set(head)) == len(head) and all(cell.strip() for cell in head) else None


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text.strip()) is not None


# ------------------------------------------------------------------ which column is what


def _folded(name: str) -> str:
    """Words in small letters without accents, between blanks."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    bare = unicodedata.normalize("NFKD", apart.casefold().replace("ß", "ss").replace("ł", "l"))
    letters = (each for each in bare if not unicodedata.combining(each))
    return " ".join("".join(each if each.isalnum() else " " for each in letters).split())


@cache
def _vocabulary() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(files("fcflow.formats").joinpath("column_names.json").read_text("utf-8"))
    return found


def _named(name: str, kind: str) -> dict[str, float]:
    """The fields that a column of this name may be, with how sure that is."""
    folded = _folded(name)
    words, joined = set(folded.split()), folded.replace(" ", "")
    found: dict[str, float] = {}
    for each, called in _vocabulary()[kind].items():
        for place, synonym in enumerate(called):
            exact = synonym == folded or synonym.replace(" ", "") == joined
            within = not exact and len(synonym) > 2 and set(synonym.split()) <= words
            score = 0.95 - place * 0.001 if exact else 0.6 + 0.05 * len(synonym.split()) if within else 0
            found[each] = max(found.get(each, 0), score)
    return {each: score for each, score in found.items() if score}


def _fit(type_: str, values: Sequence[str]) -> float:
    """The share of *values* that a field of this type can be; 1 where there is nothing to go by."""
    if not values:
        return 1.0
    if type_ == "integer":
        return sum(_WHOLE.fullmatch(value) is not None for value in values) / len(values)
    if type_ == "amount":
        return sum(map(_is_number, values)) / len(values)
    if type_ == "datetime":
        return 1.0 if _patterns(values) else 0.0
    if type_ == "country":
        return sum(country_code(value) is not None for value in values) / len(values)
    return 1.0


def _by_value(values: Sequence[str], kind: str) -> dict[str, float]:
    """The fields that a column may be by what stands in it alone."""
    if not values:
        return {}
    share = {
        "status": sum(_status_of(value) is not None for value in values) / len(values),
        "carrier": sum(_carriers().find(value) is not None for value in values) / len(values),
        "tracking_numbers": _distinct(values) * sum(map(_is_tracking, values)) / len(values),
        "ship_to.email": sum(_MAIL.fullmatch(value) is not None for value in values) / len(values),
        "ship_to.country": _fit("country", values) if max(map(len, values)) == 2 else 0.0,
        "on_hand": _fit("integer", values),
        "line.quantity": _fit("integer", values) * (max(map(len, values)) < 4),
        "sku": _distinct(values) * (1 - _fit("integer", values)),
        "line.partner_sku": (1 - _fit("integer", values)) * 0.9,
        "reference": _distinct(values) * 0.9,
        "fulfilment_id": 0.8,
        "shipped_at": _fit("datetime", values),
    }
    weight = {"status": 0.7, "carrier": 0.7, "ship_to.email": 0.8, "ship_to.country": 0.6}
    return {
        each: part * weight.get(each, 0.5)
        for each, part in share.items()
        if part >= 0.6 and each in _vocabulary()[kind]
    }


def _is_tracking(value: str) -> bool:
    return _TRACKING.fullmatch(value) is not None


def _distinct(values: Sequence[str]) -> float:
    return len(set(values)) / len(values)


@cache
def _carriers() -> Carriers:
    return Carriers()


@cache
def _status_words() -> Mapping[str, str]:
    return {word: status for status, words in _vocabulary()["status_words"].items() for word in words}


def _status_of(word: str) -> str | None:
    return _status_words().get(_folded(word))


def _assigned(table: _Table, kind: str) -> list[ColumnGuess]:
    """Every column with the field that fits it best; a field goes to one column only."""
    scores = list(_scores(table, kind))
    taken: dict[int, tuple[str, float, str]] = {}
    for score, index, name, why in sorted(scores, key=lambda each: (-each[0], each[1], each[2])):
        if index not in taken and score >= _LEAST and name not in {each for each, _, _ in taken.values()}:
            taken[index] = name, score, why
    guesses = []
    for index, called in enumerate(table.names):
        examples = tuple(dict.fromkeys(table.column(index)))[:3]
        found, sure, why = taken.get(index, ("", 0.0, "nothing is known by this name or these values"))
        guesses.append(
            ColumnGuess(
                position=index + 1, name=called, field=found or None, sure=round(sure, 2), why=why, examples=examples
            )
        )
    return guesses


def _scores(table: _Table, kind: str) -> Iterator[tuple[float, int, str, str]]:
    types = {each.name: each.type for each in catalogue(kind, _HOLDS[kind]).values()}
    for index, called in enumerate(table.names):
        values = table.column(index)
        for name, score in (_named(called, kind) if table.headed else {}).items():
            fit = _fit(types[name], values)
            if fit >= 0.5:
                yield score * fit, index, name, f"called {called!r}" + ("" if fit == 1 else f", {fit:.0%} of it fits")
        for name, score in _by_value(values, kind).items():
            yield score * _fit(types[name], values), index, name, "by its values"


def _refuse_missing(table: _Table, guesses: Sequence[ColumnGuess], kind: str) -> None:
    found = {guess.field for guess in guesses}
    missing = [each for each in _NEEDED[kind] if each not in found]
    if kind == "status" and not found & set(_SHIPS):
        missing.append(" or ".join(_SHIPS))
    if missing:
        names = ", ".join(repr(name) for name in table.names[:30])
        raise FormatError(f"expected a column for {' and '.join(missing)}, got {names}")


# ------------------------------------------------------------------ the fields of the layout


def _spec(guess: ColumnGuess, table: _Table, kind: str) -> tuple[dict[str, Any], list[str]]:
    """How a column stands in the layout, and what is doubtful about it."""
    name = str(guess.field)
    values = table.column(guess.position - 1)
    spec: dict[str, Any] = {"at": guess.name if table.headed else guess.position, "field": name}
    if name in _NEEDED[kind]:
        spec["required"] = True
    type_ = catalogue(kind, _HOLDS[kind])[name].type
    doubts: list[str] = []
    if type_ == "datetime":
        doubts = _date(spec, guess.name, values)
    elif type_ == "amount" and any(_COMMA.fullmatch(value) for value in values):
        spec |= {"decimal": ","}
    elif type_ == "status":
        doubts = _words(spec, guess.name, values)
    elif type_ == "list":
        spec |= _list(values)
    if guess.sure < 0.6:
        doubts.append(f"column {guess.name!r} was taken for {name} {guess.why}")
    return spec, doubts


def _date(spec: dict[str, Any], called: str, values: Sequence[str]) -> list[str]:
    found = _patterns(values)
    doubts = []
    if found and found[0]:
        spec["pattern"] = found[0]
    if any(swap in found for swap in _swapped(found[0] if found else "")):
        doubts.append(f"column {called!r}: day and month cannot be told apart; {found[0]} was taken")
    if found and "%H" in found[0]:
        doubts.append(f'column {called!r} tells no time zone; UTC was taken, say "zone" where it is another')
    return doubts


def _swapped(pattern: str) -> list[str]:
    pairs = [*_SWAPPED, *((other, one) for one, other in _SWAPPED)]
    return [pattern.replace(one, other) for one, other in pairs if one in pattern]


def _patterns(values: Sequence[str]) -> list[str]:
    """The patterns by which all values are moments; an empty one is ISO 8601 as it stands."""
    some = list(dict.fromkeys(values))[:200]
    if not some:
        return []
    tried = [date + time for date in _DATES for time in _TIMES] + list(_MOMENTS)
    if all(len(value) > 10 and ("T" in value or "+" in value) for value in some) and _all_moments(some, {}):
        return [""]
    return [pattern for pattern in tried if _plausible(pattern, some) and _all_moments(some, {"pattern": pattern})]


def _plausible(pattern: str, values: Sequence[str]) -> bool:
    """Numbers are moments only where they are as long as moments of these years."""
    lengths = {"%Y%m%d": 8, "epoch": 10, "epoch_ms": 13, "%Y%m%d%H%M%S": 14, "%Y%m%d%H%M": 12}
    return pattern not in lengths or all(len(value) == lengths[pattern] for value in values)


def _all_moments(values: Sequence[str], options: Mapping[str, Any]) -> bool:
    parse = moment_parse(options)
    try:
        return all(1990 <= parse(value).year <= 2100 for value in values)
    except Exception:  # noqa: BLE001  # whatever a text does to a parser, it is no moment
        return False


def _words(spec: dict[str, Any], called: str, values: Sequence[str]) -> list[str]:
    words = sorted(set(values))
    known = {word: _status_of(word) for word in words}
    spec["map"] = {word: status for word, status in known.items() if status is not None}
    spec["ignore_case"] = True
    if not spec["map"]:
        del spec["map"], spec["ignore_case"]
    return [f"column {called!r}: what does {word!r} mean?" for word in words[:20] if known[word] is None]


def _list(values: Sequence[str]) -> dict[str, Any]:
    """How several values stand in one cell."""
    for separator in (";", ",", "|", " / "):
        if sum(separator in value for value in values) > len(values) / 20:
            return {"split": separator}
    return {}


# ------------------------------------------------------------------ the whole


def _document(table: _Table, specs: Sequence[Mapping[str, Any]], kind: str, name: str) -> dict[str, Any]:
    document: dict[str, Any] = {"fcflow": "layout/1", "name": name, "kind": kind, "codec": dict(table.codec)}
    has_lines = any(str(spec["field"]).startswith("line.") for spec in specs)
    if kind == "orders":
        document["one_row_per"] = "line"
    if kind == "status" and has_lines:
        document["group"] = "reference"
    fields = [dict(spec) for spec in specs]
    if kind == "status" and not any(spec["field"] == "status" for spec in specs):
        fields.append({"field": "status", "constant": "shipped", "map": {"shipped": "shipped"}})
    document["fields"] = fields
    return document


def _of_fields(found: Mapping[str | None, float], kind: str) -> list[str]:
    if kind == "status" and "status" not in found:
        return ["there is no status: every row is taken for shipped"]
    if kind == "orders":
        return ['the layout is for orders that we send; to read orders, say "value": "order"']
    return []


def _left_over(guesses: Sequence[ColumnGuess]) -> list[str]:
    left = [guess.name for guess in guesses if guess.field is None]
    return [f"columns that are not used: {', '.join(left)}"] if left else []


def _of_reading(layout: Layout, payload: bytes) -> list[str]:
    if layout.kind == "orders":
        return []
    try:
        records, problems = layout.read(payload)
    except FormatError as error:
        return [f"the sample cannot be read: {error}"]
    if not problems:
        return []
    return [f"{len(problems)} problems beside {len(records)} records of the sample; the first: {problems[0]}"]
