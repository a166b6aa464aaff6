"""
Words: a partner's own for ours, from a map of the layout or from one that is built in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["NAMED_MAPS", "folded_by", "words_of"]

_TRUE = ("true", "yes", "1", "on", "x", "ja", "j", "oui", "si", "sí", "sim", "tak", "wahr", "vrai", "y")
_FALSE = ("false", "no", "0", "off", "nein", "non", "nee", "nie", "não", "nej", "falsch", "faux", "n")

_SAID: Mapping[str, tuple[str, ...]] = {
    "accepted": (
        "accepted", "received", "acknowledged", "confirmed", "new", "open", "imported",
        "angenommen", "bestätigt", "eingegangen", "neu", "offen",
        "accepté", "acceptée", "reçu", "reçue", "confirmé", "confirmée",
        "aceptado", "recibido", "confirmado", "accettato", "ricevuto", "confermato",
        "geaccepteerd", "ontvangen", "bevestigd", "przyjęte", "przyjęty",
    ),
    "in_work": (
        "in_work", "in work", "processing", "in progress", "picking", "picked", "packing", "packed", "allocated",
        "released", "printed", "in bearbeitung", "kommissioniert", "gepackt", "verpackt",
        "en cours", "en préparation", "en traitement", "préparé", "emballé",
        "en proceso", "en preparación", "in lavorazione", "in preparazione", "in behandeling", "w realizacji",
    ),
    "part_shipped": (
        "part_shipped", "part shipped", "partially shipped", "partial", "partly shipped", "part despatched",
        "teilweise versandt", "teilversandt", "teillieferung", "partiellement expédié", "expédié partiellement",
        "enviado parcialmente", "parcialmente enviado", "spedito parzialmente", "parzialmente spedito",
        "gedeeltelijk verzonden", "częściowo wysłane",
    ),
    "shipped": (
        "shipped", "despatched", "dispatched", "sent", "complete", "completed", "fulfilled", "manifested",
        "versandt", "versendet", "verschickt", "abgeschlossen",
        "expédié", "expédiée", "envoyé", "envoyée", "enviado", "expedido", "spedito", "inviato", "evaso",
        "verzonden", "verstuurd", "wysłane", "wysłano", "wysłany",
    ),
    "delivered": (
        "delivered", "zugestellt", "ausgeliefert", "livré", "livrée", "entregado", "consegnato", "bezorgd",
        "afgeleverd", "geleverd", "dostarczone", "dostarczono",
    ),
    "cancelled": (
        "cancelled", "canceled", "void", "voided", "storniert", "abgebrochen", "annulé", "annulée", "cancelado",
        "anulado", "annullato", "cancellato", "geannuleerd", "anulowane", "anulowano",
    ),
    "returned": (
        "returned", "return to sender", "retourniert", "zurückgesandt", "rücksendung", "retourné", "retournée",
        "devuelto", "reso", "restituito", "geretourneerd", "retour", "zwrócone", "zwrot",
    ),
    "error": (
        "error", "failed", "rejected", "invalid", "on hold", "fehler", "fehlgeschlagen", "abgelehnt", "erreur", "échec",
        "rejeté", "rejetée", "rechazado", "errore", "rifiutato", "fout", "mislukt", "geweigerd", "błąd", "odrzucone",
    ),
}  # fmt: skip


def _truth(true: str, false: str) -> Mapping[str, str]:
    """Every word for yes and no; *true* and *false* are those that are written."""
    words = {true: "true", false: "false"}
    return words | dict.fromkeys(_TRUE, "true") | dict.fromkeys(_FALSE, "false")


NAMED_MAPS: Mapping[str, Mapping[str, str]] = {
    "y_n": _truth("Y", "N"),
    "yes_no": _truth("yes", "no"),
    "true_false": _truth("true", "false"),
    "one_zero": _truth("1", "0"),
    "status": {word: status for status, words in _SAID.items() for word in words},
}
"""Maps that a field may name; case never counts. The first word for each meaning is the one that is written."""


def words_of(options: Mapping[str, Any]) -> Mapping[str, str | None]:
    """The map of a field: its own, the one it names, or an empty one."""
    found = options.get("map", {})
    return NAMED_MAPS[found] if isinstance(found, str) else found


def folded_by(options: Mapping[str, Any]) -> Callable[[str], str]:
    """The function that makes two spellings of a word equal, if case does not count."""
    return str.casefold if options.get("ignore_case") or isinstance(options.get("map"), str) else str
