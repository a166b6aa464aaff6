"""
Regular expressions that cannot run away: RE2 where it is installed, else a checked subset of Python's own.

Without RE2 a pattern is accepted only if the number of ways in which it could be tried is bounded.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from attrs import frozen

__all__ = ["MAX_INPUT", "MAX_PATTERN", "MAX_WAYS", "Pattern", "PatternError", "compile_pattern"]

MAX_PATTERN = 1_000
MAX_INPUT = 1_000
MAX_WAYS = (MAX_INPUT + 1) ** 2


class PatternError(ValueError):
    """A pattern that is not valid, or not provably safe."""


class Pattern(Protocol):
    """A compiled pattern."""

    def found_in(self, text: str) -> bool | None:
        """Whether the pattern is found anywhere in *text*; ``None`` where *text* is too long to say."""
        ...

    @property
    def names(self) -> Mapping[str, int]:
        """The numbers of the groups that have a name."""
        ...

    @property
    def count(self) -> int:
        """How many groups there are."""
        ...

    def groups_of(self, text: str) -> tuple[str | None, ...] | None:
        """
        The pattern's groups where it is found first; ``None`` where it is not found, or *text* is too long to say.
        """
        ...


def compile_pattern(pattern: str, *, ignore_case: bool = False, engine: str | None = None) -> Pattern:
    """
    Compile *pattern*, which is in RE2 syntax.

    Args:
        engine: ``re2`` or ``python``; ``None`` takes RE2 where it is installed.

    Raises:
        PatternError: It is not valid, too long, or not safe without RE2.

    Example:
        >>> compile_pattern("^LS[0-9]", engine="python").found_in("LS1 4AP")
        True
        >>> compile_pattern("(a+)+$", engine="python")
        Traceback (most recent call last):
        fcflow.rules.patterns.PatternError: a repeat within a repeat can take too long without google-re2; ...
    """
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"{len(pattern)} characters; expected at most {MAX_PATTERN}")
    re2 = None if engine == "python" else _re2()
    if re2 is not None:
        return _compile_re2(re2, pattern, ignore_case)
    if engine == "re2":
        raise PatternError("google-re2 is not installed; run: pip install 'fcflow[regex]'")
    return _compile_python(pattern, ignore_case)


# ------------------------------------------------------------------ with RE2


def _re2() -> Any:
    try:
        import re2
    except ImportError:
        return None
    return re2


@frozen
class _Re2Pattern:
    compiled: Any

    def found_in(self, text: str) -> bool:
        return self.compiled.search(text) is not None

    @property
    def names(self) -> Mapping[str, int]:
        return dict(self.compiled.groupindex)

    @property
    def count(self) -> int:
        return int(self.compiled.groups)

    def groups_of(self, text: str) -> tuple[str | None, ...] | None:
        found = self.compiled.search(text)
        return None if found is None else tuple(found.groups())


def _compile_re2(re2: Any, pattern: str, ignore_case: bool) -> Pattern:
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    try:
        return _Re2Pattern(re2.compile(pattern, options))
    except re2.error as error:
        said = error.args[0]
        raise PatternError(said.decode() if isinstance(said, bytes) else str(said)) from error


# ------------------------------------------------------------------ without

_HINT = "; run: pip install 'fcflow[regex]'"
_SIMPLE = frozenset({"LITERAL", "NOT_LITERAL", "ANY", "IN"})
_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT"})


@frozen
class _PythonPattern:
    compiled: re.Pattern[str]

    def found_in(self, text: str) -> bool | None:
        return None if len(text) > MAX_INPUT else self.compiled.search(text) is not None

    @property
    def names(self) -> Mapping[str, int]:
        return self.compiled.groupindex

    @property
    def count(self) -> int:
        return self.compiled.groups

    def groups_of(self, text: str) -> tuple[str | None, ...] | None:
        found = None if len(text) > MAX_INPUT else self.compiled.search(text)
        return None if found is None else found.groups()


def _compile_python(pattern: str, ignore_case: bool) -> Pattern:
    flags = re.ASCII | (re.IGNORECASE if ignore_case else 0)
    if ignore_case and not pattern.isascii():
        raise PatternError("letters beyond ASCII with ignore_case need google-re2" + _HINT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compiled = re.compile(_at_the_very_end(pattern), flags)
            tree = _parsed(pattern, flags)
    except (re.error, FutureWarning, DeprecationWarning, RecursionError, OverflowError) as error:
        raise PatternError(f"not valid, or it needs google-re2: {error}") from error
    ways = _ways(tree) * (1 if _is_anchored(tree) else MAX_INPUT)
    if ways > MAX_WAYS:
        raise PatternError("so many repeats can take too long without google-re2" + _HINT)
    return _PythonPattern(compiled)


def _parsed(pattern: str, flags: int) -> list[Any]:
    from re import _parser  # type: ignore[attr-defined]  # the standard library's own parser has no public name

    return list(_parser.parse(pattern, flags))


def _at_the_very_end(pattern: str) -> str:
    """RE2's ``$`` is the very end; Python's also stands before a last line break."""
    pieces = re.findall(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", pattern, flags=re.DOTALL)
    if any(piece == r"\Z" for piece in pieces):
        raise PatternError(r"\Z is not in RE2 syntax; expected $")
    return "".join(r"\Z" if piece == "$" else piece for piece in pieces)


def _is_anchored(tree: list[Any]) -> bool:
    return bool(tree) and str(tree[0][0]) == "AT" and str(tree[0][1]) in ("AT_BEGINNING", "AT_BEGINNING_STRING")


def _ways(items: Iterable[Any]) -> int:
    """How many ways there are to try *items* at one place, at most; refuses what cannot be bounded."""
    ways = 1
    for kind, argument in items:
        ways *= _ways_of(str(kind), argument)
    return ways


def _ways_of(kind: str, argument: Any) -> int:
    if kind in _SIMPLE or kind == "AT":
        return 1
    if kind == "SUBPATTERN":
        return _ways(argument[3])
    if kind == "BRANCH":
        return sum(_ways(branch) for branch in argument[1])
    if kind in _REPEATS:
        return _repeated(*argument)
    raise PatternError(
        f"{kind.lower().replace('_', ' ')} is not in RE2 syntax; expected no look-around or back-reference"
    )


def _repeated(low: int, high: int, body: Iterable[Any]) -> int:
    inside = _ways(body)
    if inside > 1 and int(high) > 1:
        raise PatternError("a repeat within a repeat can take too long without google-re2" + _HINT)
    return inside * (min(int(high), MAX_INPUT) - int(low) + 1)
