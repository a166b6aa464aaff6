"""
A rule set as a picture: the rules from top to bottom, what each asks, and what follows if it matches.

Mermaid for pages that render it, SVG for all others. Texts of a rule set come from strangers as well, so everything
that could be markup in either is written as what it looks like, and nothing else.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from attrs import frozen

from fcflow.rules.ruleset import RuleSet

__all__ = ["to_mermaid", "to_svg"]

_LONGEST = 240
_QUANTIFIERS = {"any_line": "any line", "every_line": "every line", "no_line": "no line"}
_WORDS = {"eq": "=", "ne": "≠", "lt": "<", "le": "≤", "gt": ">", "ge": "≥"}


@frozen
class _Step:
    """
    One rule on the picture.

    Args:
        asks: Its condition in words.

        does: Its actions in words.

        decides: Whether evaluation may end here.

        goes_on: Whether the next rule may follow although this one decided, as it does where stock is short.
    """

    title: str
    asks: str
    does: str
    decides: bool
    goes_on: bool
    enabled: bool = True


def _steps(rules: RuleSet) -> list[_Step]:
    return [_step(rule) for rule in rules.document["rules"]]


def _step(rule: Mapping[str, Any]) -> _Step:
    kinds = {kind: body for action in rule["then"] for kind, body in action.items()}
    decides = bool(kinds.keys() & {"allocate", "hold", "keep"})
    goes_on = "allocate" in kinds and kinds["allocate"].get("if_short", "next_rule") == "next_rule"
    asks = _asked(rule["when"]) + (" (or unknown)" if rule.get("if_unknown") == "match" else "")
    return _Step(_cut(rule["id"]), _cut(asks), _done(rule["then"]), decides, goes_on, rule.get("enabled", True))


def _otherwise(rules: RuleSet) -> str:
    return _done(rules.document.get("otherwise", [{"keep": {}}]))


# ------------------------------------------------------------------ in words


def _clean(text: object) -> str:
    """On one line, without characters that nobody sees or XML does not know."""
    return "".join(each if each.isprintable() else " " for each in str(text))


def _cut(text: str) -> str:
    plain = _clean(text)
    return plain if len(plain) <= _LONGEST else plain[: _LONGEST - 1] + "…"


def _asked(condition: Any) -> str:
    if not isinstance(condition, dict):
        return "every order"
    kind = next(key for key in condition if key in _SAID)
    return _SAID[kind](condition)


def _listed(word: str) -> Callable[[Mapping[str, Any]], str]:
    def said(condition: Mapping[str, Any]) -> str:
        parts = next(condition[key] for key in ("all", "any") if key in condition)
        texts = [_asked(part) for part in parts]
        nested = [f"({text})" if _is_joined(part) else text for part, text in zip(parts, texts, strict=True)]
        return f" {word} ".join(nested if len(parts) > 1 else texts)

    return said


def _is_joined(condition: Any) -> bool:
    return isinstance(condition, dict) and bool(condition.keys() & {"all", "any"})


def _tested(test: Mapping[str, Any]) -> str:
    word = _WORDS.get(test["op"], test["op"].replace("_", " "))
    more = [str(test[key]) for key in ("currency", "zone") if key in test]
    fold = ["in any case"] if test.get("ignore_case") else []
    return " ".join([test["field"], word, *([_shown(test["value"])] if "value" in test else []), *more, *fold])


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        named = f"the list {value['list']}" if set(value) == {"list"} else None
        return named or ", ".join(f"{each} {key}" for key, each in value.items())
    return ", ".join(map(_shown, value)) if isinstance(value, list) else str(value)


def _over(kind: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda condition: f"{_QUANTIFIERS[kind]} has {_asked(condition[kind])}"


def _counted(condition: Mapping[str, Any]) -> str:
    body = condition["count_lines"]
    where = f" with {_asked(body['where'])}" if "where" in body else ""
    return f"number of lines{where} {_compared(body)}"


def _summed(condition: Mapping[str, Any]) -> str:
    body = condition["sum_lines"]
    where = f" of lines with {_asked(body['where'])}" if "where" in body else ""
    return f"sum of {body['field']}{where} {_compared(body)}"


def _compared(body: Mapping[str, Any]) -> str:
    return f"{_WORDS.get(body['op'], body['op'])} {_shown(body['value'])}"


def _stocked(condition: Mapping[str, Any]) -> str:
    body = condition["stock"]
    return f"{' or '.join(_places(body['at']))} has {'every' if body['covers'] == 'all' else 'any'} line in stock"


def _aged(condition: Mapping[str, Any]) -> str:
    body = condition["stock_age"]
    return f"stock picture of {body['at']} {_compared(body)} old"


def _behaved(condition: Mapping[str, Any]) -> str:
    body = condition["behaviour"]
    return f"{body['measure'].replace('_', ' ')} of {body['at']} {_compared(body)}"


def _places(at: Any) -> Sequence[str]:
    return [at] if isinstance(at, str) else at


_SAID: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "all": _listed("and"),
    "any": _listed("or"),
    "not": lambda condition: f"not ({_asked(condition['not'])})",
    "use": lambda condition: str(condition["use"]),
    "field": _tested,
    **{kind: _over(kind) for kind in _QUANTIFIERS},
    "count_lines": _counted,
    "sum_lines": _summed,
    "stock": _stocked,
    "stock_age": _aged,
    "behaviour": _behaved,
}


def _done(actions: Sequence[Mapping[str, Any]]) -> str:
    return _cut("; ".join(_act(*next(iter(action.items()))) for action in actions))


def _act(kind: str, body: Any) -> str:
    match kind:
        case "allocate":
            return _allocated(body)
        case "hold":
            return f"hold: {body['reason']}"
        case "keep":
            return "keep"
        case "set_property":
            return f"{body['name']} := {body['value']}"
        case "set_service":
            return f"service {body}"
        case _:
            return f"{kind.replace('_', ' ')} {body if isinstance(body, str) else json.dumps(body)}"


def _allocated(body: Mapping[str, Any]) -> str:
    places = " or ".join(_places(body["to"])) if "to" in body else "any location"
    more = [body[key].replace("_", " ") for key in ("strategy",) if key in body]
    more += [f"split {body['split'].replace('_', ' ')}"] if "split" in body else []
    more += [f"if short {body['if_short']}"] if body.get("if_short", "next_rule") != "next_rule" else []
    return f"allocate to {places}" + (f" ({', '.join(more)})" if more else "")


# ------------------------------------------------------------------ Mermaid


def to_mermaid(rules: RuleSet) -> str:
    """
    The rule list as a Mermaid flowchart.

    Example:
        >>> from fcflow.rules import load_rules
        >>> print(to_mermaid(load_rules({"fcflow": "ruleset/1", "rules": [
        ...     {"id": "uk", "when": {"field": "ship_to.country", "op": "eq", "value": "GB"},
        ...      "then": [{"allocate": {"to": "leeds", "if_short": "hold"}}]}]})))
        flowchart TD
            start(["order"]) --> r0
            r0{"uk<br>ship#95;to.country #61; GB"} -- yes --> d0["allocate to leeds #40;if short hold#41;"]
            r0 -- no --> last
            last["otherwise<br>keep"]
    """
    steps = _steps(rules)
    names = [*(f"r{number}" for number in range(len(steps))), "last"]
    lines = ["flowchart TD", f'    start(["order"]) --> {names[0]}']
    for number, step in enumerate(steps):
        lines += [f"    {line}" for line in _mermaid_step(step, number, names[number + 1])]
    return "\n".join([*lines, f'    last["otherwise<br>{_entities(_otherwise(rules))}"]'])


def _mermaid_step(step: _Step, number: int, following: str) -> Iterator[str]:
    here, label = f"r{number}", f"{_entities(step.title)}<br>{_entities(step.asks)}"
    if not step.enabled:
        yield f'{here}["{label}<br>not enabled"] -.-> {following}'
        return
    yield f'{here}{{"{label}"}} -- yes --> d{number}["{_entities(step.does)}"]'
    yield f"{here} -- no --> {following}"
    if not step.decides:
        yield f"d{number} --> {following}"
    elif step.goes_on:
        yield f"d{number} -. short .-> {following}"


def _entities(text: str) -> str:
    """Letters, digits and a few signs as they are, all else by its number: no text can end a label."""
    return "".join(each if each.isalnum() or each in " .,:-" else f"#{ord(each)};" for each in text)


# ------------------------------------------------------------------ SVG

_ROW_GAP, _MARGIN, _LINE_HEIGHT, _PADDING = 22, 20, 17, 10
_ASKS_WIDTH, _DOES_WIDTH, _BETWEEN = 420, 320, 90
_LETTER = 7.4
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2937}.t{font-weight:600}.s{font-size:11px;fill:#6b7280}"
    ".b{fill:#f9fafb;stroke:#9ca3af}.d{fill:#ecfdf5;stroke:#059669}.e{fill:#eff6ff;stroke:#2563eb}"
    ".o{stroke-dasharray:4 3}.l{stroke:#6b7280;fill:none}"
)
_ARROW_HEAD = (
    '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#6b7280"/></marker></defs>'
)


@frozen
class _Box:
    """A box with its lines of text, where it stands; in pixels from the upper left corner."""

    x: float
    y: float
    width: float
    lines: Sequence[str]
    kind: str
    has_title: bool

    @property
    def height(self) -> float:
        return len(self.lines) * _LINE_HEIGHT + 2 * _PADDING

    def draw(self) -> Iterator[str]:
        yield (
            f'<rect x="{self.x:g}" y="{self.y:g}" width="{self.width:g}" height="{self.height:g}" rx="6" '
            f'class="{self.kind}"/>'
        )
        for number, line in enumerate(self.lines):
            y = self.y + _PADDING + (number + 0.75) * _LINE_HEIGHT
            kind = ' class="t"' if number == 0 and self.has_title else ""
            yield f'<text x="{self.x + _PADDING:g}" y="{y:g}"{kind}>{escape(line)}</text>'


def to_svg(rules: RuleSet) -> str:
    """
    The rule list as an SVG document that needs nothing else: no script, no font, no network.

    Example:
        >>> from fcflow.rules import load_rules
        >>> picture = to_svg(load_rules({"fcflow": "ruleset/1", "name": "<all>", "rules": []}))
        >>> picture[:4], "&lt;all&gt;" in picture
        ('<svg', True)
    """
    parts: list[str] = []
    title = _cut(rules.name or "rules")
    y = _MARGIN + 2.0 * _LINE_HEIGHT
    parts.append(f'<text x="{_MARGIN}" y="{_MARGIN + 13}" class="t">{escape(title)}</text>')
    for step in _steps(rules):
        height = _draw_step(step, y, parts)
        y += height + _ROW_GAP
    last = _Box(_MARGIN, y, _ASKS_WIDTH, ["otherwise", *_wrapped(_otherwise(rules), _ASKS_WIDTH)], "b d", True)
    parts.extend(last.draw())
    width = 2 * _MARGIN + _ASKS_WIDTH + _BETWEEN + _DOES_WIDTH
    return _document(width, y + last.height + _MARGIN, title, parts)


def _draw_step(step: _Step, y: float, parts: list[str]) -> float:
    """Draw one rule with its outcome and the arrows to it and on; gives its height."""
    state = [] if step.enabled else ["(not enabled)"]
    lines = [step.title[:60], *state, *_wrapped(step.asks, _ASKS_WIDTH)]
    asks = _Box(_MARGIN, y, _ASKS_WIDTH, lines, "b" if step.enabled else "b o", True)
    does = _Box(
        _MARGIN + _ASKS_WIDTH + _BETWEEN,
        y,
        _DOES_WIDTH,
        _wrapped(step.does, _DOES_WIDTH),
        "d" if step.decides else "e",
        False,
    )
    height = max(asks.height, does.height)
    parts.extend([*asks.draw(), *does.draw()])
    if step.enabled:
        parts.extend(_arrow(asks.x + asks.width, y + 18, does.x, y + 18, "yes"))
    parts.extend(_arrow(_MARGIN + 40, y + asks.height, _MARGIN + 40, y + height + _ROW_GAP, "no"))
    if step.enabled and (step.goes_on or not step.decides):
        parts.extend(_onwards(does, y + height + _ROW_GAP, "if short" if step.decides else "then"))
    return height


def _arrow(x1: float, y1: float, x2: float, y2: float, said: str) -> Iterator[str]:
    yield f'<path class="l" marker-end="url(#a)" d="M{x1:g} {y1:g}L{x2:g} {y2:g}"/>'
    x, y = (x1 + 6, y1 - 4) if y1 == y2 else (x1 + 6, y1 + 14)
    yield f'<text class="s" x="{x:g}" y="{y:g}">{said}</text>'


def _onwards(does: _Box, next_y: float, said: str) -> Iterator[str]:
    x, y, corner = does.x + 40, does.y + does.height, next_y - 8
    end = _MARGIN + _ASKS_WIDTH - 40
    way = f"M{x:g} {y:g}L{x:g} {corner:g}L{end:g} {corner:g}L{end:g} {next_y:g}"
    yield f'<path class="l o" marker-end="url(#a)" d="{way}"/>'
    yield f'<text class="s" x="{x + 6:g}" y="{y + 12:g}">{said}</text>'


def _wrapped(text: str, width: float) -> list[str]:
    return textwrap.wrap(text, int((width - 2 * _PADDING) / _LETTER)) or [""]


def _document(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    size = f'width="{width:g}" height="{height:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width:g} {height:g}" role="img">'
    named = f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>"
    return "\n".join([head, named, _ARROW_HEAD, f'<rect {size} fill="#fff"/>', *parts, "</svg>"])
