"""
How far a fulfilment order got: a fold over facts, and the table of the states.

A partner repeats itself, leaves things out and is read late, so nothing here depends on the order in which facts
arrive. What a partner said becomes `Fact`\\ s; all facts of one fulfilment order together give its `Progress`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from attrs import evolve, field, frozen, validators
from immutabledict import immutabledict

from fcflow.errors import LifecycleError
from fcflow.model import FulfilmentLine, FulfilmentOrder, FulfilmentState, Shipment, Status, StatusLine, StatusUpdate

__all__ = [
    "FACT_KINDS",
    "TRANSITIONS",
    "Fact",
    "LineProgress",
    "Progress",
    "advance",
    "facts_of",
    "fold",
    "is_final",
    "is_locked",
    "is_movable",
    "next_fulfilment_id",
    "parcel_identity",
]

FACT_KINDS = ("accepted", "in_work", "shipped", "delivered", "short", "cancelled", "returned", "error")

_COUNTS = ("shipped", "short", "cancelled", "returned")
_LEFT = (Status.SHIPPED, Status.PART_SHIPPED, Status.DELIVERED, Status.RETURNED)

# What a line that is only named, or counted in other words, means under a status.
_WHOLE = {
    Status.SHIPPED: "shipped",
    Status.DELIVERED: "shipped",
    Status.CANCELLED: "cancelled",
    Status.RETURNED: "returned",
}


@frozen(kw_only=True)
class Fact:
    """
    One thing that is true of a fulfilment order from now on.

    Args:
        kind: One of `FACT_KINDS`. ``delivered`` says that what was shipped has arrived, and not that it was shipped.

        line_id: ``None`` speaks of the whole fulfilment order, where only a quantity of ``None`` or 0 has a meaning.

        quantity: Units so far; ``None`` is every unit that nothing else accounts for. A ``shipped`` fact of 0 units
            says that something left and not what.

        shipment: Identity of the parcel (`parcel_identity`), or empty where it is not known. Quantities of one parcel
            replace each other (the greatest counts), those of different parcels add up; more tracking numbers that
            include those of an earlier statement speak of the same parcels again.

        at: When it happened by the partner's clock, or ``None``.

        message: The text of an error.
    """

    fulfilment_id: str
    kind: str = field(validator=validators.in_(FACT_KINDS))
    line_id: str | None = None
    quantity: int | None = field(default=None, validator=validators.optional(validators.ge(0)))
    shipment: str = ""
    at: datetime | None = None
    message: str | None = None


@frozen(kw_only=True)
class LineProgress:
    """
    How far one line got, in units of it.

    ``shipped + short + cancelled`` is never more than *quantity*; *returned* counts among the shipped ones.
    """

    line_id: str
    quantity: int
    shipped: int = 0
    short: int = 0
    cancelled: int = 0
    returned: int = 0

    @property
    def open(self) -> int:
        """Units that the partner still has to ship or to give back."""
        return self.quantity - self.shipped - self.short - self.cancelled


@frozen(kw_only=True)
class Progress:
    """
    What all facts of one fulfilment order amount to.

    Args:
        lines: In the fulfilment order's order, every line once.

        state: ``None`` where the facts say nothing beyond what we know ourselves.

        problem: The text of the latest error that nothing later has settled, or ``None``.

        released: Line to units that are free to be allocated again: cancelled or short, and not shipped.

        delivered: Every unit that was shipped has arrived.

        conflicts: What contradicts itself and needs a person, one clause each, sorted.
    """

    lines: tuple[LineProgress, ...]
    state: FulfilmentState | None
    problem: str | None = None
    released: immutabledict[str, int] = field(factory=immutabledict, converter=immutabledict)
    delivered: bool = False
    conflicts: tuple[str, ...] = ()

    def line(self, line_id: str) -> LineProgress | None:
        """The line with this id, or ``None``."""
        return next((line for line in self.lines if line.line_id == line_id), None)


# ------------------------------------------------------------------ from a partner's words to facts


def facts_of(update: StatusUpdate, fulfilment: FulfilmentOrder) -> tuple[list[Fact], list[str]]:
    """
    Say what a partner's message means for *fulfilment*.

    A status speaks of the whole fulfilment order unless the message names lines; then it speaks of those. ``shipped``
    with counts ships what is counted, and a named line without a count ships whole; ``part_shipped`` without counts
    says only that something left. A line is found by its id, else by its SKU (ours); where several lines share the SKU
    the units are spread over them in line order. Parcels count when the status says that something left or they carry a
    despatch time; announced ones do not.

    Args:
        update: A status of ``None`` with a raw word is an unknown word and yields no fact at all.

    Returns:
        The facts, and one message for a person for each thing that could not be placed: an unknown line or SKU, or more
        units than were ordered (the units ordered are taken, the excess is not).

    Example:
        >>> mugs = FulfilmentLine(line_id="1", sku="MUG", quantity=2)
        >>> sent = FulfilmentOrder(fulfilment_id="A1", order_id="A1", location="leeds", lines=[mugs])
        >>> said = StatusUpdate(reference="A1", status="shipped", lines=[StatusLine(sku="MUG", shipped=1)])
        >>> [(fact.kind, fact.line_id, fact.quantity) for fact in facts_of(said, sent)[0]]
        [('shipped', '1', 1)]
    """
    if update.status is None and update.raw_status is not None:
        return [], [f"status {update.raw_status!r} is not known; nothing changes"]
    reading = _Reading(update, fulfilment)
    reading.read()
    return reading.facts, reading.messages


class _Reading:
    """One message while it is read against its fulfilment order."""

    def __init__(self, update: StatusUpdate, fulfilment: FulfilmentOrder) -> None:
        self.update = update
        self.status = update.status
        self.fulfilment = fulfilment
        self.facts: list[Fact] = []
        self.messages: list[str] = []

    def read(self) -> None:
        self._read_word()
        before = len(self.facts), len(self.messages)
        parcels = [shipment for shipment in self.update.shipments if self._has_left(shipment)]
        contents = [shipment for shipment in parcels if shipment.lines]
        bare = [shipment for shipment in parcels if not shipment.lines]
        for shipment in contents:
            self._read_lines(shipment.lines, shipment)
        self._read_lines(self._own_lines(contents), _together(bare))
        if not (contents or self.update.lines):
            self._read_whole(bare)
        elif before == (len(self.facts), len(self.messages)) and self.status in _WHOLE:
            self.messages.append(f"status {self.status} counts no unit of any line; nothing changes")

    def _read_word(self) -> None:
        if self.status in (Status.ACCEPTED, Status.IN_WORK):
            self._add(str(self.status))
        elif self.status is Status.ERROR:
            self._add("error", message=self.update.message or self.update.raw_status or "error without a text")
        elif self.status is None and not self.update.lines and not self.update.shipments:
            self.messages.append("the message has no status; nothing changes")

    def _has_left(self, shipment: Shipment) -> bool:
        return self.status in _LEFT or shipment.shipped_at is not None or shipment.delivered_at is not None

    def _own_lines(self, contents: Sequence[Shipment]) -> tuple[StatusLine, ...]:
        """The message's own lines; of a line that is in a parcel too, the shipped count only repeats the parcel."""
        packed = {line_id for shipment in contents for line in shipment.lines for line_id in self._find(line)}
        return tuple(
            evolve(line, shipped=0) if packed.intersection(self._find(line)) else line for line in self.update.lines
        )

    def _read_whole(self, parcels: Sequence[Shipment]) -> None:
        for parcel in parcels or [Shipment()]:
            shipment = parcel_identity(parcel.tracking_numbers)
            kind = _WHOLE.get(self.status) if self.status is not None else None
            if kind is not None:
                self._add(kind, shipment="" if kind == "cancelled" else shipment, at=parcel.shipped_at)
            if parcels and kind is None and self.status is not Status.PART_SHIPPED:
                self._add("shipped", shipment=shipment, at=parcel.shipped_at)
            if self.status is Status.PART_SHIPPED or (parcels and kind == "cancelled"):
                self._add("shipped", quantity=0, shipment=shipment, at=parcel.shipped_at)
            if self.status is Status.DELIVERED or parcel.delivered_at is not None:
                self._add("delivered", shipment=shipment, at=parcel.delivered_at)

    def _read_lines(self, lines: Sequence[StatusLine], parcel: Shipment) -> None:
        counts: dict[str, Counter[tuple[str, ...]]] = {kind: Counter() for kind in _COUNTS}
        wholes: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        for line in lines:
            targets = self._targets(line)
            if not targets:
                continue
            for kind in _COUNTS:
                counts[kind][targets] += getattr(line, kind) or 0
            if (kind_of_rest := self._meaning_of_rest(line)) is not None:
                wholes[kind_of_rest].add(targets)
        for kind in _COUNTS:
            self._place(kind, counts[kind], wholes[kind], parcel)
        if self.status is Status.DELIVERED or parcel.delivered_at is not None:
            self._arrive(lines, parcel)

    def _meaning_of_rest(self, line: StatusLine) -> str | None:
        """The kind of fact that a line's uncounted units are, or ``None`` where the message says nothing of them."""
        if self.status is Status.PART_SHIPPED:
            return "shipped" if all(getattr(line, kind) is None for kind in _COUNTS) else None
        kind = _WHOLE.get(self.status) if self.status is not None else None
        if kind is None or getattr(line, kind) is not None:
            return None
        return None if kind == "cancelled" and line.short is not None else kind

    def _place(
        self, kind: str, counts: Mapping[tuple[str, ...], int], wholes: Collection[tuple[str, ...]], parcel: Shipment
    ) -> None:
        shipment = parcel_identity(parcel.tracking_numbers) if kind in ("shipped", "returned") else ""
        at = parcel.shipped_at if kind == "shipped" else None
        for targets, units in counts.items():
            for line_id, quantity in self._spread(kind, targets, units):
                self._add(kind, line_id=line_id, quantity=quantity, shipment=shipment, at=at)
        for targets in sorted(wholes):
            some = 0 if self.status is Status.PART_SHIPPED else None
            for line_id in targets:
                self._add(kind, line_id=line_id, quantity=some, shipment=shipment, at=at)

    def _arrive(self, lines: Sequence[StatusLine], parcel: Shipment) -> None:
        shipment = parcel_identity(parcel.tracking_numbers)
        for line_id in sorted({line_id for line in lines if line.shipped != 0 for line_id in self._find(line)}):
            self._add("delivered", line_id=line_id, shipment=shipment, at=parcel.delivered_at)

    def _spread(self, kind: str, targets: tuple[str, ...], units: int) -> Iterator[tuple[str, int]]:
        ordered = {line.line_id: line.quantity for line in self.fulfilment.lines}
        rest = units
        for line_id in targets:
            taken = min(rest, ordered[line_id])
            rest -= taken
            if taken:
                yield line_id, taken
        if rest:
            most = sum(ordered[line_id] for line_id in targets)
            self.messages.append(f"line {'+'.join(targets)} ({kind}): expected at most {most} units, got {units}")

    def _targets(self, line: StatusLine) -> tuple[str, ...]:
        found = self._find(line)
        if not found:
            named = [f"line {line.line_id!r}"] if line.line_id is not None else []
            named += [f"SKU {line.sku!r}"] if line.sku is not None else []
            expected = ", ".join(f"{own.line_id} ({own.sku})" for own in self.fulfilment.lines)
            said = " with ".join(named) or "a line without id and SKU"
            self.messages.append(f"{said} is not in {self.fulfilment.fulfilment_id}: expected one of {expected}")
        return found

    def _find(self, line: StatusLine) -> tuple[str, ...]:
        """Ids of the lines meant; none where id and SKU name different lines of ours."""
        by_id = [own for own in self.fulfilment.lines if own.line_id == line.line_id]
        by_sku = [own for own in self.fulfilment.lines if own.sku == line.sku]
        if by_id and by_sku and by_id[0] not in by_sku:
            return ()
        return tuple(own.line_id for own in by_id or by_sku)

    def _add(
        self,
        kind: str,
        *,
        line_id: str | None = None,
        quantity: int | None = None,
        shipment: str = "",
        at: datetime | None = None,
        message: str | None = None,
    ) -> None:
        fact = Fact(
            fulfilment_id=self.fulfilment.fulfilment_id,
            kind=kind,
            line_id=line_id,
            quantity=quantity,
            shipment=shipment,
            at=at or self.update.at,
            message=message,
        )
        self.facts.append(fact)


