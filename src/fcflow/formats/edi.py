"""
What X12 and EDIFACT share: transactions of segments, the loops that segments make, and places in them.

A place is ``W05-02`` (segment and element), ``LIN-03-1`` (component), ``N9[01=CN]-02`` (the segment whose first element
says so), ``line[]/W12-03`` (every turn of the loop ``line``) or ``party[N1-01=ST]/N4-02`` (the turn of the loop that
says so). Loops are declared by the layout: which segment begins them, which others belong to them, and which loop they
lie in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import define, evolve, field, frozen

from fcflow.errors import Fault, LayoutError
from fcflow.formats.codec import Cell, Place
from fcflow.formats.nesting import MAX_LEVELS, Nest, Twig

__all__ = ["CrowdedError", "Loop", "Places", "Segment", "loops_of", "says", "turns"]

MAX_SEGMENTS = 200_000
"""Segments that one transaction may have."""

Segment = list[str]
"""Its tag, then its elements; a component element is still one text."""

_TAG = "[A-Z][A-Z0-9]{1,2}"
_LEAF = re.compile(rf"({_TAG})(?:\[(\d\d)(?:-(\d{{1,2}}))?=([^\]]+)\])?-(\d\d)(?:-(\d{{1,2}}))?")
_LOOP = re.compile(rf"([a-z][a-z0-9_]*)\[(?:({_TAG})-(\d\d)(?:-(\d{{1,2}}))?=([^\]]+))?\]")


def says(text: str, count: int) -> bool:
    """
    Whether the text of an element says this number.

    Example:
        >>> says("0012", 12), says("12.0", 12), says("¹²", 12)
        (True, False, False)
    """
    digits = text.lstrip("0") or text[-1:]
    return digits.isascii() and digits.isdigit() and len(digits) < 20 and int(digits) == count


# ------------------------------------------------------------------ loops


@frozen
class Loop:
    """
    Segments that come again and again.

    Args:
        start: Tag of the segment that begins a turn.

        where: Element number and text that the segment must have to begin one, or ``None``.

        tags: The other segments of a turn.

        parent: Name of the loop that it lies in, or ``None``.
    """

    name: str
    start: str
    where: tuple[int, str] | None
    tags: frozenset[str]
    parent: str | None

    def begins(self, segment: Segment) -> bool:
        """Whether *segment* begins a turn."""
        if segment[0] != self.start:
            return False
        return self.where is None or (len(segment) > self.where[0] and segment[self.where[0]] == self.where[1])


def loops_of(written: Mapping[str, Any]) -> dict[str, Loop]:
    """The loops of the option ``loops``, by name."""
    return {
        name: Loop(
            name=name,
            start=each["starts_with"],
            where=next(((int(key), text) for key, text in each.get("where", {}).items()), None),
            tags=frozenset(each.get("segments", ())),
            parent=each.get("in"),
        )
        for name, each in written.items()
    }


@define
class Turn:
    """One turn of a loop, or a whole transaction: its own segments, and the turns of the loops in it."""

    loop: Loop | None
    segments: list[Segment] = field(factory=list)
    below: dict[str, list[Turn]] = field(factory=dict)


def turns(segments: Iterable[Segment], loops: Sequence[Loop]) -> Turn:
    """The tree of a transaction; what belongs to no loop that is open belongs to the transaction."""
    root = Turn(None)
    open_turns = [root]
    begun_by: dict[str, list[Loop]] = {}
    for loop in loops:
        begun_by.setdefault(loop.start, []).append(loop)
    for segment in segments:
        tag = segment[0]
        starters = begun_by.get(tag, ())
        while True:
            here = open_turns[-1]
            name = None if here.loop is None else here.loop.name
            begun = next((each for each in starters if each.parent == name and each.begins(segment)), None)
            if begun is not None:
                turn = Turn(begun, [segment])
                here.below.setdefault(begun.name, []).append(turn)
                open_turns.append(turn)
                break
            if here.loop is None or tag in here.loop.tags:
                here.segments.append(segment)
                break
            open_turns.pop()
    return root


# ------------------------------------------------------------------ places


@frozen
class _Asked:
    """A segment, and an element of it that must hold a text; *component* 0 is the whole element."""

    tag: str
    element: int = 0
    component: int = 0
    text: str = ""


@frozen
class _Step:
    """One loop on the way to a place: every turn of it, or the one that says so."""

    loop: str
    asked: _Asked | None


@frozen
class _Spot:
    """
    Where a place lies.

    Args:
        chain: The loops of which every turn is meant, outermost first, each with the loops chosen before it.

        steps: The loops chosen behind the last of them.

        asked: The segment.

        element, component: In it; *component* 0 is the whole element.

        is_alone: Whether the segment must not come twice in one turn, as it says something of a line.
    """

    chain: tuple[tuple[_Step, ...], ...]
    steps: tuple[_Step, ...]
    asked: _Asked
    element: int
    component: int
    is_alone: bool = False

    @property
    def levels(self) -> tuple[str, ...]:
        return tuple("/".join(f"{step.loop}:{step.asked}" for step in steps) for steps in self.chain)


def _spot(at: str | int) -> _Spot | None:
    *loops, last = str(at).split("/")
    leaf = _LEAF.fullmatch(last)
    if leaf is None:
        return None
    chain, steps = list[tuple[_Step, ...]](), list[_Step]()
    for part in loops:
        match = _LOOP.fullmatch(part)
        if match is None:
            return None
        name, tag, element, component, text = match.groups()
        steps.append(_Step(name, None if tag is None else _Asked(tag, int(element), int(component or 0), text)))
        if tag is None:
            chain.append(tuple(steps))
            steps = []
    tag, element, component, text, at_element, at_component = leaf.groups()
    asked = _Asked(tag, int(element or 0), int(component or 0), text or "")
    return _Spot(tuple(chain), tuple(steps), asked, int(at_element), int(at_component or 0))


Split = Callable[[str], list[str]]


@define
class _Written:
    """A turn on its way out: segments and turns by what tells them from their like, with their places in the order."""

    loop: Loop | None
    segments: dict[_Asked, tuple[int, dict[tuple[int, int], str]]] = field(factory=dict)
    below: dict[Any, tuple[int, list[_Written]]] = field(factory=dict)


class CrowdedError(ValueError):  # a signal inside formats; callers see a Problem
    """A segment that says something of a line stands twice where one is read: units would be lost."""


class Places:
    """
    The places of a layout in transactions.

    Args:
        split: From an element to its components.

        join: The way back.

        bare: From a whole element to its text.
    """

    def __init__(
        self,
        places: Sequence[Place],
        loops: Mapping[str, Loop],
        split: Split,
        join: Callable[[list[str]], str],
        bare: Callable[[str], str] = str,
    ) -> None:
        self._spots = [
            evolve(spot, is_alone=(place.name or "").startswith("line.") and place.type != "list")
            for place in places
            if (spot := _spot(place.at)) is not None
        ]
        self._loops = loops
        self._split = split
        self._join = join
        self._bare = bare
        self.nest = Nest.of([spot.levels for spot in self._spots])
        self._chains = {
            level: steps for spot in self._spots for level, steps in zip(spot.levels, spot.chain, strict=True)
        }

    # -------------------------------------------------------------- reading

    def rows(self, root: Turn) -> Iterator[list[Cell]]:
        """The rows of one transaction."""
        return self.nest.rows(root, self._cell, self._entries, len(self._spots))

    def _cell(self, turn: Turn, slot: int) -> Cell:
        spot = self._spots[slot]
        found: Turn | None = turn
        for step in spot.steps:
            found = self._chosen(found, step)
        if found is None:
            return None
        asked, chosen = spot.asked, None
        for segment in found.segments:
            if segment[0] == asked.tag and (not asked.element or self._holds(segment, asked)):
                if chosen is not None:
                    raise CrowdedError(f"{asked.tag} comes again in one turn, where it needs a loop of its own")
                chosen = segment
                if not spot.is_alone:
                    break
        if chosen is None or len(chosen) <= spot.element:
            return None
        return self._part(chosen[spot.element], spot.component)

    def _part(self, text: str, component: int) -> str | None:
        if not component:
            return self._bare(text) if text else None
        parts = self._split(text)
        return parts[component - 1] or None if len(parts) >= component else None

    def _holds(self, segment: Segment, asked: _Asked) -> bool:
        return len(segment) > asked.element and self._part(segment[asked.element], asked.component) == asked.text

    def _chosen(self, turn: Turn | None, step: _Step) -> Turn | None:
        for each in turn.below.get(step.loop, ()) if turn is not None else ():
            asked = step.asked
            if asked is None or any(s[0] == asked.tag and self._holds(s, asked) for s in each.segments):
                return each
        return None

    def _entries(self, turn: Turn, level: str) -> Iterable[Turn]:
        *chosen, last = self._chains[level]
        found: Turn | None = turn
        for step in chosen:
            found = self._chosen(found, step)
        return () if found is None else found.below.get(last.loop, ())

    # -------------------------------------------------------------- writing

    def segments(self, twig: Twig) -> Iterator[Segment]:
        """The segments of one transaction: in the order in which the layout first names them."""
        root = _Written(None)
        self._fill(root, twig)
        yield from self._flat(root)

    def _fill(self, turn: _Written, twig: Twig) -> None:
        for slot, cell in twig.cells.items():
            if not isinstance(cell, str) or not cell:
                continue
            spot = self._spots[slot]
            target = turn
            for step in spot.steps:
                target = self._made(target, step, slot)
            self._put(target, spot.asked, slot)[spot.element, spot.component] = cell
        for level, entries in twig.below.items():
            *chosen, last = self._chains[level]
            first = min(slot for slot, spot in enumerate(self._spots) if level in spot.levels)
            target = turn
            for step in chosen if entries else ():
                target = self._made(target, step, first)
            for entry in entries:
                made = _Written(self._loops[last.loop])
                self._begin(made, first)
                target.below.setdefault(last.loop, (first, []))[1].append(made)
                self._fill(made, entry)

    def _made(self, turn: _Written, step: _Step, slot: int) -> _Written:
        if (step.loop, step.asked) in turn.below:
            return turn.below[step.loop, step.asked][1][0]
        made = _Written(self._loops[step.loop])
        self._begin(made, slot)
        if step.asked is not None:
            asked = step.asked
            self._put(made, _Asked(asked.tag), slot)[asked.element, asked.component] = asked.text
        turn.below[step.loop, step.asked] = (slot, [made])
        return made

    def _begin(self, turn: _Written, slot: int) -> None:
        """The segment that begins the turn comes first, and says what it has to say."""
        assert turn.loop is not None  # only loops are begun
        parts = self._put(turn, _Asked(turn.loop.start), -1)
        if turn.loop.where is not None:
            parts[turn.loop.where[0], 0] = turn.loop.where[1]

    def _put(self, turn: _Written, asked: _Asked, slot: int) -> dict[tuple[int, int], str]:
        _, parts = turn.segments.setdefault(asked, (slot, {}))
        if asked.element:
            parts[asked.element, asked.component] = asked.text
        return parts

    def _flat(self, turn: _Written) -> Iterator[Segment]:
        items: list[tuple[int, Any]] = [(rank, (asked.tag, parts)) for asked, (rank, parts) in turn.segments.items()]
        items += [(rank, below) for rank, below in turn.below.values()]
        for _, item in sorted(items, key=lambda each: each[0]):
            if isinstance(item, list):
                for each in item:
                    yield from self._flat(each)
            else:
                yield self._segment(*item)

    def _segment(self, tag: str, parts: Mapping[tuple[int, int], str]) -> Segment:
        elements: dict[int, list[str]] = {}
        for (element, component), text in parts.items():
            found = elements.setdefault(element, [])
            found.extend([""] * (max(1, component) - len(found)))
            found[max(1, component) - 1] = text
        most = max(elements, default=0)
        return [tag, *(self._join(elements.get(number, [])) for number in range(1, most + 1))]


# ------------------------------------------------------------------ checks


def check(places: Sequence[Place], options: Mapping[str, Any]) -> dict[str, Loop]:
    """
    The loops, if places and loops fit.

    Raises:
        LayoutError: With every fault.
    """
    loops = loops_of(options.get("loops", {}))
    faults = [*_loop_faults(loops)]
    for place in places:
        spot = _spot(place.at)
        if spot is None:
            expected = "a place such as W05-02, N9[01=CN]-02, line[]/W12-03 or party[N1-01=ST]/N4-02"
            faults.append(Fault("", path=f"{place.path}.at", expected=expected, found=place.at))
        else:
            faults += _spot_faults(place, spot, loops)
    if faults:
        raise LayoutError("layout", faults)
    return loops


def _loop_faults(loops: Mapping[str, Loop]) -> Iterator[Fault]:
    for name, loop in loops.items():
        seen = {name}
        parent = loop.parent
        while parent is not None and parent in loops and parent not in seen:
            seen.add(parent)
            parent = loops[parent].parent
        if parent is not None:
            said = "lies in itself" if parent in loops else "unknown loop"
            yield Fault(said, path=f"$.codec.loops.{name}.in", found=parent)


def _spot_faults(place: Place, spot: _Spot, loops: Mapping[str, Loop]) -> Iterator[Fault]:
    path, above = f"{place.path}.at", None
    for step in (*(each for steps in spot.chain for each in steps), *spot.steps):
        loop = loops.get(step.loop)
        if loop is None:
            yield Fault("unknown loop", path=path, found=step.loop, expected=" or ".join(loops) or "one in codec.loops")
            return
        if loop.parent != above:
            yield Fault(f"loop {step.loop} lies in {loop.parent or 'the transaction'}", path=path, found=place.at)
            return
        above = step.loop
    if len(spot.chain) > MAX_LEVELS:
        yield Fault(f"more than {MAX_LEVELS} loops in each other", path=path)
    if not spot.element or spot.element > 99:
        yield Fault("elements are counted from 01", path=path, found=place.at)
    if above is not None and spot.asked.tag not in (loops[above].start, *loops[above].tags):
        yield Fault(f"{spot.asked.tag} is no segment of loop {above}", path=path, found=place.at)
