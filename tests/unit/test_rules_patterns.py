"""Regular expressions: RE2 where it is installed, else only what provably cannot run away."""

import builtins
import re
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fcflow.model import Order
from fcflow.rules import compile_condition
from fcflow.rules.patterns import MAX_INPUT, PatternError, compile_pattern

SAFE = [
    "^LS[0-9]{1,2}$",
    "gift|present",
    "^[A-Z]{1,2}[0-9][A-Z0-9]? ?[0-9][A-Z]{2}$",
    "(red|green) (mug|cup)s?",
    "a.*b",
    "^.*b.*$",
    r"\bPO box\b",
    r"^\d+$",
    "(?i)gift",
    "(?P<area>[A-Z]+)[0-9]",
    "[$]5",
    r"\$5",
    "x{3}",
    "(ab)?c",
]
UNSAFE = ["(a+)+$", "(a|a)*b", "(a*)*", "a.*b.*c", "(a{1,9}){1,9}", "(.*,){9}x", "(a|b|ab)*c", "a{1,999}b{1,999}c"]
FOREIGN = [
    r"(a)\1",
    "(?=a)b",
    "(?<!a)b",
    "(?P<x>a)(?P=x)",
    "a++",
    "(?>a)b",
    "(?(1)a|b)",
    r"a\Z",
    "(a",
    "*",
    "[[:alpha:]]",
]


@pytest.mark.parametrize("pattern", SAFE)
def test_both_engines_take_what_is_safe(pattern: str) -> None:
    """
    A plain expression means the same with RE2 and without.
    """
    texts = ["LS1", "LS1 4AP", "gift\n", "a present", "red mugs", "aXb", "$5", "PO box 7", "12", "GIFT", "xxx", "c", ""]
    found = [[compile_pattern(pattern, engine=engine).found_in(text) for text in texts] for engine in ("python", "re2")]

    assert found[0] == found[1]


@pytest.mark.parametrize("pattern", UNSAFE)
def test_without_re2_nothing_runs_away(pattern: str) -> None:
    """
    What could take too long is refused at load, and the message says how to get it after all.
    """
    with pytest.raises(PatternError, match=r"google-re2.*pip install 'fcflow\[regex\]'"):
        compile_pattern(pattern, engine="python")
    compile_pattern(pattern, engine="re2")


@pytest.mark.parametrize("pattern", FOREIGN)
def test_what_re2_does_not_know_is_refused_without_it_too(pattern: str) -> None:
    """
    A rule set that loads without RE2 loads with it.
    """
    with pytest.raises(PatternError):
        compile_pattern(pattern, engine="python")


@pytest.mark.parametrize("engine", ["python", "re2"])
def test_a_pattern_has_a_length(engine: str) -> None:
    """
    An endless expression is refused by either engine.
    """
    with pytest.raises(PatternError, match="at most 1000"):
        compile_pattern("a" * 1001, engine=engine)


def test_the_end_is_the_very_end_in_both() -> None:
    """
    Neither engine lets ``$`` stand before a last line break.
    """
    for engine in ("python", "re2"):
        assert compile_pattern("gift$", engine=engine).found_in("gift\n") is False
        assert compile_pattern("gift$", engine=engine).found_in("a gift") is True


def test_a_value_too_long_for_python_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without RE2 the end of a long text is not guessed: the test is unknown of it.
    """
    _without_re2(monkeypatch)
    condition = compile_condition({"field": "notes", "op": "matches", "value": "x$"})

    assert condition.verdict(Order(order_id="A1", lines=(), notes="a" * MAX_INPUT)) is False
    assert condition.verdict(Order(order_id="A1", lines=(), notes="a" * (MAX_INPUT + 1))) is None


def test_without_re2_rules_are_refused_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The fault of a rule names the missing extra.
    """
    _without_re2(monkeypatch)

    with pytest.raises(ExceptionGroup) as refusal:
        compile_condition({"field": "notes", "op": "matches", "value": "(a+)+"})
    assert "pip install 'fcflow[regex]'" in str(refusal.value.exceptions[0])


def _without_re2(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name, *given, **more):
        if name == "re2":
            raise ImportError(name)
        return imported(name, *given, **more)

    monkeypatch.setattr(builtins, "__import__", without)


ATOMS = st.sampled_from(["a", "b", "[ab]", ".", "[^a]", r"\d", "$", "^", r"\.", "(a|b)", "(?:ab|ba)", "(b)"])
REPEATS = st.sampled_from(["", "", "?", "*", "+", "{2}", "{1,3}", "*?"])
PATTERNS = st.lists(st.tuples(ATOMS, REPEATS).map("".join), min_size=1, max_size=5).map("".join)


@settings(max_examples=200, deadline=None)
@given(pattern=PATTERNS, text=st.text("ab1.\n", max_size=12), fold=st.booleans())
def test_both_engines_agree(pattern: str, text: str, fold: bool) -> None:
    """
    Whatever Python's engine is allowed to run, it answers as RE2 does.
    """
    assume(not re.search(r"[$^][*+?{]", pattern))
    try:
        python = compile_pattern(pattern, ignore_case=fold, engine="python")
    except PatternError:
        assume(False)

    assert python.found_in(text) == compile_pattern(pattern, ignore_case=fold, engine="re2").found_in(text)


@settings(max_examples=60, deadline=None)
@given(pattern=PATTERNS, text=st.sampled_from(["a", "b", "ab", "ba", "a1"]))
def test_no_accepted_pattern_is_slow(pattern: str, text: str) -> None:
    """
    The longest value is searched in well under a second.
    """
    try:
        compiled = compile_pattern(pattern, engine="python")
    except PatternError:
        assume(False)
    begun = time.process_time()
    compiled.found_in((text * MAX_INPUT)[: MAX_INPUT - 1] + "\n")

    assert time.process_time() - begun < 1
