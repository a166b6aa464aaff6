"""
One cell: from its text to a value, and back, as a layout's field says.

Reading: trim, take off what guards or surrounds it, `empty` words, `default`, `map`, the type. Writing is the way back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fcflow.formats.codec import Cell, Unreadable, Unwritable
from fcflow.formats.countries import country_code, country_format
from fcflow.formats.fields import Said
from fcflow.formats.moments import moment_format, moment_parse
from fcflow.formats.numerals import DIGITS, NUMBERS, number_format, number_parse
from fcflow.formats.words import folded_by, words_of
from fcflow.model import Payment, Status

__all__ = [
    "Format",
    "FormatAll",
    "Parse",
    "ParseAll",
    "Unreadable",
    "each_by",
    "formats_each",
    "limited",
    "make_format",
    "make_format_all",
    "make_parse",
    "make_parse_all",
    "plain_type",
]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Parse = Callable[[Cell], Any]
ParseAll = Callable[[Sequence[str]], list[Any]]
Format = Callable[[Any], str]
FormatAll = Callable[[Iterable[Any]], list[str]]
_Convert = Callable[[str], Any]


# ------------------------------------------------------------------ from text


def _payment(options: Mapping[str, Any]) -> _Convert:
    words = {member.value: member for member in Payment}

    def convert(text: str) -> Payment:
        found = words.get(text.lower())
        if found is None:
            raise Unreadable("one of " + ", ".join(words))
        return found

    return convert


def _code(pattern: str, expected: str) -> Callable[[Mapping[str, Any]], _Convert]:
    compiled = re.compile(pattern)

    def make(options: Mapping[str, Any]) -> _Convert:
        def convert(text: str) -> str:
            code = text.upper()
            if not compiled.fullmatch(code):
                raise Unreadable(expected)
            return code

        return convert

    return make


def _country(options: Mapping[str, Any]) -> _Convert:
    """Where the field says how countries are written, any code and any name are read; else a code of two letters."""
    by_code = _code("[A-Z]{2}", "a country code such as GB")(options)
    if "country" not in options:
        return by_code

    def convert(text: str) -> str:
        found = country_code(text)
        if found is None:
            raise Unreadable("a country, by its code or its name")
        return found

    return convert


_CASES: Mapping[str, _Convert] = {"upper": str.upper, "lower": str.lower}


def _plain(options: Mapping[str, Any]) -> _Convert:
    to_case, strips = _CASES.get(options.get("case", ""), str), options.get("strip_zeros", False)
    return (lambda text: to_case(text.lstrip("0") or "0")) if strips else to_case


_CONVERTERS: Mapping[str, Callable[[Mapping[str, Any]], _Convert]] = {
    "text": _plain,
    "integer": lambda options: number_parse("integer", options),
    "amount": lambda options: number_parse("amount", options),
    "weight": lambda options: number_parse("weight", options),
    "datetime": moment_parse,
    "payment": _payment,
    "country": _country,
    "currency": _code("[A-Z]{3}", "a currency code such as GBP"),
}


def _mapper(options: Mapping[str, Any], convert: _Convert, ours: _Convert) -> _Convert:
    """*convert*, with the partner's words turned into ours before it; *ours* reads the words of the layout."""
    fold, known = folded_by(options), words_of(options)
    words = {fold(word): None if value is None else ours(value) for word, value in known.items()}
    refuses, empties = options.get("unmapped") == "refuse", options.get("unmapped") == "empty"
    otherwise = ours(options["map_else"]) if "map_else" in options else None

    def mapped(text: str) -> Any:
        key = fold(text)
        if key in words:
            return words[key]
        if otherwise is not None:
            return otherwise
        if refuses:
            raise Unreadable("one of " + ", ".join(known))
        return None if empties else convert(text)

    return mapped


def _said(options: Mapping[str, Any]) -> _Convert:
    """A status word; without a map nothing is known of it but the word."""
    fold, known = folded_by(options), words_of(options)
    words = {fold(word): value for word, value in known.items()}
    refuses, otherwise = options.get("unmapped") == "refuse", options.get("map_else")

    def convert(text: str) -> Said | None:
        value = words.get(fold(text))
        if value is None and fold(text) not in words:
            if refuses:
                raise Unreadable("one of " + ", ".join(known))
            if options.get("unmapped") == "empty":
                return None
            value = otherwise
        return Said(None if value is None else Status(value), text)

    return convert


def make_parse(type_: str, options: Mapping[str, Any]) -> Parse:
    """
    The function from a cell to a value; ``None`` is *nothing there*.

    Example:
        >>> make_parse("amount", {"decimal": ",", "thousands": "."})("1.234,50")
        Decimal('1234.50')
    """
    if type_ == "list":
        return _parse_list(options)
    convert = _said(options) if type_ == "status" else _CONVERTERS[type_](options)
    if "map" in options and type_ != "status":
        convert = _mapper(options, convert, _CONVERTERS[type_]({}))
    return _trimmed(options, convert)


