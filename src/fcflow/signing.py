"""
Keyed signatures (HMAC) of HTTP requests: those that we send, and those that partners push to us.

Partners differ in what they sign, in which order, and how they write it down; a `SignatureScheme` says all of it, and
both directions read the same one. Everything here is a pure function of its arguments.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from attrs import field, frozen, validators

from fcflow.errors import SecretError

__all__ = ["PROPERTIES", "Signable", "SignatureScheme", "read_timestamp", "sign", "signing_key", "verify"]

ALGORITHMS = ("sha256", "sha512")
ENCODINGS = ("hex", "base64")
PARTS = ("timestamp", "id", "method", "target", "path", "query", "body", "body_hash")
TIMESTAMPS = ("unix", "unix_ms", "iso")
KEYS = ("text", "hex", "base64")

PROPERTIES: dict[str, Any] = {
    "header": {
        "type": "string",
        "pattern": "^[A-Za-z0-9-]+$",
        "default": "X-Signature",
        "description": "header that carries the signature",
    },
    "algorithm": {"enum": [*ALGORITHMS], "default": "sha256", "description": "hash of the HMAC"},
    "encoding": {"enum": [*ENCODINGS], "default": "hex", "description": "how the signature is written"},
    "prefix": {
        "type": "string",
        "maxLength": 40,
        "default": "",
        "description": "text before the signature, such as `sha256=` or `v1,`",
    },
    "signed": {
        "type": "array",
        "minItems": 1,
        "uniqueItems": True,
        "items": {"enum": [*PARTS]},
        "contains": {"enum": ["body", "body_hash"]},
        "description": "what is signed, in this order: `timestamp` `id` `method` `target` (path and query) `path` "
        "`query` `body` `body_hash` (in hex, of the same algorithm); the body is always among it",
    },
    "separator": {"type": "string", "maxLength": 4, "description": "what stands between the signed parts"},
    "timestamp_header": {
        "type": "string",
        "pattern": "^[A-Za-z0-9-]+$",
        "default": "X-Timestamp",
        "description": "header that carries the instant, where it is signed",
    },
    "timestamp": {
        "enum": [*TIMESTAMPS],
        "default": "unix",
        "description": "seconds or milliseconds since 1970, or ISO 8601 in UTC",
    },
    "key_form": {
        "enum": [*KEYS],
        "default": "text",
        "description": "whether the secret is the key itself, or the key written in hex or base64",
    },
}
"""What a document may say of a signature, as JSON Schema; `signed` and `separator` have other defaults each way."""


def _tuple(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@frozen(kw_only=True)
class SignatureScheme:
    """
    How a request is signed.

    Args:
        signed: What is signed, in this order.

        separator: Between the signed parts.

        prefix: Before the signature in its header.
    """

    header: str = "X-Signature"
    algorithm: str = field(default="sha256", validator=validators.in_(ALGORITHMS))
    encoding: str = field(default="hex", validator=validators.in_(ENCODINGS))
    prefix: str = ""
    signed: tuple[str, ...] = field(
        default=("timestamp", "method", "target", "body"),
        converter=_tuple,
        validator=validators.deep_iterable(validators.in_(PARTS)),
    )
    separator: str = "\n"
    timestamp_header: str = "X-Timestamp"
    timestamp: str = field(default="unix", validator=validators.in_(TIMESTAMPS))
    key_form: str = field(default="text", validator=validators.in_(KEYS))

    @classmethod
    def of(cls, options: Mapping[str, Any], **defaults: Any) -> Self:
        """The scheme that *options* describe, after those of `PROPERTIES`."""
        return cls(**{**defaults, **{name: options[name] for name in PROPERTIES if name in options}})

    @property
    def is_dated(self) -> bool:
        """Whether the instant is signed, so that an old request can be told from a new one."""
        return "timestamp" in self.signed

    def written(self, at: datetime) -> str:
        """
        An instant as the scheme writes it.

        Example:
            >>> SignatureScheme(timestamp="unix_ms").written(datetime(2026, 3, 2, tzinfo=UTC))
            '1772409600000'
        """
        if self.timestamp == "iso":
            return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return str(int(at.timestamp() * (1000 if self.timestamp == "unix_ms" else 1)))


@frozen(kw_only=True)
class Signable:
    """
    What of a request can be signed.

    Args:
        target: Path and query, as they stand in the request.

        timestamp: As it is written in its header.

        id: The idempotency key of what we send, the delivery's id of what is pushed; empty where there is none.
    """

    method: str
    target: str
    body: bytes = field(default=b"", repr=False)
    timestamp: str = ""
    id: str = ""

    def part(self, name: str, algorithm: str) -> bytes:
        """The part called *name*."""
        if name == "body":
            return self.body
        if name == "body_hash":
            return hashlib.new(algorithm, self.body).hexdigest().encode()
        path, _, query = self.target.partition("?")
        texts = {"path": path, "query": query, "target": self.target, "method": self.method.upper()}
        texts |= {"timestamp": self.timestamp, "id": self.id}
        return texts[name].encode("utf-8", "replace")


def signing_key(secret: str, form: str = "text") -> bytes:
    """
    The bytes to sign with.

    Raises:
        SecretError: The secret is empty, or not written as *form* says.

    Example:
        >>> signing_key("6b6579", "hex")
        b'key'
    """
    try:
        if form == "hex":
            key = bytes.fromhex(secret.strip())
        else:
            key = base64.b64decode(secret.strip(), validate=True) if form == "base64" else secret.encode()
    except ValueError:
        key = b""
    if not key:
        raise SecretError(f"a signing key is empty, or not written as {form}") from None
    return key


def sign(scheme: SignatureScheme, key: bytes, request: Signable) -> str:
    """
    The signature of *request*, as its header has it.

    Example:
        >>> scheme = SignatureScheme(signed=["timestamp", "body"], separator=".", prefix="sha256=")
        >>> sign(scheme, b"key", Signable(method="POST", target="/", body=b"{}", timestamp="1772409600"))[:20]
        'sha256=a78a86e6c1aae'
    """
    return scheme.prefix + _encoded(scheme, _digest(scheme, key, request))


def verify(scheme: SignatureScheme, keys: Iterable[bytes], request: Signable, claimed: str) -> bool:
    """
    Whether *claimed* is the signature of *request* by one of *keys*; it takes as long whatever it says.

    A header may hold several signatures with blanks between them, as it does while a partner changes its key.

    Example:
        >>> scheme, request = SignatureScheme(), Signable(method="POST", target="/", body=b"{}")
        >>> verify(scheme, [b"old", b"new"], request, sign(scheme, b"new", request))
        True
        >>> verify(scheme, [b"old"], request, sign(scheme, b"new", request))
        False
    """
    given = [_read(scheme, each) for each in claimed.split()[:_MOST_CLAIMS]]
    found = False
    for key in keys:
        expected = _digest(scheme, key, request)
        for each in given:
            found |= hmac.compare_digest(expected, each)
    return found


_MOST_CLAIMS = 10


def _digest(scheme: SignatureScheme, key: bytes, request: Signable) -> bytes:
    parts = [request.part(name, scheme.algorithm) for name in scheme.signed]
    return hmac.new(key, scheme.separator.encode().join(parts), scheme.algorithm).digest()


def _encoded(scheme: SignatureScheme, digest: bytes) -> str:
    return digest.hex() if scheme.encoding == "hex" else base64.b64encode(digest).decode("ascii")


def _read(scheme: SignatureScheme, claimed: str) -> bytes:
    """The bytes of one signature; empty where it is none."""
    if not claimed.startswith(scheme.prefix):
        return b""
    text = claimed[len(scheme.prefix) :]
    try:
        return bytes.fromhex(text) if scheme.encoding == "hex" else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""


def read_timestamp(scheme: SignatureScheme, text: str) -> datetime | None:
    """
    The instant that a header names, or ``None`` where it names none.

    Example:
        >>> read_timestamp(SignatureScheme(), "1772409600").isoformat()
        '2026-03-02T00:00:00+00:00'
        >>> read_timestamp(SignatureScheme(), "yesterday") is None
        True
    """
    if scheme.timestamp == "iso":
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            return None
        return found.astimezone(UTC) if found.tzinfo is not None else None
    if not re.fullmatch(r"[0-9]{1,15}", text):
        return None
    try:
        return _EPOCH + timedelta(milliseconds=int(text) * (1 if scheme.timestamp == "unix_ms" else 1000))
    except OverflowError:
        return None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
