"""
From a document to a layout: found, checked with every fault at once, compiled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from fcflow.documents import content_hash
from fcflow.errors import Fault, LayoutError
from fcflow.formats.check import Check
from fcflow.formats.codec import CodecType
from fcflow.formats.compile import compile_engine
from fcflow.formats.delimited import build_delimited
from fcflow.formats.documents import DocumentEngine
from fcflow.formats.edifact import build_edifact
from fcflow.formats.fixed_width import build_fixed_width
from fcflow.formats.form import build_form
from fcflow.formats.json_document import build_json
from fcflow.formats.json_lines import build_json_lines, without_repeats
from fcflow.formats.layout import Engine, Layout
from fcflow.formats.records import build_records
from fcflow.formats.shape import codec_schema, nearest, shape_faults
from fcflow.formats.tagged import build_tagged
from fcflow.formats.x12 import build_x12
from fcflow.formats.xlsx import build_xlsx
from fcflow.formats.xml import build_xml

__all__ = ["builtin_codecs", "builtin_layouts", "load_layout"]


_WHOLE = ("edifact", "form", "json", "json_lines", "records", "tagged", "x12", "xml")


@cache
def builtin_codecs() -> Mapping[str, CodecType]:
    """
    The codecs that every layout may name.

    Example:
        >>> sorted(builtin_codecs())
        ['delimited', 'edifact', 'fixed_width', 'form', 'json', 'json_lines', 'records', 'tagged', 'x12', 'xlsx', 'xml']
    """
    builds: dict[str, tuple[Callable[..., Any], str]] = {
        "delimited": (build_delimited, "cells between delimiters"),
        "fixed_width": (build_fixed_width, "fields of fixed width"),
        "json_lines": (build_json_lines, "one JSON object a line"),
        "form": (build_form, "one form post an order"),
        "json": (build_json, "one JSON document"),
        "records": (build_records, "lines of several types"),
        "tagged": (build_tagged, "lines of a tag and a value"),
        "xml": (build_xml, "an element a record"),
        "xlsx": (build_xlsx, "a spreadsheet"),
        "x12": (build_x12, "transaction sets of X12"),
        "edifact": (build_edifact, "messages of EDIFACT"),
    }
    return {
        name: CodecType(
            name=name,
            options_schema=codec_schema(name),
            build=build,
            summary=summary,
            whole_records=name in _WHOLE,
        )
        for name, (build, summary) in builds.items()
    }


def builtin_layouts() -> list[str]:
    """
    Names of the layouts that come with fcflow.

    Example:
        >>> "linnworks-orders" in builtin_layouts()
        True
    """
    names = (entry.name for entry in files("fcflow.formats").joinpath("layouts").iterdir())
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def load_layout(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    base: Path | None = None,
    kind: str | None = None,
    codecs: Mapping[str, CodecType] | None = None,
) -> Layout:
    """
    The layout that *source* names or holds, checked and compiled.

    Args:
        source: Name of a built-in layout, a path, or the document itself. ``canonical`` is the one of *kind*.

        base: Folder that a relative path starts from; the current one when it is left out.

        kind: What the layout must hold: ``orders``, ``status`` or ``stock``; ``None`` takes any.

        codecs: Codecs of plugins, by name.

    Raises:
        LayoutError: There is no such layout, or it has faults: all of them, with JSON paths.

    Example:
        >>> load_layout("linnworks-status").kind
        'status'
    """
    name, document = _found(source, base, kind)
    faults = shape_faults(document)
    if not faults and kind is not None and document["kind"] != kind:
        faults = [Fault("", path="$.kind", expected=kind, found=document["kind"])]
    if faults:
        raise LayoutError(name, faults)
    name = document.get("name", name)
    engine = _engine(name, document, {**(codecs or {}), **builtin_codecs()})
    return Layout(
        name=name,
        kind=document["kind"],
        hash=content_hash(document),
        content_type=document.get("content_type", engine.content_type),
        extension=document.get("extension", engine.extension),
        document=document,
        engine=engine,
    )


# ------------------------------------------------------------------ find


def _found(
    source: str | os.PathLike[str] | Mapping[str, Any], base: Path | None, kind: str | None
) -> tuple[str, Mapping[str, Any]]:
    if isinstance(source, Mapping):
        name = source.get("name")
        return name if isinstance(name, str) and name else "layout", source
    name = os.fspath(source)
    if isinstance(source, str):
        builtin = f"canonical-{kind}" if name == "canonical" and kind else name
        if builtin in builtin_layouts():
            return builtin, _parsed(builtin, files("fcflow.formats").joinpath(f"layouts/{builtin}.json").read_bytes())
    path = (base or Path()) / name
    try:
        return path.stem, _parsed(name, path.read_bytes())
    except OSError as error:
        known = nearest(name, builtin_layouts())
        said = f"no such layout, and no file that can be read ({error.strerror})"
        raise LayoutError(name, [Fault(said, expected=known, found=name)]) from error


def _parsed(name: str, content: bytes) -> Mapping[str, Any]:
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=without_repeats)  # type: ignore[no-any-return]  # its shape is checked later
    except json.JSONDecodeError as error:
        raise LayoutError(name, [Fault(error.msg, line=error.lineno, column=error.colno)]) from error
    except (ValueError, RecursionError) as error:
        raise LayoutError(name, [Fault(str(error))]) from error


# ------------------------------------------------------------------ check and compile


def _engine(name: str, document: Mapping[str, Any], codecs: Mapping[str, CodecType]) -> Engine:
    check = Check(document=document, codecs=codecs)
    check.run()
    engine: Engine | None = None
    if "fields" not in document:
        engine = _document_engine(check)
    elif not check.faults:
        engine = compile_engine(check)
    if check.faults or engine is None:
        raise LayoutError(name, check.faults)
    return engine


def _document_engine(check: Check) -> Engine | None:
    if check.document["codec"]["type"] != "json_lines":
        check.fault("missing", "$.fields")
    for key in ("derive", "rows", "skip"):
        if key in check.document:
            check.fault("without fields", f"$.{key}")
    return DocumentEngine(check.document["codec"], str(check.document.get("value", check.kind)))
