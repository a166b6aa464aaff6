"""
From a checked document to an engine: readers, writers, a binder and a codec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attrs import evolve

from fcflow.errors import DocumentError, Fault, FcflowError
from fcflow.formats.bind import (
    Binder,
    ColumnsBinder,
    CountersBinder,
    OrderBinder,
    StatusBinder,
    StockBinder,
    SummedStockBinder,
    column_name,
)
from fcflow.formats.cells import (
    FormatAll,
    Parse,
    each_by,
    formats_each,
    make_format,
    make_format_all,
    make_parse,
    make_parse_all,
    plain_type,
)
from fcflow.formats.check import Check, FieldSpec
from fcflow.formats.codec import Cell, Place, Unreadable, Unwritable
from fcflow.formats.deriving import compile_derived
from fcflow.formats.fields import ASIDE, FieldInfo, Getter, Written
from fcflow.formats.layout import Engine, MappedEngine
from fcflow.formats.moments import moment_in
from fcflow.formats.packing import PackedCodec
from fcflow.formats.reading import FromSource, PlacesReader, Reader, ReadingPlan, Skip
from fcflow.formats.together import (
    BlockReader,
    Capture,
    Divider,
    SplitReader,
    block_texts,
    divided_texts,
    joined_texts,
)
from fcflow.formats.writing import Get, PlacesWriter, Writer, Writing

__all__ = ["compile_engine"]

_MAX_ROWS = 100_000
_OF_THE_CELL = ("trim", "guard", "prefix", "suffix", "strip_prefix", "strip_suffix", "empty", "ignore_case")
_OF_THE_PART = ("pattern", "pivot", "zone", "decimal", "thousands", "negative", "places", "unit", "case", "country")


def compile_engine(check: Check) -> Engine | None:
    """The engine of a document without faults; what compiling finds wrong with it is added to the check's faults."""
    return _Compiler(check).engine()


