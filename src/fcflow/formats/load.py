"""
From a document to a layout: found, checked with every fault at once, compiled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from attrs import evolve, field, mutable

from fcflow.documents import content_hash
from fcflow.errors import DocumentError, Fault, FcflowError, LayoutError
from fcflow.formats.bind import Binder, OrderBinder, StatusBinder, StockBinder
from fcflow.formats.cells import make_format, make_parse
from fcflow.formats.codec import Cell, CodecType, Place, Unwritable
from fcflow.formats.delimited import build_delimited
from fcflow.formats.documents import DocumentEngine
from fcflow.formats.fields import FieldInfo, Getter, find_field, nearest_field
from fcflow.formats.fixed_width import build_fixed_width
from fcflow.formats.form import build_form
from fcflow.formats.json_lines import build_json_lines, without_repeats
from fcflow.formats.layout import Engine, Layout, MappedEngine, Reader, Skip, Writer
from fcflow.formats.shape import codec_schema, nearest, shape_faults
from fcflow.formats.text import normal_encoding
from fcflow.model import Status

__all__ = ["builtin_codecs", "builtin_layouts", "load_layout"]

_SPELLING = {
    "datetime": ("pattern", "zone"),
    "amount": ("decimal", "thousands"),
    "weight": ("decimal", "thousands"),
    "integer": ("thousands", "decimal"),
}
_ONLY_FOR = {
    "pattern": ("datetime",),
    "zone": ("datetime",),
    "decimal": ("amount", "weight", "integer"),
    "thousands": ("amount", "weight", "integer"),
    "places": ("amount", "weight"),
    "unit": ("amount", "weight"),
}
_UNITS = {"weight": ("g", "kg", "lb", "oz"), "amount": ("units", "cents")}


@cache
def builtin_codecs() -> Mapping[str, CodecType]:
    """
    The codecs that every layout may name.

    Example:
        >>> sorted(builtin_codecs())
        ['delimited', 'fixed_width', 'form', 'json_lines']
    """
    builds: dict[str, tuple[Callable[..., Any], str]] = {
        "delimited": (build_delimited, "cells between delimiters"),
        "fixed_width": (build_fixed_width, "fields of fixed width"),
        "json_lines": (build_json_lines, "one JSON object a line"),
        "form": (build_form, "one form post an order"),
    }
    return {
        name: CodecType(name=name, options_schema=codec_schema(name), build=build, summary=summary)
        for name, (build, summary) in builds.items()
    }


def builtin_layouts() -> list[str]:
    """
    Names of the layouts that come with fcflow.

    Example:
        >>> "linnworks-orders" in builtin_layouts()
        True
    """
    names = (entry.name for entry in files("fcflow.formats").joinpath("layouts").iterdir())
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def load_layout(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    base: Path | None = None,
    kind: str | None = None,
    codecs: Mapping[str, CodecType] | None = None,
) -> Layout:
    """
    The layout that *source* names or holds, checked and compiled.

    Args:
        source: Name of a built-in layout, a path, or the document itself. ``canonical`` is the one of *kind*.

        base: Folder that a relative path starts from; the current one when it is left out.

        kind: What the layout must hold: ``orders``, ``status`` or ``stock``; ``None`` takes any.

        codecs: Codecs of plugins, by name.

    Raises:
        LayoutError: There is no such layout, or it has faults: all of them, with JSON paths.

    Example:
        >>> load_layout("linnworks-status").kind
        'status'
    """
    name, document = _found(source, base, kind)
    faults = shape_faults(document)
    if not faults and kind is not None and document["kind"] != kind:
        faults = [Fault("", path="$.kind", expected=kind, found=document["kind"])]
    if faults:
        raise LayoutError(name, faults)
    name = document.get("name", name)
    check = _Check(name=name, document=document, codecs={**(codecs or {}), **builtin_codecs()})
    engine = check.engine()
    if check.faults or engine is None:
        raise LayoutError(name, check.faults)
    return Layout(
        name=name,
        kind=document["kind"],
        hash=content_hash(document),
        content_type=document.get("content_type", engine.content_type),
        extension=document.get("extension", engine.extension),
        document=document,
        engine=engine,
    )


# ------------------------------------------------------------------ find


def _found(
    source: str | os.PathLike[str] | Mapping[str, Any], base: Path | None, kind: str | None
) -> tuple[str, Mapping[str, Any]]:
    if isinstance(source, Mapping):
        name = source.get("name")
        return name if isinstance(name, str) and name else "layout", source
    name = os.fspath(source)
    if isinstance(source, str):
        builtin = f"canonical-{kind}" if name == "canonical" and kind else name
        if builtin in builtin_layouts():
            return builtin, _parsed(builtin, files("fcflow.formats").joinpath(f"layouts/{builtin}.json").read_bytes())
    path = (base or Path()) / name
    try:
        return path.stem, _parsed(name, path.read_bytes())
    except OSError as error:
        known = nearest(name, builtin_layouts())
        said = f"no such layout, and no file that can be read ({error.strerror})"
        raise LayoutError(name, [Fault(said, expected=known, found=name)]) from error


def _parsed(name: str, content: bytes) -> Mapping[str, Any]:
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=without_repeats)  # type: ignore[no-any-return]  # its shape is checked later
    except json.JSONDecodeError as error:
        raise LayoutError(name, [Fault(error.msg, line=error.lineno, column=error.colno)]) from error
    except (ValueError, RecursionError) as error:
        raise LayoutError(name, [Fault(str(error))]) from error


# ------------------------------------------------------------------ check and compile


@mutable(kw_only=True)
class _Field:
    """A field of the document, with what is known of it."""

    index: int
    spec: Mapping[str, Any]
    info: FieldInfo | None
    type: str
    joined: bool = False

    @property
    def path(self) -> str:
        return f"$.fields[{self.index}]"

    @property
    def reads(self) -> bool:
        """Whether it gives a value on reading."""
        known = self.info is not None and not self.info.written_only
        return known and self.spec.get("direction", "both") != "write"

    @property
    def writes(self) -> bool:
        """Whether it fills a place on writing."""
        return "at" in self.spec and self.spec.get("direction", "both") != "read"


@mutable(kw_only=True)
class _Check:
    """One document on its way to an engine; gathers every fault."""

    name: str
    document: Mapping[str, Any]
    codecs: Mapping[str, CodecType]
    faults: list[Fault] = field(factory=list)
    fields: list[_Field] = field(factory=list)

    @property
    def kind(self) -> str:
        return str(self.document["kind"])

    @property
    def holds(self) -> str:
        if self.kind == "orders":
            return str(self.document.get("value", "shipping_order"))
        return {"status": "status_update", "stock": "stock_level"}[self.kind]

    def fault(self, message: str, path: str, *, expected: str | None = None, found: object = None) -> None:
        self.faults.append(Fault(message, path=path, expected=expected, found=found))

    def engine(self) -> Engine | None:
        """The engine, or ``None`` where faults were found."""
        self._check_codec()
        self._check_kind()
        if "fields" not in self.document:
            return self._document_engine()
        self.fields = [
            made for made in map(self._field, *zip(*enumerate(self.document["fields"]), strict=True)) if made
        ]
        self._check_twice()
        return None if self.faults else self._mapped_engine()

    def _document_engine(self) -> Engine | None:
        if self.document["codec"]["type"] != "json_lines":
            self.fault("missing", "$.fields")
        return DocumentEngine(self.document["codec"], str(self.document.get("value", self.kind)))

    # -------------------------------------------------------------- checks of the whole

    def _check_codec(self) -> None:
        options = self.document["codec"]
        known = self.codecs.get(options["type"])
        if known is None:
            self.fault("no such codec", "$.codec.type", expected=nearest(options["type"], sorted(self.codecs)))
            self.faults[-1].found = options["type"]
        elif options["type"] not in builtin_codecs():
            self.faults += shape_faults(options, known.options_schema, ["codec"])
        encoding = options.get("encoding", "utf-8")
        if isinstance(encoding, str) and normal_encoding(encoding) is None:
            self.fault("", "$.codec.encoding", expected="an encoding such as utf-8 or cp1252", found=encoding)

    def _check_kind(self) -> None:
        only = {"value": "orders", "one_row_per": "orders", "group": "status"}
        for key, kind in only.items():
            if key in self.document and self.kind != kind:
                self.fault(f"only for layouts of kind {kind}", f"$.{key}", found=self.document[key])

    def _check_twice(self) -> None:
        """A place that is written twice, a field that is read from two places."""
        written: dict[str | int, _Field] = {}
        for each in self.fields:
            if each.writes and written.setdefault(each.spec["at"], each) is not each:
                said = f'is written twice; say "direction": "read" here or at {written[each.spec["at"]].path}'
                self.fault(said, f"{each.path}.at", found=each.spec["at"])

    # -------------------------------------------------------------- one field

    def _field(self, index: int, spec: Mapping[str, Any]) -> _Field | None:
        name, path = spec.get("field"), f"$.fields[{index}]"
        info = None
        if name is not None:
            info = find_field(self.kind, self.holds, name)
            if info is None:
                expected = nearest_field(self.kind, self.holds, name)
                self.fault("unknown field", f"{path}.field", expected=expected, found=name)
                return None
        made = _Field(index=index, spec=self._spelt(spec, info), info=info, type=info.type if info else "text")
        made.joined = bool(info and info.on_line and self._joins())
        for check in (self._check_what, self._check_options, self._check_words, self._check_numbers, self._check_time):
            check(made)
        return made

    def _joins(self) -> bool:
        return self.kind == "orders" and self.document.get("one_row_per") == "order"

    def _spelt(self, spec: Mapping[str, Any], info: FieldInfo | None) -> dict[str, Any]:
        """The field with what the layout says of all fields."""
        defaults = self.document.get("defaults", {})
        fits = (*_SPELLING.get(info.type if info else "text", ()), "empty", "ignore_case")
        common = {key: value for key, value in defaults.items() if key in fits}
        guard = {"guard": True} if self.document.get("guard_formulas") else {}
        return {"trim": self.document.get("trim", True), **guard, **common, **spec}

    def _check_what(self, made: _Field) -> None:
        spec, path = made.spec, made.path
        if made.info is None and "constant" not in spec and "then" not in spec and "at" in spec:
            self.fault("says nothing to write", path, expected="field or constant")
        if "at" not in spec and not (made.info is not None and "constant" in spec):
            self.fault("missing", f"{path}.at", expected="a place, or a field with a constant")
        if "at" in spec and made.info is not None and "constant" in spec:
            self.fault("has a place and a field: one of the three is too many", f"{path}.constant")
        if "type" in spec and spec["type"] != made.type:
            self.fault("", f"{path}.type", expected=made.type, found=spec["type"])
        if ("then" in spec or "else" in spec) and "when" not in spec:
            self.fault("without when", f"{path}.{'then' if 'then' in spec else 'else'}")
        if "when" in spec and self.kind != "orders":
            self.fault("only for layouts of kind orders", f"{path}.when")
        if made.joined and made.type != "list" and not (spec.get("join") or spec.get("split")):
            self.fault("missing", f"{path}.join", expected="what stands between the lines of an order")

    def _check_options(self, made: _Field) -> None:
        for key, types in _ONLY_FOR.items():
            if key in self.document["fields"][made.index] and made.type not in types:
                self.fault(f"does not fit a field of type {made.type}", f"{made.path}.{key}")
        unit = made.spec.get("unit")
        if unit is not None and made.type in _UNITS and unit not in _UNITS[made.type]:
            self.fault("", f"{made.path}.unit", expected=" or ".join(_UNITS[made.type]), found=unit)
        if made.spec.get("if_too_long") == "truncate" and made.type not in ("text", "list"):
            self.fault(f"a field of type {made.type} cannot be cut off", f"{made.path}.if_too_long")

    def _check_words(self, made: _Field) -> None:
        spec, path = made.spec, made.path
        if "unmapped" in spec and "map" not in spec:
            self.fault("without map", f"{path}.unmapped")
        for word, value in spec.get("map", {}).items():
            if value is not None and (expected := _not_of(made.type, value)):
                self.fault("", f"{path}.map.{word}", expected=expected, found=value)

    def _check_numbers(self, made: _Field) -> None:
        decimal, thousands = made.spec.get("decimal", "."), made.spec.get("thousands")
        if made.type not in ("amount", "weight", "integer"):
            return
        for key, mark in (("decimal", decimal), ("thousands", thousands)):
            if mark is not None and (mark.isdigit() or mark in "+-"):
                self.fault("", f"{made.path}.{key}", expected="a mark that is no part of a number", found=mark)
        if decimal == thousands:
            self.fault("the same as the decimal mark", f"{made.path}.thousands", found=thousands)

    def _check_time(self, made: _Field) -> None:
        zone, pattern = made.spec.get("zone"), made.spec.get("pattern")
        if made.type != "datetime":
            return
        if zone is not None and not _is_zone(zone):
            self.fault("", f"{made.path}.zone", expected="a zone such as Europe/London", found=zone)
        if pattern is not None and not _is_pattern(pattern):
            expected = "a pattern such as %d/%m/%Y %H:%M that holds at least year, month and day"
            self.fault("", f"{made.path}.pattern", expected=expected, found=pattern)

    # -------------------------------------------------------------- compile

    def _mapped_engine(self) -> Engine | None:
        places = self._places()
        slots = {place.at: slot for slot, place in enumerate(places)}
        readers = self._readers(slots)
        writers = [self._writer(each, slots) for each in self.fields if each.writes]
        binder = self._binder(readers)
        try:
            options = {"trim": self.document.get("trim", True), **self.document["codec"]}
            codec = self.codecs[options["type"]].build(options, places)
        except DocumentError as error:
            self.faults += error.faults
            return None
        return MappedEngine(
            codec=codec,
            binder=binder,
            readers=readers,
            writers=writers,
            skips=list(self._skips(slots)),
            width=len(places),
            unreadable=binder.missing(frozenset(reader.name for reader in readers)),
        )

    def _places(self) -> list[Place]:
        """Every place once, in the order of the document; those that are only asked by ``skip`` come last."""
        places: dict[str | int, Place] = {}
        for each in self.fields:
            at = each.spec.get("at")
            if at is None:
                continue
            optional = bool(each.spec.get("optional", False)) or not each.reads
            name = each.info.name if each.info else None
            place = Place(at=at, type=each.type, path=each.path, name=name, optional=optional, options=each.spec)
            known = places.setdefault(at, place)
            if known is not place and not optional:
                places[at] = evolve(known, optional=False)
        for index, skip in enumerate(self.document.get("skip", ())):
            path = f"$.skip[{index}]"
            places.setdefault(
                skip["at"], Place(at=skip["at"], type="text", path=path, name=None, optional=True, options={})
            )
        return list(places.values())

    def _readers(self, slots: Mapping[str | int, int]) -> list[Reader]:
        """What gives values on reading; a field that stands in two places is read from the first."""
        readers: dict[str, Reader] = {}
        for each in self.fields:
            if not each.reads or each.info is None:
                continue
            at = each.spec.get("at")
            reader = Reader(
                name=each.info.name,
                slot=None if at is None else slots[at],
                parse=_joined_parse(each) if each.joined else make_parse(each.type, each.spec),
                required=bool(each.spec.get("required", False)),
                constant=each.spec.get("constant"),
            )
            readers.setdefault(each.info.name, reader)
        return list(readers.values())

    def _writer(self, each: _Field, slots: Mapping[str | int, int]) -> Writer:
        spec, name = each.spec, each.info.name if each.info else None
        return Writer(
            name=repr(spec["at"]) + (f" ({name})" if name else ""),
            slot=slots[spec["at"]],
            get=self._conditional(each) if "when" in spec else _getter(each),
            format=_else_verbatim(_format(each)) if "when" in spec else _format(each),
            required=bool(spec.get("required", False)),
            limit=spec.get("max_length"),
            options=spec,
        )

    def _conditional(self, each: _Field) -> Getter:
        """The getter of a place whose text depends on a condition of the rule language."""
        spec, inner = each.spec, _getter(each)
        holds_for = self._condition(spec["when"], f"{each.path}.when", per_line=self._is_per_line())
        then, otherwise = spec.get("then"), spec.get("else")
        shipping = self.holds == "shipping_order"

        def get(value: Any, part: Any) -> Any:
            if holds_for(value.order if shipping else value, part):
                return inner(value, part) if then is None else _Verbatim(then)
            return None if otherwise is None else _Verbatim(otherwise)

        return get

    def _condition(self, document: Any, path: str, *, per_line: bool) -> Callable[[Any, Any], bool]:
        from fcflow.rules import compile_condition  # the rule language is only needed where a layout asks

        try:
            condition = compile_condition(document, scope="line" if per_line else "order", path=path)
        except DocumentError as error:
            self.faults += error.faults
            return lambda order, line: False
        except FcflowError as error:
            self.fault(str(error), path)
            return lambda order, line: False
        if condition.needs_view or condition.needs_now:
            self.fault("a layout cannot ask for stock or the time", path)
        return lambda order, line: condition.matches(order, line=line if per_line else None)

    def _binder(self, readers: Sequence[Reader]) -> Binder:
        names = frozenset(reader.name for reader in readers)
        if self.kind == "stock":
            return StockBinder()
        if self.kind == "status":
            on_lines = any(each.info is not None and each.info.on_line for each in self.fields)
            return StatusBinder(grouped=self.document.get("group") == "reference", on_lines=on_lines)
        lenient = frozenset(each.info.name for each in self.fields if each.info and "default" in each.spec)
        return OrderBinder(holds=self.holds, per_line=self._is_per_line(), names=names, lenient=lenient)

    def _is_per_line(self) -> bool:
        if "one_row_per" in self.document:
            return bool(self.document["one_row_per"] == "line")
        return any(each.info is not None and each.info.on_line for each in self.fields)

    def _skips(self, slots: Mapping[str | int, int]) -> Iterator[Skip]:
        for skip in self.document.get("skip", ()):
            words = frozenset(word.strip().casefold() for word in skip.get("in", ()))
            yield Skip(slot=slots[skip["at"]], words=words, whole_record=skip.get("of") == "record")


class _Verbatim(str):
    """A text of the layout itself, that is written as it stands."""

    __slots__ = ()


def _getter(each: _Field) -> Getter:
    if each.info is None:
        constant = each.spec.get("constant")
        return lambda value, part: constant
    get = each.info.get
    return (lambda value, part: [get(value, line) for line in value.lines]) if each.joined else get


def _format(each: _Field) -> Callable[[Any], str]:
    if each.info is None:
        return lambda value: value or ""
    return _joined_format(each) if each.joined else make_format(each.type, each.spec)


def _else_verbatim(write: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: "" if value is None else str(value) if isinstance(value, _Verbatim) else write(value)


def _joined_parse(each: _Field) -> Callable[[Cell], Any]:
    """Reads one entry for each line out of one cell."""
    separator = each.spec.get("split") or each.spec.get("join")
    parse = make_parse(each.type, each.spec)
    return lambda cell: [parse(part) for part in cell.split(separator)] if isinstance(cell, str) and cell else []


def _joined_format(each: _Field) -> Callable[[Any], str]:
    separator = str(each.spec.get("join") or each.spec.get("split"))
    write = make_format(each.type, each.spec)

    def joined(values: Any) -> str:
        texts = [write(value) for value in values]
        for text in texts:
            if separator in text:
                raise Unwritable(f"expected texts without {separator!r}, got {text!r}")
        return separator.join(texts) if any(texts) else ""

    return joined


# ------------------------------------------------------------------ what a word may be


def _not_of(type_: str, value: str) -> str | None:
    """What was expected of a word that a map names, if it is not that."""
    if type_ == "status":
        words = [member.value for member in Status]
        return None if value in words else nearest(value, words)
    if type_ in ("text", "list"):
        return None
    try:
        make_parse(type_, {})(value)
    except ValueError as error:
        return str(getattr(error, "expected", error))
    return None


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return False
    return True


def _is_pattern(pattern: str) -> bool:
    """Whether a day that is written by it is read back as the same day."""
    day = datetime(2031, 11, 23, 22, 58, 57, tzinfo=UTC)
    try:
        return datetime.strptime(day.strftime(pattern), pattern).date() == day.date()  # noqa: DTZ007  # only the day counts
    except ValueError:
        return False
