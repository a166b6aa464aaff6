"""
Charts as inline SVG: no script, no library, nothing from the network.

Colours are CSS classes (``c-shipped``), so the page decides them for light and dark; each has its word beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from attrs import frozen

__all__ = ["Step", "change_bar", "sequence", "stacked_bars"]

_WIDTH = 860
_LABEL = 150
_BAR = 26
_GAP = 16
_STEP = 40


def stacked_bars(title: str, rows: Mapping[str, Mapping[str, int]], parts: Sequence[str]) -> str:
    """
    One bar a row, drawn to a common scale, its parts in the order of *parts*, with a legend where there are several.

    Args:
        rows: Label to part to number; a part that is absent or 0 is not drawn.

    Example:
        >>> svg = stacked_bars("Orders", {"leeds": {"shipped": 3, "held": 1}}, ["shipped", "held"])
        >>> svg.count("<rect class"), "leeds" in svg
        (4, True)
    """
    used = [part for part in parts if any(row.get(part) for row in rows.values())]
    most = max((sum(row.values()) for row in rows.values()), default=0) or 1
    scale = (_WIDTH - _LABEL - 60) / most
    body: list[str] = []
    for index, (label, row) in enumerate(rows.items()):
        body += _bar(index * (_BAR + _GAP), label, row, used, scale)
    top = len(rows) * (_BAR + _GAP) + 6
    totals = {f"{part.replace('_', ' ')} {sum(row.get(part, 0) for row in rows.values())}": part for part in used}
    legend, height = _legend(totals, top) if len(parts) > 1 else ([], top)
    return _svg(title, height, [*body, *legend])


def _bar(y: int, label: str, row: Mapping[str, int], parts: Sequence[str], scale: float) -> Iterator[str]:
    yield f'<text x="{_LABEL - 12}" y="{y + 18}" class="label end">{escape(label)}</text>'
    x = float(_LABEL)
    for part in parts:
        count = row.get(part, 0)
        if not count:
            continue
        width = max(count * scale, 2)
        yield (
            f'<rect class="c-{_css(part)}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}">'
            f"<title>{escape(label)}: {count} {escape(part)}</title></rect>"
        )
        if len(parts) > 1 and width > 9 * len(str(count)) + 6:
            yield f'<text x="{x + width / 2:.1f}" y="{y + 18}" class="inside">{count}</text>'
        x += width
    yield f'<text x="{x + 8:.1f}" y="{y + 18}" class="label">{sum(row.values())}</text>'


def _legend(words: Mapping[str, str], top: int) -> tuple[list[str], int]:
    body, x, y = [], _LABEL, top
    for word, part in words.items():
        width = 34 + 8 * len(word)
        if x + width > _WIDTH:
            x, y = _LABEL, y + 24
        body.append(f'<rect class="c-{_css(part)}" x="{x}" y="{y}" width="14" height="14" rx="3"/>')
        body.append(f'<text x="{x + 20}" y="{y + 12}" class="small">{escape(word)}</text>')
        x += width
    return body, y + 24


def change_bar(before: int, after: int, most: int) -> str:
    """A level before (pale) and after (full) in one short bar."""
    scale = 120 / max(most, 1)
    words = f"{before} before, {after} after"
    return (
        f'<svg role="img" aria-label="{words}" viewBox="0 0 124 12" width="124" height="12"><title>{words}</title>'
        f'<rect class="c-before" x="0" y="1" width="{before * scale:.1f}" height="10" rx="2"/>'
        f'<rect class="c-after" x="0" y="1" width="{max(after, 0) * scale:.1f}" height="10" rx="2"/></svg>'
    )


@frozen(kw_only=True)
class Step:
    """
    One line of a sequence: from one lane to another, or at one lane where both are the same.

    Args:
        tone: A colour class: ``sent``, ``good``, ``bad`` or ``plain``.
    """

    at: str
    source: str
    target: str
    text: str
    tone: str = "plain"


def sequence(title: str, lanes: Sequence[str], steps: Sequence[Step]) -> str:
    """
    Who said what to whom, from top to bottom.

    Example:
        >>> step = Step(at="12:00:00", source="fcflow", target="leeds", text="A1 is sent")
        >>> "A1 is sent" in sequence("order A1", ["fcflow", "leeds"], [step])
        True
    """
    height = 56 + _STEP * len(steps)
    columns = {lane: 150 + (index + 0.5) * (_WIDTH - 150) / len(lanes) for index, lane in enumerate(lanes)}
    body = [part for lane, x in columns.items() for part in _lane(lane, x, height)]
    for index, step in enumerate(steps):
        body += _arrow(step, columns, 70 + index * _STEP)
    return _svg(title, height, body)


def _lane(lane: str, x: float, height: int) -> Iterator[str]:
    yield f'<line class="lane" x1="{x:.0f}" y1="36" x2="{x:.0f}" y2="{height - 4}"/>'
    yield f'<rect class="head" x="{x - 56:.0f}" y="6" width="112" height="28" rx="6"/>'
    yield f'<text x="{x:.0f}" y="25" class="middle strong">{escape(lane)}</text>'


def _arrow(step: Step, columns: Mapping[str, float], y: int) -> Iterator[str]:
    start, end = columns[step.source], columns[step.target]
    yield f'<text x="0" y="{y + 4}" class="small">{escape(step.at)}</text>'
    if start == end:
        yield f'<circle class="dot t-{step.tone}" cx="{start:.0f}" cy="{y}" r="5"/>'
        yield f'<text x="{start + 12:.0f}" y="{y + 4}" class="small halo">{escape(step.text)}</text>'
        return
    ahead = 1 if end > start else -1
    tip = f"M{end:.0f},{y} l{-9 * ahead},-5 v10 Z"
    yield f'<line class="arrow t-{step.tone}" x1="{start:.0f}" y1="{y}" x2="{end - 8 * ahead:.0f}" y2="{y}"/>'
    yield f'<path class="tip t-{step.tone}" d="{tip}"/>'
    yield f'<text x="{(start + end) / 2:.0f}" y="{y - 7}" class="middle small halo">{escape(step.text)}</text>'


def _css(part: str) -> str:
    return part.replace(" ", "-").replace("_", "-")


def _svg(title: str, height: int, body: Sequence[str]) -> str:
    head = f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {_WIDTH} {height}">'
    return "\n".join([head, f"<title>{escape(title)}</title>", *body, "</svg>"])
