"""A form with a file in it (multipart/form-data), the same bytes at every attempt."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from fcflow.errors import TransportUnsupportedError

__all__ = ["multipart"]


def multipart(
    key: str, fields: Mapping[str, str], part: str, name: str, content_type: str, content: bytes
) -> tuple[bytes, str]:
    """
    The body of a post, and its content type.

    Args:
        key: What the boundary is made from, so that a repeated post has the same bytes.

        fields: Texts that stand before the file.

        part: Name of the field that the file is in; *name* is the file's own.

    Example:
        >>> body, kind = multipart("k-1", {"shop": "7"}, "file", "a.csv", "text/csv", b"A1")
        >>> kind.partition("=")[0], body.count(b"Content-Disposition"), body.endswith(b"--\\r\\n")
        ('multipart/form-data; boundary', 2, True)
    """
    texts = {field: value.encode() for field, value in fields.items()}
    boundary = _boundary(key, (content, *texts.values()))
    pieces = [_head(boundary, field, None, None) + value for field, value in texts.items()]
    pieces.append(_head(boundary, part, name, content_type) + content)
    body = b"\r\n".join([*pieces, f"--{boundary}--\r\n".encode()])
    return body, f"multipart/form-data; boundary={boundary}"


def _boundary(key: str, contents: tuple[bytes, ...]) -> str:
    """One that stands in nothing that is sent."""
    boundary = "fcflow-" + hashlib.sha256(key.encode()).hexdigest()[:32]
    while any(boundary.encode() in content for content in contents):
        boundary = "fcflow-" + hashlib.sha256(boundary.encode()).hexdigest()[:32]
    return boundary


def _head(boundary: str, field: str, name: str | None, content_type: str | None) -> bytes:
    lines = [f"--{boundary}", f'Content-Disposition: form-data; name="{_quoted(field)}"']
    if name is not None:
        lines[1] += f'; filename="{_quoted(name)}"'
        lines.append(f"Content-Type: {content_type}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _quoted(text: str) -> str:
    """As browsers write it (HTML, section 4.10.22.8)."""
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise TransportUnsupportedError(f"{text!r} cannot be part of a form")
    return text.replace('"', "%22")