def parcel_identity(tracking_numbers: Iterable[str]) -> str:
    """
    What tells one parcel, or one despatch of several, from another; empty where nothing does.

    Example:
        >>> parcel_identity(["T2", "T1", "T2"])
        'T1|T2'
    """
    return "|".join(sorted({number for number in tracking_numbers if number}))


def _together(parcels: Sequence[Shipment]) -> Shipment:
    """Parcels whose contents are not listed one by one, as a single despatch."""
    left = [parcel.shipped_at for parcel in parcels if parcel.shipped_at is not None]
    came = [parcel.delivered_at for parcel in parcels if parcel.delivered_at is not None]
    numbers: Any = tuple(number for parcel in parcels for number in parcel.tracking_numbers)
    return Shipment(
        tracking_numbers=numbers,
        shipped_at=max(left, default=None),
        delivered_at=max(came) if came and len(came) == len(parcels) else None,
    )


# ------------------------------------------------------------------ from facts to progress


def fold(fulfilment: FulfilmentOrder, facts: Iterable[Fact]) -> Progress:
    """
    Say how far *fulfilment* got, from everything that was ever said of it.

    Neither the order of *facts* nor repeats matter. Shipped beats cancelled; a whole order shipped ships every unit
    that is not counted as short or cancelled, a whole order cancelled cancels every unit that is not shipped.

    Args:
        facts: All of them; those of other fulfilment orders are passed over.

    Example:
        >>> mugs = FulfilmentLine(line_id="1", sku="MUG", quantity=2)
        >>> sent = FulfilmentOrder(fulfilment_id="A1", order_id="A1", location="leeds", lines=[mugs])
        >>> one = Fact(fulfilment_id="A1", kind="shipped", line_id="1", quantity=1, shipment="T1")
        >>> fold(sent, [one, one]).state
        <FulfilmentState.PART_SHIPPED: 'part_shipped'>
        >>> rest = Fact(fulfilment_id="A1", kind="cancelled")
        >>> progress = fold(sent, [rest, one])
        >>> progress.state, dict(progress.released)
        (<FulfilmentState.SHIPPED: 'shipped'>, {'1': 1})
    """
    return _Fold(
        fulfilment, frozenset(fact for fact in facts if fact.fulfilment_id == fulfilment.fulfilment_id)
    ).progress()


