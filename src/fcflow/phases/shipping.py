"""What a layout writes: a fulfilment order as one partner is to read it."""

from __future__ import annotations

from collections.abc import Iterator

from fcflow.errors import EncodeError
from fcflow.model import Partner, ShippingLine, ShippingOrder
from fcflow.phases.context import Context
from fcflow.store import FulfilmentView, OrderView

__all__ = ["shipping_order"]


def shipping_order(context: Context, partner: Partner, order: OrderView, view: FulfilmentView) -> ShippingOrder:
    """A fulfilment order with its order's data and the effects of the rules, in the partner's own codes."""
    place = context.locations.get(view.location)
    if place is None:
        raise EncodeError(f"order {order.order_id}: location {view.location} is not configured any more")
    bought = order.order
    said = {effect.kind: effect.value for effect in view.effects}
    notes = [bought.notes, *(effect.value for effect in view.effects if effect.kind == "note")]
    properties = {e.name: e.value for e in view.effects if e.kind == "set_property" and e.name is not None}
    return ShippingOrder(
        fulfilment_id=view.fulfilment_id,
        order=bought,
        location=view.location,
        partner_location=place.partner_code,
        lines=tuple(_shipping_lines(partner, order, view)),
        shipping_service=said.get("set_service", bought.shipping_service),
        tags=bought.tags | {effect.value for effect in view.effects if effect.kind == "tag"},
        properties={**bought.properties, **properties},
        notes="\n".join(note for note in notes if note) or None,
    )


def _shipping_lines(partner: Partner, order: OrderView, view: FulfilmentView) -> Iterator[ShippingLine]:
    for line in view.lines:
        bought = order.order.line(line.line_id)
        if bought is None:
            raise EncodeError(f"order {order.order_id}: line {line.line_id} is not in the order any more")
        yield ShippingLine(
            line_id=line.line_id,
            sku=line.sku,
            quantity=line.quantity,
            partner_sku=partner.aliases.get(line.sku),
            title=bought.title,
            unit_price=bought.unit_price,
            weight_g=bought.weight_g,
            channel_sku=bought.channel_sku,
            properties=bought.properties,
        )