def _trimmed(options: Mapping[str, Any], convert: _Convert) -> Parse:
    default, trims = options.get("default"), options.get("trim", True)
    bare = _stripper(options)
    if trims and bare is str and default is None:
        return _plain_parse(convert)

    def parse(cell: Cell) -> Any:
        if cell is None or cell == "":
            text = ""
        elif isinstance(cell, str):
            text = bare(cell.strip() if trims else cell)
        else:
            raise Unreadable("one text", str(cell))
        if not text:
            if default is None:
                return None
            text = default
        return convert(text)

    return parse


def _plain_parse(convert: _Convert) -> Parse:
    """The same for a field that asks for nothing special, as most do; large files spend their time here."""

    def parse(cell: Cell) -> Any:
        if not cell:
            return None
        if not isinstance(cell, str):
            raise Unreadable("one text", str(cell))
        text = cell.strip()
        return convert(text) if text else None

    def parse_text(cell: Cell) -> str | None:
        if cell and not isinstance(cell, str):
            raise Unreadable("one text", str(cell))
        return cell.strip() or None if cell else None  # type: ignore[union-attr]  # a text, as seen above

    return parse_text if convert is str else parse


def each_by(parse: Parse) -> ParseAll:
    """*parse* for many cells, one after the other."""
    return lambda cells: list(map(parse, cells))


def make_parse_all(type_: str, options: Mapping[str, Any]) -> ParseAll:
    """
    The same as `make_parse` for many cells at once; quick where the field asks for nothing special.

    Example:
        >>> make_parse_all("integer", {})(["12", " 7 ", ""])
        [12, 7, None]
    """
    parse_each, plain = each_by(make_parse(type_, options)), plain_type(type_, options)
    if plain == "text":
        return _all_texts
    if plain == "integer":
        return lambda cells: _all_digits(cells) or parse_each(cells)
    return parse_each


_PLAIN = {"text": {"map", "case", "strip_zeros"}, "integer": {"map", "pack", "implied_decimals"}}


def plain_type(type_: str, options: Mapping[str, Any]) -> str | None:
    """*type_* where a field asks for nothing but a trimmed text or a whole number."""
    if options.get("trim", True) is False or _stripper(options) is not str or options.get("default") is not None:
        return None
    return type_ if type_ in _PLAIN and not options.keys() & _PLAIN[type_] else None


def _all_texts(cells: Sequence[str]) -> list[Any]:
    texts = list(map(str.strip, cells))
    return texts if all(texts) else [text or None for text in texts]


def _all_digits(cells: Sequence[str]) -> list[int] | None:
    """The numbers, where every cell is nothing but a few digits."""
    texts = list(map(str.strip, cells))
    digits = "".join(texts)
    if digits.isascii() and digits.isdigit() and max(map(len, texts)) <= DIGITS and all(texts):
        return list(map(int, texts))
    return None