class _Fold:
    """All facts of one fulfilment order while they are added up."""

    def __init__(self, fulfilment: FulfilmentOrder, facts: frozenset[Fact]) -> None:
        self.lines = fulfilment.lines
        self.ordered = {line.line_id: line.quantity for line in fulfilment.lines}
        self.conflicts: set[str] = set()
        self.facts: list[Fact] = []
        self._said_of: dict[tuple[str, str | None], list[Fact]] = defaultdict(list)
        for fact in facts:
            self._keep(fact)

    def _keep(self, fact: Fact) -> None:
        if fact.line_id is not None and fact.line_id not in self.ordered:
            self.conflicts.add(f"line {fact.line_id}: {fact.kind}, but no such line was sent")
            return
        self.facts.append(fact)
        self._said_of[fact.kind, fact.line_id].append(fact)

    def _of(self, kind: str, line_id: str | None) -> Sequence[Fact]:
        """Facts of one line, or with ``None`` those of the whole fulfilment order."""
        return self._said_of.get((kind, line_id), ())

    def _all_of(self, kind: str, line_id: str | None) -> bool:
        """Whether every unit not otherwise accounted for is said to be so, of just this line or of just the whole."""
        return any(fact.quantity is None for fact in self._of(kind, line_id))

    def _covers(self, kind: str, line_id: str) -> bool:
        return self._all_of(kind, line_id) or self._all_of(kind, None)

    def progress(self) -> Progress:
        lines = tuple(self._lines())
        state = self._state(lines)
        vague = state is FulfilmentState.PART_SHIPPED and not any(line.shipped for line in lines)
        released = {} if vague else {line.line_id: line.short + line.cancelled for line in lines}
        if vague and all(line.open == 0 for line in lines):
            self.conflicts.add("everything is cancelled or short, but something was shipped: nothing is released")
        return Progress(
            lines=lines,
            state=state,
            problem=self._problem(state),
            released={line_id: units for line_id, units in released.items() if units},
            delivered=self._is_delivered(lines),
            conflicts=tuple(sorted(self.conflicts)),
        )

    # -------------------------------------------------------------- counting

    def _lines(self) -> Iterator[LineProgress]:
        shipped = self._shipped()
        returned = self._counted("returned")
        for line in self.lines:
            yield self._line(line, shipped[line.line_id], returned[line.line_id])

    def _line(self, line: FulfilmentLine, shipped: int, returned: int) -> LineProgress:
        short = self._gone("short", line, line.quantity - shipped)
        cancelled = self._gone("cancelled", line, line.quantity - shipped - short)
        all_back = self._covers("returned", line.line_id)
        if returned > shipped or (all_back and not shipped):
            self._contradicts(line, f"{returned or 'all'} units returned, {shipped} shipped")
        return LineProgress(
            line_id=line.line_id,
            quantity=line.quantity,
            shipped=shipped,
            short=short,
            cancelled=cancelled,
            returned=shipped if all_back else min(returned, shipped),
        )

    def _shipped(self) -> dict[str, int]:
        counted = self._counted("shipped")
        accounted = {line.line_id: self._accounted(line) for line in self.lines}
        if self._all_of("shipped", None) and accounted == self.ordered:
            self.conflicts.add("all units are cancelled or short, and all are shipped: taken as shipped")
            return dict(self.ordered)
        shipped = {line.line_id: self._shipped_of(line, counted, accounted) for line in self.lines}
        for kind in ("cancelled", "short"):
            if shipped == self.ordered and self._all_of(kind, None):
                self.conflicts.add(f"the whole order is {kind}, and all units are shipped: taken as shipped")
        return shipped

    def _shipped_of(self, line: FulfilmentLine, counted: Mapping[str, int], accounted: Mapping[str, int]) -> int:
        gone = accounted[line.line_id]
        if self._all_of("shipped", line.line_id) and gone == line.quantity:
            gone = 0
        rest = line.quantity - gone if self._covers("shipped", line.line_id) else 0
        shipped = max(counted[line.line_id], rest)
        given_up = any(self._all_of(kind, line.line_id) for kind in ("cancelled", "short"))
        if accounted[line.line_id] > line.quantity - shipped or (given_up and shipped == line.quantity):
            self._contradicts(line, "units shipped that were cancelled or short; taken as shipped")
        return shipped

    def _contradicts(self, line: FulfilmentLine, what: str) -> None:
        self.conflicts.add(f"line {line.line_id}: {what}")

    def _accounted(self, line: FulfilmentLine) -> int:
        """Units counted as short or cancelled, but for those said to be so after all was shipped."""
        units = sum(self._greatest(kind, line.line_id) for kind in ("short", "cancelled"))
        return min(units, line.quantity)

    def _greatest(self, kind: str, line_id: str) -> int:
        whole = [*self._of("shipped", line_id), *self._of("shipped", None)]
        shipped_at = min((fact.at for fact in whole if fact.quantity is None and fact.at), default=None)
        greatest = 0
        for fact in self._of(kind, line_id):
            if fact.at and shipped_at and fact.at > shipped_at and fact.quantity:
                self.conflicts.add(f"line {line_id}: {kind} after all of it was shipped; taken as shipped")
            else:
                greatest = max(greatest, fact.quantity or 0)
        return greatest

    def _gone(self, kind: str, line: FulfilmentLine, most: int) -> int:
        units = line.quantity if self._covers(kind, line.line_id) else self._greatest(kind, line.line_id)
        return min(units, most)

    def _counted(self, kind: str) -> dict[str, int]:
        """Units by line; what one line cannot hold goes to the next line of the same SKU, then into a conflict."""
        said = {line.line_id: self._said(kind, line) for line in self.lines}
        excess: Counter[str] = Counter()
        for line in self.lines:
            over = max(0, said[line.line_id] - line.quantity)
            said[line.line_id] -= over
            excess[line.sku] += over
        for line in self.lines:
            more = min(excess[line.sku], line.quantity - said[line.line_id])
            said[line.line_id] += more
            excess[line.sku] -= more
        for sku, units in excess.items():
            if units:
                self.conflicts.add(f"{units} units of {sku} {kind} beyond those ordered")
        return said

    def _said(self, kind: str, line: FulfilmentLine) -> int:
        by_parcel: dict[frozenset[str], int] = {}
        for fact in self._of(kind, line.line_id):
            if fact.quantity:
                numbers = frozenset(fact.shipment.split("|")) if fact.shipment else frozenset()
                by_parcel[numbers] = max(by_parcel.get(numbers, 0), fact.quantity)
        # Units of no parcel in particular may be units of a parcel we know by now, so they fill up and never overflow.
        nameless = by_parcel.pop(frozenset(), 0)
        named = _units_in(by_parcel)
        return max(named, nameless, min(named + nameless, line.quantity))

    # -------------------------------------------------------------- concluding

    def _state(self, lines: Sequence[LineProgress]) -> FulfilmentState | None:
        shipped = sum(line.shipped for line in lines)
        if shipped and all(line.open == 0 for line in lines):
            return FulfilmentState.SHIPPED
        if shipped or any(fact.kind in ("shipped", "delivered") for fact in self.facts):
            return FulfilmentState.PART_SHIPPED
        if lines and all(line.open == 0 for line in lines):
            return FulfilmentState.CANCELLED
        return FulfilmentState.ACCEPTED if any(fact.kind != "error" for fact in self.facts) else None

    def _is_delivered(self, lines: Sequence[LineProgress]) -> bool:
        shipped = [line.line_id for line in lines if line.shipped]
        return bool(shipped) and all(self._has_arrived(line_id) for line_id in shipped)

    def _has_arrived(self, line_id: str) -> bool:
        left = {f.shipment for each in (line_id, None) for f in self._of("shipped", each) if f.shipment}
        came = {f.shipment for each in (line_id, None) for f in self._of("delivered", each)}
        return "" in came or (bool(left) and left <= came)

    def _problem(self, state: FulfilmentState | None) -> str | None:
        closing = [fact.at for fact in self.facts if fact.kind in ("shipped", "cancelled", "short")]
        closed = state in (FulfilmentState.SHIPPED, FulfilmentState.CANCELLED)
        last = max((fact.at for fact in self.facts if fact.kind != "error" and fact.at), default=None)
        errors = [
            fact
            for fact in self.facts
            if fact.kind == "error"
            and not (closed and (fact.at is None or None in closing))
            and not (fact.at and last and last > fact.at)
        ]
        latest = max(errors, key=lambda f: (f.at is not None, f.at and f.at.timestamp(), f.message or ""), default=None)
        return None if latest is None else latest.message or "error without a text"


