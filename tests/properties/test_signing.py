"""
Laws of signatures: what was signed is recognised, and nothing else is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from fcflow.config import config_schema
from fcflow.signing import (
    ENCODINGS,
    PARTS,
    PROPERTIES,
    TIMESTAMPS,
    Signable,
    SignatureScheme,
    read_timestamp,
    sign,
    verify,
)
from fcflow.transports.http import TYPE

_TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)
_PARTS = st.lists(st.sampled_from(PARTS), unique=True, min_size=1).filter(lambda p: {"body", "body_hash"} & set(p))
SCHEMES = st.builds(
    SignatureScheme,
    algorithm=st.sampled_from(["sha256", "sha512"]),
    encoding=st.sampled_from(ENCODINGS),
    prefix=st.sampled_from(["", "sha256=", "v1,"]),
    signed=_PARTS,
    separator=st.sampled_from(["", ".", "\n"]),
    timestamp=st.sampled_from(TIMESTAMPS),
)
REQUESTS = st.builds(
    Signable,
    method=st.sampled_from(["POST", "GET"]),
    target=_TEXT.map(lambda text: "/" + text),
    body=st.binary(max_size=60),
    timestamp=_TEXT,
    id=_TEXT,
)
KEYS = st.binary(min_size=1, max_size=80)
INSTANTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


@given(scheme=SCHEMES, request=REQUESTS, key=KEYS, other=KEYS)
def test_a_signature_is_recognised_by_its_key_alone(
    scheme: SignatureScheme, request: Signable, key: bytes, other: bytes
) -> None:
    """
    Among other keys and other signatures too; it is one line that can stand in a header.
    """
    assume(key.rstrip(b"\0") != other.rstrip(b"\0"))  # HMAC pads a short key with zeros
    signature = sign(scheme, key, request)

    assert verify(scheme, [other, key], request, signature)
    assert verify(scheme, [key], request, f"{scheme.prefix}00 {signature}")
    assert not verify(scheme, [other], request, signature)
    assert not verify(scheme, [], request, signature)
    assert signature.isascii()
    assert signature.isprintable()


@given(scheme=SCHEMES, request=REQUESTS, key=KEYS, body=st.binary(max_size=60))
def test_another_body_has_another_signature(
    scheme: SignatureScheme, request: Signable, key: bytes, body: bytes
) -> None:
    """
    Whatever else is signed before it.
    """
    assume(body != request.body)
    scheme = evolve(scheme, signed=[*(part for part in scheme.signed if part != "body"), "body"])
    assert not verify(scheme, [key], evolve(request, body=body), sign(scheme, key, request))


@given(scheme=SCHEMES, request=REQUESTS, key=KEYS, claimed=st.text(max_size=100))
def test_no_text_is_a_signature_by_chance(scheme: SignatureScheme, request: Signable, key: bytes, claimed: str) -> None:
    """
    Nor is it an error: strangers may say anything.
    """
    assert not verify(scheme, [key], request, claimed)


@given(scheme=SCHEMES, at=INSTANTS)
def test_an_instant_is_read_as_it_was_written(scheme: SignatureScheme, at: datetime) -> None:
    """
    To the second, or the millisecond.
    """
    read = read_timestamp(scheme, scheme.written(at))
    assert read is not None
    assert abs((read - at).total_seconds()) < 1.001


@given(scheme=SCHEMES, text=st.text(max_size=30))
def test_any_text_is_an_aware_instant_or_none(scheme: SignatureScheme, text: str) -> None:
    """
    And never an error.
    """
    read = read_timestamp(scheme, text)
    assert read is None or read.tzinfo is not None


def test_both_ways_are_described_alike() -> None:
    """
    The schema of a push, that of a signed request, and the code know the same options.
    """

    def said(properties: dict[str, Any]) -> dict[str, Any]:
        free = ("description", "default")
        return {name: {k: v for k, v in each.items() if k not in free} for name, each in properties.items()}

    pushed = dict(config_schema()["$defs"]["push_signature"]["properties"])
    assert pushed.pop("about")
    assert pushed.pop("tolerance_s")["default"] == 300
    sent = TYPE.options_schema["properties"]["sign"]["properties"]
    assert said(pushed) == said(PROPERTIES) == said(sent)
    assert sent["signed"]["default"] == list(SignatureScheme().signed)
    assert sent["separator"]["default"] == SignatureScheme().separator
