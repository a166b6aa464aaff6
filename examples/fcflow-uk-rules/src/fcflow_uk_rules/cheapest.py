"""``uk:cheapest``: the location from which the parcel costs least."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import combinations
from typing import Any

from fcflow.allocation import Job, Proposal, StrategyType
from fcflow.rules.fields import postcode_area

__all__ = ["CHEAPEST", "propose"]

_MOST_LOCATIONS = 12


def propose(job: Job) -> Iterator[Proposal]:
    """
    Propose the locations that cost least together, one parcel first, then two, and so on.

    The core takes the first proposal that is whole, and checks each; a strategy cannot promise stock that is not there.
    """
    rates = dict(_rates(job))
    codes = sorted(rates, key=lambda code: (rates[code], code))[:_MOST_LOCATIONS]
    for count in range(1, 1 if not codes else (1 if job.split == "never" else len(codes)) + 1):
        parcels = combinations(codes, count)
        for chosen in sorted(parcels, key=lambda each: sum(rates[code] for code in each)):
            yield _filled(job, chosen)


def _rates(job: Job) -> Iterator[tuple[str, Decimal]]:
    """What a parcel costs from each candidate that has a rate."""
    area = postcode_area(job.order.ship_to.postcode, job.order.ship_to.country) or "*"
    for location in job.candidates:
        table: Mapping[str, Any] = job.options["rates"].get(location.code, {})
        rate = table.get(area, table.get("*"))
        if rate is None:
            job.say(f"uk:cheapest: {location.code} has no rate for {area}")
        else:
            yield location.code, Decimal(str(rate))


def _filled(job: Job, codes: Iterable[str]) -> Proposal:
    """Each line from the first of *codes* that can take it, or as much of it as `split` allows."""
    free: dict[tuple[str, str], int | None] = {}
    placed: dict[str, dict[str, int]] = {}
    for line in job.lines:
        left = job.units[line.line_id]
        for code in codes:
            there = free.setdefault((code, line.sku), job.stock(code, line.sku))
            units = left if there is None else min(left, there)
            if units < left and job.split != "by_unit":
                continue
            if units > 0:
                placed.setdefault(code, {})[line.line_id] = units
                free[code, line.sku] = None if there is None else there - units
                left -= units
            if not left:
                break
    return placed


_RATE = {"type": ["string", "number"], "description": 'of one parcel, such as "3.20"'}
_OPTIONS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["rates"],
    "additionalProperties": False,
    "properties": {
        "rates": {
            "type": "object",
            "description": "location code to postcode area, or * for all others, to what a parcel costs",
            "additionalProperties": {
                "type": "object",
                "propertyNames": {"pattern": "^([A-Z]{1,2}|[*])$"},
                "additionalProperties": {**_RATE, "pattern": "^[0-9]{1,6}([.][0-9]{1,2})?$", "minimum": 0},
            },
        }
    },
}

CHEAPEST = StrategyType(name="uk:cheapest", options_schema=_OPTIONS_SCHEMA, propose=propose)
