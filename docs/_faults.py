"""
The faults that tests show, row by row: what each is, and where its tests are.

A test names its row with ``@pytest.mark.fault(row=4, invariants="I3")``; rows of other areas name tests of theirs here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1] / "tests"

INVARIANTS: Mapping[str, str] = {
    "I1": "No order is lost: it is at the partner whole, or the order says that it failed or that nobody knows.",
    "I2": "Nobody reads half a file, neither the partner nor we.",
    "I3": "No order arrives as two: every attempt has the same name, bytes and key.",
    "I4": "What a partner says takes effect once, and its file is put away only after that.",
    "I5": "Nothing goes back: an old or repeated status undoes nothing, and no unit counts twice.",
    "I6": "A look that failed is an error, never an empty answer.",
    "I7": "Every call ends in time, and takes no more memory and disk than the limits allow.",
    "I8": "No name, address or content leads out of the folders and hosts that are configured.",
    "I9": "No secret is in anything that is logged, shown, raised, pickled or stored.",
    "I10": "Nobody is spoken to whose key or certificate is not trusted.",
}

ROWS: Mapping[int, str] = {
    1: "The process is killed at any step of sending or taking in.",
    2: "It is killed between upload and rename: what was uploaded has its temporary name still.",
    3: "It is killed, or the answer lost, after the rename and before that is written down.",
    4: "The server did it (upload, rename, removal) and its answer never came.",
    5: "An upload is cut, and the server calls what it has of it a file.",
    6: "A download is cut, in good order or bad, or stands still.",
    7: "A file of that name is there already when ours is to get it.",
    8: "The server cannot rename, or tells no sizes, or lets nobody look.",
    9: "A partner's file lies there half written.",
    10: "A file grows or is replaced while it is read.",
    11: "A file comes again: the same one, another of its name, or its content under another name.",
    12: "Yesterday's files are laid there once more.",
    13: "Statuses come in any order, repeated, or against each other.",
    14: "The partner's clock is wrong, its times have no year or zone, or ours is set back.",
    15: "HTTP: the answer to a post is late, lost, cut, slow or endless.",
    16: "HTTP: a success that is none, a refusal, a redirect, a request to wait.",
    17: "Two synchronizers on one store, one of which slept too long.",
    18: "Two installations that read one folder.",
    19: "A disk is full: the server's, that of the store, or the one that files are kept on while they are read.",
    20: "The database is locked, may only be read, or goes away in the midst.",
    21: "A server says what is no answer, says it without an end, drop by drop, or says that it shuts down.",
    22: "A connection that was kept is dead, or its server was started anew.",
    23: "A listing is refused, or written in a way that is not understood.",
    24: "Names in a folder that are paths, hold control characters or are no text; links; folders named like files.",
    25: "Ids and names of ours that would lead elsewhere in a path, a URL or a header.",
    26: "Somebody sends us to another host: by a redirect, a link to the next page, or the answer to PASV.",
    27: "A file that is too large, has no end, or unpacks into what is.",
    28: "Members of an archive that lead out of it.",
    29: "XML that includes, expands or nests without end.",
    30: "Cells that begin a formula, quotes and separators where they do not belong, other encodings, endless lines.",
    31: "A secret shows somewhere: in an error, a log, a pickle, the store, or what a library prints.",
    32: "TLS with a certificate that is not good, of an old version, refused, or not used for the data.",
    33: "SSH with a host key that is unknown or another one, or by weak algorithms only.",
    34: "A bit is flipped on the way.",
    35: "A server changes line ends or names.",
    36: "A slow line, a slow server, or thousands of files in a folder.",
    37: "A file that cannot be read, however often it is tried.",
    38: "The host's callback fails, takes its time, or ends the transaction.",
    39: "A process forks, or uses several threads, with connections open.",
    40: "A transport of somebody else lies, hangs, or raises anything at all.",
}

ELSEWHERE: Mapping[int, tuple[str, tuple[str, ...]]] = {
    11: (
        "what a file is known by is kept in the store, whatever brought it",
        (
            "integration/test_bad_input.py::test_a_repeated_file_changes_nothing_and_is_in_the_audit_trail_again",
            "integration/test_lifecycle_stories.py::test_a_file_that_is_left_is_taken_once_where_the_server_tells_no_sizes",
        ),
    ),
    12: (
        "an old word is told from a new one by the lifecycle and by stock",
        (
            "integration/test_bad_input.py::test_an_older_status_that_comes_late_does_not_undo_a_newer_one",
            "unit/test_stock.py::test_a_picture_older_than_the_one_held_is_passed_over",
        ),
    ),
    13: (
        "it is a law of the lifecycle",
        (
            "properties/test_lifecycle.py::test_neither_order_nor_repeats_matter",
            "properties/test_lifecycle.py::test_the_state_never_goes_back",
        ),
    ),
    20: (
        "it is the store's",
        (
            "faults/test_store_faults.py::test_a_writer_who_never_ends_makes_others_busy_not_broken",
            "faults/test_store_faults.py::test_a_file_that_may_only_be_read_can_be_read",
            "faults/test_store_faults.py::test_a_killed_process_leaves_all_or_nothing",
        ),
    ),
    28: (
        "archives are unpacked by formats, from memory and never onto a disk",
        ("unit/test_formats_tables.py::test_hostile_packages_are_refused",),
    ),
    29: ("it is of formats", ("unit/test_formats_documents.py::test_hostile_xml_is_refused",)),
    30: (
        "it is of formats",
        (
            "unit/test_formats_options.py::test_formulas_are_guarded_when_asked",
            "properties/test_formats.py::test_garbage_is_a_problem_or_a_format_error",
            "properties/test_formats.py::test_what_is_written_is_read_back",
        ),
    ),
    37: (
        "what cannot be read is put aside by the synchronizer",
        ("integration/test_bad_input.py::test_a_file_of_garbage_is_refused_as_a_whole_kept_and_put_aside",),
    ),
    38: (
        "the host's work is in the store's transaction",
        (
            "integration/test_store_hosts.py::test_the_hosts_transaction_carries_ours",
            "integration/test_synchronizer.py::test_a_hosts_own_rows_are_written_in_our_transaction_and_roll_back_with_it",
        ),
    ),
}
"""Rows that no transport has a part in: why, and tests that show them."""


class Shown(NamedTuple):
    """A test that shows a row."""

    row: int
    invariants: tuple[str, ...]
    test: str
    sentence: str


def shown() -> list[Shown]:
    """What the marks in the tests say, in the order of files and lines."""
    found = []
    for path in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        of_all = [mark for node in tree.body if _is_pytestmark(node) for mark in _marks(node)]
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                own = [mark for decorator in node.decorator_list for mark in _marks(decorator)]
                marks = own + [mark for mark in of_all if mark[0] not in {row for row, _ in own}]
                name = f"{path.relative_to(TESTS).as_posix()}::{node.name}"
                sentence = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                found += [Shown(row, tuple(said.split()), name, sentence) for row, said in marks]
    return found


def names() -> set[str]:
    """Every test function, as `ELSEWHERE` writes it."""
    return {
        f"{path.relative_to(TESTS).as_posix()}::{node.name}"
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }


def _is_pytestmark(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets
    )


def _marks(node: ast.AST) -> Iterator[tuple[int, str]]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.fault":
            said = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
            yield said["row"], said["invariants"]