def _units_in(parcels: Mapping[frozenset[str], int]) -> int:
    """Units by tracking numbers, added up; a statement of more parcels covers statements of some of them."""
    rest = dict(parcels)
    total = 0
    for numbers in sorted(parcels, key=lambda each: (-len(each), sorted(each))):
        if numbers in rest:
            within = {each: rest.pop(each) for each in list(rest) if each < numbers} if len(numbers) > 1 else {}
            total += max(rest.pop(numbers), _units_in(within))
    return total


# ------------------------------------------------------------------ the table of the states

_S = FulfilmentState
_ANSWERS = frozenset({_S.ACCEPTED, _S.PART_SHIPPED, _S.SHIPPED, _S.CANCELLED})

TRANSITIONS: Mapping[FulfilmentState, frozenset[FulfilmentState]] = MappingProxyType(
    {
        _S.READY: frozenset({_S.SENDING, _S.SENT}) | _ANSWERS,
        _S.SENDING: frozenset({_S.PUBLISHING, _S.SENT, _S.READY, _S.SEND_FAILED, _S.UNCLEAR}) | _ANSWERS,
        _S.PUBLISHING: frozenset({_S.SENT, _S.SENDING, _S.SEND_FAILED, _S.UNCLEAR}) | _ANSWERS,
        _S.SENT: _ANSWERS,
        _S.ACCEPTED: frozenset({_S.PART_SHIPPED, _S.SHIPPED, _S.CANCELLED}),
        _S.PART_SHIPPED: frozenset({_S.SHIPPED}),
        _S.SHIPPED: frozenset(),
        _S.SEND_FAILED: frozenset({_S.READY, _S.SENDING, _S.SENT}) | _ANSWERS,
        _S.UNCLEAR: frozenset({_S.READY, _S.SENDING, _S.SENT, _S.SEND_FAILED}) | _ANSWERS,
        _S.CANCELLED: frozenset({_S.PART_SHIPPED, _S.SHIPPED}),
    }
)
"""
State to the states that may follow it.

A partner's answer proves that the order arrived, so it may follow any state in which something of ours may have left;
from *ready* it is a person who says so, for a location of our own. After *cancelled* only a parcel can follow:
shipped beats cancelled.
"""

