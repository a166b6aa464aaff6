"""Draws the cost of an order against the number of rules, as an SVG without anything around it."""

from __future__ import annotations

import statistics
from math import log10
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 420, 70, 190, 40, 50
COLOURS = ["#1a6fb4", "#c4501b", "#6b6b6b", "#4d8a3a", "#8a4d8a"]
STYLE = "text{font:13px system-ui,sans-serif;fill:#333}.line{fill:none;stroke-width:2.5}.grid{stroke:#ddd}"


def _x(rules: float, sizes: list[int]) -> float:
    low, high = log10(min(sizes)), log10(max(sizes))
    return LEFT + (log10(rules) - low) / ((high - low) or 1) * (WIDTH - LEFT - RIGHT)


def _y(cost: float, powers: range) -> float:
    return HEIGHT - BOTTOM - (log10(cost) - powers[0]) / (len(powers) - 1) * (HEIGHT - TOP - BOTTOM)


def _times(found: dict[int, list[Any]]) -> dict[str, dict[int, float]]:
    made: dict[str, dict[int, float]] = {}
    for size, entries in found.items():
        for entry in entries:
            made.setdefault(entry.name, {})[size] = 1e6 / statistics.median(entry.rates)
    return made


def _grid(sizes: list[int], powers: range) -> list[str]:
    drawn = []
    for size in sizes:
        x = _x(size, sizes)
        drawn.append(f'<line class="grid" x1="{x:.0f}" x2="{x:.0f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        drawn.append(f'<text x="{x:.0f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{size:,}</text>')
    for power in powers:
        y = _y(10**power, powers)
        drawn.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.0f}" y2="{y:.0f}"/>')
        drawn.append(f'<text x="{LEFT - 8}" y="{y + 4:.0f}" text-anchor="end">{10**power:,}</text>')
    return drawn


def _line(name: str, times: dict[int, float], colour: str, sizes: list[int], powers: range) -> list[str]:
    points = [(_x(size, sizes), _y(cost, powers)) for size, cost in times.items()]
    x, y = points[-1]
    return [
        f'<polyline class="line" stroke="{colour}" points="{" ".join(f"{x:.0f},{y:.0f}" for x, y in points)}"/>',
        *(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4" fill="{colour}"/>' for x, y in points),
        f'<text x="{x + 10:.0f}" y="{y + 4:.0f}" style="fill:{colour}">{name}: {times[max(times)]:,.1f}</text>',
    ]


def draw(found: dict[int, list[Any]], path: str) -> None:
    """Write the figure to *path*; both axes are logarithmic."""
    times, sizes = _times(found), list(found)
    every = [cost for each in times.values() for cost in each.values()]
    powers = range(int(log10(min(every)) // 1), int(log10(max(every)) // 1) + 2)
    drawn = _grid(sizes, powers)
    for (name, each), colour in zip(times.items(), COLOURS, strict=False):
        drawn += _line(name, each, colour, sizes, powers)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 40} {HEIGHT}" role="img">'
    title = "<title>Microseconds to decide an order, against the number of rules</title>"
    paper = f'<rect width="{WIDTH + 40}" height="{HEIGHT}" fill="#fff"/>'
    words = [
        f'<text x="{LEFT}" y="22">microseconds an order</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">rules</text>',
    ]
    parts = [head, title, f"<style>{STYLE}</style>", paper, *words, *drawn, "</svg>"]
    Path(path).write_text("\n".join(parts) + "\n", encoding="utf-8")
