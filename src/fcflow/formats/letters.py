"""
Letters that an encoding lacks, by those that come nearest.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from fcflow.errors import MissingExtraError

__all__ = ["WAYS", "nearest_letters"]

WAYS = ("replace", "german", "transliterate")
"""What a layout may ask for: the letter without its mark; ae for ä as well; any script in Latin letters."""

_LETTERS = {
    "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D",
    "ł": "l", "Ł": "L", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i", "’": "'", "‘": "'",
    "“": '"', "”": '"', "„": '"', "–": "-", "—": "-", "…": "...", "€": "EUR", "\u00a0": " ", "\u202f": " ",
}  # fmt: skip
_GERMAN = {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"}


def nearest_letters(encoding: str, way: str) -> Callable[[str], str]:
    """
    The function from one character to what *encoding* can hold of it; a question mark where that is nothing.

    Raises:
        MissingExtraError: *way* is ``transliterate``, and the package for it is not installed.

    Example:
        >>> "".join(map(nearest_letters("ascii", "german"), "Jürgen Łoś, Straße 5"))
        'Juergen Los, Strasse 5'
    """
    special = _LETTERS | _GERMAN if way == "german" else _LETTERS
    latin = _latin() if way == "transliterate" else lambda character: ""

    def nearest(character: str) -> str:
        special_one = special.get(character, "")
        for candidate in (character, special_one, _bare(character), latin(character)):
            if candidate and _fits(candidate, encoding):
                return candidate
        return "?"

    return nearest


def _fits(text: str, encoding: str) -> bool:
    return text.encode(encoding, "ignore").decode(encoding, "ignore") == text


def _bare(character: str) -> str:
    """The letter without its marks, however they are composed."""
    return "".join(each for each in unicodedata.normalize("NFKD", character) if not unicodedata.combining(each))


def _latin() -> Callable[[str], str]:
    try:
        from anyascii import anyascii
    except ImportError as error:
        raise MissingExtraError("letters", "anyascii") from error
    return anyascii
