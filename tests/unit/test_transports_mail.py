"""The pure parts of e-mail: structures of messages, transfer encodings, letters."""

from __future__ import annotations

import base64
import binascii
import quopri
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcflow.errors import TransportUnsupportedError
from fcflow.model import Feed
from fcflow.transports._imapclient import mailbox_name
from fcflow.transports._letter import letter_of, mailbox
from fcflow.transports._mime import attachments, decoder_of, parsed
from fcflow.transports.base import Delivery

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def decoded(encoding: str, text: bytes, cuts: list[int]) -> bytes:
    decoder = decoder_of(encoding)
    assert decoder is not None
    ends = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [decoder.feed(text[start:end]) for start, end in pairwise(ends)]
    return b"".join([*pieces, decoder.end()])


@given(content=st.binary(max_size=300), cuts=st.lists(st.integers(0, 500)))
def test_contents_survive_wherever_they_are_cut(content: bytes, cuts: list[int]) -> None:
    """
    Blocks end anywhere; what comes out is what went in.
    """
    assert decoded("base64", base64.encodebytes(content).replace(b"\n", b"\r\n"), cuts) == content
    assert decoded("quoted-printable", quopri.encodestring(content, quotetabs=True), cuts) == content
    assert decoded("binary", content, cuts) == content


@given(content=st.binary(min_size=1, max_size=100), data=st.data())
def test_base64_that_was_cut_is_an_error_or_shorter_by_whole_groups(content: bytes, data: st.DataObject) -> None:
    """
    Never another content.
    """
    text = base64.b64encode(content)
    cut = data.draw(st.integers(0, len(text) - 1))
    try:
        found = decoded("base64", text[:cut], [])
    except (ValueError, binascii.Error):
        return
    assert cut % 4 == 0
    assert content.startswith(found)


_ATOM = st.sampled_from(
    [b"UID", b"5", b'"a b"', b'"\\""', b"NIL", b"(", b")", b"((", b"))", b'"', b"{5}", b"\xff", b"\\"]
)


@given(st.lists(_ATOM, max_size=40).map(b" ".join))
def test_whatever_a_server_says_reading_it_ends(text: bytes) -> None:
    """
    With lists of bytes, or with a `ValueError`.
    """
    try:
        found = parsed([text])
    except ValueError:
        return
    assert all(each is None or isinstance(each, bytes | list) for each in found)


_TREE: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.binary(max_size=8) | st.sampled_from([b"text", b"7", b"name", b"message"]),
    lambda below: st.lists(below, max_size=12),
    max_leaves=60,
)


@given(_TREE)
def test_whatever_a_structure_is_finding_attachments_ends(structure: Any) -> None:
    """
    With attachments, or with an error that a look at one message may end with.
    """
    try:
        found = attachments(structure)
    except (ValueError, TypeError, IndexError, AttributeError):
        return
    assert all(each.name for each in found)


def test_lists_nested_without_end_are_refused() -> None:
    """
    At a depth that no message needs.
    """
    with pytest.raises(ValueError, match="deeply"):
        parsed([b"(" * 10_000])


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_folder_names_are_spelt_in_ascii_and_come_back(name: str) -> None:
    """
    In the protocol's own kind of base64.
    """
    spelt = mailbox_name(name)
    assert spelt.isascii()
    assert _unspelt(spelt) == name


def _unspelt(spelt: str) -> str:
    found, rest = "", spelt
    while rest:
        plain, _, rest = rest.partition("&")
        found += plain
        if rest or spelt.endswith("&"):
            code, _, rest = rest.partition("-")
            padded = code.replace(",", "/") + "=" * (-len(code) % 4)
            found += base64.b64decode(padded).decode("utf-16-be") if code else "&"
    return found


@given(
    key=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60),
    content=st.binary(max_size=500),
    subject=st.text(max_size=300),
    ids=st.lists(st.text(st.characters(), max_size=30), max_size=15),
)
def test_a_letter_holds_the_file_and_no_header_of_anybody_else(
    key: str, content: bytes, subject: str, ids: list[str]
) -> None:
    """
    Whatever stands in subject, ids and key.
    """
    feed = Feed(
        kind="orders", partner="acme", layout="x", options={"subject": subject.encode("utf-8", "replace").decode()}
    )
    delivery = Delivery(key=key, feed=feed, name="orders.csv", content=content, fulfilment_ids=ids)
    letter = letter_of(delivery, {"from": "a@shop.example", "to": "b@acme.example", "text": "{fulfilment_ids}"}, NOW)

    message = message_from_bytes(letter.content, policy=default)
    assert sorted(message.keys()) == sorted(
        [
            "From",
            "To",
            "Subject",
            "Date",
            "Message-ID",
            "X-Fcflow-Delivery",
            "Auto-Submitted",
            "MIME-Version",
            "Content-Type",
        ]
    )
    assert [part.get_content() for part in message.iter_attachments()] == [content]
    assert letter.recipients == ("b@acme.example",)
    assert max(map(len, letter.content.split(b"\r\n"))) <= 998
    assert b"\n" not in letter.content.replace(b"\r\n", b"")
    assert b"\r" not in letter.content.replace(b"\r\n", b"")


def test_only_its_date_differs_between_attempts() -> None:
    """
    So that a repeat is the same message.
    """
    delivery = Delivery(key="k-1", feed=Feed(kind="orders", partner="acme", layout="x"), name="o.csv", content=b"1")
    addresses = {"from": "a@shop.example", "to": ["b@acme.example", "B <b@acme.example>"]}
    one, other = (letter_of(delivery, addresses, moment) for moment in (NOW, NOW.replace(hour=10)))
    assert one.content == other.content.replace(b"10:30:00", b"09:30:00")
    assert one.recipients == ("b@acme.example",)


@given(text=st.text(max_size=40))
def test_an_address_is_one_or_an_error(text: str) -> None:
    """
    Never two, and never with a blank or an end of line.
    """
    try:
        found = str(mailbox(text))
    except TransportUnsupportedError:
        return
    assert found.count("@") == 1
    assert not any(char.isspace() or char in '<>,;:"()' for char in found)
