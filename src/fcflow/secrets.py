"""
Secrets by reference: ``{"env": ...}``, ``{"file": ...}``, ``{"keyring": ...}``, ``{"command": [...]}``; never kept,
never shown.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fcflow.errors import MissingExtraError, SecretError

__all__ = ["KINDS", "resolve_reference"]

KINDS = ("env", "file", "keyring", "command")

_COMMAND_S = 30


def resolve_reference(reference: Mapping[str, Any], base: Path | None = None) -> str | None:
    """
    What *reference* stands for, or ``None`` where it is of no kind known here.

    Args:
        reference: One key: ``env`` (name of a variable), ``file`` (path; a line end at its end is not part of the
            secret), ``keyring`` (``{"service": ..., "user": ...}``, needs the extra ``keyring``), or ``command``
            (a program and its arguments, run without a shell and without input; what it prints, without a line end at
            its end, is the secret).

        base: Relative files are below it, and so is a program that is named by a relative path.

    Raises:
        SecretError: The variable, file or entry is not there, or the command fails, prints nothing, or takes longer
            than half a minute.

    Example:
        >>> os.environ["LEEDS_PASSWORD"] = "s3cret"
        >>> resolve_reference({"env": "LEEDS_PASSWORD"})
        's3cret'
        >>> resolve_reference({"vault": "leeds"}) is None
        True
    """
    if len(reference) != 1:
        raise SecretError(f"a secret reference has one key, got {sorted(reference)}")
    [(kind, value)] = reference.items()
    folder = base or Path.cwd()
    resolvers: Mapping[str, Callable[[], str]] = {
        "env": lambda: _from_environment(value),
        "file": lambda: _from_file(folder / value),
        "keyring": lambda: _from_keyring(value),
        "command": lambda: _from_command([_program(value[0], folder), *value[1:]]),
    }
    return resolvers[kind]() if kind in resolvers else None


def _from_environment(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise SecretError(f"environment variable {name} is not set") from None


def _from_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(f"secret file {path} cannot be read: {type(error).__name__}") from None


def _from_keyring(entry: Mapping[str, str]) -> str:
    try:
        import keyring
    except ImportError:
        raise MissingExtraError("keyring", "keyring") from None
    secret = keyring.get_password(entry["service"], entry["user"])
    if secret is None:
        raise SecretError(f"keyring has no entry for service {entry['service']!r} and user {entry['user']!r}")
    return str(secret)


def _program(name: str, folder: Path) -> str:
    return str(folder / name) if "/" in name else name


def _from_command(command: Sequence[str]) -> str:
    """What goes wrong is told without a word of what the program printed: nobody knows what stands in it."""
    try:
        done = subprocess.run(  # noqa: S603 - the seller's own command, without a shell
            list(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_S, check=False
        )
        secret = done.stdout.decode("utf-8").rstrip("\r\n")
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise SecretError(f"secret command {command[0]!r} failed: {type(error).__name__}") from None
    if done.returncode:
        raise SecretError(f"secret command {command[0]!r} failed: it ended with {done.returncode}")
    if not secret:
        raise SecretError(f"secret command {command[0]!r} printed nothing")
    return secret
