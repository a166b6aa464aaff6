"""``uk:by_ferry``: what a warehouse has to know of a parcel that crosses water."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fcflow.rules import EffectType

__all__ = ["BY_FERRY", "expand"]


def expand(options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """
    The effects that ``{"uk:by_ferry": options}`` stands for.

    Example:
        >>> list(expand({"days": 2}))
        [{'tag': 'ferry'}, {'set_property': {'name': 'ferry_days', 'value': '2'}}]
    """
    yield {"tag": "ferry"}
    yield {"set_property": {"name": "ferry_days", "value": str(options["days"])}}
    if "service" in options:
        yield {"set_service": options["service"]}


BY_FERRY = EffectType(
    name="uk:by_ferry",
    options_schema={
        "type": "object",
        "required": ["days"],
        "additionalProperties": False,
        "properties": {
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
            "service": {"type": "string", "minLength": 1},
        },
    },
    expand=expand,
)
