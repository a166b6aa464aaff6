"""
Countries: codes of ISO 3166-1 and names in ten languages, both ways.

The table `countries.csv` is written by `scripts/countries` from pycountry (codes) and the Unicode CLDR (names).
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files

__all__ = ["COUNTRY_FORMS", "LANGUAGES", "country_code", "country_format"]

LANGUAGES = ("en", "de", "fr", "es", "it", "nl", "pl", "pt", "sv", "da")

COUNTRY_FORMS = ("alpha_2", "alpha_3", "numeric", *LANGUAGES)
"""How a country may be written: by a code, or by its name in a language."""

_ALSO: Mapping[str, str] = {
    "UK": "GB", "U.K.": "GB", "Great Britain": "GB", "England": "GB", "Scotland": "GB", "Wales": "GB",
    "Northern Ireland": "GB", "United Kingdom of Great Britain and Northern Ireland": "GB", "Großbritannien": "GB",
    "Grande-Bretagne": "GB", "Gran Bretaña": "GB", "Gran Bretagna": "GB", "Groot-Brittannië": "GB",
    "USA": "US", "U.S.A.": "US", "U.S.": "US", "United States of America": "US", "America": "US",
    "Vereinigte Staaten von Amerika": "US", "États-Unis d'Amérique": "US", "Stati Uniti d'America": "US",
    "Holland": "NL", "The Netherlands": "NL", "Republic of Ireland": "IE", "Eire": "IE", "Éire": "IE",
    "Czech Republic": "CZ", "Tschechische Republik": "CZ", "République tchèque": "CZ", "República Checa": "CZ",
    "Slovak Republic": "SK", "Russian Federation": "RU", "Republic of Korea": "KR", "Korea, Republic of": "KR",
    "Hong Kong": "HK", "Hongkong": "HK", "Macau": "MO", "Macao": "MO", "Viet Nam": "VN", "UAE": "AE", "Turkey": "TR",
    "Türkiye": "TR", "Vatican": "VA", "Holy See": "VA", "Ivory Coast": "CI", "Cape Verde": "CV", "Swaziland": "SZ",
    "Macedonia": "MK", "Burma": "MM", "East Timor": "TL", "Taiwan, Province of China": "TW", "Palestine": "PS",
    "Moldova, Republic of": "MD", "Iran, Islamic Republic of": "IR", "Syrian Arab Republic": "SY", "Espana": "ES",
    "Deutschland (DE)": "DE", "BRD": "DE", "Brunei Darussalam": "BN", "Lao People's Democratic Republic": "LA",
    "Democratic Republic of the Congo": "CD", "DR Congo": "CD", "Republic of the Congo": "CG", "Congo": "CG",
    "Bosnia and Herzegovina": "BA", "Saint Martin": "MF", "Curacao": "CW", "Reunion": "RE", "Aland Islands": "AX",
}  # fmt: skip
"""Names that people write and no list of countries has."""


def _folded(name: str) -> str:
    """The form in which two spellings of one name are equal: any case, no accents, no punctuation, `&` for *and*."""
    bare = unicodedata.normalize("NFKD", name.casefold().replace("&", "and"))
    return "".join(each for each in bare if each.isalnum())


@cache
def _rows() -> list[dict[str, str]]:
    text = files("fcflow.formats").joinpath("countries.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def _known() -> Mapping[str, str]:
    """Every spelling, folded, to the alpha-2 code; codes win over names."""
    names = {_folded(name): code for name, code in _ALSO.items()}
    names |= {_folded(row[language]): row["alpha_2"] for language in LANGUAGES for row in _rows()}
    return names | {row[form].casefold(): row["alpha_2"] for form in COUNTRY_FORMS[:3] for row in _rows() if row[form]}


def country_code(text: str) -> str | None:
    """
    The alpha-2 code of a country that is named by any code, or by its name in any of the languages.

    A numeric code may lack its leading zeros, as spreadsheets leave it.

    Example:
        >>> [country_code(text) for text in ("gb", "DEU", "40", "Côte d’Ivoire", "Österreich", "Atlantis")]
        ['GB', 'DE', 'AT', 'CI', 'AT', None]
    """
    folded = _folded(text)
    return _known().get(folded.rjust(3, "0") if folded.isdigit() else folded)


def country_format(form: str) -> Callable[[str], str]:
    """
    The function from an alpha-2 code to one of the `COUNTRY_FORMS`; a code that has none stays as it is.

    Example:
        >>> country_format("alpha_3")("GB"), country_format("de")("FR"), country_format("numeric")("AT")
        ('GBR', 'Frankreich', '040')
    """
    spelt = {row["alpha_2"]: row[form] for row in _rows()}
    return lambda code: spelt.get(code) or code
