"""Names, folders and listings: nothing leads elsewhere, nothing is lost in silence."""

from __future__ import annotations

import posixpath
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fcflow.errors import ConfigError, TransportError, TransportUnsupportedError
from fcflow.model import Connection
from fcflow.transports._address import address_of
from fcflow.transports._faults import scrubbed
from fcflow.transports._listing import list_entries, mlsd_entries
from fcflow.transports._names import archived_name, fault_of_name, joined, safe_folder
from fcflow.transports.base import Endpoint

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
odd_text = st.text(st.sampled_from("a.b/\\:~-_ \0\n\r\x1b\x7f\x85é\u2028\ud800"), max_size=12) | st.text(max_size=300)


@given(name=odd_text)
@example(name="..")
@pytest.mark.fault(row=25, invariants="I8")
def test_a_good_name_is_one_segment_of_a_path(name: str) -> None:
    """Joined to a folder it stays in it, fits on a line and into a file system."""
    if fault_of_name(name) is not None:
        return
    assert posixpath.normpath(f"/base/{name}") == f"/base/{name}"
    assert len(name.splitlines()) == 1
    assert "\0" not in name
    assert len(name.encode()) <= 255


@given(path=odd_text)
@pytest.mark.fault(row=25, invariants="I8")
def test_a_folder_stays_below_its_base(path: str) -> None:
    """Or it is refused."""
    try:
        folder = safe_folder(path)
    except TransportError:
        return
    assert posixpath.normpath(joined("/base", folder)).startswith("/base")


@given(name=odd_text, attempt=st.integers(0, 99))
def test_a_name_in_the_archive_is_a_good_one(name: str, attempt: int) -> None:
    """Whatever good name it was made from."""
    if fault_of_name(name) is None:
        assert fault_of_name(archived_name(name, NOW, attempt)) is None


def test_names_in_the_archive_differ() -> None:
    """So that looking for a free one ends."""
    assert len({archived_name("x" * 255, NOW, attempt) for attempt in range(1, 100)}) == 99


@given(secret=st.text(min_size=1), before=st.text(), after=st.text())
def test_a_secret_never_stays_in_a_text(secret: str, before: str, after: str) -> None:
    """However it got there."""
    if secret not in "***":
        assert secret not in scrubbed(before + secret + after, [secret]).replace("***", "")


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("ftp://h", ""),
        ("ftp://h/", ""),
        ("ftp://h/~", ""),
        ("ftp://h/~/in/", "in"),
        ("ftp://h/in", "/in"),
        ("ftp://h/in//leeds/", "/in/leeds"),
        ("ftp://h/a%20b", "/a b"),
    ],
)
def test_the_base_folder_of_a_url(url: str, base: str) -> None:
    """Absolute as written, below the login's own folder with ``~``."""
    assert address_of(Endpoint(partner="p", connection=Connection(url=url), resolve=str), 21).base == base


@pytest.mark.parametrize(
    "url", ["ftp://", "ftp:///in", "ftp://u:pass@h/", "ftp://h/../etc", "ftp://h:x/", "ftp://h/a?b", "ftp://h/%2e%2e"]
)
def test_a_url_that_says_nothing_good_is_a_fault(url: str) -> None:
    """Found before anything connects."""
    with pytest.raises(ConfigError):
        address_of(Endpoint(partner="p", connection=Connection(url=url), resolve=str), 21)


# ---------------------------------------------------------------------- listings


