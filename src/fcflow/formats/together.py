"""
Fields and places that do not match one to one: several fields in one place, several places for one field, blocks.

A field's ``at`` may be a list of places, and ``join_fields`` a list of fields. One place and several fields: texts are
joined, and split again. Several places and one field: the other way round. Several of both: a block, such as the lines
of an address, that is packed without gaps.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from fcflow.formats.bind import FieldUnreadable
from fcflow.formats.cells import Format, Parse
from fcflow.formats.codec import Cell, Unreadable, Unwritable

__all__ = ["BlockReader", "Capture", "Divider", "SplitReader", "block_texts", "divided_texts", "joined_texts"]


_MOST_PIECES = 1000  # of more no address is made


class Divider:
    """
    One text to several and back, by what stands between them.

    Args:
        count: How many there are.

        between: What stands between them.

        at_last: Whether a text of too many pieces is divided from its end, so that the first holds the rest.

        keeps: Whether an absent text keeps its place, so that there are always as many pieces.
    """

    def __init__(self, *, count: int, between: str, at_last: bool, keeps: bool) -> None:
        self._count = count
        self._between = between
        self._at_last = at_last
        self._keeps = keeps

    def join(self, texts: Sequence[str]) -> str:
        if not self._keeps:
            return self._between.join(text for text in texts if text)
        for text in texts:
            if self._between in text:
                raise Unwritable(f"expected texts without {self._between!r}, got {text!r}")
        return self._between.join(texts) if any(texts) else ""

    def divide(self, text: str) -> list[str]:
        """As many texts as there are fields; it raises `Unreadable`."""
        pieces = [piece.strip() for piece in text.split(self._between)]
        if self._keeps:
            if len(pieces) > self._count:
                raise Unreadable(f"at most {self._count} texts with {self._between!r} between them")
            return pieces + [""] * (self._count - len(pieces))
        return self._gathered([piece for piece in pieces if piece])

    def _gathered(self, pieces: list[str]) -> list[str]:
        few = self._count - len(pieces)
        if few >= 0:
            return [""] * few + pieces if self._at_last else pieces + [""] * few
        if self._at_last:
            return [self._between.join(pieces[: 1 - few]), *pieces[1 - few :]]
        return [*pieces[: self._count - 1], self._between.join(pieces[self._count - 1 :])]


class Capture:
    """
    One text to several by an expression with a group for each.

    Args:
        pattern: A compiled expression that cannot run away; it is matched as a whole.

        written: The expression, for messages.

        groups: Of each field, the index of its group.

        divider: What joins the texts on writing.
    """

    def __init__(self, pattern: Any, written: str, groups: Sequence[int], divider: Divider) -> None:
        self._pattern = pattern
        self._written = written
        self._groups = groups
        self._divider = divider

    def join(self, texts: Sequence[str]) -> str:
        text = self._divider.join(texts)
        if text and self._pattern.groups_of(text) is None:
            raise Unwritable(f"expected text like {self._written}, got {text!r}")
        return text

    def divide(self, text: str) -> list[str]:
        found = self._pattern.groups_of(text)
        if found is None:
            raise Unreadable(f"text like {self._written}")
        return [(found[group] or "").strip() for group in self._groups]


# ------------------------------------------------------------------ reading


class SplitReader:
    """
    Several fields out of one place, or one field out of several places.

    Args:
        names: The fields, each with its parser.

        bare: Takes off blanks and what means nothing.

        divide: The whole text to one a field.
    """

    def __init__(
        self,
        names: Sequence[tuple[str, Parse]],
        slots: Sequence[int],
        *,
        bare: Callable[[Cell], Any],
        divide: Callable[[str], Sequence[str]] | None,
        between: str,
        required: bool,
    ) -> None:
        self.names: Sequence[str] = [name for name, _ in names]
        self.slots: Sequence[int] = slots
        self._parsers = names
        self._bare = bare
        self._divide = divide
        self._between = between
        self._required = required

    def read(self, cells: Sequence[Cell]) -> dict[str, Any]:
        found = [self._bare(cells[slot]) for slot in self.slots]
        text = self._between.join(each for each in found if each)
        if not text and self._required:
            raise FieldUnreadable(self.names[0], "something here", "")
        if not text:
            return {name: parse("") for name, parse in self._parsers}
        try:
            pieces = self._divide(text) if self._divide is not None else [text]
        except Unreadable as error:
            raise FieldUnreadable(self.names[0], error.expected, text) from error
        return {name: _parsed(name, parse, piece) for (name, parse), piece in zip(self._parsers, pieces, strict=True)}


class BlockReader:
    """Fields out of as many places, one each; what stands in further places belongs to the last field."""

    def __init__(
        self, names: Sequence[tuple[str, Parse]], slots: Sequence[int], *, bare: Callable[[Cell], Any], required: bool
    ) -> None:
        self.names: Sequence[str] = [name for name, _ in names]
        self.slots: Sequence[int] = slots
        self._parsers = names
        self._bare = bare
        self._required = required

    def read(self, cells: Sequence[Cell]) -> dict[str, Any]:
        found = [self._bare(cells[slot]) or "" for slot in self.slots]
        if self._required and not any(found):
            raise FieldUnreadable(self.names[0], "something here", "")
        last = len(self._parsers) - 1
        texts = [*found[:last], " ".join(text for text in found[last:] if text)]
        texts += [""] * (len(self._parsers) - len(texts))
        return {name: _parsed(name, parse, text) for (name, parse), text in zip(self._parsers, texts, strict=True)}


def _parsed(name: str, parse: Parse, text: str) -> Any:
    try:
        return parse(text)
    except Unreadable as error:
        raise FieldUnreadable(name, error.expected, text) from error


# ------------------------------------------------------------------ writing


def joined_texts(formats: Sequence[Format], join: Callable[[Sequence[str]], str]) -> Format:
    """The function from the values of several fields to the text of one place."""
    return lambda values: join([write(value) for write, value in zip(formats, values, strict=True)])


def divided_texts(write: Format, divide: Callable[[str], Sequence[str]], count: int) -> Callable[[Any], Sequence[str]]:
    """The function from the value of one field to the texts of several places; what cannot be divided has the first."""

    def texts(value: Any) -> Sequence[str]:
        text = write(value)
        try:
            return divide(text) if text else [""] * count
        except Unreadable:
            return [text] + [""] * (count - 1)

    return texts


def block_texts(formats: Sequence[Format], count: int, options: Mapping[str, Any]) -> Callable[[Any], Sequence[str]]:
    """The function from the values of several fields to the texts of several places, packed without gaps."""
    limit, between, cuts = _limit_of(options), options.get("with"), options.get("if_too_long") == "truncate"

    def texts(values: Sequence[Any]) -> Sequence[str]:
        said = [write(value) for write, value in zip(formats, values, strict=True)]
        pieces = [piece for text in said if text for piece in _wrapped(text, limit)]
        if between is not None and len(pieces) <= _MOST_PIECES:
            pieces = _merged(pieces, count, between, limit)
        if len(pieces) > count and not cuts:
            raise Unwritable(f"expected texts that fit {count} places" + _of_limit(limit) + f", got {said}")
        return (pieces + [""] * count)[:count]

    return texts


def _limit_of(options: Mapping[str, Any]) -> int | None:
    """Characters that each of the places takes, where one of them has a limit or a width."""
    width = options.get("width", [])
    found = [options.get("max_length"), *(width if isinstance(width, list) else [width])]
    return min((each for each in found if each is not None), default=None)


def _of_limit(limit: int | None) -> str:
    return f" of {limit} characters" if limit else ""


def _wrapped(text: str, limit: int | None) -> list[str]:
    if limit is None or len(text) <= limit:
        return [text]
    return textwrap.wrap(text, limit, break_long_words=False, break_on_hyphens=False)


def _merged(pieces: list[str], count: int, between: str, limit: int | None) -> list[str]:
    """Neighbours joined, the shortest first, until there is a place for each, or none fit together."""
    pieces = list(pieces)
    while len(pieces) > count:
        lengths = [len(one) + len(other) for one, other in pairwise(pieces)]
        at = lengths.index(min(lengths))
        together = pieces[at] + between + pieces[at + 1]
        if limit is not None and len(together) > limit:
            break
        pieces[at : at + 2] = [together]
    return pieces
