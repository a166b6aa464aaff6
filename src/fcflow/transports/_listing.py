"""Folder listings of FTP servers: MLSD facts, and LIST as Unix and DOS write it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from attrs import evolve

from fcflow.errors import TransportUnsupportedError
from fcflow.transports._folder import Entry

__all__ = ["fact_entry", "list_entries", "mlsd_entries"]

_UNIX = re.compile(
    r"(?P<kind>[-dlbcpsDn])[-rwxsStTlL]{9}[+.@]?\s+\d+\s+\S+\s+(?:\S+\s+)??(?:(?P<size>\d+)|\d+,\s*\d+)\s+"
    r"(?P<when>[^\W\d]{3,4}\.?\s+\d{1,2}\s+(?:\d{4}|\d{1,2}:\d\d)|\d{4}-\d\d-\d\d \d\d:\d\d)\s(?P<name>.+)"
)
_DOS = re.compile(
    r"(?P<date>\d\d-\d\d-(?:\d{4}|\d\d))\s+(?P<time>\d\d:\d\d(?:[AP]M)?)\s+(?P<size>\d+|<[A-Z]+>)\s(?P<name>.+)"
)
_BEGINNING = re.compile(r"[-dlbcpsDn?][-rwxsStTlL?]{9}|\d\d-\d\d-\d\d|\S+=\S+;")
_TOTAL = re.compile(r"total \d+\s*$")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def mlsd_entries(lines: Iterable[str], where: str) -> Sequence[Entry]:
    """
    What an answer to MLSD holds, without the folder itself and the one above.

    Example:
        >>> [entry] = mlsd_entries(["type=cdir; .", "type=file;size=3;modify=20260302070501; a b.csv"], "leeds")
        >>> entry.name, entry.size, str(entry.modified_at)
        ('a b.csv', 3, '2026-03-02 07:05:01+00:00')
    """
    return _read((line for line in lines if line.strip()), lambda line: fact_entry(line, where))


def fact_entry(line: str, where: str) -> Entry | None:
    """One line of facts; ``None`` for the folder itself and the one above."""
    head, separator, name = line.partition(" ")
    facts = dict(_fact(fact) for fact in head.split(";") if fact)
    kind = facts.get("type", "").lower()
    if not separator or not name or not kind:
        raise _not_understood(line, where)
    if kind in ("cdir", "pdir"):
        return None
    size = facts.get("size", "")
    return Entry(
        name=name,
        size=int(size) if size.isdecimal() else None,
        modified_at=_fact_time(facts.get("modify")),
        is_file=kind == "file",
        mark=facts.get("unique"),
    )


def _fact(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.lower(), value


def _fact_time(text: str | None) -> datetime | None:
    if text is None or not re.match(r"\d{14}", text):
        return None
    return datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def list_entries(lines: Iterable[str], where: str, zone: tzinfo, now: datetime) -> Sequence[Entry]:
    """
    What an answer to LIST holds.

    Args:
        zone: Of the server's clock, as LIST does not say.

        now: A date without a year lies before it.

    Raises:
        TransportUnsupportedError: A line that is neither of Unix nor of DOS; a file must not be lost in silence.

    Example:
        >>> now = datetime(2026, 1, 5, tzinfo=UTC)
        >>> lines = ["total 8", "-rw-r--r-- 1 leeds users 12 Dec 31 23:50  x.csv", "01-02-26  09:30AM  <DIR> old"]
        >>> unix, dos = list_entries(lines, "leeds", UTC, now)
        >>> unix.name, unix.size, str(unix.modified_at), dos.name, dos.is_file
        (' x.csv', 12, '2025-12-31 23:50:00+00:00', 'old', False)
    """
    wanted = (line for line in lines if line.strip() and not _TOTAL.match(line))

    def entry_of(line: str) -> Entry:
        entry = _unix(line, zone, now) or _dos(line, zone)
        if entry is None:
            raise _not_understood(line, where)
        return entry

    return [entry for entry in _read(wanted, entry_of) if entry.name not in (".", "..")]


def _read(lines: Iterable[str], entry_of: Callable[[str], Entry | None]) -> list[Entry]:
    """
    The entries of *lines*; what does not even begin like one goes on with the name before it.

    A name with a line end in it is refused later, by itself; the rest of the folder is not hidden by it.
    """
    found: list[Entry] = []
    for line in lines:
        if found and not _BEGINNING.match(line):
            found[-1] = evolve(found[-1], name=f"{found[-1].name}\n{line}")
        elif (entry := entry_of(line)) is not None:
            found.append(entry)
    return found


def _unix(line: str, zone: tzinfo, now: datetime) -> Entry | None:
    match = _UNIX.fullmatch(line)
    if match is None:
        return None
    size = match["size"]
    return Entry(
        name=match["name"],
        size=int(size) if size is not None else None,
        modified_at=_unix_time(match["when"], zone, now),
        precision_s=60.0 if ":" in match["when"] else 86400.0,
        is_file=match["kind"] == "-",
    )


def _unix_time(text: str, zone: tzinfo, now: datetime) -> datetime | None:
    parts = text.split()
    if len(parts) == 2:
        return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=zone).astimezone(UTC)
    month = parts[0][:3].lower()
    if month not in _MONTHS:
        return None
    year, clock = (now.year, parts[2]) if ":" in parts[2] else (int(parts[2]), "00:00")
    when = _date(year, _MONTHS.index(month) + 1, int(parts[1]), clock, zone)
    if ":" in parts[2] and (when is None or when > now + timedelta(days=1)):
        when = _date(year - 1, _MONTHS.index(month) + 1, int(parts[1]), clock, zone)
    return when


def _date(year: int, month: int, day: int, clock: str, zone: tzinfo) -> datetime | None:
    hour, minute = (int(part) for part in clock.split(":"))
    try:
        return datetime(year, month, day, hour, minute, tzinfo=zone).astimezone(UTC)
    except ValueError:
        return None


def _dos(line: str, zone: tzinfo) -> Entry | None:
    match = _DOS.fullmatch(line)
    if match is None:
        return None
    year = "%Y" if len(match["date"]) == 10 else "%y"
    clock = "%I:%M%p" if match["time"][-1] == "M" else "%H:%M"
    try:
        when = datetime.strptime(f"{match['date']} {match['time']}", f"%m-%d-{year} {clock}").replace(tzinfo=zone)
    except ValueError:
        return None
    is_file = match["size"].isdecimal()
    return Entry(
        name=match["name"],
        size=int(match["size"]) if is_file else None,
        modified_at=when.astimezone(UTC),
        precision_s=60.0,
        is_file=is_file,
    )


def _not_understood(line: str, where: str) -> TransportUnsupportedError:
    return TransportUnsupportedError(f"{where}: a line of the listing is not understood: {line[:200]!r}")