@pytest.mark.parametrize(
    ("line", "name", "size", "when", "is_file"),
    [
        ("-rw-r--r--   1 leeds    users       12 Nov 23 07:21 a.csv", "a.csv", 12, "2026-11-23T07:21", True),
        ("-rw-r--r--   1 leeds    users       12 Dec 31 23:59 a.csv", "a.csv", 12, "2025-12-31T23:59", True),
        ("-rw-r--r--   1 leeds    users       12 Feb 29  2024 a.csv", "a.csv", 12, "2024-02-29T00:00", True),
        ("-rw-r--r--+  1 1000     1000        12 Nov  3 07:21   a b.csv", "  a b.csv", 12, "2026-11-03T07:21", True),
        ("-rw-r--r--   1 leeds          12 Nov 23 07:21 a.csv", "a.csv", 12, "2026-11-23T07:21", True),
        ("-rw-r--r--   1 leeds users 12 2026-03-02 07:05 a.csv", "a.csv", 12, "2026-03-02T07:05", True),
        ("-rw-r--r--   1 leeds users 12 Okt 23 07:21 a.csv", "a.csv", 12, None, True),
        ("drwxr-xr-x   2 leeds    users     4096 Nov 23 07:21 out", "out", 4096, "2026-11-23T07:21", False),
        ("lrwxrwxrwx   1 leeds    users        4 Nov 23 07:21 l -> x", "l -> x", 4, "2026-11-23T07:21", False),
        ("crw-rw-rw-   1 root     root    1,   3 Nov 23 07:21 null", "null", None, "2026-11-23T07:21", False),
        ("03-02-26  07:05AM                   12 a b.csv", "a b.csv", 12, "2026-03-02T07:05", True),
        ("03-02-2026  19:05          12 a.csv", "a.csv", 12, "2026-03-02T19:05", True),
        ("03-02-26  12:05PM       <DIR>          out", "out", None, "2026-03-02T12:05", False),
    ],
)
def test_a_line_of_a_listing(line: str, name: str, size: int | None, when: str | None, is_file: bool) -> None:
    """As servers of Unix and of Windows write it."""
    [entry] = list_entries([line], "leeds", UTC, NOW)

    assert (entry.name.lstrip() if "DIR" in line else entry.name, entry.is_file) == (name, is_file)
    assert entry.size == size
    assert entry.modified_at == (None if when is None else datetime.fromisoformat(when).replace(tzinfo=UTC))


@pytest.mark.fault(row=14, invariants="I4")
def test_times_of_a_listing_are_read_in_its_zone() -> None:
    """LIST says nothing of zones; the options do."""
    line = "-rw-r--r-- 1 leeds users 12 Jul 23 07:21 a.csv"
    [entry] = list_entries([line], "leeds", ZoneInfo("Europe/Berlin"), NOW)
    assert entry.modified_at == datetime(2026, 7, 23, 5, 21, tzinfo=UTC)


@given(
    moment=st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)), age=st.timedeltas(timedelta(0), timedelta(180))
)
@pytest.mark.fault(row=14, invariants="I1 I4")
def test_the_year_that_a_listing_leaves_out_is_found(moment: datetime, age: timedelta) -> None:
    """Within half a year it is the last such day, over the turn of the year too."""
    now = moment.replace(tzinfo=UTC)
    then = (now - age).replace(second=0, microsecond=0)
    line = f"-rw-r--r-- 1 leeds users 12 {then:%b %d %H:%M} a.csv"
    [entry] = list_entries([line], "leeds", UTC, now)
    assert entry.modified_at == then


@pytest.mark.parametrize(
    "line", ["b.csv", "-rw-r--r-- what", "d", "13-45-26  07:05AM  12 a.csv", "total", "<html>", "\x1b[0m"]
)
@pytest.mark.fault(row=23, invariants="I6")
def test_a_line_that_is_not_understood_is_an_error(line: str) -> None:
    """A file must not be lost because its line looks odd."""
    with pytest.raises(TransportUnsupportedError):
        list_entries([line], "leeds", UTC, NOW)
    with pytest.raises(TransportUnsupportedError):
        mlsd_entries([line], "leeds")


@pytest.mark.fault(row=24, invariants="I6 I8")
def test_a_line_end_in_a_name_spoils_that_name_alone() -> None:
    """What begins like no entry goes on with the name before it; that name is refused, and the next entry is whole."""
    unix = ["-rw-r--r-- 1 a b 12 Nov 23 07:21 new", "line.csv", "-rw-r--r-- 1 a b 12 Nov 23 07:21 z.csv"]
    assert [entry.name for entry in list_entries(unix, "leeds", UTC, NOW)] == ["new\nline.csv", "z.csv"]
    facts = ["type=cdir; .", "type=file;size=1; new", "line.csv", "type=file;size=1; z.csv"]
    found = mlsd_entries(facts, "leeds")
    assert [fault_of_name(entry.name) for entry in found] == ["it holds control characters", None]


@pytest.mark.fault(row=23, invariants="I6")
@pytest.mark.parametrize("line", ["l????????? ? ? ? ?            ? broken.csv", "-rw-r--r-- what", "03-02-26 what"])
def test_an_entry_that_is_not_understood_is_an_error_wherever_it_stands(line: str) -> None:
    """It is not taken for a part of the name before it."""
    with pytest.raises(TransportUnsupportedError):
        list_entries(["-rw-r--r-- 1 a b 12 Nov 23 07:21 a.csv", line], "leeds", UTC, NOW)