class _Compiler:
    """One document being compiled."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._document = check.document
        self._kind = check.kind
        self._fields = check.fields
        self._places = list(self._all_places())
        self._slots = {place.at: slot for slot, place in enumerate(self._places)}

    def engine(self) -> Engine | None:
        reading = self._reading()
        writers = [self._writer(each) for each in self._fields if each.writes and len(each.places) == 1]
        several = [self._places_writer(each) for each in self._fields if each.writes and len(each.places) > 1]
        try:
            options = {"trim": self._document.get("trim", True), **self._document["codec"]}
            codec = self._check.codecs[options["type"]].build(options, self._places)
            if "packed" in self._document:
                codec = PackedCodec(codec, self._document["packed"])
        except DocumentError as error:
            self._check.faults += error.faults
            return None
        width = len(self._places)
        binder = reading.binder
        return MappedEngine(
            codec=codec,
            reading=reading,
            writing=Writing(codec=codec, binder=binder, writers=writers, several=several, width=width),
            width=width,
            unreadable=binder.missing(self._names_read(reading)),
        )

    # -------------------------------------------------------------- places

    def _all_places(self) -> Iterator[Place]:
        """Every place once, in the order of the document; those that are only asked by ``skip`` come last."""
        places: dict[str | int, Place] = {}
        for each in self._fields:
            for index, at in enumerate(each.places):
                place = self._place(each, index, at)
                known = places.setdefault(at, place)
                if known is not place:
                    says = place if each.writes else known
                    places[at] = evolve(known, optional=known.optional and place.optional, options=says.options)
        for index, skip in enumerate(self._document.get("skip", ())):
            place = Place(at=skip["at"], type="text", path=f"$.skip[{index}]", name=None, optional=True, options={})
            places.setdefault(skip["at"], place)
        return iter(places.values())

    def _place(self, each: FieldSpec, index: int, at: str | int) -> Place:
        width = each.spec.get("width")
        options = {**each.spec, "width": width[index]} if isinstance(width, list) and index < len(width) else each.spec
        optional = bool(each.spec.get("optional", False)) or not each.reads
        type_ = "text" if each.is_several else each.type
        name = each.infos[0].name if each.infos else None
        return Place(at=at, type=type_, path=each.path, name=name, optional=optional, options=options)

    # -------------------------------------------------------------- reading

    def _reading(self) -> ReadingPlan:
        taken: set[str] = set()
        readers: list[Reader] = []
        several: list[PlacesReader] = []
        sources: list[FromSource] = []
        required: list[str] = []
        for each in self._fields:
            if not each.reads:
                continue
            if each.is_several:
                several += self._places_readers(each, taken)
            elif each.info is not None and (name := _read_name(each)) not in taken:
                taken.add(name)
                if "from" in each.spec:
                    sources.append(self._source(each, name))
                    required += [name] if each.spec.get("required") else []
                else:
                    readers.append(self._reader(each, name))
        derived = compile_derived(self._check)
        readers += [
            Reader(name=each.name, slot=None, parse=lambda cell: None) for each in derived if each.name not in taken
        ]
        names = frozenset(taken | {each.name for each in derived})
        return ReadingPlan(
            binder=self._binder(names),
            readers=readers,
            several=several,
            sources=sources,
            required=required,
            derived=derived,
            skips=list(self._skips()),
            max_rows=self._document.get("max_rows", _MAX_ROWS) if self._document.get("rows") == "anywhere" else None,
            whole_records=self._check.codecs[self._document["codec"]["type"]].whole_records,
        )

    def _names_read(self, plan: ReadingPlan) -> frozenset[str]:
        several = {name for reader in plan.several for name in reader.names}
        return frozenset({each.name for each in plan.readers} | {each.name for each in plan.sources} | several)

    def _reader(self, each: FieldSpec, name: str) -> Reader:
        parse = _joined_parse(each) if each.joined else make_parse(each.type, each.spec)
        return Reader(
            name=name,
            slot=self._slots[each.places[0]] if each.places else None,
            parse=parse,
            parse_all=each_by(parse) if each.joined else make_parse_all(each.type, each.spec),
            plain=None if each.joined else plain_type(each.type, each.spec),
            required=bool(each.spec.get("required", False)),
            constant=each.spec.get("constant"),
            carries=bool(each.spec.get("carry_forward", False)),
        )

    def _source(self, each: FieldSpec, name: str) -> FromSource:
        spec = each.spec
        parse = make_parse(each.type, {key: value for key, value in spec.items() if key != "pattern"})
        if "capture" in spec:
            pattern = self._pattern(each)
            read = make_parse(each.type, spec)
            find: Callable[[str], Any] = lambda text: read(_only_group(pattern, text))  # noqa: E731  # one of three
        elif each.type == "datetime" and spec["from"] == "file_name":
            find = moment_in(spec)
        else:
            find = parse
        return FromSource(name=name, part=spec["from"], find=find, optional=bool(spec.get("optional", False)))

    def _places_readers(self, each: FieldSpec, taken: set[str]) -> list[PlacesReader]:
        """What reads several fields or places; a field that is read elsewhere already stays what it is there."""
        if taken & {info.name for info in each.infos}:
            self._check.fault(
                "is read from another place too", each.path, expected='"direction": "write" in one of them'
            )
            return []
        taken |= {info.name for info in each.infos}
        slots = [self._slots[at] for at in each.places]
        required = bool(each.spec.get("required", False))
        cell = make_parse("text", {key: each.spec[key] for key in _OF_THE_CELL if key in each.spec})
        if len(each.places) == 1:
            joiner = self._joiner(each)
            names = [(info.name, _part_parse(info, each)) for info in each.infos]
            return [SplitReader(names, slots, bare=cell, divide=joiner.divide, between="", required=required)]
        bare = make_parse(
            "text", {key: each.spec[key] for key in ("trim", "guard", "empty", "ignore_case") if key in each.spec}
        )
        if each.info is None:
            names = [(info.name, _part_parse(info, each)) for info in each.infos]
            return [BlockReader(names, slots, bare=bare, required=required)]
        whole = [(each.info.name, make_parse(each.type, {**each.spec, "guard": False}))]
        between = " " if each.spec.get("wrap") else each.spec.get("with", " ")
        return [SplitReader(whole, slots, bare=bare, divide=None, between=between, required=required)]

    def _joiner(self, each: FieldSpec) -> Divider | Capture:
        spec = each.spec
        divider = Divider(
            count=max(len(each.infos), len(each.places)),
            between=spec.get("with", " "),
            at_last=spec.get("split_at") == "last",
            keeps=spec.get("if_absent") == "keep",
        )
        if "capture" not in spec:
            return divider
        pattern = self._pattern(each)
        names = [info.name for info in each.infos] if each.info is None else list(map(str, each.places))
        groups = _groups(pattern, names)
        if groups is None:
            expected = "a group for each of " + ", ".join(names)
            self._check.fault("", f"{each.path}.capture", expected=expected, found=spec["capture"])
            return divider
        return Capture(pattern, spec["capture"], groups, divider)

    def _pattern(self, each: FieldSpec) -> Any:
        from fcflow.rules.patterns import PatternError, compile_pattern  # only needed where a layout asks

        written = each.spec["capture"]
        whole = f"^(?:{written})$" if each.is_several else written
        try:
            pattern = compile_pattern(whole)
        except PatternError as error:
            self._check.fault(str(error), f"{each.path}.capture", found=written)
            return compile_pattern("^()$")
        if not each.is_several and pattern.count != 1:
            self._check.fault("", f"{each.path}.capture", expected="one group", found=written)
        return pattern

    # -------------------------------------------------------------- writing

    def _writer(self, each: FieldSpec) -> Writer:
        spec = each.spec
        conditional = "when" in spec or "cases" in spec
        write, write_all = self._format(each), self._format_all(each)
        read_only = any(info.read_only for info in each.infos)
        return Writer(
            name=_called(each),
            slot=self._slots[each.places[0]],
            get=self._conditional(each) if conditional else self._getter(each),
            format=_else_verbatim(write) if conditional else write,
            format_all=formats_each(_else_verbatim(write)) if conditional else write_all,
            **self._scope(each),
            required=bool(spec.get("required") or spec.get("carry_forward")) and not read_only,
            limit=spec.get("max_length"),
            options=spec,
        )

    def _format(self, each: FieldSpec) -> Callable[[Any], str]:
        if not each.infos:
            return lambda value: value or ""
        if each.is_several:
            formats = [_part_format(info, each) for info in each.infos]
            whole = make_format("text", {key: each.spec[key] for key in _OF_THE_CELL if key in each.spec})
            join = joined_texts(formats, self._joiner(each).join)
            return lambda values: whole(join(values))
        return _joined_format(each) if each.joined else make_format(each.type, each.spec)

    def _format_all(self, each: FieldSpec) -> FormatAll:
        is_one = each.info is not None and not each.joined and not each.is_several
        return make_format_all(each.type, each.spec) if is_one else formats_each(self._format(each))

    def _scope(self, each: FieldSpec) -> dict[str, bool]:
        """What the texts of a field depend on: `Writer.is_of_value` and `Writer.asks_where`."""
        asks_where = any(info.of_payload is not None for info in each.infos)
        on_line = not each.joined and any(info.on_line for info in each.infos)
        asks_line = self._check.is_per_line and ("when" in each.spec or "cases" in each.spec)
        of_part = on_line or asks_line or self._kind == "status"
        return {"is_of_value": not of_part and not asks_where, "asks_where": asks_where}

    def _places_writer(self, each: FieldSpec) -> PlacesWriter:
        spec, count = each.spec, len(each.places)
        if each.info is not None and not spec.get("wrap"):
            write = make_format(each.type, {**spec, "guard": False})
            texts = divided_texts(write, self._joiner(each).divide, count)
        else:
            texts = block_texts([_part_format(info, each) for info in each.infos], count, spec)
        guard = make_format("text", {"guard": spec.get("guard", False)})
        getters = [_get_of(info) for info in each.infos]
        is_one = each.info is not None and not spec.get("wrap")
        return PlacesWriter(
            name=_called(each),
            slots=[self._slots[at] for at in each.places],
            get=getters[0] if is_one else lambda value, part, at: [get(value, part, at) for get in getters],
            texts=lambda found: [guard(text) for text in texts(found)],
            **self._scope(each),
            required=bool(spec.get("required", False)),
            limit=spec.get("max_length"),
            options=spec,
        )

    def _conditional(self, each: FieldSpec) -> Get:
        """The getter of a place whose text depends on conditions of the rule language."""
        spec, inner, per_line = each.spec, self._getter(each), self._check.is_per_line
        cases = spec.get("cases", [{key: spec[key] for key in ("when", "then") if key in spec}])
        paths = (
            [f"{each.path}.cases[{i}].when" for i in range(len(cases))] if "cases" in spec else [f"{each.path}.when"]
        )
        tests = [
            (self._condition(case["when"], path, per_line=per_line), case.get("then"))
            for case, path in zip(cases, paths, strict=True)
        ]
        otherwise, shipping = spec.get("else"), self._check.holds == "shipping_order"

        def get(value: Any, part: Any, at: Written) -> Any:
            order = value.order if shipping else value
            for holds_for, then in tests:
                if holds_for(order, part):
                    return inner(value, part, at) if then is None else _Verbatim(then)
            return None if otherwise is None else _Verbatim(otherwise)

        return get

    def _getter(self, each: FieldSpec) -> Get:
        if not each.infos:
            constant = each.spec.get("constant")
            return lambda value, part, at: constant
        getters = [_get_of(info) for info in each.infos]
        if each.info is None:
            return lambda value, part, at: [get(value, part, at) for get in getters]
        get = _first_of([each.info.get, *(info.get for info in self._check.fallbacks(each))])
        if "location" in each.spec:
            location = each.spec["location"]
            return lambda value, part, at: get(value, part) if value.location == location else None
        if each.joined:
            return lambda value, part, at: [get(value, line) for line in value.lines]
        return getters[0] if get is each.info.get else lambda value, part, at: get(value, part)

    def _condition(self, document: Any, path: str, *, per_line: bool) -> Callable[[Any, Any], bool]:
        from fcflow.rules import compile_condition  # the rule language is only needed where a layout asks

        try:
            condition = compile_condition(document, scope="line" if per_line else "order", path=path)
        except DocumentError as error:
            self._check.faults += error.faults
            return lambda order, line: False
        except FcflowError as error:
            self._check.faults.append(Fault(str(error), path=path))
            return lambda order, line: False
        if condition.needs_view or condition.needs_now:
            self._check.fault("a layout cannot ask for stock or the time", path)
        return lambda order, line: condition.matches(order, line=line if per_line else None)

    # -------------------------------------------------------------- values

    def _binder(self, names: frozenset[str]) -> Binder:
        if self._kind == "stock":
            return self._stock_binder(names)
        if self._kind == "status":
            on_lines = any(info.on_line for each in self._fields for info in each.infos)
            return StatusBinder(grouped=self._check.is_grouped, on_lines=on_lines)
        alone = [(each.info.name, each.spec) for each in self._fields if each.info]
        lenient = frozenset(name for name, spec in alone if "default" in spec or spec.get("if_differs") == "first")
        gathered = {name: spec.get("with", " ") for name, spec in alone if spec.get("if_differs") == "join"}
        own = frozenset(name for name in names if not name.startswith(ASIDE))
        return OrderBinder(
            holds=self._check.holds,
            per_line=self._check.is_per_line,
            names=own,
            lenient=lenient,
            gathered={name: between for name, between in gathered.items() if name in own},
        )

    def _stock_binder(self, names: frozenset[str]) -> Binder:
        columns: dict[str, list[str]] = {}
        for each in self._fields:
            if "location" in each.spec and each.info is not None and each.reads:
                columns.setdefault(each.spec["location"], []).append(each.info.name)
        if columns:
            return ColumnsBinder(columns)
        if self._check.is_grouped:
            return SummedStockBinder()
        counts = any(name in ("available", "frozen") or name.startswith(ASIDE) for name in names)
        return CountersBinder() if counts else StockBinder()

    def _skips(self) -> Iterator[Skip]:
        for skip in self._document.get("skip", ()):
            words = frozenset(word.strip().casefold() for word in skip.get("in", ()))
            yield Skip(slot=self._slots[skip["at"]], words=words, whole_record=skip.get("of") == "record")


class _Verbatim(str):
    """A text of the layout itself, that is written as it stands."""

    __slots__ = ()


def _called(each: FieldSpec) -> str:
    """How messages call what is written: its places and its fields."""
    names = ", ".join(info.name for info in each.infos)
    return ", ".join(map(repr, each.places)) + (f" ({names})" if names else "")


def _read_name(each: FieldSpec) -> str:
    name = each.infos[0].name
    return column_name(name, each.spec["location"]) if "location" in each.spec else name


def _only_group(pattern: Any, text: str) -> str:
    groups = pattern.groups_of(text)
    if groups is None:
        raise Unreadable("a name in which the text is found")
    return groups[0] or ""


def _groups(pattern: Any, names: Sequence[str]) -> list[int] | None:
    """Of each field, the index of its group: by name, or by position where no group has one."""
    if not pattern.names:
        return list(range(len(names))) if pattern.count == len(names) else None
    known = {name: number - 1 for name, number in pattern.names.items()}
    found = [known.get(name.replace(".", "_"), known.get(name.rpartition(".")[2])) for name in names]
    return [index for index in found if index is not None] if None not in found else None


def _part_parse(info: FieldInfo, each: FieldSpec) -> Parse:
    return make_parse(info.type, {key: each.spec[key] for key in _OF_THE_PART if key in each.spec})


def _part_format(info: FieldInfo, each: FieldSpec) -> Callable[[Any], str]:
    return make_format(info.type, {key: each.spec[key] for key in _OF_THE_PART if key in each.spec})


def _get_of(info: FieldInfo) -> Get:
    of_payload, get = info.of_payload, info.get
    return (lambda value, part, at: get(value, part)) if of_payload is None else lambda value, part, at: of_payload(at)


def _first_of(getters: Sequence[Getter]) -> Getter:
    """The getter of the first of several fields that says something."""
    if len(getters) == 1:
        return getters[0]

    def get(value: Any, part: Any) -> Any:
        found = (each(value, part) for each in getters)
        return next((each for each in found if each is not None and each != ()), None)

    return get


def _else_verbatim(write: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: "" if value is None else str(value) if isinstance(value, _Verbatim) else write(value)


def _joined_parse(each: FieldSpec) -> Callable[[Cell], Any]:
    """Reads one entry for each line out of one cell."""
    separator = each.spec.get("split") or each.spec.get("join")
    parse = make_parse(each.type, each.spec)
    return lambda cell: [parse(part) for part in cell.split(separator)] if isinstance(cell, str) and cell else []


def _joined_format(each: FieldSpec) -> Callable[[Any], str]:
    separator = str(each.spec.get("join") or each.spec.get("split"))
    write = make_format(each.type, each.spec)

    def joined(values: Any) -> str:
        texts = [write(value) for value in values]
        for text in texts:
            if separator in text:
                raise Unwritable(f"expected texts without {separator!r}, got {text!r}")
        return separator.join(texts) if any(texts) else ""

    return joined
