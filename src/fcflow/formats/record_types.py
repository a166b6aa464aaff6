"""
The kinds of lines of the codec ``records``: their marks, where they lie, and what they say of the whole file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

from attrs import define, field, frozen

from fcflow.errors import Fault
from fcflow.formats.codec import Place
from fcflow.formats.nesting import MAX_LEVELS

__all__ = ["LineType", "Tally", "Total", "line_types", "place_faults", "split_place", "type_faults"]

OF_FILE = "file"
"""What lines lie in that stand once in a file."""


@frozen
class Total:
    """
    A number that a line says of the whole file.

    Args:
        at: Position of its cell, or of its first character.

        counts: What it counts: ``records``, ``lines``, ``all_lines``, or types; empty where it is a sum.

        sum_of: The place that it adds up.

        width: Characters that it takes up, filled with zeros.

        decimal: The decimal mark of what is added up, and of the sum.
    """

    at: int
    counts: tuple[str, ...]
    sum_of: str | None
    width: int | None
    decimal: str

    @property
    def called(self) -> str:
        """How messages call it."""
        return self.sum_of or " and ".join(self.counts)

    def number(self, text: str) -> Decimal | None:
        """What a cell says; nothing where it is no number."""
        try:
            return Decimal(text.strip().replace(self.decimal, ".") or 0)
        except InvalidOperation:
            return None

    def text(self, number: Decimal) -> str:
        return f"{number:f}".replace(".", self.decimal).rjust(self.width or 0, "0")


@frozen(kw_only=True)
class LineType:
    """
    A kind of line.

    Args:
        marks: What tells it, or the line that begins its section; none where its section begins with its header.

        where: What else must stand in it: texts by position.

        within: The type that it lies in, ``None`` for the type that begins a record, ``file`` for lines of the file.

        has_header: Whether its lines, or its section, begin with a row of names.

        totals: What it says of the whole file.

        closes: Whether it is a trailer.

        length: Characters of a fixed line.
    """

    name: str
    marks: tuple[str, ...]
    where: Mapping[int, str]
    within: str | None
    has_header: bool
    totals: tuple[Total, ...]
    closes: bool
    length: int

    @property
    def called(self) -> str:
        """How messages call it."""
        return self.marks[0] if self.marks else self.name


@define
class Tally:
    """What was read or written so far, for totals."""

    records: int = 0
    lines: int = 0
    trailers: int = 0
    by_type: dict[str, int] = field(factory=dict)
    sums: dict[str, Decimal] = field(factory=dict)

    def count(self, kind: LineType | None) -> None:
        """A line of a type, or of one that nobody knows."""
        if kind is not None and kind.closes:
            self.trailers += 1
            return
        self.lines += 1
        if kind is not None:
            self.by_type[kind.name] = self.by_type.get(kind.name, 0) + 1

    def of(self, total: Total) -> Decimal:
        """What *total* must be."""
        if total.sum_of is not None:
            return self.sums.get(total.sum_of, Decimal(0))
        return Decimal(sum(self._of(what) for what in total.counts))

    def _of(self, what: str) -> int:
        known = {"records": self.records, "lines": self.lines, "all_lines": self.lines + self.trailers}
        return known.get(what, self.by_type.get(what, 0))


def _several(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, list | tuple) else () if given is None else (given,)


def line_types(options: Mapping[str, Any]) -> dict[str, LineType]:
    """The types that *options* name."""
    return {name: _line_type(name, each, options) for name, each in options["types"].items()}


def _line_type(name: str, each: Mapping[str, Any], options: Mapping[str, Any]) -> LineType:
    return LineType(
        name=name,
        marks=_several(each.get("marker", each.get("equals"))),
        where={int(at): text for at, text in each.get("where", {}).items()},
        within=OF_FILE if "trailer" in each else each.get("in"),
        has_header=bool(each.get("header", False)),
        totals=tuple(total for given in _several(each.get("trailer", each.get("totals"))) for total in _totals(given)),
        closes="trailer" in each,
        length=each.get("length", options.get("length", 0)),
    )


def _totals(given: Mapping[str, Any]) -> Iterator[Total]:
    decimal = given.get("decimal", ".")
    if "count_at" in given:
        counts = _several(given.get("counts", "records"))
        yield Total(given["count_at"], counts, None, given.get("count_width"), decimal)
    if "sum_at" in given:
        yield Total(given["sum_at"], (), given["sum_of"], given.get("sum_width"), decimal)


def split_place(at: str) -> tuple[str, int | str]:
    """A type, and a position or the name of a column."""
    name, _, where = at.partition("/")
    return name, int(where) if where.isascii() and where.isdigit() else where


# ------------------------------------------------------------------ checks


def type_faults(types: Mapping[str, LineType], options: Mapping[str, Any], places: Sequence[Place]) -> Iterator[Fault]:
    """What is wrong with the types of a layout."""
    first = [each.name for each in types.values() if each.within is None]
    if len(first) != 1:
        expected = "one type that lies in no other: it begins a record"
        found = first or "none"
        yield Fault("", path="$.codec.types", expected=expected + '; say "in" for the others', found=found)
    yield from _mark_faults(types, options["types"])
    for each in types.values():
        yield from _level_faults(each, types)
        yield from _total_faults(each, types, options, places)
    if "unit" in options and not options.get("fixed"):
        yield Fault("only fixed lines are measured", path="$.codec.unit")
    if options.get("fixed"):
        yield from _overlap_faults(places)
    if options.get("fixed") and any("equals" not in each for each in options["types"].values()):
        yield Fault("sections have cells between delimiters", path="$.codec.fixed")


def _mark_faults(types: Mapping[str, LineType], given: Mapping[str, Mapping[str, Any]]) -> Iterator[Fault]:
    known: dict[Any, str] = {}
    for name, each in types.items():
        if "equals" in given[name] and "marker" in given[name]:
            yield Fault("has a marker too", path=f"$.codec.types.{name}.equals", found=given[name]["equals"])
        for mark in each.marks:
            key = (mark, tuple(sorted(each.where.items())))
            if known.setdefault(key, name) != name:
                yield Fault(f"also the mark of {known[key]}", path=f"$.codec.types.{name}", found=mark)
        if not each.marks and not each.has_header:
            yield Fault("missing", path=f"$.codec.types.{name}", expected="equals, marker, or a header that tells it")


def _level_faults(each: LineType, types: Mapping[str, LineType]) -> Iterator[Fault]:
    path = f"$.codec.types.{each.name}"
    seen, above = {each.name}, each.within
    while above is not None and above != OF_FILE and above in types and above not in seen:
        seen.add(above)
        above = types[above].within
    if above not in (None, OF_FILE):
        yield Fault("lies in itself" if above in types else "unknown type", path=f"{path}.in", found=above)
    if len(seen) > MAX_LEVELS:
        yield Fault(f"more than {MAX_LEVELS} types in each other", path=path)


def _total_faults(
    each: LineType, types: Mapping[str, LineType], options: Mapping[str, Any], places: Sequence[Place]
) -> Iterator[Fault]:
    path = f"$.codec.types.{each.name}." + ("trailer" if each.closes else "totals")
    if each.totals and each.within != OF_FILE:
        yield Fault("only in a line of the file", path=path, expected='"in": "file"')
    for total in each.totals:
        for what in total.counts:
            if what not in ("records", "lines", "all_lines", *types):
                yield Fault("unknown type", path=f"{path}.counts", found=what)
        if total.sum_of is None:
            continue
        if split_place(total.sum_of)[0] not in types:
            yield Fault("unknown type", path=f"{path}.sum_of", found=total.sum_of)
        elif options.get("fixed") and total.sum_of not in {place.at for place in places}:
            yield Fault("no field stands there", path=f"{path}.sum_of", found=total.sum_of)


def _overlap_faults(places: Sequence[Place]) -> Iterator[Fault]:
    """Characters of a fixed line that two fields would write."""
    written = [place for place in places if not place.is_only_read and "width" in place.options]
    spots = [(*split_place(str(place.at)), place) for place in written]
    known = sorted(((name, at, place) for name, at, place in spots if isinstance(at, int)), key=lambda each: each[:2])
    for (name, start, before), (other, at, place) in pairwise(known):
        if name == other and at < start + before.options["width"]:
            yield Fault(f"overlaps {before.path}", path=f"{place.path}.at", found=place.at)


def place_faults(place: Place, types: Mapping[str, LineType], options: Mapping[str, Any]) -> Iterator[Fault]:
    """What is wrong with a place as one of these types."""
    path = f"{place.path}.at"
    name, separator, where = str(place.at).partition("/")
    if isinstance(place.at, int) or not separator or not where:
        yield Fault("", path=path, expected="a type and a position, such as order/2", found=place.at)
    elif name not in types:
        yield Fault("unknown type", path=path, found=name, expected=" or ".join(types))
    elif not (where.isascii() and where.isdigit()) and not types[name].has_header:
        yield Fault("", path=path, expected=f"a position, as lines of {name} have no header", found=place.at)
    elif options.get("fixed") and "width" not in place.options:
        yield Fault("missing", path=f"{place.path}.width")
