"""
A bounded fuzz run of the codecs: damaged payloads, damaged layouts, and samples of which a layout is to be inferred.

Run ``./scripts/fuzz [--seconds 40] [--seed 7]``. Half of the time payloads of every built-in layout and codec are
damaged at random; the other half atheris, where it is installed, goes by the code that it reaches. The laws: only
records and problems come out, or `FormatError`; a record is written again and read back, or refused; nothing takes
long. What breaks one is printed with the number that draws it again (``--only``), or as bytes (``--payload``).
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

if "--guided" in sys.argv:
    import atheris  # type: ignore[import-untyped]

    with atheris.instrument_imports(include=["fcflow.formats"]):
        import fcflow.formats.infer
        import fcflow.formats.load  # noqa: F401  # instrumented as it is imported

from fcflow.errors import EncodeError, FormatError, LayoutError
from fcflow.formats import Layout, builtin_layouts, load_layout
from fcflow.formats.infer import infer
from fcflow.model import Problem, Record
from fcflow.testing.formats import plain_value

LONGEST_S = 3.0
MOST_RECORDS = 50
KINDS = ("orders", "status", "stock")

# ------------------------------------------------------------------ what is fuzzed

STOCK = {"sku": "sku", "on_hand": "qty", "location": "place", "as_of": "at"}
STATUS = {"reference": "ref", "message": "note", "tracking_numbers": "parcel", "shipped_at": "left"}
CODECS: list[dict[str, Any]] = [
    {"type": "delimited", "delimiter": "|", "escape": "\\", "quote": None, "comment": "#", "encoding": "cp1252"},
    {"type": "delimited", "delimiter": "~|~", "trailer": {"equals": "EOF", "count_at": 2}, "short_rows": "pad"},
    {"type": "delimited", "encoding": ["utf-8", "utf-16", "cp932"], "find_header": True, "header_match": "loose"},
    {"type": "json_lines"},
    {"type": "json", "records": "data.rows"},
    {"type": "xml", "record": "/Rows/Row"},
    {"type": "xlsx"},
    {"type": "tagged", "blank_lines": "separate", "ignore_case": True},
    {"type": "tagged", "ends_with": "END", "count_tag": "COUNT"},
]


def documents() -> Iterator[Mapping[str, Any]]:
    """Layouts of every codec that have to read what they write."""
    for codec in CODECS:
        for kind, fields in (("stock", STOCK), ("status", STATUS)):
            placed = [{"at": at, "field": name, "optional": name != "sku"} for name, at in fields.items()]
            yield {"fcflow": "layout/1", "kind": kind, "codec": codec, "fields": placed}
    wide = [{"at": 1 + 20 * place, "width": 20, "field": name} for place, name in enumerate(STOCK)]
    ways: list[dict[str, Any]] = [{}, {"unit": "bytes", "encoding": "cp932"}, {"line_end": "none"}]
    for more in ways:
        yield {"fcflow": "layout/1", "kind": "stock", "codec": {"type": "fixed_width", **more}, "fields": wide}
    types = {"h": {"equals": "H"}, "d": {"equals": "D", "in": "h"}, "t": {"equals": "T", "trailer": {"count_at": 2}}}
    order = {"h/2": "fulfilment_id", "d/2": "line.sku", "d/3": "line.quantity"}
    lines = [{"at": at, "field": name} for at, name in order.items()]
    yield {"fcflow": "layout/1", "kind": "orders", "codec": {"type": "records", "types": types}, "fields": lines}
    columns, plain = [{"at": at, "field": name} for name, at in STOCK.items()], {"type": "delimited"}
    for packed in ("gzip", "zip"):
        yield {"fcflow": "layout/1", "kind": "stock", "codec": plain, "fields": columns, "packed": {"type": packed}}


class Target:
    """A layout with payloads that it has written."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.payloads = [b"", *self._written()]

    def _written(self) -> Iterator[bytes]:
        for count in (1, 3):
            values = [plain_value(self.layout, number) for number in range(count)]
            try:
                yield self.layout.encode(values)
            except (EncodeError, FormatError):
                continue  # a form holds one, and some hold other values


def targets() -> list[Target]:
    return [Target(layout) for layout in (*map(load_layout, builtin_layouts()), *map(load_layout, documents()))]


# ------------------------------------------------------------------ laws


def broken_law(layout: Layout, payload: bytes) -> str | None:
    """Which law reading *payload* breaks, if it breaks one."""
    began = time.process_time()
    try:
        found = _read(layout, payload)
        said = next((each for record in found if (each := _not_written_again(layout, record)) is not None), None)
    except Exception as error:  # noqa: BLE001  # anything is the finding
        return f"{type(error).__name__}: {error!s:.300}"
    took = time.process_time() - began
    return said if took < LONGEST_S else f"{took:.1f} s of processor for {len(payload)} bytes"


