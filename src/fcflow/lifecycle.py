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
        kind: One of `FACT_KINDS`.

        line_id: ``None`` speaks of the whole fulfilment order.

        quantity: Units so far; ``None`` is every unit that nothing else accounts for. A ``shipped`` fact of 0 units
            says that something left and not what.

        shipment: Identity of the parcel: its tracking numbers joined, or empty where it is not known. Quantities of one
            parcel replace each other (the greatest counts), those of different parcels add up.

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
        for shipment in contents:
            self._read_lines(shipment.lines, _identity([shipment]), shipment.shipped_at)
        bare = [shipment for shipment in parcels if not shipment.lines]
        self._read_lines(self._own_lines(contents), _identity(bare), None)
        named = bool(contents or self.update.lines)
        if not named:
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
        """The message's own lines; where parcels list what is in them, the lines' shipped counts only repeat it."""
        if not contents:
            return self.update.lines
        return tuple(evolve(line, shipped=0) for line in self.update.lines)

    def _read_whole(self, parcels: Sequence[Shipment]) -> None:
        arrived = self.status is Status.DELIVERED or any(parcel.delivered_at for parcel in parcels)
        for parcel in parcels or [Shipment()]:
            shipment, at = _identity([parcel]), parcel.shipped_at
            if self.status is Status.PART_SHIPPED:
                self._add("shipped", quantity=0, shipment=shipment, at=at)
            elif self.status in _WHOLE:
                self._add(_WHOLE[self.status], shipment=shipment if self.status in _LEFT else "", at=at)
            elif parcels:
                self._add("shipped", shipment=shipment, at=at)
        if arrived:
            self._add("delivered", at=next((p.delivered_at for p in parcels if p.delivered_at), None))

    def _read_lines(self, lines: Sequence[StatusLine], shipment: str, at: datetime | None) -> None:
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
            self._place(kind, counts[kind], wholes[kind], shipment, at)
        if self.status is Status.DELIVERED:
            self._arrive(lines, shipment)

    def _meaning_of_rest(self, line: StatusLine) -> str | None:
        """The kind of fact that a line's uncounted units are, or ``None`` where the message says nothing of them."""
        if self.status is Status.PART_SHIPPED:
            return "shipped" if all(getattr(line, kind) is None for kind in _COUNTS) else None
        kind = _WHOLE.get(self.status) if self.status is not None else None
        if kind is None or getattr(line, kind) is not None:
            return None
        return None if kind == "cancelled" and line.short is not None else kind

    def _place(
        self,
        kind: str,
        counts: Mapping[tuple[str, ...], int],
        wholes: Collection[tuple[str, ...]],
        shipment: str,
        at: datetime | None,
    ) -> None:
        parcel = shipment if kind in ("shipped", "returned") else ""
        for targets, units in counts.items():
            for line_id, quantity in self._spread(kind, targets, units):
                self._add(kind, line_id=line_id, quantity=quantity, shipment=parcel, at=at)
        for targets in sorted(wholes):
            some = 0 if self.status is Status.PART_SHIPPED else None
            for line_id in targets:
                self._add(kind, line_id=line_id, quantity=some, shipment=parcel, at=at)

    def _arrive(self, lines: Sequence[StatusLine], shipment: str) -> None:
        for line_id in sorted({line_id for line in lines if line.shipped != 0 for line_id in self._find(line)}):
            self._add("delivered", line_id=line_id, shipment=shipment)

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
            named = f"line {line.line_id!r}" if line.line_id is not None else f"SKU {line.sku!r}"
            expected = ", ".join(f"{own.line_id} ({own.sku})" for own in self.fulfilment.lines)
            self.messages.append(f"{named} is not in {self.fulfilment.fulfilment_id}: expected one of {expected}")
        return found

    def _find(self, line: StatusLine) -> tuple[str, ...]:
        by_id = tuple(own.line_id for own in self.fulfilment.lines if own.line_id == line.line_id)
        return by_id or tuple(own.line_id for own in self.fulfilment.lines if own.sku == line.sku)

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


