"""
Names of the files that leave: templates, and what every partner's server can hold.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from fcflow.errors import Fault, FormatError
from fcflow.formats.moments import is_zone
from fcflow.model import ShippingOrder

__all__ = ["MAX_NAME", "ORDER_TAG", "name_faults", "render_name"]

MAX_NAME = 120
"""Characters that a name has at most."""

_TAG = re.compile(r"\{([A-Za-z_]*)(?::([^{}]*))?\}")
_OLD_TAG = re.compile(r"\[\{([A-Z]+)\}\]|INCREMENT")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_RESERVED = re.compile(r"(?:CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(?:\.|$)", re.IGNORECASE)  # names of devices on Windows
_WIDTH = re.compile("0?[0-9]{1,2}")
_DIRECTIVES = re.compile(r"(?:[^%]|%[YymdHIMSjfpGVuUWbBaA%])*")

_TIMES: Mapping[str, str] = {"date": "%Y%m%d", "time": "%H%M%S", "datetime": "%Y%m%d-%H%M%S"}
_NUMBERS = ("counter", "batch")
_OF_ORDER: Mapping[str, Callable[[ShippingOrder], str | None]] = {
    "fulfilment_id": lambda order: order.fulfilment_id,
    "order_id": lambda order: order.order.order_id,
    "reference": lambda order: order.order.reference,
    "location": lambda order: order.partner_location or order.location,
}
ORDER_TAG = re.compile(r"\{(?:" + "|".join(_OF_ORDER) + r")(?::[^{}]*)?\}")
"""A tag that names one order, so that a file with it cannot hold several."""

_CASES: Mapping[str, Callable[[str], str]] = {"upper": str.upper, "lower": str.lower}
_TAGS = (*_TIMES, *_NUMBERS, "partner", "key", *_OF_ORDER)
_OLD_TIMES: Mapping[str, str] = {
    "DATETIME": "%Y%m%d%H%M%S",
    "NOW": "%Y-%m-%d_%H_%M_%S",
    "TODAY": "%Y-%m-%d",
    "WEEK": "%G%V",
    "MONTH": "%Y%m",
}


def name_faults(template: str) -> list[Fault]:
    """
    What is wrong with a template of a name; nothing, if it can be rendered.

    Example:
        >>> print(name_faults("orders-{dat}.csv")[0])
        unknown tag: expected {date}, got '{dat}'
    """
    bare = _OLD_TAG.sub(_known_old, template)
    faults = [fault for match in _TAG.finditer(bare) if (fault := _tag_fault(match)) is not None]
    if set(_TAG.sub("", bare)) & {"{", "}"}:
        faults.append(Fault("a brace that belongs to no tag", found=template, expected="{" + "}, {".join(_TAGS) + "}"))
    return faults


def _known_old(match: re.Match[str]) -> str:
    return "" if match[1] is None or match[1] in _OLD_TIMES else match[0]


def _tag_fault(match: re.Match[str]) -> Fault | None:
    name = match[1]
    if name not in _TAGS:
        near = difflib.get_close_matches(name, _TAGS, n=1) or ["}, {".join(_TAGS)]
        return Fault("unknown tag", expected=f"{{{near[0]}}}", found=match[0])
    said = match[2]
    if said is None:
        return None
    if name in _NUMBERS:
        right, expected = bool(_WIDTH.fullmatch(said)), f"{{{name}:06}}"
    elif name in _TIMES:
        pattern, _, zone = said.partition("@")
        right = bool(_DIRECTIVES.fullmatch(pattern)) and (not zone or is_zone(zone))
        expected = f"a pattern, a zone or both, as in {{{name}:%d%m%y@Europe/London}}"
    else:
        right, expected = said in _CASES, f"{{{name}:upper}} or {{{name}:lower}}"
    return None if right else Fault("", found=match[0], expected=expected)


def render_name(
    template: str, *, partner: str, now: datetime, counter: int, key: str, order: ShippingOrder | None = None
) -> str:
    """
    The name of a file.

    Tags are ``{date} {time} {datetime} {counter} {batch} {partner} {key} {fulfilment_id} {order_id} {reference}
    {location}``, and the ancestor's ``[{DATETIME}] [{NOW}] [{TODAY}] [{WEEK}] [{MONTH}] INCREMENT``. A number may say
    its width, ``{counter:06}``; a time its pattern and its zone, ``{date:%d%m%y@Europe/London}``, UTC when left out; a
    text its case, ``{partner:upper}``.

    Args:
        now: An aware instant.

        counter: Of the files of this feed.

        key: The delivery key; unique, and the same for the same delivery.

        order: What ``{fulfilment_id}`` and the like name, where a file holds one order.

    Returns:
        Letters, digits, ``.``, ``_`` and ``-`` only, others become ``_``; at most `MAX_NAME` characters, the first of
        them neither ``.`` nor ``-``, the last no ``.``, and no name that Windows keeps for a device. Ids that differ
        give names that differ.

    Raises:
        FormatError: A tag is not known, or asks for an order where there is none.

    Example:
        >>> at = datetime(2016, 7, 1, 9, 43, 4, tzinfo=UTC)
        >>> render_name("orders-{datetime}-{counter:04}.csv", partner="leeds", now=at, counter=7, key="k")
        'orders-20160701-094304-0007.csv'
        >>> render_name("NewOrders_[{WEEK}]_INCREMENT.csv", partner="leeds", now=at, counter=7, key="k")
        'NewOrders_201626_7.csv'
    """
    faults = name_faults(template)
    if faults:
        raise FormatError(f"file name {template!r}: {faults[0]}")
    instant = now.astimezone(UTC)
    texts = {"partner": partner, "key": key}

    def fill(tag: re.Match[str]) -> str:
        name, said = tag[1], tag[2] or ""
        if name in _NUMBERS:
            return str(counter).zfill(int(said or 0))
        if name in _TIMES:
            return _time_text(instant, said, _TIMES[name])
        value = texts[name] if name in texts else _of_order(order, name, template)
        return _safe(value, _CASES.get(said, str), is_same=name == "partner")

    text = _OLD_TAG.sub(lambda tag: str(counter) if tag[1] is None else instant.strftime(_OLD_TIMES[tag[1]]), template)
    return _fitted(_TAG.sub(fill, text))


def _time_text(instant: datetime, said: str, usual: str) -> str:
    pattern, _, zone = said.partition("@")
    return instant.astimezone(ZoneInfo(zone) if zone else UTC).strftime(pattern or usual)


def _of_order(order: ShippingOrder | None, name: str, template: str) -> str:
    if order is None:
        said = f"{{{name}}} needs files of one order; set the feed's batch to 1"
        raise FormatError(f"file name {template!r}: {said}")
    return _OF_ORDER[name](order) or ""


def _safe(value: str, to_case: Callable[[str], str], *, is_same: bool) -> str:
    """
    A value without unsafe characters; a mark is added where that could make two values equal.

    Args:
        is_same: Whether all files of the feed have this value, so that its case says nothing.
    """
    safe = _UNSAFE.sub("_", to_case(value))
    safe = f"_{safe[1:]}" if safe[:1] in (".", "-") else safe
    return safe if safe == (to_case(value) if is_same else value) else f"{safe}-{_mark(value)}"


def _mark(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _fitted(name: str) -> str:
    safe = _UNSAFE.sub("_", name)
    safe = f"_{safe[1:]}" if safe[:1] in ("", ".", "-") else safe
    safe = f"{safe[:-1]}_" if safe[-1] == "." else safe
    safe = f"_{safe}" if _RESERVED.match(safe) else safe
    if len(safe) <= MAX_NAME:
        return safe
    stem, point, extension = safe.rpartition(".")
    tail = f"-{_mark(safe)}" + (f".{extension}" if point and len(extension) <= 8 else "")
    return (stem if point and len(extension) <= 8 else safe)[: MAX_NAME - len(tail)] + tail
