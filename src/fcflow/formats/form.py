"""
A form body, ``application/x-www-form-urlencoded``: one order a body, repeated lines as numbered names.

A place is the name of a form field; ``Item{n}SKU`` stands for ``Item1SKU``, ``Item2SKU`` and so on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlencode

from immutabledict import immutabledict

from fcflow.errors import Fault, FormatError, LayoutError
from fcflow.formats.codec import Batch, Cell, Place, Row
from fcflow.formats.text import MAX_LINE, TextOptions, problem_of_odd_text, whole
from fcflow.model import Problem

__all__ = ["FormCodec", "build_form"]

_MAX_FIELDS = 10_000


class FormCodec:
    """Codec ``form``: see `docs/reference/layouts.md` for its options."""

    extension = "txt"

    def __init__(self, options: Mapping[str, Any], places: Sequence[Place]) -> None:
        self._places = places
        self._first: int = options.get("first", 1)
        self._limit: int = options.get("max_line", MAX_LINE)
        self._text = TextOptions(options, keeps_breaks=True)
        self._numbered = [re.compile(_pattern(str(p.at))) for p in places if "{n}" in str(p.at)]
        self.content_type = "application/x-www-form-urlencoded"

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        body = whole(stream, self._limit)
        if not body.strip():
            return
        form = self._parsed(body)
        raw = immutabledict(form)
        odd = problem_of_odd_text("".join(form.values()), 1, self._text.encoding, raw)
        if odd is not None:
            yield odd
            return
        for number in self._numbers(form):
            cells: list[Cell] = [form.get(str(place.at).replace("{n}", str(number))) for place in self._places]
            missing = [
                str(place.at)
                for place, cell in zip(self._places, cells, strict=True)
                if cell is None and not place.optional and "{n}" not in str(place.at)
            ]
            if missing:
                raise FormatError("line 1: expected form field " + ", ".join(map(repr, missing)))
            yield Row(1, cells, raw, [None] * len(cells))

    def _parsed(self, body: bytes) -> dict[str, str]:
        try:
            pairs = parse_qsl(
                body.decode("ascii").strip(),
                keep_blank_values=True,
                strict_parsing=True,
                encoding=self._text.encoding,
                errors="strict",
                max_num_fields=_MAX_FIELDS,
            )
        except UnicodeDecodeError as error:
            raise FormatError(f"line 1: expected a form in {self._text.encoding}, got {error}") from error
        except ValueError as error:
            raise FormatError(f"line 1: expected a form, name=value joined by &: {error}") from error
        form = dict(pairs)
        if len(form) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise FormatError(f"line 1: expected form field {twice!r} once, got it twice")
        return form

    def _numbers(self, form: Mapping[str, str]) -> list[int]:
        """The numbers of the repeated lines in their order; one where nothing repeats."""
        found = {int(match[1]) for name in form for pattern in self._numbered if (match := pattern.fullmatch(name))}
        return sorted(found) or [self._first]

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        given = list(records)
        if len(given) > 1:
            raise FormatError(f"a form holds one order, got {len(given)}; set the feed's batch to 1")
        pairs = [pair for rows in given for pair in self._pairs(rows)]
        return urlencode(pairs, encoding=self._text.encoding, errors="strict").encode("ascii")

    def _pairs(self, rows: Sequence[Sequence[Cell]]) -> Iterator[tuple[str, str]]:
        for index, row in enumerate(rows):
            for place, cell in zip(self._places, row, strict=True):
                name = str(place.at)
                if "{n}" in name:
                    yield name.replace("{n}", str(self._first + index)), _string(cell)
                elif not index:
                    yield name, _string(cell)

    def carry(self, place: int, text: str) -> str:
        return self._text.carry(text)


def _string(cell: Cell) -> str:
    return cell if isinstance(cell, str) else ""


def _pattern(at: str) -> str:
    head, _, tail = at.partition("{n}")
    return f"{re.escape(head)}([0-9]{{1,4}}){re.escape(tail)}"


def build_form(options: Mapping[str, Any], places: Sequence[Place]) -> FormCodec:
    """The codec that *options* describe; raises `LayoutError` where a place is not a name."""
    faults = [
        Fault("", path=f"{place.path}.at", expected="a name such as OrderId or Item{n}SKU", found=place.at)
        for place in places
        if isinstance(place.at, int) or place.at.count("{n}") > 1 or not place.at.strip()
    ]
    if faults:
        raise LayoutError("layout", faults)
    return FormCodec(options, places)
