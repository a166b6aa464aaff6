"""The contract for codecs bites: each promise, broken by a codec of its own, fails the test that is about it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from immutabledict import immutabledict

from fcflow.errors import Fault, FormatError, LayoutError
from fcflow.formats import Batch, Cell, CodecType, Place, Row, Unwritable
from fcflow.model import Problem
from fcflow.testing import FormatContract


class Pipes:
    """Cells between pipes, nothing quoted: a small codec that keeps every promise."""

    content_type = "text/x-pipes"
    extension = "txt"
    MOST = 100_000

    def __init__(self, options: Mapping[str, Any], places: Sequence[Place]) -> None:
        self.order = [int(place.at) - 1 for place in places]
        self.width = max(self.order, default=-1) + 1

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        for number, line in enumerate(self.lines(stream), start=1):
            try:
                cells = line.decode().split("|")
            except UnicodeDecodeError:
                yield Problem(line=number, expected="UTF-8", found=repr(line[:40]))
                continue
            if len(cells) == self.width and line.decode().isprintable():
                raw = immutabledict({str(place): cell for place, cell in enumerate(cells, start=1)})
                yield Row(number, [cells[at] for at in self.order], raw, [at + 1 for at in self.order])
            else:
                yield Problem(line=number, expected=f"{self.width} printable cells", found=line.decode()[:40])

    def lines(self, stream: BinaryIO) -> Iterator[bytes]:
        left = b""
        while piece := stream.read(1_000):
            *whole, left = (left + piece).split(b"\n")
            yield from whole
            if len(left) > self.MOST:
                raise FormatError(f"expected lines of at most {self.MOST} bytes")
        if left:
            yield left

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        lines = []
        for row in itertools.chain.from_iterable(records):
            cells = [""] * self.width
            for at, cell in zip(self.order, row, strict=True):
                cells[at] = str(cell or "")
            lines.append("|".join(cells) + "\n")
        return "".join(lines).encode()

    def carry(self, place: int, text: str) -> str:
        if "|" in text or not text.isprintable():
            raise Unwritable(f"expected printable text without '|', got {text!r}")
        return text.strip()


def build(kind: type[Pipes], schema: Mapping[str, Any] | None = None) -> CodecType:
    def made(options: Mapping[str, Any], places: Sequence[Place]) -> Pipes:
        faults = [
            Fault("", path=f"{place.path}.at", expected="a position from 1 to 100", found=place.at)
            for place in places
            if not isinstance(place.at, int) or not 1 <= place.at <= 100
        ]
        if faults and not getattr(kind, "CARELESS", False):
            raise LayoutError("layout", faults)
        return kind(options, places)

    strict = {"type": "object", "additionalProperties": False, "properties": {"type": {"const": "test:pipes"}}}
    return CodecType(name="test:pipes", options_schema=strict if schema is None else schema, build=made)


def layouts(kind: str, *names: str) -> dict[str, Any]:
    fields = [{"at": at, "field": name} for at, name in enumerate(names, start=1)]
    return {"fcflow": "layout/1", "kind": kind, "codec": {"type": "test:pipes"}, "fields": fields}


class TestPipes(FormatContract):
    """The codec as it should be."""

    codec = build(Pipes)
    most_read = 2**20
    layouts = (
        layouts("stock", "sku", "location", "on_hand"),
        layouts("status", "reference", "message", "carrier"),
        layouts("orders", "fulfilment_id", "notes", "line.line_id", "line.sku", "line.quantity"),
    )


# ------------------------------------------------------------------ one for each promise


class LosesTheLast(Pipes):
    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        return super().write(list(records)[:-1], batch)


class ChangesUnsaid(Pipes):
    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        return super().write(records, batch).replace(b"x", b"y")


class GrowsEachTime(Pipes):
    def carry(self, place: int, text: str) -> str:
        return super().carry(place, text) + ("+" if text and place == 1 else "")


class NeverTheSame(Pipes):
    COUNT: ClassVar[Iterator[int]] = itertools.count()

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        return super().write(records, batch) + f"# {next(self.COUNT)}".encode()

    def lines(self, stream: BinaryIO) -> Iterator[bytes]:
        return (line for line in super().lines(stream) if not line.startswith(b"#"))


class FailsOnOddBytes(Pipes):
    def lines(self, stream: BinaryIO) -> Iterator[bytes]:
        for line in super().lines(stream):
            line.decode()
            yield line


class TakesNothingForSomething(Pipes):
    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        return super().write(records, batch) or b"nothing\n"


class ReadsItAll(Pipes):
    def lines(self, stream: BinaryIO) -> Iterator[bytes]:
        return iter(stream.read().splitlines())


class ReadsOnce(Pipes):
    def lines(self, stream: BinaryIO) -> Iterator[bytes]:
        return iter(stream.read(2**20).splitlines())


class ClosesTheStream(Pipes):
    def lines(self, stream: BinaryIO) -> Iterator[bytes]:
        with stream:
            yield from super().lines(stream)


class WaitsForTheEnd(Pipes):
    def lines(self, stream: BinaryIO) -> Iterator[bytes]:
        return iter(list(super().lines(stream)))


class HasNoBounds(Pipes):
    MOST = 10**12


class CountsBackwards(Pipes):
    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        rows = [row for row in super().rows(stream) if isinstance(row, Row)]
        yield from (row._replace(line=len(rows) - place) for place, row in enumerate(rows))


class Remembers(Pipes):
    def __init__(self, options: Mapping[str, Any], places: Sequence[Place]) -> None:
        super().__init__(options, places)
        self.kept: list[bytes] = []

    def lines(self, stream: BinaryIO) -> Iterator[bytes]:
        self.kept += super().lines(stream)
        return iter(list(self.kept))


class TakesAnyPlace(Pipes):
    CARELESS = True


FLAWS: list[tuple[type[Pipes], str]] = [
    (LosesTheLast, "test_what_is_written_is_read_back"),
    (ChangesUnsaid, "test_odd_texts_are_kept_or_refused"),
    (GrowsEachTime, "test_what_survived_once_survives_again"),
    (NeverTheSame, "test_equal_values_give_equal_bytes"),
    (TakesNothingForSomething, "test_nothing_may_be_written"),
    (FailsOnOddBytes, "test_damage_is_a_problem_or_a_format_error"),
    (ReadsItAll, "test_it_does_not_matter_how_bytes_arrive"),
    (ReadsOnce, "test_it_does_not_matter_how_bytes_arrive"),
    (ClosesTheStream, "test_it_does_not_matter_how_bytes_arrive"),
    (WaitsForTheEnd, "test_records_come_while_the_payload_is_read"),
    (HasNoBounds, "test_bytes_that_say_nothing_end_in_an_error"),
    (CountsBackwards, "test_lines_are_numbered_upwards"),
    (Remembers, "test_a_layout_may_be_shared_between_threads"),
    (TakesAnyPlace, "test_places_that_cannot_be_are_faults"),
]


@pytest.mark.parametrize(("flaw", "promise"), FLAWS, ids=lambda each: getattr(each, "__name__", each))
def test_a_broken_promise_is_seen(flaw: type[Pipes], promise: str) -> None:
    """
    The test that is about the promise fails, whatever else does.
    """
    contract: Any = type("Broken", (TestPipes,), {"codec": build(flaw)})()

    with pytest.raises((AssertionError, ValueError)):  # a codec fails in its own way
        tried(contract, promise)


def tried(contract: Any, promise: str) -> None:
    """The test of *promise*, without looking for the smallest example that breaks it."""
    test = getattr(type(contract), promise)
    if hasattr(test, "hypothesis"):
        once = settings(
            max_examples=50,
            phases=[Phase.generate],
            report_multiple_bugs=False,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        test = once(given(data=st.data())(test.hypothesis.inner_test))
    test(contract)


def test_an_option_that_nobody_knows_must_be_refused() -> None:
    """
    A schema that takes anything lets misspelt options through.
    """
    contract: Any = type("Broken", (TestPipes,), {"codec": build(Pipes, {"type": "object"})})()

    with pytest.raises(AssertionError, match="expected an unknown option to be refused"):
        contract.test_its_options_have_a_schema()


def test_a_contract_without_layouts_tests_nothing() -> None:
    """
    Which it says, rather than pass.
    """
    contract: Any = type("Empty", (FormatContract,), {})()

    with pytest.raises(AssertionError, match="expected layouts to try"):
        contract.test_lines_are_numbered_upwards()
