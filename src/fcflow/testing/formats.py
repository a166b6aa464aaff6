"""
The promises of a codec as tests.

Derive a class from `FormatContract`, name the codec and give it layouts that use it; pytest finds what it inherits::

    class TestLtsv(FormatContract):
        codec = LTSV
        layouts = ({"fcflow": "layout/1", "kind": "stock", "codec": {"type": "acme:ltsv"}, "fields": [...]},)

What a format cannot do is declared in the class, not left out.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, ClassVar, cast

from attrs import evolve
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from fcflow.errors import EncodeError, FormatError, LayoutError
from fcflow.formats import CodecType, Layout, load_layout
from fcflow.model import Order, OrderLine, Problem, Record, ShippingLine, ShippingOrder, StatusUpdate, StockLevel
from fcflow.testing.strategies import orders, shipping_orders, status_updates, stock_levels

__all__ = ["FormatContract", "plain_value"]

_TRIED = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.differing_executors],
)
_ODD_PIECES = (b'"', b"\r\n", b"\0", b"\xff\xfe", b",,,", b"'", b"{", b"<!", b"\n\n", b"\x1a", b"\x80", b"999999999")
_ODD_TEXTS = (
    "a,b;c|d\te", 'say "hi"', "it's", "two\nlines", "two\r\nlines", "end\r", "\x00", "a\x0bb\x0cc", "\x1b[2J", "\x7f",
    "\u2028next", "\x85next", " blanks ", "\u3000wide\u00a0", "ñandú 日本 \U0001f4e6", "\u202eright", "\ud800", "=1+1",
    "<b>&amp;</b>", "{}[]:,", "*~>^+'?", "\\n", "%41", "#", "x" * 5_000,
)  # fmt: skip
_ODD_PLACES: tuple[Any, ...] = (0, -1, 10**9, "", " ", "///", "[]", "a[", "{n}{n}", "\0", "a.b[0].c", "x" * 300)
_MANY = 2_000
_ENOUGH = 100


class _Drip(io.RawIOBase):
    """A stream that gives a few bytes at a time, and remembers how many; it must be asked for a limit."""

    def __init__(self, content: bytes, size: int = 65_536) -> None:
        self._inner, self._size = io.BytesIO(content), size
        self.given = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size is not None and size >= 0, "expected a limit for every read, as a payload may have no end"  # noqa: PT018
        content = self._inner.read(min(size, self._size))
        self.given += len(content)
        return content

    def readinto(self, buffer: Any) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


class _Endless(_Drip):
    """The same byte for ever."""

    def __init__(self, byte: bytes, most: int) -> None:
        super().__init__(b"")
        self._byte, self._most = byte, most

    def _refuse_more(self) -> None:
        assert self.given <= self._most, f"{self._byte!r} for ever: expected an error within {self._most} bytes"

    def read(self, size: int = -1) -> bytes:
        assert size is not None and size >= 0, "expected a limit for every read, as a payload may have no end"  # noqa: PT018
        self.given += min(size, 65_536)
        self._refuse_more()
        return self._byte * min(size, 65_536)


class FormatContract:
    """
    What every codec keeps.

    Args:
        codec: The one to be tried; ``None`` for a built-in one.

        layouts: Documents that use it: of orders, statuses, stock, as far as it can hold them. Fields that tell one
            record from another must be among them.

        holds_many: Whether a payload holds any number of records; a form holds one.

        streams: Whether the first record comes before the end of the payload is read.

        most_read: Bytes within which a payload that is no payload at all must end in an error or a problem.
    """

    codec: ClassVar[CodecType | None] = None
    layouts: ClassVar[Sequence[Mapping[str, Any]]] = ()
    holds_many: ClassVar[bool] = True
    streams: ClassVar[bool] = True
    most_read: ClassVar[int] = 16 * 2**20
    _kept: ClassVar[list[Layout]]

    # -------------------------------------------------------------- what is tried

    def values(self, layout: Layout) -> SearchStrategy[Any]:
        """Values that the layout may be asked to write; those that do not fit are left out."""
        if layout.kind == "stock":
            return stock_levels()
        if layout.kind == "status":
            return status_updates()
        return orders() if layout.document.get("value") == "order" else shipping_orders()

    def _codecs(self) -> Mapping[str, CodecType]:
        return {} if self.codec is None else {self.codec.name: self.codec}

    def _load(self, document: Mapping[str, Any]) -> Layout:
        return load_layout(document, codecs=self._codecs())

    def _loaded(self) -> list[Layout]:
        assert self.layouts, "expected layouts to try"
        kept = vars(type(self)).get("_kept")
        if kept is None:
            kept = type(self)._kept = [self._load(document) for document in self.layouts]
        return kept

    def _faults(self, document: Mapping[str, Any]) -> list[str]:
        try:
            self._load(document)
        except LayoutError as error:
            return list(map(str, error.faults))
        return []

    def _drawn(self, data: st.DataObject, most: int = 4) -> tuple[Layout, list[Any]]:
        layout = data.draw(st.sampled_from(self._loaded()))
        values = self._fitting(layout, data.draw(st.lists(self.values(layout), min_size=1, max_size=most)))
        return layout, values

    def _fitting(self, layout: Layout, values: Sequence[Any]) -> list[Any]:
        """Those that the layout can write, one a key."""
        kept: dict[str, Any] = {}
        for value in values:
            try:
                layout.projections(value)
            except EncodeError:
                continue
            kept.setdefault(_key_of(value), value)
        return list(kept.values()) if self.holds_many else list(kept.values())[:1]

    def _some(self, layout: Layout, count: int) -> list[Any]:
        """A few plain values that are always the same."""
        found = self._fitting(layout, [plain_value(layout, number) for number in range(count)])
        assert found, "expected a layout that can write plain values"
        return found

    # -------------------------------------------------------------- writing and reading

    @_TRIED
    @given(data=st.data())
    def test_what_is_written_is_read_back(self, data: st.DataObject) -> None:
        """Reading a payload gives what the layout says that it holds, in order, without a problem."""
        layout, values = self._drawn(data)
        assume(values)

        records, problems = layout.read(layout.encode(values))

        assert problems == []
        assert [record.value for record in records] == [each for value in values for each in layout.projections(value)]

    @_TRIED
    @given(data=st.data())
    def test_what_survived_once_survives_again(self, data: st.DataObject) -> None:
        """A projection is its own projection."""
        layout, values = self._drawn(data, most=1)
        for value in values:
            for once in layout.projections(value):
                assert layout.projections(once) == [once]

    @_TRIED
    @given(data=st.data())
    def test_equal_values_give_equal_bytes(self, data: st.DataObject) -> None:
        """Whichever process writes them, and however often."""
        layout, values = self._drawn(data)
        again = self._load(layout.document)

        assert layout.encode(values) == layout.encode([evolve(value) for value in values]) == again.encode(values)

    def test_nothing_may_be_written(self) -> None:
        """A payload of no records is read as one, or refused on writing."""
        for layout in self._loaded():
            try:
                payload = layout.encode([])
            except FormatError:
                continue
            try:
                assert layout.read(payload) == ([], [])
            except FormatError:
                assert not payload or not self.holds_many, "expected what was written to be read"

    def test_odd_texts_are_kept_or_refused(self) -> None:
        """A text that the format cannot carry is refused with the value that it belongs to; none is changed unsaid."""
        for layout in self._loaded():
            for text in _ODD_TEXTS:
                for value in _with_text(plain_value(layout, 1), text):
                    _refused_or_kept(layout, value, text)

    # -------------------------------------------------------------- payloads that are not what they should be

    @_TRIED
    @given(data=st.data())
    def test_damage_is_a_problem_or_a_format_error(self, data: st.DataObject) -> None:
        """Whatever bytes come: records and problems, or `FormatError`; nothing else is raised."""
        layout, values = self._drawn(data, most=2)
        payload = data.draw(_damaged(layout.encode(values)) | st.binary(max_size=80))

        for item in _items(layout, payload):
            assert isinstance(item, Record | Problem)
            assert item.line is None or item.line >= 1
            assert str(item)

    @_TRIED
    @given(data=st.data())
    def test_a_cut_payload_is_never_taken_for_an_odd_one(self, data: st.DataObject) -> None:
        """Cut off anywhere, it gives records and problems, or `FormatError`."""
        layout, values = self._drawn(data, most=2)
        payload = layout.encode(values)
        list(_items(layout, payload[: data.draw(st.integers(0, len(payload)))]))

    def test_bytes_that_say_nothing_end_in_an_error(self) -> None:
        """A line, or a document, without an end is refused before it fills the memory."""
        for layout in self._loaded():
            for byte in (b"x", b'"', b"{", b"\0"):
                stream = _Endless(byte, self.most_read)
                try:
                    for count, _ in enumerate(layout.decode(cast("BinaryIO", stream))):
                        if count == _ENOUGH:
                            break  # one problem after the other fills no memory
                except FormatError:
                    continue

    # -------------------------------------------------------------- streams

    def test_it_does_not_matter_how_bytes_arrive(self) -> None:
        """A few at a time or all at once; every read has a limit, and the stream stays open."""
        for layout in self._loaded():
            values = self._some(layout, 5)
            payload = layout.encode(values)
            wanted = layout.read(payload)
            for size in (1, 7, 4_096):
                stream = _Drip(payload, size)
                found = list(layout.decode(cast("BinaryIO", stream)))
                assert [item for item in found if isinstance(item, Record)] == wanted[0]
                assert not stream.closed, "expected the stream to stay open, as it belongs to the caller"

    def test_records_come_while_the_payload_is_read(self) -> None:
        """Where the format allows it, no more is read than is needed."""
        for layout in self._loaded() if self.holds_many and self.streams else ():
            payload = layout.encode([plain_value(layout, number) for number in range(_MANY * 4)])
            stream = _Drip(payload)
            first = next(iter(layout.decode(cast("BinaryIO", stream))))
            assert isinstance(first, Record)
            assert stream.given < len(payload) or len(payload) < 2 * 65_536, "expected the first record before the end"

    def test_lines_are_numbered_upwards(self) -> None:
        """Each record says where it begins, from 1; no record begins before the one above it."""
        for layout in self._loaded():
            records, _ = layout.read(layout.encode(self._some(layout, 6)))
            lines = [record.line for record in records]
            assert lines == sorted(lines)
            assert all(line >= 1 for line in lines)

    def test_a_layout_may_be_shared_between_threads(self) -> None:
        """Reading keeps nothing from one payload to the next, and nothing between two at once."""
        for layout in self._loaded():
            payloads = [layout.encode(self._some(layout, count)[-2:]) for count in range(1, 9)]
            wanted = [layout.read(payload) for payload in payloads]
            with ThreadPoolExecutor(4) as pool:
                assert list(pool.map(layout.read, payloads * 4)) == wanted * 4

    # -------------------------------------------------------------- documents

    def test_its_options_have_a_schema(self) -> None:
        """It takes the options of the layouts, and refuses one that it does not know."""
        for document in self.layouts:
            said = self._faults({**document, "codec": {**document["codec"], "no such option": 1}})
            assert any("no such option" in each for each in said), "expected an unknown option to be refused"

    def test_places_that_cannot_be_are_faults(self) -> None:
        """A place that the format does not have is a fault of the layout, with its path, or one that is never there."""
        for document in self.layouts:
            for at in _ODD_PLACES:
                fields = [*document["fields"][:-1], {**document["fields"][-1], "at": at}]
                for said in self._faults({**document, "fields": fields}):
                    assert "$" in said, f"expected a fault with its path, got {said}"


def _key_of(value: Any) -> str:
    names = ("fulfilment_id", "order_id", "reference", "sku")
    return str(next(found for name in names if (found := getattr(value, name, None))))


def plain_value(layout: Layout, number: int) -> Any:
    """A value of the layout's kind that says little; equal numbers give equal ones."""
    if layout.kind == "stock":
        return StockLevel(sku=f"SKU-{number}", on_hand=number)
    if layout.kind == "status":
        return StatusUpdate(reference=f"A{number}", message=f"note {number}")
    order = Order(order_id=f"A{number}", lines=[OrderLine(sku=f"SKU-{number}", quantity=number + 1)])
    if layout.document.get("value") == "order":
        return order
    lines = [ShippingLine(line_id="1", sku=f"SKU-{number}", quantity=number + 1)]
    return ShippingOrder(fulfilment_id=f"A{number}", order=order, location="leeds", lines=lines)


