"""
The ``derive`` part of a layout, checked and compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fcflow.formats.asks import Ask, compile_ask
from fcflow.formats.cells import make_parse
from fcflow.formats.check import Check, not_of
from fcflow.formats.derive import Cases, Derived, Difference, FirstOf, Product, Sum
from fcflow.formats.fields import ASIDE, FieldInfo, Said, find_field, nearest_field
from fcflow.formats.numerals import NUMBERS
from fcflow.formats.shape import nearest
from fcflow.model import Status

__all__ = ["compile_derived"]

_PER_LINE_COUNTS = ("ordered", "shipped", "short", "cancelled", "returned")


def _is_aside(name: str) -> bool:
    return name.startswith(ASIDE)


def compile_derived(check: Check) -> list[Derived]:
    """The fields of a layout that follow from others, in their order; what is wrong is added to the check's faults."""
    return _Deriving(check).derived()


class _Deriving:
    """One document's ``derive`` being compiled."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._document = check.document
        self._kind = check.kind
        self._asides = {info.name: each.type for each in check.fields for info in each.infos if _is_aside(info.name)}
        derived = self._document.get("derive", ())
        self._asides |= {each["field"]: each.get("type", "text") for each in derived if _is_aside(each["field"])}

    def derived(self) -> list[Derived]:
        found = [self._derive(index, spec) for index, spec in enumerate(self._document.get("derive", ()))]
        return [each for each in found if each is not None]

    def _derive(self, index: int, spec: Mapping[str, Any]) -> Derived | None:
        path, name = f"$.derive[{index}]", spec["field"]
        info = find_field(self._kind, self._check.holds, name)
        if info is None or info.written_only:
            expected = nearest_field(self._kind, self._check.holds, name)
            self._check.fault("unknown field", f"{path}.field", expected=expected, found=name)
            return None
        if spec.get("type", info.type) != info.type and not _is_aside(name):
            self._check.fault("", f"{path}.type", expected=info.type, found=spec["type"])
        ways = [key for key in ("cases", "sum", "difference", "product", "first_of") if key in spec]
        if len(ways) != 1:
            self._check.fault("", path, expected="one of cases, sum, difference, product, first_of")
            return None
        per_row = info.on_line or self._kind == "stock" or _is_aside(name) or ways[0] != "cases"
        value = self._cases(spec, info, path) if ways[0] == "cases" else self._of_fields(ways[0], spec, path)
        return Derived(
            name=name,
            value=value,
            per_row=per_row,
            by_line=self._kind == "status" and info.on_line and ways[0] == "difference" and self._check.is_grouped,
            overrules=bool(spec.get("overrule", False)),
            when=self._ask(spec["when"], f"{path}.when") if "when" in spec else None,
        )

    def _ask(self, document: Any, path: str) -> Ask:
        return compile_ask(document, path, self._type_asked, self._check.faults, self._nearest)

    def _of_fields(self, way: str, spec: Mapping[str, Any], path: str) -> Callable[[Any], Any]:
        own = self._type_asked(spec["field"]) or "text"
        wanted = own if way == "first_of" or own in NUMBERS else "integer"
        if own != wanted:
            self._check.fault("", f"{path}.field", expected="a number", found=spec["field"])
        for position, name in enumerate(spec[way]):
            type_ = self._type_asked(name)
            if type_ is None:
                self._check.fault(
                    "unknown field", f"{path}.{way}[{position}]", expected=self._nearest(name), found=name
                )
            elif type_ != wanted and not (way == "product" and type_ == "integer"):
                said = f"a field of type {wanted}"
                self._check.fault("", f"{path}.{way}[{position}]", expected=said, found=f"{name}, which is {type_}")
        ways: Mapping[str, Callable[[Sequence[str]], Callable[[Any], Any]]]
        ways = {"sum": Sum, "difference": Difference, "product": Product, "first_of": FirstOf}
        return ways[way](spec[way])

    def _cases(self, spec: Mapping[str, Any], info: FieldInfo, path: str) -> Cases:
        type_ = str(spec.get("type", "text")) if _is_aside(info.name) else info.type
        cases = []
        for index, case in enumerate(spec["cases"]):
            ask = self._ask(case["when"], f"{path}.cases[{index}].when")
            cases.append((ask, self._said(type_, case["then"], f"{path}.cases[{index}].then")))
        otherwise = self._said(type_, spec["else"], f"{path}.else") if "else" in spec else None
        return Cases(cases, otherwise)

    def _said(self, type_: str, word: str, path: str) -> Any:
        """A value that the layout says, as the field's type has it."""
        expected = not_of(type_, word)
        if expected is not None:
            self._check.fault("", path, expected=expected, found=word)
            return None
        return Said(Status(word), "") if type_ == "status" else make_parse(type_, {})(word)

    def _type_asked(self, name: str) -> str | None:
        """The type of what a condition asks; ``None`` where there is no such thing."""
        if name.startswith(ASIDE):
            return self._asides.get(name)
        if name.startswith("total.") and self._kind == "status":
            return "integer" if name.removeprefix("total.") in _PER_LINE_COUNTS else None
        info = find_field(self._kind, self._check.holds, name)
        return None if info is None or info.written_only else info.type

    def _nearest(self, name: str) -> str:
        if name.startswith(ASIDE) and self._asides:
            return nearest(name, list(self._asides))
        return nearest_field(self._kind, self._check.holds, name)
