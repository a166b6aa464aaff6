"""What a layout writes: a fulfilment order as one partner is to read it."""

from __future__ import annotations

from collections.abc import Iterator

from fcflow.aliases import sent_lines
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
    units = {line.line_id: line.quantity for line in view.lines}
    for sent in sent_lines(partner, view.lines):
        bought = order.order.line(sent.of)
        if bought is None:
            raise EncodeError(f"order {order.order_id}: line {sent.of} is not in the order any more")
        if units[sent.of] % sent.pack:
            found = f"got {units[sent.of]} of {sent.sku}"
            raise EncodeError(
                f"order {order.order_id}: expected whole packs of {sent.pack} ({sent.partner_sku}), {found}"
            )
        known = not sent.is_part
        yield ShippingLine(
            line_id=sent.line_id,
            sku=sent.sku,
            quantity=sent.quantity,
            partner_sku=sent.partner_sku,
            title=bought.title,
            unit_price=bought.unit_price * sent.pack if known and bought.unit_price is not None else None,
            weight_g=bought.weight_g * sent.pack if known and bought.weight_g is not None else None,
            channel_sku=bought.channel_sku,
            properties=bought.properties,
        )
