"""
Columns as codes: whole numbers with posting lists, made of Arrow's arrays.

Every column gives each of its rows a **code**: 0 where the value is absent, else 1 and up in the order of the values.
A test then is a handful of ranges of codes, and the rows that fulfil it stand together in the rows sorted by code.
Needs the extra ``batch``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, cast

from fcflow.errors import MissingExtraError

try:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    import pyarrow.compute as pc
except ImportError as error:
    raise MissingExtraError("batch", error.name or "numpy") from error

__all__ = [
    "ENDLESS",
    "SMALL",
    "Array",
    "Coded",
    "Members",
    "Ranges",
    "Text",
    "bits_of",
    "complement",
    "joined",
    "spread_out",
]

Array = npt.NDArray[Any]
Ranges = list[tuple[int, int]]

ENDLESS = (1 << 63) - 1
SMALL = 1 << 16

# ------------------------------------------------------------------ codes and posting lists


class Coded:
    """
    A column as codes.

    Args:
        codes: One a row; 0 is absent.

        count: How many codes there are, 0 included.

        order: The rows sorted by code, where that is known already.
    """

    def __init__(self, codes: Array, count: int, order: Array | None = None) -> None:
        self.codes = codes.astype(np.uint32, copy=False)
        self.count = count
        self._order = order

    @cached_property
    def start(self) -> Callable[[int], int]:
        """Where the rows of a code begin among the sorted rows; for the code after the last, where all rows end."""
        starts = np.zeros(self.count + 1, dtype=np.int64)
        np.cumsum(np.bincount(self.codes, minlength=self.count), out=starts[1:])
        return starts.tolist().__getitem__ if self.count <= SMALL else cast(Callable[[int], int], starts.item)

    @property
    def order(self) -> Array:
        """The rows, sorted by code."""
        if self._order is None:
            if self.count <= SMALL:
                self._order = np.argsort(self.codes.astype(np.uint16), kind="stable")
            else:
                self._order = np.argsort(self.codes)
        order: Array = self._order
        return order

    def size(self, ranges: Ranges) -> int:
        """How many rows have a code in *ranges*."""
        start = self.start
        if len(ranges) == 1:
            low, high = ranges[0]
            return start(high) - start(low)
        return sum([start(high) - start(low) for low, high in ranges])

    def rows(self, ranges: Ranges) -> Array:
        """The rows that have a code in *ranges*, which do not overlap."""
        start, order = self.start, self.order
        if len(ranges) == 1:
            low, high = ranges[0]
            return order[start(low) : start(high)]
        parts = [order[start(low) : start(high)] for low, high in ranges]
        return np.concatenate(parts) if parts else order[:0]

    def mask(self, ranges: Ranges, rows: Array) -> Array:
        """Which of *rows* have a code in *ranges*."""
        codes = self.codes.take(rows)
        if len(ranges) > 3:
            table = np.zeros(self.count, dtype=bool)
            for low, high in ranges:
                table[low:high] = True
            return table.take(codes)
        mask = _within(codes, *ranges[0]) if ranges else np.zeros(len(rows), dtype=bool)
        for low, high in ranges[1:]:
            mask |= _within(codes, low, high)
        return mask

    def through(self, parents: Array) -> Coded:
        """The same column seen from the lines of its rows."""
        return Coded(self.codes.take(parents), self.count)


def _within(codes: Array, low: int, high: int) -> Array:
    if high - low == 1:
        return cast(Array, codes == low)
    return cast(Array, (codes - np.uint32(low)) < np.uint32(high - low))


def complement(ranges: Ranges, low: int, high: int) -> Ranges:
    """What of *low* up to *high* is in none of *ranges*, which are sorted."""
    left, at = [], low
    for start, end in ranges:
        if start > at:
            left.append((at, start))
        at = max(at, end)
    return [*left, (at, high)] if at < high else left


def joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """*ranges* sorted, those that touch made one, empty ones left out."""
    kept = [each for each in ranges if each[0] < each[1]]
    if len(kept) < 2:
        return kept
    made: Ranges = []
    for low, high in sorted(kept):
        if made and low <= made[-1][1]:
            made[-1] = made[-1][0], max(high, made[-1][1])
        else:
            made.append((low, high))
    return made


def runs(codes: Sequence[int]) -> Ranges:
    """The ranges of these codes, sorted, those that touch made one."""
    made: Ranges = []
    for code in sorted(codes):
        if made and code <= made[-1][1]:
            made[-1] = made[-1][0], code + 1
        else:
            made.append((code, code + 1))
    return made


# ------------------------------------------------------------------ text


class Text(Coded):
    """
    A column of texts.

    Args:
        words: The distinct texts, sorted; the first has code 1.
    """

    def __init__(self, codes: Array, words: list[str]) -> None:
        super().__init__(codes, len(words) + 1)
        self.words = words

    @classmethod
    def of(cls, array: pa.Array) -> Text:
        """From an Arrow array of texts, or a dictionary of texts with its indices; empty ones are absent."""
        if pa.types.is_dictionary(array.type):
            inner = cls.of(array.dictionary)
            return cls(_looked_up(inner.codes, array.indices), inner.words)._without_unused()
        coded = array.dictionary_encode()
        ranked = _ranked_texts(coded.dictionary)
        words = coded.dictionary.take(pa.array(ranked)).to_pylist()
        is_blank = bool(words) and words[0] == ""
        ranks = np.empty(len(words), dtype=np.uint32)
        ranks[ranked] = np.arange(1 - is_blank, len(words) + 1 - is_blank, dtype=np.uint32)
        return cls(_looked_up(ranks, coded.indices), words[1:] if is_blank else words)

    def _without_unused(self) -> Text:
        """The same column; a word that no row has is forgotten."""
        used = np.bincount(self.codes, minlength=self.count) > 0
        used[0] = True
        if bool(used.all()):
            return self
        ranks = np.cumsum(used) - 1
        return Text(ranks.take(self.codes), [self.words[code - 1] for code in np.flatnonzero(used)[1:].tolist()])

    @classmethod
    def mapped(cls, codes: Array, made: Sequence[str | None]) -> Text:
        """From codes into *made*, texts that may stand there twice or be absent."""
        words = sorted({word for word in made if word})
        places = {word: place for place, word in enumerate(words, start=1)}
        ranks = np.fromiter((places.get(word or "", 0) for word in made), dtype=np.uint32, count=len(made))
        return cls(ranks.take(codes) if len(made) else codes, words)

    @cached_property
    def folded(self) -> Text:
        """The column without case."""
        return Text.mapped(self.codes, [None, *(word.casefold() for word in self.words)])

    @cached_property
    def places(self) -> dict[str, int]:
        """The code of each word."""
        return {word: code for code, word in enumerate(self.words, start=1)}

    def equal(self, words: Sequence[str]) -> Ranges:
        """The codes of those of *words* that stand in the column."""
        places = self.places
        codes = [places[word] for word in words if word in places]
        return [(code, code + 1) for code in codes] if len(codes) < 2 else runs(codes)

    def beginning(self, prefix: str) -> tuple[int, int]:
        """The codes of the words that begin with *prefix*."""
        low = bisect_left(self.words, prefix)
        high = bisect_right(self.words, prefix, lo=low, key=lambda word: word[: len(prefix)])
        return low + 1, high + 1

    def through(self, parents: Array) -> Text:
        """The same column seen from the lines of its rows."""
        return Text(self.codes.take(parents), self.words)


def _looked_up(ranks: Array, indices: pa.Array) -> Array:
    """The rank that each of *indices* points at; 0 where there is none."""
    if indices.null_count:
        ranks, indices = np.append(ranks, np.uint32(0)), pc.fill_null(indices.cast(pa.int64()), len(ranks))
    return cast(Array, ranks.take(indices.to_numpy()))


_KEPT = [0, *((1 << 64) - (1 << 64 - 8 * length) for length in range(1, 9))]


def _ranked_texts(words: pa.Array) -> Array:
    """
    The places of distinct *words*, in the order of their UTF-8 bytes.

    They are sorted by their first eight bytes, which is a comparison of two numbers; only where those are the same
    are the texts themselves compared.
    """
    is_large = pa.types.is_large_string(words.type)
    offsets = np.frombuffer(words.buffers()[1] or bytes(8), dtype=np.int64 if is_large else np.int32)
    offsets = offsets[words.offset : words.offset + len(words) + 1]
    content = np.frombuffer((words.buffers()[2] or b"") if len(words) else b"", dtype=np.uint8)
    eights = np.lib.stride_tricks.sliding_window_view(np.append(content, np.zeros(8, dtype=np.uint8)), 8)
    keys = eights[offsets[:-1]].view(">u8").ravel().astype(np.uint64)
    keys &= np.array(_KEPT, dtype=np.uint64).take(np.minimum(np.diff(offsets), 8))
    ranked = np.argsort(keys)
    return _ties_settled(ranked, keys.take(ranked), words)


def _ties_settled(ranked: Array, keys: Array, words: pa.Array) -> Array:
    """*ranked*, where *keys* are the same in the order of the *words*."""
    is_same = keys[1:] == keys[:-1]
    tied = np.flatnonzero(np.append(is_same, False) | np.append(False, is_same))
    if len(tied):
        places = ranked[tied]
        ranked[tied] = places[pc.sort_indices(words.take(pa.array(places))).to_numpy()]
    return ranked


class Members:
    """
    A column of sets of texts.

    Args:
        text: All members, one after the other.

        parents: The row that each belongs to, in ascending order.

        count: How many rows there are.
    """

    def __init__(self, text: Text, parents: Array, count: int) -> None:
        self.text, self.parents, self.count = text, parents, count

    @cached_property
    def folded(self) -> Members:
        """The column without case."""
        return Members(self.text.folded, self.parents, self.count)

    @cached_property
    def signature(self) -> Array:
        """For each row the bits of its members: bit *code* modulo 64."""
        made = np.zeros(self.count, dtype=np.uint64)
        if len(self.parents):
            bits = np.left_shift(np.uint64(1), (self.text.codes & np.uint32(63)).astype(np.uint64))
            firsts = np.flatnonzero(np.append(True, self.parents[1:] != self.parents[:-1]))
            made[self.parents[firsts]] = np.bitwise_or.reduceat(bits, firsts)
        return made

    @property
    def is_exact(self) -> bool:
        """Whether each code has a bit of its own."""
        return self.text.count <= 64

    def through(self, lines: Array) -> Members:
        """The same column seen from the lines of its rows, *lines* of them each."""
        has = np.bincount(self.parents, minlength=self.count)
        firsts = np.cumsum(has) - has
        counts = np.repeat(has, lines)
        places = spread_out(np.repeat(firsts, lines), counts)
        text = Text(self.text.codes.take(places), self.text.words)
        return Members(text, np.repeat(np.arange(len(counts)), counts), len(counts))


def bits_of(ranges: Ranges) -> int:
    """The bits of all codes in *ranges*, as in `Members.signature`."""
    bits = 0
    for low, high in ranges:
        for code in range(low, min(high, low + 64)):
            bits |= 1 << (code & 63)
    return bits


def spread_out(starts: Array, counts: Array) -> Array:
    """From each start on, as many numbers as its count says, one after the other."""
    ends = np.cumsum(counts)
    return cast(Array, np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts))
