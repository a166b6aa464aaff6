"""
XML: records in elements, read one by one, in bounded memory; no document type, no entities but the five of XML itself.

A place is a path from the record: ``Customer/Name``, ``@id`` an attribute, ``Lines/Line[]/Qty`` over every element of
that name, ``Address[@type='ship']/Town`` or ``Ref[Kind='PO']/Value`` the element that says so, ``.`` the record's own
text, and ``/Message/Head/SentAt`` from the root, for what stands before the records.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from attrs import define, field, frozen
from immutabledict import immutabledict

from fcflow.errors import Fault, FormatError, LayoutError, MissingExtraError
from fcflow.formats.codec import Batch, Cell, Place, Row, Unwritable
from fcflow.formats.json_lines import raw_of
from fcflow.formats.nesting import MAX_LEVELS, Nest, Twig
from fcflow.formats.text import MAX_LINE, TextOptions
from fcflow.model import Problem

__all__ = ["XmlCodec", "build_xml"]

MAX_DEPTH = 60
_MOST_PENDING = 4_194_304  # bytes of a tag, a comment or the like, which the parser holds until it ends
_CHUNK = 64 * 1024
_NAME = r"[^\s/@\[\]='\"]+"
_STEP = re.compile(rf"(?P<name>{_NAME})(?:\[(?P<repeats>)\]|\[(?P<key>@?{_NAME})='(?P<text>[^'\]]*)'\])?")
_UNSPEAKABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


# ------------------------------------------------------------------ elements and paths


@define
class _Element:
    """An element as it was read, or as it is going to be written."""

    name: str
    line: int = 0
    attributes: dict[str, str] = field(factory=dict)
    children: list[_Element] = field(factory=list)
    texts: list[str] = field(factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def child(self, step: _Step) -> _Element | None:
        """The first child that *step* means."""
        return next((each for each in self.children if step.means(each)), None)

    def made(self, step: _Step) -> _Element:
        """The child that *step* means; made where it is missing."""
        found = self.child(step)
        if found is None:
            found = _Element(step.name)
            step.mark(found)
            self.children.append(found)
        return found


@frozen
class _Step:
    """
    One step of a path.

    Args:
        key: An attribute (``@name``) or a child that tells the element from its like, or ``None``.

        text: What *key* holds.
    """

    name: str
    repeats: bool = False
    key: str | None = None
    text: str = ""

    def means(self, element: _Element) -> bool:
        if element.name != self.name:
            return False
        if self.key is None:
            return True
        if self.key.startswith("@"):
            return element.attributes.get(self.key[1:]) == self.text
        return any(child.name == self.key and child.text.strip() == self.text for child in element.children)

    def mark(self, element: _Element) -> None:
        """Write into *element* what tells it from its like."""
        if self.key is None:
            return
        if self.key.startswith("@"):
            element.attributes[self.key[1:]] = self.text
        else:
            element.children.append(_Element(self.key, texts=[self.text]))


@frozen
class _Path:
    """
    Where a place lies.

    Args:
        root: Whether the path begins at the root of the document.

        outer: For each list that it lies in, the steps that lead to it.

        leaf: The steps from the innermost element.

        attribute: Of the element at the end, or ``None`` for its text.
    """

    root: bool
    outer: tuple[tuple[_Step, ...], ...]
    leaf: tuple[_Step, ...]
    attribute: str | None

    @property
    def chain(self) -> tuple[str, ...]:
        return tuple("/".join(f"{step.name}[{step.key}={step.text}]" for step in steps) for steps in self.outer)


def _path(at: str | int) -> _Path | None:
    if isinstance(at, int) or not at.strip("/"):
        return None
    text, root = at.removeprefix("/"), at.startswith("/")
    outer, leaf, attribute = list[tuple[_Step, ...]](), list[_Step](), None
    for number, part in enumerate(_parts(text)):
        if attribute is not None:
            return None
        if part == "." and not number:
            continue
        if part.startswith("@"):
            attribute = part[1:]
            continue
        step = _step(part)
        if step is None:
            return None
        leaf.append(step)
        if step.repeats:
            outer.append(tuple(leaf))
            leaf = []
    valid = (attribute is None or re.fullmatch(_NAME, attribute)) and not (root and (outer or not leaf))
    return _Path(root, tuple(outer), tuple(leaf), attribute) if valid else None


def _parts(text: str) -> list[str]:
    """The steps of a path; a slash inside brackets belongs to its step."""
    return re.split(r"/(?![^\[]*\])", text)


def _step(part: str) -> _Step | None:
    match = _STEP.fullmatch(part)
    if match is None:
        return None
    return _Step(match["name"], repeats=match["repeats"] is not None, key=match["key"], text=match["text"] or "")


# ------------------------------------------------------------------ reading


class _Refusal(Exception):  # a signal through expat's C code
    pass


class _Reader:
    """Builds the records of a stream, each when its element ends."""

    def __init__(self, path: Sequence[str], names: Mapping[str, str], limit: int) -> None:
        self._path = list(path)
        self._names = names
        self._limit = limit
        self._open: list[_Element] = []
        self._size = 0
        self.root: _Element | None = None
        self.done: list[_Element] = []
        self.parser = expat.ParserCreate(namespace_separator="}")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _doctype(self, *given: Any) -> None:
        raise _Refusal("expected XML without a document type")

    def _called(self, name: str) -> str:
        """The name with the prefix that the layout gives its namespace; without one, the bare name."""
        space, _, local = name.rpartition("}")
        prefix = self._names.get(space, "")
        return f"{prefix}:{local}" if prefix else local

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise _Refusal(f"expected at most {MAX_DEPTH} elements in each other")
        named = {self._called(key): value for key, value in attributes.items()}
        element = _Element(self._called(name), self.parser.CurrentLineNumber, named)
        self._grow(sum(map(len, named.values())) + 100)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def _text(self, text: str) -> None:
        self._grow(len(text))
        self._open[-1].texts.append(text)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            raise _Refusal(f"expected records of at most {self._limit} characters, got a longer one")

    def _end(self, name: str) -> None:
        element = self._open.pop()
        if [each.name for each in self._open] + [element.name] == self._path:
            self.done.append(element)
            if self._open:
                self._open[-1].children.remove(element)
                self._open[-1].texts.clear()
            self._size = 0


@frozen
class _Record:
    """One record on its way in, with the root as far as it was read by then."""

    element: _Element
    root: _Element


class XmlCodec:
    """Codec ``xml``: see `docs/reference/layouts.md` for its options."""

    content_type = "application/xml"
    extension = "xml"

    def __init__(self, options: Mapping[str, Any], places: Sequence[Place]) -> None:
        self._places = places
        self._paths = [path for place in places if (path := _path(place.at)) is not None]
        self._nest = Nest.of([path.chain for path in self._paths])
        self._lists = {
            level: steps for path in self._paths for level, steps in zip(path.chain, path.outer, strict=True)
        }
        self._record: list[str] = options["record"].strip("/").split("/")
        self._spaces: Mapping[str, str] = options.get("namespaces", immutabledict())
        self._attributes: Mapping[str, str] = options.get("root_attributes", immutabledict())
        self._limit: int = options.get("max_record", MAX_LINE)
        self._indents = bool(options.get("indent", True))
        self._schema: str | None = options.get("xsd")
        self._text = TextOptions(options, keeps_breaks=True)

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        for record in self._read(stream):
            for cells in self._nest.rows(record, self._cell, self._entries, len(self._paths)):
                yield Row(record.element.line, cells, raw_of(self._places, cells), [None] * len(cells))

    def _read(self, stream: BinaryIO) -> Iterator[_Record]:
        reader = _Reader(self._record, {uri: prefix for prefix, uri in self._spaces.items()}, self._limit)
        fed, ended = 0, False
        while not ended:
            chunk = stream.read(_CHUNK)
            fed, ended = fed + len(chunk), not chunk
            self._feed(reader, chunk, ended)
            if fed - reader.parser.CurrentByteIndex > _MOST_PENDING:
                line = reader.parser.CurrentLineNumber
                raise FormatError(f"line {line}: expected the end of a tag within {_MOST_PENDING} bytes")
            assert reader.root is not None or not reader.done  # a record ends inside its root, or is it
            for element in reader.done:
                yield _Record(element, reader.root or element)
            reader.done.clear()
        if reader.root is not None and reader.root.name != self._record[0]:
            raise FormatError(f"expected the root element {self._record[0]!r}, got {reader.root.name!r}")

    def _feed(self, reader: _Reader, chunk: bytes, ended: bool) -> None:
        parser = reader.parser
        try:
            parser.Parse(chunk, ended)
        except _Refusal as refusal:
            raise FormatError(f"line {parser.CurrentLineNumber}: {refusal}") from None
        except expat.ExpatError as error:
            where = f"line {error.lineno}, column {error.offset + 1}"
            raise FormatError(f"{where}: expected XML: {expat.ErrorString(error.code)}") from None
        except (LookupError, ValueError) as error:
            raise FormatError(f"line {parser.CurrentLineNumber}: expected XML in a known encoding: {error}") from None

    def _cell(self, element: Any, slot: int) -> Cell:
        path = self._paths[slot]
        found: _Element | None = element
        steps = path.leaf
        if isinstance(element, _Record):
            found = element.root if path.root else element.element
            if path.root:
                steps = path.leaf[1:] if path.leaf[0].means(element.root) else (_Step("\0"),)
        for step in steps:
            found = None if found is None else found.child(step)
        if found is None:
            return None
        return found.text if path.attribute is None else found.attributes.get(path.attribute)

    def _entries(self, element: Any, level: str) -> Iterable[_Element]:
        found: _Element | None = element.element if isinstance(element, _Record) else element
        *outer, last = self._lists[level]
        for step in outer:
            found = None if found is None else found.child(step)
        return [] if found is None else [child for child in found.children if last.means(child)]

    # -------------------------------------------------------------- writing

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        root = _Element(self._record[0])
        twigs = [twig for record in records for twig in self._nest.twigs(record)]
        if len(self._record) == 1 and len(twigs) != 1:
            raise FormatError(f"expected one record for one document, got {len(twigs)}; set the feed's batch to 1")
        holder = root
        for name in self._record[1:-1]:
            holder = holder.made(_Step(name))
        for twig in twigs:
            element = root if len(self._record) == 1 else _Element(self._record[-1])
            self._fill(element, twig, root)
            if element is not root:
                holder.children.append(element)
        spaces = {f"xmlns:{prefix}" if prefix else "xmlns": uri for prefix, uri in self._spaces.items()}
        root.attributes = {**spaces, **self._attributes, **root.attributes}
        content = self._text.encode(self._document(root))
        return content if self._schema is None else _checked(content, self._schema)

    def _document(self, root: _Element) -> str:
        head = f'<?xml version="1.0" encoding="{self._text.encoding}"?>\n'
        return head + "".join(_written(root, "\n" if self._indents else "")) + "\n"

    def _fill(self, element: _Element, twig: Twig, root: _Element) -> None:
        for slot, cell in twig.cells.items():
            if not isinstance(cell, str) or not cell:
                continue
            path = self._paths[slot]
            target = root if path.root else element
            for step in path.leaf[1:] if path.root else path.leaf:
                target = target.made(step)
            if path.attribute is None:
                target.texts = [cell]
            else:
                target.attributes[path.attribute] = cell
        for level, entries in twig.below.items():
            *outer, last = self._lists[level]
            holder = element
            for step in outer if entries else ():
                holder = holder.made(step)
            for entry in entries:
                child = _Element(last.name)
                last.mark(child)
                holder.children.append(child)
                self._fill(child, entry, root)

    def carry(self, place: int, text: str) -> str:
        if self._paths[place].attribute is not None:
            text = re.sub(r"[\t\r\n]", " ", text)
        if _UNSPEAKABLE.search(text := self._text.carry(text.replace("\r\n", "\n").replace("\r", "\n"))):
            raise Unwritable(f"expected text that XML can hold, got {text!r}")
        return text


def _written(element: _Element, break_: str) -> Iterator[str]:
    attributes = "".join(f" {name}={quoteattr(value)}" for name, value in element.attributes.items())
    if not element.children and not element.texts:
        yield f"<{element.name}{attributes}/>"
        return
    yield f"<{element.name}{attributes}>{escape(element.text)}"
    for child in element.children:
        if break_:
            yield break_ + "  "
        yield from _written(child, break_ + "  " if break_ else "")
    yield f"{break_ if element.children else ''}</{element.name}>"


def _checked(content: bytes, schema: str) -> bytes:
    """
    *content*, if it is valid by the XSD in the file *schema*.

    Raises:
        FormatError: It is not; every fault is named.

        MissingExtraError: The extra ``xml`` is not installed.
    """
    try:
        from lxml import etree
    except ImportError as error:
        raise MissingExtraError("xml", error.name or "lxml") from error
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    rules = etree.XMLSchema(etree.parse(schema, parser))
    if not rules.validate(etree.fromstring(content, parser)):
        said = "; ".join(f"line {each.line}: {each.message}" for each in rules.error_log)
        raise FormatError(f"not valid by {schema}: {said}")
    return content


def build_xml(options: Mapping[str, Any], places: Sequence[Place]) -> XmlCodec:
    """The codec that *options* describe; raises `LayoutError` where places and options do not fit."""
    expected = "a path such as Customer/Name, @id, Lines/Line[]/Qty, Address[@type='ship']/Town or /Message/SentAt"
    faults = []
    record = options["record"].strip("/").split("/")
    if not all(re.fullmatch(_NAME, name) for name in record):
        faults.append(
            Fault("", path="$.codec.record", expected="a path such as /Orders/Order", found=options["record"])
        )
    for place in places:
        path = _path(place.at)
        if path is None or len(path.outer) > MAX_LEVELS:
            faults.append(Fault("", path=f"{place.path}.at", expected=expected, found=place.at))
        elif path.root and path.leaf[0].name != record[0]:
            faults.append(Fault("", path=f"{place.path}.at", expected=f"a path from /{record[0]}", found=place.at))
    if faults:
        raise LayoutError("layout", faults)
    return XmlCodec(options, places)