_MOVABLE = frozenset({_S.READY, _S.SEND_FAILED})
_FINAL = frozenset({_S.SHIPPED, _S.CANCELLED})


def advance(current: FulfilmentState, wanted: FulfilmentState) -> FulfilmentState:
    """
    The state after a change from *current* to *wanted*; the same state again is no change.

    Raises:
        LifecycleError: `TRANSITIONS` does not allow it.

    Example:
        >>> advance(FulfilmentState.SENT, FulfilmentState.SHIPPED)
        <FulfilmentState.SHIPPED: 'shipped'>
        >>> advance(FulfilmentState.SHIPPED, FulfilmentState.READY)
        Traceback (most recent call last):
        fcflow.errors.LifecycleError: shipped cannot become ready: nothing follows shipped
    """
    if wanted is current or wanted in TRANSITIONS[current]:
        return wanted
    following = ", ".join(state for state in FulfilmentState if state in TRANSITIONS[current])
    expected = f"expected one of {following}" if following else f"nothing follows {current}"
    raise LifecycleError(f"{current} cannot become {wanted}: {expected}")


def is_movable(state: FulfilmentState) -> bool:
    """Whether nothing has left for the partner for certain, so that the order may go elsewhere."""
    return state in _MOVABLE


def is_locked(state: FulfilmentState) -> bool:
    """Whether the partner has it or may have it, so that only the partner, or a person's override, lets it go."""
    return state not in _MOVABLE and state not in _FINAL


def is_final(state: FulfilmentState) -> bool:
    """Whether nothing of ours follows."""
    return state in _FINAL


def next_fulfilment_id(order_id: str, used: Collection[str]) -> str:
    """
    The next id for a part of *order_id*: ``A1``, then ``A1-2``, ``A1-3``; never one in *used*.

    Example:
        >>> next_fulfilment_id("A1", {"A1", "A1-2"})
        'A1-3'
    """
    if order_id not in used:
        return order_id
    number = 2
    while f"{order_id}-{number}" in used:
        number += 1
    return f"{order_id}-{number}"
