"""How much of a partner's file is taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fcflow.errors import TransportTooLargeError

__all__ = ["capped"]


def capped(blocks: Iterable[bytes], max_bytes: int, where: str) -> Iterator[bytes]:
    """
    The same blocks, as long as they hold *max_bytes* at most.

    Args:
        where: How the error calls their source.

    Raises:
        TransportTooLargeError: There are more.

    Example:
        >>> b"".join(capped([b"ab", b"c"], 3, "status.csv"))
        b'abc'
    """
    count = 0
    for block in blocks:
        count += len(block)
        if count > max_bytes:
            raise TransportTooLargeError(f"{where}: expected at most {max_bytes} bytes, got more")
        yield block
