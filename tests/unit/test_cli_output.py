"""What the command line prints and how it ends, without running it."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fcflow import errors
from fcflow.cli.exit_codes import MEANINGS, ExitCode, code_of_error, code_of_run
from fcflow.cli.output import clean, console, error_document, plain, print_error, table
from fcflow.reports import PartnerReport, PhaseFailure, RunReport

DOWN = PhaseFailure("orders", "transport.unavailable", "no answer")
BUSY = PhaseFailure("orders", "store.busy", "locked")


def run(needs_person: int = 0, **partners: PartnerReport) -> RunReport:
    return RunReport(started_at=datetime(2026, 3, 2, tzinfo=UTC), partners=partners, needs_person=needs_person)


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (run(), ExitCode.FINE),
        (run(leeds=PartnerReport(sent=["A1"])), ExitCode.FINE),
        (run(leeds=PartnerReport(problems=["line 3"])), ExitCode.NEEDS_PERSON),
        (run(leeds=PartnerReport(unclear=["A1"])), ExitCode.NEEDS_PERSON),
        (run(leeds=PartnerReport(send_failed=["A1"])), ExitCode.NEEDS_PERSON),
        (run(needs_person=1), ExitCode.NEEDS_PERSON),
        (run(leeds=PartnerReport(failures=[DOWN]), york=PartnerReport()), ExitCode.NEEDS_PERSON),
        (run(leeds=PartnerReport(failures=[DOWN]), york=PartnerReport(failures=[DOWN])), ExitCode.PARTNER),
        (run(leeds=PartnerReport(failures=[BUSY])), ExitCode.STORE),
        (run(leeds=PartnerReport(failures=[BUSY, DOWN])), ExitCode.PARTNER),
    ],
)
def test_a_run_has_its_exit_code(report: RunReport, code: ExitCode) -> None:
    """
    Nothing wrong, wrong in part, nothing could be done: three codes, and one where it was the store.
    """
    assert code_of_run(report) is code


def test_every_error_has_an_exit_code_of_its_own_kind() -> None:
    """
    No error falls through to the code that means *done in part*, but the root and a fault that stand for any.
    """
    kinds = {getattr(errors, name) for name in errors.__all__}
    made = {kind: kind.__new__(kind, "x", [errors.Fault("x")]) for kind in kinds if issubclass(kind, BaseException)}

    loose = {kind for kind, error in made.items() if code_of_error(error) is ExitCode.NEEDS_PERSON}

    assert loose == {errors.FcflowError, errors.Fault, errors.TransientError}
    assert set(MEANINGS) == set(ExitCode)


@given(st.text())
def test_no_control_character_reaches_a_terminal(text: str) -> None:
    """
    Whatever a partner wrote, one printable line of the same length is shown.
    """
    assert clean(text).isprintable()
    assert len(clean(text)) == len(text)


@given(
    st.lists(st.fixed_dictionaries({"[red]": st.text(max_size=20), "n": st.none() | st.integers(-9, 9)}), max_size=4)
)
def test_a_table_shows_any_text_as_it_is(rows: list[dict[str, object]]) -> None:
    """
    Markup in a cell is text like any other, and no row makes the table fail.
    """
    out = console()

    with out.capture() as captured:
        out.print(table("title [bold]", rows))

    assert "title" in captured.get()
    assert ("nothing" in captured.get()) or rows


def test_plain_values_are_json() -> None:
    """
    Frozen values, sets, instants, bytes and paths of mappings become JSON values.
    """
    failure = plain({"failure": DOWN, "set": frozenset("ba"), "at": datetime(2026, 3, 2, tzinfo=UTC), "raw": b"\xff"})

    assert failure == {
        "failure": {"phase": "orders", "code": "transport.unavailable", "message": "no answer"},
        "set": ["a", "b"],
        "at": "2026-03-02T00:00:00+00:00",
        "raw": "\\xff",
    }


def test_notes_of_an_error_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """
    What was added to an error on its way stands below it, for people and for programs.
    """
    error = errors.TransportLoginError("wrong password\x1b[2J")
    error.add_note("partner leeds")

    print_error(error, as_json=False, debug=False)

    assert capsys.readouterr().err == "wrong password [2J\n  partner leeds\n"
    assert error_document(error)["error"]["notes"] == ["partner leeds"]


def test_a_narrow_table_breaks_sentences_not_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    On eighty columns words and headers stay whole, sentences are broken, and a column without content is left out.
    """
    monkeypatch.setenv("COLUMNS", "80")
    row = {
        "#": 1074,
        "at": datetime(2026, 3, 2, 9, 30, tzinfo=UTC),
        "type": "FULFIL_STATUS",
        "order": "A1",
        "location": "leeds",
        "nothing": None,
        "actor": "synchronizer",
        "message": "short of POT-24 by 1, and of much else besides",
    }
    shown = io.StringIO()
    Console(file=shown, width=80).print(table("audit trail", [row]))
    lines = shown.getvalue().splitlines()
    assert all(word in shown.getvalue() for word in ("FULFIL_STATUS", "location", "synchronizer"))
    assert "nothing" not in shown.getvalue()
    assert max(map(len, lines)) <= 80