def _with_text(value: Any, text: str) -> Iterator[Any]:
    """The value with *text* where a person may write anything, as far as the model takes it."""
    name = {StockLevel: "sku", StatusUpdate: "message"}.get(type(value), "notes")
    try:
        yield evolve(value, **{name: text})
    except ValueError:
        return


def _refused_or_kept(layout: Layout, value: Any, text: str) -> None:
    said = ""
    try:
        wanted, payload = layout.projections(value), layout.encode([value])
    except EncodeError as error:
        said = str(error)
    if said:
        assert ascii(_key_of(value))[1:-1] in ascii(said), f"expected the value to be named, got {said}"
        return
    records, problems = layout.read(payload)
    assert problems == [], f"{text!r}: written, but not read"
    assert [record.value for record in records] == wanted, f"{text!r}: changed"


def _items(layout: Layout, payload: bytes) -> Iterator[Record | Problem]:
    try:
        yield from layout.decode(io.BytesIO(payload))
    except FormatError:
        return


def _damaged(payload: bytes) -> SearchStrategy[bytes]:
    """*payload* with a piece replaced by anything, left out, or written twice."""
    places, odd = st.integers(0, len(payload)), st.binary(max_size=6) | st.sampled_from(_ODD_PIECES)
    replaced = st.builds(
        lambda at, drop, piece: payload[:at] + piece + payload[at + drop :], places, st.integers(0, 9), odd
    )
    twice = st.builds(lambda at, size: payload[: at + size] + payload[at:], places, st.integers(0, 99))
    return replaced | twice