def _read(layout: Layout, payload: bytes) -> list[Record]:
    records: list[Record] = []
    try:
        for item in layout.decode(io.BytesIO(payload)):
            if not isinstance(item, Record | Problem):
                raise TypeError(f"expected records and problems, got {type(item).__name__}")
            str(item)
            if isinstance(item, Record) and len(records) < MOST_RECORDS:
                records.append(item)
    except FormatError as error:
        str(error)
    return records


def _not_written_again(layout: Layout, record: Record) -> str | None:
    """Where what was read can be written, reading it again gives what the layout says."""
    try:
        wanted, payload = layout.projections(record.value), layout.encode([record.value])
    except (EncodeError, FormatError):
        return None
    found, problems = layout.read(payload)
    if problems:
        return f"line {record.line}: written again, it is {problems[0]}"
    return None if [each.value for each in found] == wanted else f"line {record.line}: written again, it is another"


def broken_by_document(document: Any) -> str | None:
    """Which law loading a damaged layout breaks."""
    began = time.process_time()
    try:
        load_layout(document)
    except LayoutError as error:
        if not error.faults:
            return "refused without a fault"
    except Exception as error:  # noqa: BLE001  # anything is the finding
        return f"{type(error).__name__}: {error!s:.300}"
    took = time.process_time() - began
    return None if took < LONGEST_S else f"{took:.1f} s of processor to load a layout"


def broken_by_inferring(payload: bytes, kind: str) -> str | None:
    """Which law inferring a layout breaks."""
    began = time.process_time()
    try:
        infer(payload, kind)
    except FormatError:
        pass
    except Exception as error:  # noqa: BLE001  # anything is the finding
        return f"{type(error).__name__}: {error!s:.300}"
    took = time.process_time() - began
    return None if took < LONGEST_S else f"{took:.1f} s of processor to infer from {len(payload)} bytes"


# ------------------------------------------------------------------ damage

ODD = (
    b"\0", b"\x1a", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b'"', b'""', b"'", b",", b";;;", b"\t", b"|", b"~",
    b"*", b"+", b":", b"?", b"<", b"<!DOCTYPE a>", b"&#0;", b"]]>", b"{", b"[[", b"}", b"\\u0000", b"\\ud800", b"1e999",
    b"-0", b"9" * 40, b"\x80", b"\xc3", b"\xe2\x80\xa8", b"%", b"%00", b"=", b"A" * 300, b"ISA", b"UNB+", b"SE*",
    b"PK\x03\x04",
)  # fmt: skip
ODD_VALUES: list[Any] = [
    None, True, -1, 0, 10**9, "", "\0", "x" * 300, [], {}, [[]], {"a": {}}, "a[", "{n}", ["", ""], 1.5,
]  # fmt: skip


