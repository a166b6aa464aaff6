"""
Payloads that come packed: gzip and zip around what any other codec reads and writes, bounded.
"""

from __future__ import annotations

import fnmatch
import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, TypeVar, cast

from fcflow.errors import FormatError
from fcflow.formats.codec import Batch, Block, BlockCodec, Cell, Codec, Row
from fcflow.formats.text import whole
from fcflow.model import Problem

__all__ = ["PackedCodec"]

Framed = TypeVar("Framed")

MAX_PACKED = 256 * 1024 * 1024
MAX_UNPACKED = 1024 * 1024 * 1024
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_BROKEN = (
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class _Bounded(io.RawIOBase):
    """A stream that refuses to give more than it may."""

    def __init__(self, inner: Any, most: int) -> None:
        self._inner = inner
        self._left = most
        self._most = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            content = self._inner.read(len(buffer))
        except _BROKEN as error:
            raise FormatError(f"expected a packed file that is whole: {error or type(error).__name__}") from error
        self._left -= len(content)
        if self._left < 0:
            raise FormatError(f"expected at most {self._most} bytes when unpacked, got more")
        buffer[: len(content)] = content
        return len(content)


class PackedCodec:
    """
    A codec in a package.

    Args:
        inner: What the package holds is read and written by it.

        options: ``type`` (``gzip`` or ``zip``), ``member``, ``max_bytes``.
    """

    def __init__(self, inner: Codec, options: Mapping[str, Any]) -> None:
        self._inner = inner
        self._zips = options["type"] == "zip"
        self._member: str = options.get("member", "*")
        self._most: int = options.get("max_bytes", MAX_UNPACKED)
        self.writes_columns = getattr(inner, "writes_columns", False)
        self.content_type = "application/zip" if self._zips else "application/gzip"
        self.extension = "zip" if self._zips else f"{inner.extension}.gz"

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        return self._framed(stream, self._inner.rows)

    def blocks(self, stream: BinaryIO) -> Iterator[Row | Problem | Block]:
        """The rows, many at once where the inner codec gives them so."""
        return self._framed(stream, getattr(self._inner, "blocks", self._inner.rows))

    def _framed(self, stream: BinaryIO, frame: Callable[[BinaryIO], Iterator[Framed]]) -> Iterator[Framed]:
        with self._unpacked(stream) as opened:
            yield from frame(cast("BinaryIO", io.BufferedReader(_Bounded(opened, self._most))))

    def _unpacked(self, stream: BinaryIO) -> Any:
        if not self._zips:
            return gzip.GzipFile(fileobj=stream)
        packed = whole(stream, MAX_PACKED)
        try:
            archive = zipfile.ZipFile(io.BytesIO(packed))
            return archive.open(self._chosen(archive))
        except _BROKEN as error:
            raise FormatError(f"expected a zip file: {error}") from error

    def _chosen(self, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
        """The one file in the archive that is meant."""
        files = [each for each in archive.infolist() if not each.is_dir()]
        found = [each for each in files if fnmatch.fnmatch(each.filename, self._member)]
        if len(found) != 1:
            there = ", ".join(repr(each.filename) for each in files[:10]) or "nothing"
            raise FormatError(f"expected one file {self._member!r} in the zip file, got {len(found)} of {there}")
        if found[0].file_size > self._most:
            raise FormatError(f"expected at most {self._most} bytes when unpacked, got {found[0].file_size}")
        if found[0].flag_bits & 1:
            raise FormatError(f"{found[0].filename!r} is encrypted")
        return found[0]

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        return self._packed(self._inner.write(records, batch))

    def write_columns(self, blocks: Iterable[Sequence[Sequence[str]]], batch: Batch) -> bytes:
        """The same, where the inner codec can."""
        return self._packed(cast("BlockCodec", self._inner).write_columns(blocks, batch))

    def _packed(self, content: bytes) -> bytes:
        if not self._zips:
            return gzip.compress(content, mtime=0)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(zipfile.ZipInfo(self._name(), _LONG_AGO), content, zipfile.ZIP_DEFLATED)
        return out.getvalue()

    def _name(self) -> str:
        bare = "*" not in self._member and "?" not in self._member and "[" not in self._member
        return self._member if bare else f"data.{self._inner.extension}"

    def carry(self, place: int, text: str) -> str:
        return self._inner.carry(place, text)

    def carry_all(self, place: int, texts: Sequence[str]) -> Sequence[str]:
        """The same, where the inner codec can."""
        return cast("BlockCodec", self._inner).carry_all(place, texts)
