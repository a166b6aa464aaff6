"""Secrets by reference: ``{"env": ...}``, ``{"file": ...}``, ``{"keyring": ...}``; never kept, never shown."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fcflow.errors import MissingExtraError, SecretError

__all__ = ["resolve_reference"]


def resolve_reference(reference: Mapping[str, Any], base: Path | None = None) -> str | None:
    """
    What *reference* stands for, or ``None`` where it is of no kind known here.

    Args:
        reference: One key: ``env`` (name of a variable), ``file`` (path; a line end at its end is not part of the
            secret), or ``keyring`` (``{"service": ..., "user": ...}``, needs the extra ``keyring``).

        base: Relative files are below it.

    Raises:
        SecretError: The variable, file or entry is not there.

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
    if kind == "env":
        return _from_environment(value)
    if kind == "file":
        return _from_file((base or Path.cwd()) / value)
    return _from_keyring(value) if kind == "keyring" else None


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
