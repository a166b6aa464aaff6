"""Row 21: whatever an FTP server says on its control connection, and when, the error is ours and nothing is wrong."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fcflow.errors import (
    TransportError,
    TransportLoginError,
    TransportTimeoutError,
    TransportUnavailableError,
    TransportUnclearError,
)
from fcflow.testing.faults import Channel, FaultProxy
from fcflow.testing.files import delivery, feed, opened, place_on
from fcflow.testing.servers import RunningServer
from fcflow.transports.base import Presence, Query

PLAYED = RunningServer(scheme="ftp", port=0, user="leeds", password="pass-played", root=Path("/"))


class Played:
    """
    An FTP server that answers each command from *replies*, and those it does not find there as a good one would.

    Data channels come up, and carry *listing*; nothing is stored anywhere.
    """

    def __init__(self) -> None:
        self.replies: dict[str, bytes] = {}
        self.listing = b""
        self.commands: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._data = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in (self._listener, self._data):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            connection.sendall(self.replies.get("hello", b"220 hello\r\n"))
            for line in lines:
                command = line.split()[0].decode().upper() if line.split() else ""
                self.commands.append(command)
                if command in self.replies:
                    connection.sendall(self.replies[command])
                else:
                    self._be_good(connection, command)

    def _be_good(self, connection: socket.socket, command: str) -> None:
        high, low = divmod(self._data.getsockname()[1], 256)
        answers: Mapping[str, bytes] = {
            "USER": b"331 password\r\n",
            "PASS": b"230 in\r\n",
            "FEAT": b"211-this\r\n MLST type*;size*;\r\n211 end\r\n",
            "EPSV": b"229 go (|||%d|)\r\n" % (256 * high + low),
            "PASV": b"227 go (127,0,0,1,%d,%d)\r\n" % (high, low),
            "RNFR": b"350 to\r\n",
            "PWD": b'257 "/" here\r\n',
            "MLST": b"550 no such file\r\n",
        }
        if command in ("STOR", "RETR", "MLSD", "LIST"):
            connection.sendall(b"150 go\r\n")
            data, _ = self._data.accept()
            with data:
                if command == "STOR":
                    while data.recv(65536):
                        pass
                else:
                    data.sendall(self.listing)
            connection.sendall(b"226 done\r\n")
        else:
            connection.sendall(answers.get(command, b"250 fine\r\n"))


@pytest.fixture
def played() -> Iterator[Played]:
    with contextlib.closing(Played()) as server:
        yield server


def ended(call: Any) -> TransportError | None:
    """The error, which is one of ours; or nothing, where the call succeeded."""
    try:
        call()
    except TransportError as error:
        return error
    return None


# ---------------------------------------------------------------------- the first word


@pytest.mark.fault(row=21, invariants="I7")
@pytest.mark.parametrize("server", ["pyftpdlib", "asyncssh"], indirect=True)
@pytest.mark.parametrize(
    "banner",
    [
        b"\x00\xff\xfe\r\n" * 3,
        b"220-" + b"x" * 9000 + b"\r\n",
        b"x" * 300_000,
        b"220-x\r\n" * 200_000,
        b"2",
        b"hello\r\n",
        b"22 hello\r\n",
        b"2200 hello\r\n",
        b"421 too many\r\n",
        b"\r\n" * 50_000,
    ],
    ids=["garbage", "long line", "no line", "endless lines", "half", "no code", "two", "four", "421", "blank lines"],
)
def test_a_first_word_that_is_none_is_an_error_in_time(server: RunningServer, banner: bytes) -> None:
    """
    Of FTP and of SSH: garbage, too much, too little, or no for an answer.
    """
    place = place_on(server)
    with (
        FaultProxy(("127.0.0.1", server.port)) as proxy,
        opened(server, place.name, at=proxy, timeout_s=0.5) as transport,
    ):
        proxy.control = Channel(banner=banner)
        began = time.monotonic()
        with pytest.raises((TransportUnavailableError, TransportTimeoutError)):
            transport.send(delivery())
        assert time.monotonic() - began < 3
    assert place.arrived() == {}


@pytest.mark.fault(row=21, invariants="I7")
def test_an_answer_without_an_end_is_given_up_by_its_size(played: Played) -> None:
    """
    Long before the deadline, so that it does not fill the memory.
    """
    played.replies["FEAT"] = b"211-this\r\n" + b" x\r\n" * 1_000_000
    with (
        opened(PLAYED, port=played.port, timeout_s=60) as transport,
        pytest.raises(TransportUnavailableError, match="without an end"),
    ):
        transport.send(delivery())


# ---------------------------------------------------------------------- later words


@pytest.mark.fault(row=21, invariants="I1 I6")
@pytest.mark.parametrize("reply", [b"2\r\n", b"25 fine\r\n", b"2500 fine\r\n", b"fine\r\n", b"999 fine\r\n", b"\r\n"])
def test_a_rename_is_confirmed_by_an_answer_with_a_code_alone(played: Played, reply: bytes) -> None:
    """
    Anything else leaves open what became of it.
    """
    played.replies |= {"RNTO": reply, "SIZE": b"550 no such file\r\n"}
    with opened(PLAYED, port=played.port, verify="none") as transport, pytest.raises(TransportUnclearError):
        transport.send(delivery())


COMMANDS = ["USER", "PASS", "FEAT", "OPTS", "TYPE", "EPSV", "STOR", "MLST", "RNFR", "RNTO", "MLSD", "RETR", "DELE"]


@pytest.mark.fault(row=21, invariants="I1 I6")
@pytest.mark.parametrize("when", ["instead", "behind"])
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("server", ["pyftpdlib"], indirect=True)
def test_a_server_that_shuts_down_at_any_command_loses_nothing(server: RunningServer, command: str, when: str) -> None:
    """
    421 instead of an answer, or right behind one: the call fails with an error of ours or did all of its work, and the
    same calls on a healed server complete it.
    """
    place = place_on(server)
    with (
        _Saying(server, command, when) as proxy,
        opened(server, place.name, at=proxy, timeout_s=5) as transport,
    ):
        proxy.armed = True
        error = ended(lambda: transport.send(delivery()))
        if isinstance(error, TransportUnclearError):
            assert transport.look_up(delivery()) in (Presence.PRESENT, Presence.PARTLY)
        elif error is None:
            assert place.arrived() == {"orders-1.csv": b"A1;1\r\n"}
        else:
            assert not isinstance(error, TransportLoginError)
            assert "orders-1.csv" not in place.arrived()

        place.answer("s.csv", b"x")
        proxy.armed = True
        found: list[Any] = []
        looked = ended(lambda: found.extend(transport.list(feed("status"), Query())))
        assert len(found) == (looked is None)

        proxy.armed = False
        transport.send(delivery())
        assert [offer.name for offer in transport.list(feed("status"), Query())] == ["s.csv"]
    assert place.arrived() == {"orders-1.csv": b"A1;1\r\n"}


class _Saying(FaultProxy):
    """Says 421 once, at a command of FTP, and hangs up."""

    def __init__(self, server: RunningServer, command: str, when: str) -> None:
        super().__init__(("127.0.0.1", server.port))
        self.armed = False
        self._command, self._when, self._due = command.encode(), when, False

    def _up(self, block: bytes, pair: Any) -> bool:
        self._due = self._due or (self.armed and block.startswith(self._command))
        return super()._up(block, pair)

    def _down(self, block: bytes, pair: Any) -> bool:
        if not self._due:
            return super()._down(block, pair)
        self.armed = self._due = False
        pair.near.write((block if self._when == "behind" else b"") + b"421 shutting down\r\n")
        pair.near.close()
        return False


# ---------------------------------------------------------------------- any words at all

_codes = st.sampled_from(
    [b"150", b"200", b"213", b"226", b"227", b"229", b"230", b"250", b"331", b"350", b"421", b"550"]
)
_texts = st.sampled_from(
    [b"", b" ok", b"-more", b" (|||1|)", b" (|||999999|)", b" (127,0,0,1,0,9)", b" 5", b" " + b"9" * 5000]
)
_lines = st.one_of(
    st.builds(lambda code, text: code + text, _codes, _texts),
    st.binary(max_size=30),
    st.sampled_from([b" Type=file;Size=6; orders-1.csv", b"x" * 9000, b"\xff\xfe", b"\0"]),
)
_replies = st.lists(_lines, min_size=1, max_size=3).map(lambda lines: b"".join(line + b"\r\n" for line in lines))


@pytest.fixture(scope="module")
def any_words() -> Iterator[Played]:
    with contextlib.closing(Played()) as server:
        yield server


@pytest.mark.fault(row=21, invariants="I6 I7")
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    replies=st.dictionaries(st.sampled_from(["hello", *COMMANDS]), _replies, min_size=1, max_size=4), listing=_replies
)
@example(replies={"EPSV": b"229 (|||x|)\r\n"}, listing=b"")
@example(replies={"MLST": b"250-x\r\n250 y\r\n"}, listing=b"")
@example(replies={"MLST": b"250-x\r\n Size=6; orders-1.csv\r\n250 y\r\n"}, listing=b"")
def test_whatever_a_server_answers_every_call_ends_with_an_error_of_ours_or_well(
    any_words: Played, replies: dict[str, bytes], listing: bytes
) -> None:
    """
    Within the deadline; and a listing that failed is never an empty one.
    """
    any_words.replies, any_words.listing = replies, listing
    with opened(PLAYED, port=any_words.port, timeout_s=0.2) as transport:
        ended(lambda: transport.send(delivery()))
        ended(lambda: transport.look_up(delivery()))
        any_words.listing = b"type=file;size=1; s.csv\r\n"
        found: list[Any] = []
        error = ended(lambda: found.extend(transport.list(feed("status"), Query())))
        assert found or error is not None
        assert all(finding.message for finding in transport.check())
