"""dBase tables, in and out."""

from __future__ import annotations

from collections.abc import Iterable

from fcflow.formats import CodecType
from fcflow.hookspecs import hookimpl
from fcflow_dbf.table import DBF

__all__ = ["DBF", "fcflow_codecs"]


@hookimpl
def fcflow_codecs() -> Iterable[CodecType]:
    """Offer the codec; fcflow finds this module by its entry point."""
    return [DBF]