def _texts(options: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = options.get(key, ())
    return (found,) if isinstance(found, str) else tuple(found)


def _stripper(options: Mapping[str, Any]) -> Callable[[str], str]:
    """The function that takes off guards and what surrounds a text, and makes the words that mean nothing empty."""
    prefix, suffix, guarded = options.get("prefix", ""), options.get("suffix", ""), options.get("guard", False)
    before, after = _texts(options, "strip_prefix"), _texts(options, "strip_suffix")
    fold = folded_by(options)
    empty = frozenset(map(fold, options.get("empty", ())))
    if not (prefix or suffix or before or after or guarded or empty):
        return str

    def bare(text: str) -> str:
        if guarded and text[:1] == "'" and text[1:].startswith(_FORMULA):
            text = text[1:]
        if prefix or suffix:
            text = text.removeprefix(prefix).removesuffix(suffix).strip()
        if before or after:
            text = _without(text, before, after)
        return "" if fold(text) in empty else text

    return bare


def _without(text: str, before: tuple[str, ...], after: tuple[str, ...]) -> str:
    """*text* without any of these at its ends, however often they stand there."""
    while True:
        left = text
        for each in before:
            left = left.removeprefix(each)
        for each in after:
            left = left.removesuffix(each)
        if left == text:
            return text
        text = left.strip()


def _parse_list(options: Mapping[str, Any]) -> Parse:
    separator = options.get("split") or options.get("join") or ","
    parse_one = _trimmed(
        {**options, "default": None}, _mapper(options, _plain(options), str) if "map" in options else _plain(options)
    )
    default = options.get("default")

    def parse(cell: Cell) -> tuple[str, ...]:
        if cell is None or cell == "":
            cell = default or ""
        parts = cell.split(separator) if isinstance(cell, str) else cell
        return tuple(dict.fromkeys(one for part in parts if (one := parse_one(part)) is not None))

    return parse


# ------------------------------------------------------------------ to text


def _plain_text(options: Mapping[str, Any]) -> Format:
    to_case, least = _CASES.get(options.get("case", ""), str), options.get("zero_pad", 0)
    return (lambda value: to_case(value).rjust(least, "0")) if least else to_case


def _list_text(options: Mapping[str, Any]) -> Format:
    separator = options.get("join") or options.get("split") or ","
    write = _unmapper(options, _plain_text(options), str) if "map" in options else _plain_text(options)
    surround = _surrounded(options)

    def joined(value: Any) -> str:
        texts = [surround(write(item)) for item in (sorted(value) if isinstance(value, frozenset) else value)]
        for text in texts:
            if separator in text:
                raise Unwritable(f"expected texts without {separator!r}, got {text!r}")
        return separator.join(texts)

    return joined


_WRITERS: Mapping[str, Callable[[Mapping[str, Any]], Format]] = {
    "text": _plain_text,
    "integer": lambda options: number_format("integer", options),
    "amount": lambda options: number_format("amount", options),
    "weight": lambda options: number_format("weight", options),
    "datetime": moment_format,
    "list": _list_text,
    "payment": lambda options: lambda value: str(value.value),
    "country": lambda options: country_format(options["country"]) if "country" in options else str,
    "currency": lambda options: str,
}


def _unmapper(options: Mapping[str, Any], write: Format, ours: _Convert) -> Format:
    """*write*, but for what has a word of the partner: the first that means it."""
    words: dict[Any, str] = {}
    for word, value in words_of(options).items():
        if value is not None:
            words.setdefault(ours(value), word)
    refuses = options.get("unmapped") == "refuse"

    def unmapped(value: Any) -> str:
        word = words.get(value)
        if word is None and refuses:
            raise Unwritable("expected one of " + ", ".join(map(_shown, words)) + f", got {_shown(value)!r}")
        return write(value) if word is None else word

    return unmapped


def _shown(value: Any) -> str:
    return str(getattr(value, "value", value))


def _said_text(options: Mapping[str, Any]) -> Format:
    """The partner's own word where it is there, else the first word that means our status."""
    words: dict[str, str] = {}
    fold, known = folded_by(options), words_of(options)
    for word, value in known.items():
        words.setdefault(str(value), word)
    spoken = frozenset(map(fold, known)) if options.get("unmapped") == "refuse" else None

    def write(value: Said) -> str:
        if value.raw and spoken is not None and fold(value.raw) not in spoken:
            raise Unwritable("expected one of " + ", ".join(known) + f", got {value.raw!r}")
        if value.raw:
            return value.raw
        return words.get(value.status.value, value.status.value) if value.status is not None else ""

    return write


def _surrounded(options: Mapping[str, Any]) -> Format:
    """The function that puts ``prefix`` and ``suffix`` around a text that is there."""
    prefix, suffix = options.get("prefix", ""), options.get("suffix", "")
    return (lambda text: f"{prefix}{text}{suffix}" if text else text) if prefix or suffix else str


def make_format(type_: str, options: Mapping[str, Any]) -> Format:
    """
    The function from a value to a cell's text; ``None`` becomes the default, or nothing.

    Raises:
        Unwritable: By the function, where the value does not fit the field.

    Example:
        >>> from decimal import Decimal
        >>> make_format("amount", {"decimal": ",", "thousands": "."})(Decimal("1234.5"))
        '1.234,50'
    """
    write = _said_text(options) if type_ == "status" else _WRITERS[type_](options)
    if "map" in options and type_ not in ("status", "list"):
        write = _unmapper(options, write, _CONVERTERS[type_]({}))
    default = options.get("default") or ""
    guards = options.get("guard", False) and type_ not in NUMBERS
    surround = str if type_ == "list" else _surrounded(options)

    def format_(value: Any) -> str:
        text = default if value is None else surround(write(value))
        return "'" + text if guards and text.startswith(_FORMULA) else text

    return format_


def make_format_all(type_: str, options: Mapping[str, Any]) -> FormatAll:
    """
    The same as `make_format` for many values at once.

    Example:
        >>> make_format_all("weight", {"unit": "kg"})([1500, None, 1500])
        ['1.5', '', '1.5']
    """
    asks_more = options.keys() & {"map", "case", "zero_pad", "prefix", "suffix", "guard", "default"}
    if type_ in ("text", "currency") and not asks_more:
        return lambda values: ["" if value is None else value for value in values]
    return _once_each(make_format(type_, options))


def _once_each(format_: Format) -> FormatAll:
    """*format_* for many values, of which equal ones are written once."""

    def format_all(values: Iterable[Any]) -> list[str]:
        written: dict[Any, str] = {}
        found = []
        for value in values:
            text = written.get(value)
            if text is None:
                text = written[value] = format_(value)
            found.append(text)
        return found

    return format_all


def formats_each(format_: Format) -> FormatAll:
    """*format_* for many values, one after the other."""
    return lambda values: list(map(format_, values))


def limited(text: str, limit: int | None, options: Mapping[str, Any]) -> str:
    """
    *text* within *limit* characters: cut off where the field says so, refused where it does not.

    Raises:
        Unwritable: It is longer.
    """
    if limit is None or len(text) <= limit:
        return text
    if options.get("if_too_long") != "truncate":
        raise Unwritable(f"expected at most {limit} characters, got {len(text)} in {text!r}")
    return text[:limit]
