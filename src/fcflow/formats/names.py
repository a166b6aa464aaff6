"""
Names of the files that leave: templates, and what every partner's server can hold.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from fcflow.errors import Fault, FormatError
from fcflow.model import ShippingOrder

__all__ = ["MAX_NAME", "name_faults", "render_name"]

MAX_NAME = 120
"""Characters that a name has at most."""

_TAG = re.compile(r"\{([A-Za-z_]*)(?::(0?[0-9]{1,2}))?\}")
_OLD_TAG = re.compile(r"\[\{([A-Z]+)\}\]|INCREMENT")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")

_TIMES: Mapping[str, str] = {"date": "%Y%m%d", "time": "%H%M%S", "datetime": "%Y%m%d-%H%M%S"}
_TAGS = (*_TIMES, "counter", "partner", "key", "fulfilment_id")
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
    if match[2] is not None and name != "counter":
        return Fault("a width fits the counter only", found=match[0], expected=f"{{{name}}}")
    return None


def render_name(
    template: str, *, partner: str, now: datetime, counter: int, key: str, order: ShippingOrder | None = None
) -> str:
    """
    The name of a file.

    Tags are ``{date} {time} {datetime} {counter} {counter:06} {partner} {key} {fulfilment_id}``, times in UTC; and the
    ancestor's ``[{DATETIME}] [{NOW}] [{TODAY}] [{WEEK}] [{MONTH}] INCREMENT``.

    Args:
        now: An aware instant.

        counter: Of the files of this feed.

        key: The delivery key; unique, and the same for the same delivery.

        order: What ``{fulfilment_id}`` names, where a file holds one order.

    Returns:
        Letters, digits, ``.``, ``_`` and ``-`` only, others become ``_``; at most `MAX_NAME` characters, the first of
        them neither ``.`` nor ``-``. Ids that differ give names that differ.

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
    values: dict[str, Callable[[], str]] = {
        "counter": lambda: str(counter),
        "partner": lambda: _safe(partner),
        "key": lambda: _safe(key),
        "fulfilment_id": lambda: _safe(_id_of(order, template)),
    }
    values |= {name: lambda pattern=pattern: instant.strftime(pattern) for name, pattern in _TIMES.items()}  # type: ignore[misc]  # a default binds early
    text = _OLD_TAG.sub(lambda tag: str(counter) if tag[1] is None else instant.strftime(_OLD_TIMES[tag[1]]), template)
    return _fitted(_TAG.sub(lambda tag: values[tag[1]]().zfill(int(tag[2] or 0)), text))


def _id_of(order: ShippingOrder | None, template: str) -> str:
    if order is None:
        raise FormatError(
            f"file name {template!r}: {{fulfilment_id}} needs files of one order; set the feed's batch to 1"
        )
    return order.fulfilment_id


def _safe(value: str) -> str:
    """A value without unsafe characters; a mark is added where that could make two values equal."""
    safe = _UNSAFE.sub("_", value)
    safe = f"_{safe[1:]}" if safe[:1] in (".", "-") else safe
    return safe if safe == value else f"{safe}-{_mark(value)}"


def _mark(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _fitted(name: str) -> str:
    safe = _UNSAFE.sub("_", name)
    safe = f"_{safe[1:]}" if safe[:1] in ("", ".", "-") else safe
    if len(safe) <= MAX_NAME:
        return safe
    stem, point, extension = safe.rpartition(".")
    tail = f"-{_mark(safe)}" + (f".{extension}" if point and len(extension) <= 8 else "")
    return (stem if point and len(extension) <= 8 else safe)[: MAX_NAME - len(tail)] + tail
