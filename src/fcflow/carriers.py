"""
Who carries parcels: one name for every way in which a carrier is written, and where its parcels can be followed.

The table `carriers.csv` has the usual ones; a configuration adds its own, and a partner its own words for them.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from urllib.parse import quote

from attrs import field, frozen

__all__ = ["Carrier", "Carriers"]


def _url(instance: object, attribute: object, value: str | None) -> None:
    if value is not None and not (value.startswith(("https://", "http://")) and value.count("{number}") == 1):
        raise ValueError(f"tracking_url: expected an address with one {{number}}, got {value!r}")


def _tuple(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@frozen(kw_only=True)
class Carrier:
    """
    One carrier.

    Args:
        name: What people call it; a shipment's ``carrier`` says this.

        tracking_url: With ``{number}`` where the tracking number goes; ``None`` where its parcels cannot be followed.

        names: Other ways to write it; case, accents and punctuation do not matter.

    Example:
        >>> Carrier(code="acme", name="Acme Vans", tracking_url="https://acme.example/{number}").url_of("A 1/2")
        'https://acme.example/A%201%2F2'
    """

    code: str
    name: str
    tracking_url: str | None = field(default=None, validator=_url)
    names: tuple[str, ...] = field(default=(), converter=_tuple)

    def url_of(self, tracking_number: str) -> str | None:
        """Where one parcel can be followed; ``None`` where it cannot."""
        return (
            None
            if self.tracking_url is None
            else self.tracking_url.replace("{number}", quote(tracking_number, safe=""))
        )


class Carriers:
    """
    The carriers that are known, and *own* ones, which come first.

    Example:
        >>> carriers = Carriers()
        >>> carriers.name_of("royalmail"), carriers.name_of("My Nephew"), carriers.name_of(None)
        ('Royal Mail', 'My Nephew', None)
        >>> carriers.urls_of("UPS", ["1Z 9"])
        ['https://www.ups.com/track?tracknum=1Z%209']
    """

    def __init__(self, own: Iterable[Carrier] = ()) -> None:
        self._known = {**_usual(), **_spellings(own)}

    def find(self, said: str | None, words: Mapping[str, str] | None = None) -> Carrier | None:
        """
        The carrier that is meant, or ``None`` where nobody knows it.

        Args:
            words: A partner's own words, to a code or name; they win.
        """
        if said is None:
            return None
        meant = {_folded(word): name for word, name in (words or {}).items()}.get(_folded(said), said)
        return self._known.get(_folded(meant))

    def name_of(self, said: str | None, words: Mapping[str, str] | None = None) -> str | None:
        """The name of the carrier that is meant; what nobody knows stays as it was said."""
        carrier = self.find(said, words)
        return said if carrier is None else carrier.name

    def urls_of(self, said: str | None, tracking_numbers: Iterable[str]) -> list[str]:
        """Where parcels can be followed, one address each; none where that is not known."""
        carrier = self.find(said)
        urls = [] if carrier is None else [carrier.url_of(number) for number in tracking_numbers]
        return [url for url in urls if url is not None]


@cache
def _usual() -> Mapping[str, Carrier]:
    text = files("fcflow").joinpath("carriers.csv").read_text(encoding="utf-8")
    return _spellings(
        Carrier(
            code=row["code"], name=row["name"], tracking_url=row["tracking_url"] or None, names=row["names"].split("|")
        )
        for row in csv.DictReader(text.splitlines())
    )


def _spellings(carriers: Iterable[Carrier]) -> dict[str, Carrier]:
    return {_folded(name): each for each in carriers for name in (*each.names, each.name, each.code)}


def _folded(name: str) -> str:
    bare = unicodedata.normalize("NFKD", name.casefold().replace("&", "and"))
    return "".join(each for each in bare if each.isalnum())