def damaged(payload: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    content = bytearray(payload)
    for _ in range(chance.randint(1, 6)):
        at, size = chance.randint(0, len(content)), chance.randint(0, 12)
        match chance.randrange(6):
            case 0:
                content[at : at + size] = chance.choice(ODD)
            case 1:
                content[at:at] = chance.choice(ODD) * chance.choice((1, 1, 2, 50))
            case 2:
                del content[at : at + size]
            case 3:
                content[at:at] = content[max(0, at - 40) : at] * chance.choice((1, 2, 30))
            case 4 if content:
                content[at % len(content)] ^= 1 << chance.randrange(8)
            case _:
                other = chance.choice(list(others))
                content[at:] = other[chance.randint(0, len(other)) :]
    return bytes(content)


def damaged_document(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        if chance.random() < 0.1:
            return {name: each for name, each in value.items() if name != key}
        return {**value, key: damaged_document(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        at = chance.randrange(len(value))
        return [*value[:at], damaged_document(value[at], chance), *value[at + 1 :]]
    return chance.choice(ODD_VALUES)


def case(number: int, all_targets: Sequence[Target]) -> tuple[str, str | None]:
    """What a number draws, and which law it breaks."""
    chance = random.Random(number)
    target = chance.choice(all_targets)
    kind = chance.random()
    if kind < 0.1:
        document = json.loads(json.dumps(dict(target.layout.document)))
        for _ in range(chance.randint(1, 3)):
            key = chance.choice(list(document))
            document = {**document, key: damaged_document(document[key], chance)}
        return json.dumps(document)[:2_000], broken_by_document(document)
    payload = damaged(chance.choice(target.payloads), target.payloads, chance)
    if kind < 0.13:
        return shown(payload), broken_by_inferring(payload, chance.choice(KINDS))
    return f"{target.layout.name} {shown(payload)}", broken_law(target.layout, payload)


def shown(payload: bytes) -> str:
    return base64.b64encode(payload).decode()[:4_000]


# ------------------------------------------------------------------ the run


def at_random(first: int, step: int, seconds: float, most: int) -> tuple[int, list[str]]:
    """Cases one after the other, at most *most*; how many, and what was found."""
    all_targets, until, number, tried, found = targets(), time.monotonic() + seconds, first, 0, list[str]()
    while time.monotonic() < until and len(found) < 5 and tried < most:
        what, said = case(number, all_targets)
        if said is not None:
            found.append(f"--only {number}: {said}\n  {what}")
        number, tried = number + step, tried + 1
    return tried, found


def guided(seconds: float, seed: int, most: int) -> None:
    """Let atheris look for payloads; the first byte says for which layout. It ends the process itself."""
    all_targets = targets()

    def one(data: bytes) -> None:
        if not data:
            return
        layout = all_targets[data[0] % len(all_targets)].layout
        said = broken_law(layout, data[1:])
        if said is not None:
            raise AssertionError(f"{layout.name}: {said}\n  --payload {shown(data)}")

    with tempfile.TemporaryDirectory() as corpus:
        for index, target in enumerate(all_targets):
            for number, payload in enumerate(target.payloads):
                Path(corpus, f"{index}-{number}").write_bytes(bytes([index]) + payload)
        flags = [
            f"-max_total_time={max(1, int(seconds))}",
            f"-seed={seed % 2**31 or 1}",
            "-max_len=4096",
            "-timeout=20",
        ]
        atheris.Setup([sys.argv[0], *flags, "-timeout=20", f"-artifact_prefix={corpus}/", corpus], one)
        atheris.Fuzz()


def by_coverage(seconds: float, seed: int, workers: int, most: int) -> tuple[int, list[str]]:
    """Atheris in processes of their own: how many payloads it tried, and what it found."""
    command = [sys.executable, __file__, "--guided", "--seconds", str(seconds), "--most", str(most)]
    runs = [
        subprocess.Popen(
            [*command, "--seed", str(seed + each)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for each in range(workers)
    ]
    tried, found = 0, list[str]()
    for run in runs:
        said, _ = run.communicate(timeout=seconds + 240)
        tried += sum(int(line.split()[1]) for line in said.splitlines() if line.startswith("Done "))
        if run.returncode:
            lines = [line for line in said.splitlines() if "Error" in line or "--payload" in line or "ALARM" in line]
            found.append("guided: " + "\n".join(lines or said.splitlines()[-15:]))
    return tried, found


def has_atheris() -> bool:
    try:
        import atheris  # noqa: F401
    except ImportError:
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0, help="how long (40)")
    parser.add_argument("--seed", type=int, help="where to begin; drawn from the clock when left out")
    parser.add_argument(
        "--most", type=int, default=10**9, help="cases of a core, for a run that is the same everywhere"
    )
    parser.add_argument("--only", type=int, help="one case, to see it again")
    parser.add_argument("--payload", help="one payload of a guided run, to see it again")
    parser.add_argument("--guided", action="store_true", help="the guided half alone, in this process")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**9)
    if given.guided:
        guided(given.seconds, seed, given.most)
    if given.only is not None or given.payload is not None:
        return seen_again(given.only, given.payload)
    workers = max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))
    half = given.seconds / 2 if has_atheris() else given.seconds
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        parts = pool.starmap(at_random, [(seed + number, workers, half, given.most) for number in range(workers)])
    tried, found = sum(part[0] for part in parts), [each for part in parts for each in part[1]]
    steered, more = by_coverage(half, seed, workers, given.most) if has_atheris() else (0, [])
    print("\n".join([*found, *more]))
    how = f"{steered:,} guided by coverage" if has_atheris() else "none guided by coverage, as atheris is not installed"
    findings = len(found) + len(more)
    print(f"formats: {tried:,} damaged at random, {how}, in {given.seconds:g} s from seed {seed}: {findings} findings")
    return 1 if findings or not tried or (has_atheris() and not steered) else 0


def seen_again(only: int | None, payload: str | None) -> int:
    all_targets = targets()
    if only is not None:
        what, said = case(only, all_targets)
    else:
        data = base64.b64decode(payload or "")
        target = all_targets[data[0] % len(all_targets)]
        what, said = target.layout.name, broken_law(target.layout, data[1:])
    print(what, said or "no finding", sep="\n")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
