"""
A layout's document, checked: every fault at once, with its JSON path and what was expected there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, mutable

from fcflow.errors import Fault
from fcflow.formats.cells import make_parse
from fcflow.formats.codec import CodecType, Unreadable
from fcflow.formats.fields import ASIDE, FieldInfo, find_field, nearest_field
from fcflow.formats.moments import is_pattern, is_zone, patterns_of
from fcflow.formats.numerals import NUMBERS, UNITS, factor_of
from fcflow.formats.shape import nearest, shape_faults
from fcflow.formats.text import DETECT, normal_encoding
from fcflow.formats.words import NAMED_MAPS, words_of
from fcflow.model import Status

__all__ = ["Check", "FieldSpec"]

_NUMBER_MARKS = ("decimal", "thousands", "negative")
_SPELLING = {"datetime": ("pattern", "zone", "pivot")} | dict.fromkeys(NUMBERS, _NUMBER_MARKS)
_ONLY_FOR: Mapping[str, tuple[str, ...]] = {
    "pattern": ("datetime",),
    "pivot": ("datetime",),
    "zone": ("datetime",),
    "decimal": NUMBERS,
    "thousands": NUMBERS,
    "negative": NUMBERS,
    "implied_decimals": NUMBERS,
    "places": ("amount", "weight"),
    "unit": ("amount", "weight"),
    "pack": ("integer",),
    "zero_pad": (*NUMBERS, "text", "list"),
    "strip_zeros": ("text", "list"),
    "case": ("text", "list"),
    "country": ("country",),
}
_STANDS_ALONE = (
    "when", "cases", "map", "map_else", "unmapped", "constant", "carry_forward", "from", "location", "fallback",
    "if_differs",
)  # fmt: skip
_NEEDS_SEVERAL = ("with", "split_at", "if_absent", "wrap")
_COUNTERS = ("on_hand", "reserved", "inbound", "available", "frozen", "as_of")
_UNKNOWN_TYPE = "text"


@mutable(kw_only=True)
class FieldSpec:
    """
    A field of the document, with what is known of it.

    Args:
        infos: The canonical fields; none where a place is always written the same.

        type: Of the only field; a text where there are several.

        joined: Whether it holds an entry for each line of an order.
    """

    index: int
    spec: Mapping[str, Any]
    infos: Sequence[FieldInfo]
    type: str
    joined: bool = False

    @property
    def path(self) -> str:
        return f"$.fields[{self.index}]"

    @property
    def info(self) -> FieldInfo | None:
        """The only field."""
        return self.infos[0] if len(self.infos) == 1 else None

    @property
    def places(self) -> Sequence[str | int]:
        at = self.spec.get("at", [])
        return at if isinstance(at, list) else [at]

    def width_of(self, index: int) -> int | None:
        """The width of one of its places, where it has one."""
        width = self.spec.get("width")
        return width if not isinstance(width, list) else width[index] if index < len(width) else None

    @property
    def is_several(self) -> bool:
        """Whether fields and places do not match one to one."""
        return len(self.infos) > 1 or len(self.places) > 1

    @property
    def divides(self) -> bool:
        """Whether several fields that stand in one place can be told from each other."""
        return any(key in self.spec for key in ("split_at", "capture")) or self.spec.get("if_absent") == "keep"

    @property
    def reads(self) -> bool:
        """Whether it gives a value on reading."""
        known = bool(self.infos) and not any(info.written_only for info in self.infos)
        told = len(self.infos) < 2 or len(self.places) > 1 or self.divides
        return known and told and self.spec.get("direction", "both") != "write"

    @property
    def writes(self) -> bool:
        """Whether it fills a place on writing."""
        return "at" in self.spec and self.spec.get("direction", "both") != "read"


@mutable(kw_only=True)
class Check:
    """One document; gathers every fault."""

    document: Mapping[str, Any]
    codecs: Mapping[str, CodecType]
    faults: list[Fault] = field(factory=list)
    fields: list[FieldSpec] = field(factory=list)

    @property
    def kind(self) -> str:
        return str(self.document["kind"])

    @property
    def holds(self) -> str:
        if self.kind == "orders":
            return str(self.document.get("value", "shipping_order"))
        return {"status": "status_update", "stock": "stock_level"}[self.kind]

    @property
    def is_per_line(self) -> bool:
        """Whether every line of an order has a row of its own."""
        if "one_row_per" in self.document:
            return bool(self.document["one_row_per"] == "line")
        return any(info.on_line for each in self.fields for info in each.infos)

    @property
    def is_grouped(self) -> bool:
        """Whether a record may have several rows."""
        return self.is_per_line if self.kind == "orders" else self.document.get("group", "none") != "none"

    def fault(self, message: str, path: str, *, expected: str | None = None, found: object = None) -> None:
        self.faults.append(Fault(message, path=path, expected=expected, found=found))

    def run(self) -> None:
        """Look at everything but what only compiling shows."""
        self._check_codec()
        self._check_kind()
        made = [self._field(index, spec) for index, spec in enumerate(self.document.get("fields", ()))]
        self.fields = [each for each in made if each is not None]
        self._check_twice()
        self._check_rows()
        self._check_locations()

    # -------------------------------------------------------------- the whole

    def _check_codec(self) -> None:
        options = self.document["codec"]
        known = self.codecs.get(options["type"])
        if known is None:
            self.fault(
                "no such codec",
                "$.codec.type",
                expected=nearest(options["type"], sorted(self.codecs)),
                found=options["type"],
            )
            return
        self.faults += shape_faults(options, known.options_schema, ["codec"])
        given = options.get("encoding", "utf-8")
        for encoding in given if isinstance(given, list | tuple) else [given]:
            if isinstance(encoding, str) and encoding != DETECT and normal_encoding(encoding) is None:
                self.fault("", "$.codec.encoding", expected="an encoding such as utf-8 or cp1252", found=encoding)
        if isinstance(given, list | tuple) and DETECT in given:
            self.fault("stands alone", "$.codec.encoding", found=DETECT)

    def _check_kind(self) -> None:
        only = {"value": "orders", "one_row_per": "orders"}
        for key, kind in only.items():
            if key in self.document and self.kind != kind:
                self.fault(f"only for layouts of kind {kind}", f"$.{key}", found=self.document[key])
        for way, kind in (("reference", "status"), ("sku", "stock")):
            if self.document.get("group") == way and self.kind != kind:
                self.fault(f"only for layouts of kind {kind}", "$.group", found=way)

    def _check_twice(self) -> None:
        """A place that is written twice, a field that is read from two places."""
        written: dict[str | int, FieldSpec] = {}
        widths: dict[str | int, Any] = {}
        for each in self.fields:
            for index, at in enumerate(each.places):
                width = each.width_of(index)
                if width is not None and widths.setdefault(at, width) != width:
                    self.fault(
                        "another field stands there", f"{each.path}.width", expected=str(widths[at]), found=width
                    )
            for at in each.places if each.writes else ():
                if written.setdefault(at, each) is not each:
                    said = f'is written twice; say "direction": "read" here or at {written[at].path}'
                    self.fault(said, f"{each.path}.at", found=at)

    def _check_rows(self) -> None:
        anywhere = self.document.get("rows") == "anywhere"
        if anywhere and not self.is_grouped:
            self.fault("only where a record has several rows", "$.rows", found="anywhere")
        if "max_rows" in self.document and not anywhere:
            self.fault("only with rows anywhere", "$.max_rows", found=self.document["max_rows"])

    def _check_locations(self) -> None:
        own = [each for each in self.fields if "location" in each.spec]
        if own and self.is_grouped:
            self.fault("does not go with counters that have locations of their own", "$.group", found="sku")
        for each in own:
            if self.kind != "stock" or each.info is None or each.info.name not in _COUNTERS:
                expected = "a counter of stock, " + ", ".join(_COUNTERS)
                self.fault("", f"{each.path}.field", expected=expected, found=each.spec.get("field"))
        for each in self.fields if own else ():
            if each.info is not None and each.info.name == "location":
                self.fault("counters have locations of their own", f"{each.path}.field", found="location")

    # -------------------------------------------------------------- one field

    def _field(self, index: int, spec: Mapping[str, Any]) -> FieldSpec | None:
        path = f"$.fields[{index}]"
        if "field" in spec and "join_fields" in spec:
            self.fault("has join_fields too", f"{path}.field", found=spec["field"])
            return None
        names = [spec["field"]] if "field" in spec else spec.get("join_fields", [])
        infos = [self._info(name, path, position) for position, name in enumerate(names)]
        if None in infos:
            return None
        known = [info for info in infos if info is not None]
        type_ = self._type_of(known, spec)
        made = FieldSpec(index=index, spec=self._spelt(spec, known, type_), infos=known, type=type_)
        made.joined = self._joins() and any(info.on_line for info in known)
        checks = (self._check_what, self._check_several, self._check_condition, self._check_options, self._check_from)
        for check in (
            *checks,
            self._check_rows_of,
            self._check_fallback,
            self._check_words,
            self._check_numbers,
            self._check_time,
        ):
            check(made)
        return made

    def _info(self, name: str, path: str, position: int) -> FieldInfo | None:
        info = find_field(self.kind, self.holds, name)
        if info is None:
            key = "field" if "field" in self.document["fields"][int(path[9:-1])] else f"join_fields[{position}]"
            self.fault(
                "unknown field", f"{path}.{key}", expected=nearest_field(self.kind, self.holds, name), found=name
            )
        return info

    def _type_of(self, infos: Sequence[FieldInfo], spec: Mapping[str, Any]) -> str:
        if len(infos) != 1:
            return _UNKNOWN_TYPE
        return str(spec.get("type", "text")) if infos[0].name.startswith(ASIDE) else infos[0].type

    def _joins(self) -> bool:
        return self.kind == "orders" and self.document.get("one_row_per") == "order"

    def _spelt(self, spec: Mapping[str, Any], infos: Sequence[FieldInfo], type_: str) -> dict[str, Any]:
        """The field with what the layout says of all fields."""
        defaults = self.document.get("defaults", {})
        types = {type_, *(info.type for info in infos)}
        fits = {"empty", "ignore_case"} | {key for each in types for key in _SPELLING.get(each, ())}
        common = {key: value for key, value in defaults.items() if key in fits}
        guard = {"guard": True} if self.document.get("guard_formulas") else {}
        return {"trim": self.document.get("trim", True), **guard, **common, **spec}

    def _check_what(self, made: FieldSpec) -> None:
        spec, path = made.spec, made.path
        says = "constant" in spec or "then" in spec or "cases" in spec
        if not made.infos and not says and "at" in spec:
            self.fault("says nothing to write", path, expected="field or constant")
        placeless = bool(made.infos) and ("constant" in spec or "from" in spec)
        if "at" not in spec and not placeless:
            self.fault("missing", f"{path}.at", expected="a place, or a field with a constant")
        if "at" in spec and made.infos and "constant" in spec:
            self.fault("has a place and a field: one of the three is too many", f"{path}.constant")
        if "type" in spec and spec["type"] != made.type:
            self.fault("", f"{path}.type", expected=made.type, found=spec["type"])
        if made.joined and made.type != "list" and not (spec.get("join") or spec.get("split")):
            self.fault("missing", f"{path}.join", expected="what stands between the lines of an order")
        if "carry_forward" in spec and ("default" in spec or "at" not in spec):
            self.fault("does not go with a default, and needs a place", f"{path}.carry_forward")

    def _check_several(self, made: FieldSpec) -> None:
        width = made.spec.get("width")
        if isinstance(width, list) and len(width) != len(made.places):
            self.fault("", f"{made.path}.width", expected=f"{len(made.places)} widths, one a place", found=len(width))
        if not made.is_several:
            joins = {"with"} if made.spec.get("if_differs") == "join" else set()
            for key in _NEEDS_SEVERAL:
                if key in made.spec and key not in joins:
                    self.fault("only where several fields or places are joined", f"{made.path}.{key}")
            return
        for key in _STANDS_ALONE:
            if key in made.spec:
                self.fault("does not go with several fields or places", f"{made.path}.{key}")
        if made.joined or any(info.type in ("list", "status") for info in made.infos):
            self.fault("lists, statuses and joined lines stand in one place each", made.path)
        if len(made.places) > 1 and "if_absent" in made.spec:
            self.fault("only with several fields in one place", f"{made.path}.if_absent")
        if "capture" in made.spec and ((len(made.places) > 1 and len(made.infos) > 1) or made.spec.get("wrap")):
            self.fault("divides one text, not a block", f"{made.path}.capture")
        if made.type == "datetime" and not patterns_of(made.spec):
            self.fault("missing", f"{made.path}.pattern", expected="how date and time are spelt together")
        if made.spec.get("direction") == "read" and not made.reads:
            self.fault("cannot be read", made.path, expected="split_at, capture, or if_absent: keep")
        if made.spec.get("wrap") and (len(made.places) < 2 or not {"max_length", "width"} & set(made.spec)):
            self.fault("needs several places and a max_length", f"{made.path}.wrap")

    def _check_rows_of(self, made: FieldSpec) -> None:
        """What is said of rows of an order that differ."""
        way, path = made.spec.get("if_differs"), f"{made.path}.if_differs"
        if way is None:
            return
        if self.kind != "orders" or made.info is None or made.info.on_line:
            self.fault("only for a field of a whole order", path, found=way)
        if way == "join" and made.type != "text":
            self.fault(f"does not fit a field of type {made.type}", path, found=way)

    def fallbacks(self, made: FieldSpec) -> list[FieldInfo]:
        """The fields that are asked where the field itself says nothing."""
        found = [find_field(self.kind, self.holds, name) for name in made.spec.get("fallback", ())]
        return [info for info in found if info is not None]

    def _check_fallback(self, made: FieldSpec) -> None:
        names, path = made.spec.get("fallback", ()), f"{made.path}.fallback"
        if names and (made.info is None or len(made.places) != 1):
            self.fault("only with one field in one place", path)
            return
        for position, name in enumerate(names):
            info = find_field(self.kind, self.holds, name)
            if info is None:
                expected = nearest_field(self.kind, self.holds, name)
                self.fault("unknown field", f"{path}[{position}]", expected=expected, found=name)
            elif made.info and (info.type, info.on_line, info.of_payload) != (made.type, made.info.on_line, None):
                where = "lines" if made.info.on_line else "the whole record"
                expected = f"a field of {where} of type {made.type}"
                self.fault("", f"{path}[{position}]", expected=expected, found=f"{name}, which is {info.type}")

    def _check_condition(self, made: FieldSpec) -> None:
        spec, path = made.spec, made.path
        if "when" in spec and "cases" in spec:
            self.fault("has cases too", f"{path}.when")
        if "then" in spec and "when" not in spec:
            self.fault("without when", f"{path}.then")
        if "else" in spec and "when" not in spec and "cases" not in spec:
            self.fault("without when", f"{path}.else")
        for key in ("when", "cases"):
            if key in spec and self.kind != "orders":
                self.fault("only for layouts of kind orders", f"{path}.{key}")

    def _check_options(self, made: FieldSpec) -> None:
        types = {made.type, *(info.type for info in made.infos)} if made.is_several else {made.type}
        for key, fitting in _ONLY_FOR.items():
            if key in self.document["fields"][made.index] and not types & set(fitting):
                self.fault(f"does not fit a field of type {made.type}", f"{made.path}.{key}")
        if made.spec.get("if_too_long") == "truncate" and made.type not in ("text", "list"):
            self.fault(f"a field of type {made.type} cannot be cut off", f"{made.path}.if_too_long")

    def _check_from(self, made: FieldSpec) -> None:
        spec, path = made.spec, made.path
        if "from" not in spec:
            if "capture" in spec and not made.is_several:
                self.fault("only with several fields or places, or from a file_name", f"{path}.capture")
            return
        if "at" in spec or "constant" in spec:
            self.fault("has a place, or a constant", f"{path}.from", found=spec["from"])
        if spec["from"] == "modified_at" and made.type != "datetime":
            self.fault("is a date and time", f"{path}.from", found=spec["from"])
        if spec["from"] == "file_name" and made.type == "datetime" and not patterns_of(spec):
            self.fault("missing", f"{path}.pattern", expected="how the date and time are spelt in the name")

    def _check_words(self, made: FieldSpec) -> None:
        spec, path = made.spec, made.path
        for key in ("unmapped", "map_else"):
            if key in spec and "map" not in spec:
                self.fault("without map", f"{path}.{key}")
        if "unmapped" in spec and "map_else" in spec:
            self.fault("map_else says it already", f"{path}.unmapped")
        known = spec.get("map", {})
        if isinstance(known, str) and known not in NAMED_MAPS:
            self.fault("", f"{path}.map", expected=nearest(known, list(NAMED_MAPS)), found=known)
            return
        words = {f"map.{word}": value for word, value in words_of(spec).items()} | {"map_else": spec.get("map_else")}
        for key, value in words.items():
            if value is not None and (expected := not_of(made.type, value)):
                self.fault("", f"{path}.{'map' if isinstance(known, str) else key}", expected=expected, found=value)

    def _check_numbers(self, made: FieldSpec) -> None:
        if made.type not in NUMBERS:
            return
        spec, path = made.spec, made.path
        decimal, thousands = spec.get("decimal", "."), spec.get("thousands")
        for key, mark in (("decimal", decimal), ("thousands", thousands)):
            if mark is not None and (mark.isdigit() or mark in "+-()"):
                self.fault("", f"{path}.{key}", expected="a mark that is no part of a number", found=mark)
        if decimal == thousands:
            self.fault("the same as the decimal mark", f"{path}.thousands", found=thousands)
        if "implied_decimals" in spec and ("places" in spec or ("zero_pad" in spec and thousands)):
            self.fault("does not go with places, or with thousands and zero_pad", f"{path}.implied_decimals")
        if factor_of(made.type, spec) is None:
            expected = " or ".join(UNITS[made.type]) + ', or {"factor": ...}'
            self.fault("", f"{path}.unit", expected=expected, found=spec["unit"])

    def _check_time(self, made: FieldSpec) -> None:
        zone = made.spec.get("zone")
        if zone is not None and not is_zone(zone):
            self.fault("", f"{made.path}.zone", expected="a zone such as Europe/London", found=zone)
        for pattern in patterns_of(made.spec):
            if not is_pattern(pattern):
                expected = "a pattern such as %d/%m/%Y %H:%M that holds at least year, month and day"
                self.fault("", f"{made.path}.pattern", expected=expected, found=pattern)
        says_pivot = "pivot" in self.document["fields"][made.index]
        if says_pivot and not any("%y" in pattern for pattern in patterns_of(made.spec)):
            self.fault("without a pattern of two-digit years, %y", f"{made.path}.pivot")


def not_of(type_: str, value: str) -> str | None:
    """What was expected of a word that a layout says, if it is not that."""
    if type_ == "status":
        words = [member.value for member in Status]
        return None if value in words else nearest(value, words)
    if type_ in ("text", "list"):
        return None
    try:
        make_parse(type_, {})(value)
    except Unreadable as error:
        return error.expected
    return None
