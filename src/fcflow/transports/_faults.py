"""From the errors of libraries to ours, without a secret in any text."""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

from fcflow.errors import (
    FcflowError,
    TransportError,
    TransportNotFoundError,
    TransportRefusedError,
    TransportTimeoutError,
    TransportUnavailableError,
)

__all__ = ["Failure", "frameless", "guarded", "guarded_blocks", "of_os_error", "scrubbed", "without_frames"]

_CALL = TypeVar("_CALL", bound=Callable[..., Any])

Failure = tuple[type[TransportError], str]
"""The class of an error and its text."""

_REFUSALS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY}
)


def scrubbed(text: str, secrets: Iterable[str | None]) -> str:
    """
    *text* with every secret replaced.

    Example:
        >>> scrubbed("530 wrong password s3cret", ["s3cret", None])
        '530 wrong password ***'
    """
    for secret in sorted((secret for secret in secrets if secret), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def of_os_error(error: OSError) -> Failure:
    """What an error of the operating system or the network means."""
    text = error.strerror or str(error) or type(error).__name__
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return TransportTimeoutError, "no answer in time"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return TransportNotFoundError, text
    if error.errno in _REFUSALS:
        return TransportRefusedError, text
    return TransportUnavailableError, text


def _translated(server: Any, error: Exception, args: tuple[Any, ...]) -> TransportError:
    kind, text = server.failure(error)
    server.broken(error)
    place = " ".join([server.where, *(arg for arg in args[:1] if isinstance(arg, str) and arg)])
    failure: TransportError = kind(scrubbed(f"{place}: {text}", server.secrets()))
    if scrubbed(str(error), server.secrets()) == str(error):
        failure.__cause__ = error
    return failure


def guarded(call: _CALL) -> _CALL:
    """
    Make a method of a server raise errors of ours only: `TransportError`, or `SecretError` from a reference.

    The server has ``failure(error) -> Failure``, which says what an error means, ``broken(error)``, which lets go of
    a connection that is out of step, ``secrets()``, what must not be shown, and ``where``.
    """

    @functools.wraps(call)
    def guard(server: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return call(server, *args, **kwargs)
        except FcflowError:
            raise
        except Exception as error:  # noqa: BLE001 - libraries of servers raise anything at all
            failure = _translated(server, error, args)
        # Raised outside of the handler: an error that quotes a secret is not even kept as the context of ours.
        raise failure

    return cast(_CALL, guard)


def guarded_blocks(call: Callable[..., Iterator[bytes]]) -> Callable[..., Iterator[bytes]]:
    """The same for a method that yields blocks of a file."""

    @guarded
    def step(server: Any, path: str, blocks: Iterator[bytes]) -> bytes | None:
        return next(blocks, None)

    @functools.wraps(call)
    def guard(server: Any, path: str, *args: Any) -> Iterator[bytes]:
        blocks = call(server, path, *args)
        try:
            while (block := step(server, path, blocks)) is not None:
                yield block
        finally:
            blocks.close()  # type: ignore[attr-defined]  # it is a generator

    return guard


def without_frames(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call with secrets as arguments: an error leaves without the frames that hold them."""
    try:
        return call(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - raised again below
        bare = error.with_traceback(None)
        bare.__cause__ = bare.__context__ = None
        del call, args, kwargs
    raise bare


def frameless(call: _CALL) -> _CALL:
    """
    Make the errors of a public method leave without the frames below it: their variables hold what was sent and said.
    """

    @functools.wraps(call)
    def bare(*args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except FcflowError as error:
            failure = error
        _strip(failure)
        raise failure

    return cast(_CALL, bare)


def _strip(error: BaseException) -> None:
    todo, seen = [error], set()
    while todo:
        each = todo.pop()
        seen.add(id(each))
        each.__traceback__ = None
        todo += [found for found in (each.__cause__, each.__context__) if found is not None and id(found) not in seen]
