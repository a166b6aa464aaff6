"""Row 24: whatever lies in a partner's folder, nothing leads out of it, and what is good is taken all the same."""

from __future__ import annotations

import io
import logging
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from fcflow.errors import TransportError, TransportNotFoundError, TransportRefusedError
from fcflow.testing.files import Place, delivery, feed, opened, place_on
from fcflow.testing.servers import RunningServer
from fcflow.transports.base import Offer, Outcome, Presence, Query

pytestmark = pytest.mark.fault(row=24, invariants="I8")
real_server = pytest.mark.real_server
every_server = pytest.mark.parametrize(
    "server",
    [
        "pyftpdlib",
        "pyftpdlib-unix",
        "asyncssh",
        pytest.param("vsftpd", marks=real_server),
        pytest.param("openssh", marks=real_server),
    ],
    indirect=True,
)

GOOD = [
    "good.csv",
    "x" * 251 + ".csv",
    "é" * 125 + "a.csv",
    "Case.csv",
    "case.csv",
    unicodedata.normalize("NFC", "grün.csv"),
    unicodedata.normalize("NFD", "grün.csv"),
    "-rf.csv",
    "con.csv",
    "AUX.csv",
    "a b.csv",
    "%2e%2e.csv",
    "a;b=c.csv",
    "$(id).csv",
    "'quoted'.csv",
    "#1?.csv",
    "a*b[1].csv",
    "~root.csv",
    "日本.csv",
]
BAD = [
    b"..\\up.csv",
    b"C:\\up.csv",
    b"C:drive.csv",
    b"escape\x1b[2J.csv",
    b"bell\x07.csv",
    b"delete\x7f.csv",
    b"not utf-8 \xff\xfe.csv",
    b"half \xc3.csv",
    "line\u2028separator.csv".encode(),
    "next\x85line.csv".encode(),
]
BROKEN = [b"new\nline.csv", b"return\r.csv", b"both\r\n.csv"]


@pytest.fixture
def place(server: RunningServer) -> Place:
    return place_on(server)


def lay(place: Place, name: bytes, content: bytes = b"bad") -> None:
    Path(os.fsdecode(os.fsencode(place.root / "out") + b"/" + name)).write_bytes(content)


def taken(transport: Any) -> dict[str, bytes]:
    """Everything that is offered, fetched and archived; what is offered and cannot be fetched is left out."""
    found: dict[str, bytes] = {}
    for offer in transport.list(feed("status", match="*"), Query()):
        sink = io.BytesIO()
        try:
            transport.fetch(offer, sink)
        except TransportNotFoundError:
            continue
        transport.settle(offer, Outcome.APPLIED)
        found[offer.name] = sink.getvalue()
    return found


