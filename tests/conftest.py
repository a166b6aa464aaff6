"""Settings and servers that all tests share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from fcflow.testing import servers
from fcflow.testing.servers import MissingServerError, RunningServer

_T = TypeVar("_T")

# Whoever starts the tests may have a narrow terminal; readline tells the workers of xdist so even where there is none.
os.environ.pop("COLUMNS", None)

settings.register_profile("dev", deadline=None, max_examples=100)
settings.register_profile(
    "ci", deadline=None, max_examples=100, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") or os.environ.get("FCFLOW_REQUIRE_SERVERS") else "dev")


def _started(stack: ExitStack, server: Callable[[], AbstractContextManager[_T]]) -> _T:
    """The server; where its program is missing the test is skipped, or fails where all servers are required."""
    try:
        return stack.enter_context(server())
    except MissingServerError as error:
        if os.environ.get("FCFLOW_REQUIRE_SERVERS") == "1":
            pytest.fail(f"required server: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder for servers, which a chroot may be in."""
    with servers.scratch() as path:
        yield path


@pytest.fixture(scope="session")
def identity(scratch: Path) -> servers.Certificate:
    """A certificate for 127.0.0.1 of an authority of our own."""
    return servers.certificate(scratch / "tls")


@pytest.fixture(scope="session")
def system_user() -> Iterator[Any]:
    """A user of this machine who can log in."""
    with ExitStack() as stack:
        yield _started(stack, servers.system_user)


@pytest.fixture(scope="session")
def nginx_program(scratch: Path) -> None:
    """nginx is there; or the test is skipped, or fails, as with any other server."""
    with ExitStack() as stack:
        _started(stack, lambda: servers.nginx(scratch / "nginx"))


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, scratch: Path) -> Iterator[RunningServer]:
    """The server that the parameter names; one for all tests of it."""
    with ExitStack() as stack:
        yield _started(stack, lambda: _server(request, scratch / request.param))


def _server(request: pytest.FixtureRequest, folder: Path) -> AbstractContextManager[RunningServer]:
    folder.mkdir()
    identity = request.getfixturevalue("identity")
    match request.param:
        case "pyftpdlib":
            return servers.pyftpdlib_server(folder)
        case "pyftpdlib-ports":
            return servers.pyftpdlib_server(folder, ports=servers.free_ports(100))
        case "pyftpdlib-explicit" | "pyftpdlib-implicit":
            return servers.pyftpdlib_server(folder, tls=request.param.partition("-")[2], identity=identity)
        case "pyftpdlib-unix" | "pyftpdlib-dos":
            return servers.pyftpdlib_server(folder, listing=request.param.partition("-")[2])
        case "vsftpd":
            return servers.vsftpd(folder, request.getfixturevalue("system_user"))
        case "vsftpd-reuse":
            return servers.vsftpd(folder, request.getfixturevalue("system_user"), identity=identity)
        case "vsftpd-implicit":
            return servers.vsftpd(folder, request.getfixturevalue("system_user"), identity=identity, implicit=True)
        case "vsftpd-explicit":
            user = request.getfixturevalue("system_user")
            return servers.vsftpd(folder, user, identity=identity, require_reuse=False)
        case "proftpd":
            return servers.proftpd(folder)
        case "proftpd-hashes":
            return servers.proftpd(folder, hashes=True)
        case "proftpd-explicit" | "proftpd-implicit":
            return servers.proftpd(folder, tls=request.param.partition("-")[2], identity=identity)
        case "proftpd-sftp":
            return servers.proftpd_sftp(folder)
        case "pure-ftpd":
            return servers.pure_ftpd(folder)
        case "pure-ftpd-explicit":
            return servers.pure_ftpd(folder, identity=identity)
        case "openssh":
            return servers.openssh(folder, request.getfixturevalue("system_user"))
        case "asyncssh" | "asyncssh-plain-rename":
            return servers.asyncssh_server(folder, posix_rename=request.param == "asyncssh")
        case "s3":
            return servers.moto_s3()
        case "dovecot" | "dovecot-starttls":
            return servers.dovecot(folder, identity=identity, implicit=request.param == "dovecot")
        case _:
            raise ValueError(request.param)
