"""
Codecs and layouts: values to bytes and back, as each partner wants them.

A codec frames bytes into rows, a layout says which canonical field stands where and how it is spelt.
"""

from fcflow.formats.codec import Batch, Cell, Codec, CodecType, Place, Row, Unwritable
from fcflow.formats.error_file import error_file
from fcflow.formats.layout import Layout
from fcflow.formats.load import builtin_codecs, builtin_layouts, load_layout
from fcflow.formats.names import name_faults, render_name

__all__ = [
    "Batch",
    "Cell",
    "Codec",
    "CodecType",
    "Layout",
    "Place",
    "Row",
    "Unwritable",
    "builtin_codecs",
    "builtin_layouts",
    "error_file",
    "load_layout",
    "name_faults",
    "render_name",
]