@every_server
def test_hostile_names_are_left_and_reported_and_the_others_are_taken(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Paths, control characters, bytes that are no text; beside them spaces, signs, device names, 255 bytes, and names
    that differ in case or in normal form alone, which all are taken, each as itself.
    """
    caplog.set_level(logging.WARNING)
    for name in BAD:
        lay(place, name)
    for number, name in enumerate(GOOD):
        place.answer(name, b"good %d" % number)
    with opened(place.server, place.name) as transport:
        found = taken(transport)
        assert found == {name: b"good %d" % number for number, name in enumerate(GOOD)}
        assert taken(transport) == {}
        warned = [finding.message for finding in transport.check() if finding.code == "transport.name"]
    left = [name for name in os.listdir(os.fsencode(place.root / "out")) if name != b"archive"]
    assert sorted(left) == sorted(BAD)
    assert all(line.isprintable() for line in [*warned, *caplog.messages])
    archived = {path.name: path.read_bytes() for path in (place.root / "out" / "archive").iterdir()}
    assert sorted(archived.values()) == sorted(found.values())
    assert list(place.root.parent.glob("*.csv")) == []


@every_server
@pytest.mark.parametrize("name", BROKEN)
def test_a_line_end_in_a_name_hides_no_other_file(place: Place, name: bytes) -> None:
    """
    Where a listing is made of lines, too.
    """
    lay(place, name)
    for good in ("a.csv", "z.csv"):
        place.answer(good, b"good")
    with opened(place.server, place.name) as transport:
        assert taken(transport) == {"a.csv": b"good", "z.csv": b"good"}
    assert name in os.listdir(os.fsencode(place.root / "out"))


@every_server
def test_only_plain_files_are_taken(place: Place, tmp_path: Path) -> None:
    """
    No links, in the folder or out of it, to a file, a folder or nothing; no folders and no pipes named like files.
    """
    out = place.root / "out"
    secret = tmp_path / "secret.csv"
    secret.write_bytes(b"secret")
    (out / "out.csv").symlink_to(secret)
    (out / "absolute.csv").symlink_to("/etc/passwd")
    (out / "relative.csv").symlink_to("../../../etc/passwd")
    (out / "inside.csv").symlink_to("good.csv")
    (out / "dangling.csv").symlink_to("nowhere")
    (out / "loop.csv").symlink_to("loop.csv")
    (out / "linked.csv").symlink_to(place.root)
    (out / "folder.csv").mkdir()
    if "pyftpdlib" not in str(place.root):
        # That server calls it a file, and would wait for somebody to write into it.
        os.mkfifo(out / "pipe.csv")
    place.answer("good.csv", b"good")
    with opened(place.server, place.name) as transport:
        assert taken(transport) == {"good.csv": b"good"}
        for name in ("out.csv", "absolute.csv", "folder.csv"):
            token = f'{{"folder": "out", "name": "{name}", "size": 6, "modified_at": null}}'
            sink = io.BytesIO()
            with pytest.raises(TransportError):
                transport.fetch(Offer(feed=feed("status"), name=name, token=token), sink)
            assert b"secret" not in sink.getvalue()
    assert secret.read_bytes() == b"secret"


@every_server
def test_a_token_leads_nowhere_else(place: Place) -> None:
    """
    It comes back from the store, and is looked at like anything else.
    """
    (place.root / "above.csv").write_bytes(b"above")
    with opened(place.server, place.name) as transport:
        for folder, name in (
            ("out", "../above.csv"),
            ("..", "above.csv"),
            ("out", "/etc/passwd"),
            ("/", "a/b"),
            ("", ""),
        ):
            token = f'{{"folder": "{folder}", "name": "{name}", "size": null, "modified_at": null}}'
            offer = Offer(feed=feed("status"), name="s.csv", token=token)
            sink = io.BytesIO()
            with pytest.raises(TransportRefusedError):
                transport.fetch(offer, sink)
            with pytest.raises(TransportRefusedError):
                transport.settle(offer, Outcome.APPLIED)
            assert sink.getvalue() == b""


@every_server
@pytest.mark.fault(row=25, invariants="I8")
@pytest.mark.parametrize(
    "name", ["../x.csv", "/x.csv", "a/../../b.csv", "a\r\nDELE x", "a\0b", "x" * 256, "é" * 128, "\ud800.csv", "", ".."]
)
def test_a_name_of_ours_that_leads_elsewhere_is_refused(place: Place, name: str) -> None:
    """
    Before anything is written.
    """
    with opened(place.server, place.name) as transport, pytest.raises(TransportRefusedError):
        transport.send(delivery(name=name))
    assert place.arrived() == {}
    assert sorted(path.name for path in place.root.iterdir()) == ["in", "out"]


@every_server
@pytest.mark.fault(row=25, invariants="I3 I8")
@pytest.mark.parametrize(
    "name", ["-rf.csv", "a b.csv", "a;b.csv", "%2e%2e", "#?*[x].csv", "grün.csv", "日本.csv", "x" * 240]
)
def test_an_odd_name_of_ours_arrives_as_it_is(place: Place, name: str) -> None:
    """
    Nothing takes it for an option, a pattern or an escape.
    """
    sent = delivery(name=name)
    with opened(place.server, place.name) as transport:
        transport.send(sent)
        assert transport.look_up(sent) is Presence.PRESENT
        transport.send(sent)
    assert place.arrived() == {name: b"A1;1\r\n"}


@every_server
@pytest.mark.fault(row=24, invariants="I2 I8")
def test_a_link_under_our_name_is_not_written_through(place: Place, tmp_path: Path) -> None:
    """
    The file that it leads to is as it was: the link is refused, or, leading nowhere on the server, gives way.
    """
    victim = place.root / "victim"
    victim.write_bytes(b"as it was")
    (place.root / "in" / "orders-1.csv").symlink_to(victim)
    with opened(place.server, place.name) as transport:
        try:
            transport.send(delivery())
        except TransportRefusedError:
            assert (place.root / "in" / "orders-1.csv").is_symlink()
        else:
            assert not (place.root / "in" / "orders-1.csv").is_symlink()
            assert place.arrived() == {"orders-1.csv": b"A1;1\r\n"}
    assert victim.read_bytes() == b"as it was"