def _identity(shipments: Sequence[Shipment]) -> str:
    numbers = {number for shipment in shipments for number in shipment.tracking_numbers}
    return " ".join(sorted(numbers))


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
        self.facts = [fact for fact in facts if self._is_ours(fact)]

    def _is_ours(self, fact: Fact) -> bool:
        known = fact.line_id is None or fact.line_id in self.ordered
        if not known:
            self.conflicts.add(f"line {fact.line_id}: {fact.kind}, but no such line was sent")
        return known

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
        back = line.quantity if self._all_of("returned", line.line_id) else returned
        if back > shipped:
            self.conflicts.add(f"line {line.line_id}: {min(back, line.quantity)} units returned, {shipped} shipped")
        return LineProgress(
            line_id=line.line_id,
            quantity=line.quantity,
            shipped=shipped,
            short=short,
            cancelled=cancelled,
            returned=min(back, shipped),
        )

    def _shipped(self) -> dict[str, int]:
        counted = self._counted("shipped")
        accounted = {line.line_id: self._accounted(line) for line in self.lines}
        whole = [fact for fact in self._of("shipped") if fact.line_id is None and fact.quantity is None]
        if (
            whole
            and sum(accounted.values()) + sum(counted.values()) >= sum(self.ordered.values())
            and not any(counted.values())
        ):
            self.conflicts.add("all units are cancelled or short and all are shipped: taken as shipped")
            accounted = dict.fromkeys(accounted, 0)
        return {
            line.line_id: self._shipped_of(line, counted[line.line_id], accounted[line.line_id]) for line in self.lines
        }

    def _shipped_of(self, line: FulfilmentLine, counted: int, accounted: int) -> int:
        own = any(f.line_id == line.line_id and f.quantity is None for f in self._of("shipped"))
        if own and accounted >= line.quantity > counted:
            self.conflicts.add(f"line {line.line_id}: all units cancelled or short and all shipped: taken as shipped")
            return line.quantity
        rest = line.quantity - accounted if self._all_of("shipped", line.line_id) else 0
        shipped = max(counted, rest)
        if accounted > line.quantity - shipped or (
            shipped == line.quantity and self._all_of("cancelled", line.line_id)
        ):
            self.conflicts.add(f"line {line.line_id}: units shipped that were cancelled or short: taken as shipped")
        return shipped

    def _accounted(self, line: FulfilmentLine) -> int:
        """Units counted as short or cancelled, but for those said to be so after all was shipped."""
        units = sum(self._greatest(kind, line.line_id) for kind in ("short", "cancelled"))
        return min(units, line.quantity)

    def _greatest(self, kind: str, line_id: str) -> int:
        shipped_at = min((f.at for f in self._of("shipped") if _is_all_of(f, line_id) and f.at), default=None)
        late = [f for f in self._of(kind) if f.line_id == line_id and f.at and shipped_at and f.at > shipped_at]
        if any(f.quantity for f in late):
            self.conflicts.add(f"line {line_id}: {kind} after all of it was shipped: taken as shipped")
        said = [f.quantity or 0 for f in self._of(kind) if f.line_id == line_id and f not in late]
        return max(said, default=0)

    def _gone(self, kind: str, line: FulfilmentLine, most: int) -> int:
        units = line.quantity if self._all_of(kind, line.line_id) else self._greatest(kind, line.line_id)
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
        by_parcel: dict[str, int] = {}
        for fact in self._of(kind):
            if fact.line_id == line.line_id and fact.quantity:
                by_parcel[fact.shipment] = max(by_parcel.get(fact.shipment, 0), fact.quantity)
        # Units of no parcel in particular may be units of a parcel we know by now, so they fill up and never overflow.
        nameless = min(by_parcel.pop("", 0), line.quantity)
        named = sum(by_parcel.values())
        return max(named, min(named + nameless, line.quantity))

    def _of(self, kind: str) -> Iterator[Fact]:
        return (fact for fact in self.facts if fact.kind == kind or (kind == "shipped" and fact.kind == "delivered"))

    def _all_of(self, kind: str, line_id: str) -> bool:
        return any(_is_all_of(fact, line_id) for fact in self._of(kind))

    # -------------------------------------------------------------- concluding

    def _state(self, lines: Sequence[LineProgress]) -> FulfilmentState | None:
        shipped = sum(line.shipped for line in lines)
        if shipped and all(line.open == 0 for line in lines):
            return FulfilmentState.SHIPPED
        if shipped or any(True for _ in self._of("shipped")):
            return FulfilmentState.PART_SHIPPED
        if lines and all(line.open == 0 for line in lines):
            return FulfilmentState.CANCELLED
        return FulfilmentState.ACCEPTED if any(fact.kind != "error" for fact in self.facts) else None

    def _is_delivered(self, lines: Sequence[LineProgress]) -> bool:
        arrived = [fact for fact in self.facts if fact.kind == "delivered"]
        shipped = [line.line_id for line in lines if line.shipped]
        return bool(shipped) and all(any(f.line_id in (None, line_id) for f in arrived) for line_id in shipped)

    def _problem(self, state: FulfilmentState | None) -> str | None:
        settled = max((f.at for f in self.facts if f.kind != "error" and f.at), default=None)
        closed = state in (FulfilmentState.SHIPPED, FulfilmentState.CANCELLED)
        errors = [fact for fact in self.facts if fact.kind == "error" and not _is_settled(fact.at, settled, closed)]
        latest = max(errors, key=lambda f: (f.at is not None, f.at and f.at.timestamp(), f.message or ""), default=None)
        return None if latest is None else latest.message or "error without a text"


def _is_all_of(fact: Fact, line_id: str) -> bool:
    return fact.quantity is None and fact.line_id in (None, line_id)


def _is_settled(error_at: datetime | None, settled_at: datetime | None, closed: bool) -> bool:
    if error_at is None or settled_at is None:
        return closed
    return settled_at > error_at


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
