"""Ports, folders, certificates, users and processes: what every server needs."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import field, frozen

HOST = "127.0.0.1"
PROXY_HOST = "127.0.0.2"
"""Where the fault proxy stands in for a server\'s data channels."""
STARTING_S = 15.0


class MissingServerError(RuntimeError):
    """A program or a right that a server needs is not there."""


@frozen(kw_only=True)
class Certificate:
    """
    A certificate of a private authority, as PEM files.

    Args:
        ca: The authority, which clients trust.
    """

    ca: Path
    chain: Path
    key: Path
    both: Path


@frozen(kw_only=True)
class RunningServer:
    """
    A server that listens.

    Args:
        root: The folder of this machine that a client sees at *base*.

        base: That folder as a client names it, with slashes at both ends.

        host_key: Public host key of an SSH server.

        passive_ports: For the data channels of FTP.

        owner: User and group id that files of a client get, or ``None`` for our own.
    """

    scheme: str
    port: int
    user: str
    password: str = field(repr=False)
    root: Path
    base: str = "/"
    certificate: Certificate | None = None
    host_key: str | None = None
    user_key: Path | None = None
    passive_ports: Sequence[int] = ()
    owner: tuple[int, int] | None = None
    log: Path | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"{self.scheme}://{self.user}@{HOST}:{self.port}{self.base}"

    def folder(self, name: str) -> Path:
        """A new folder below *root* that clients may write to."""
        path = self.root / name
        path.mkdir(parents=True)
        if self.owner is not None:
            os.chown(path, *self.owner)
        return path


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def free_ports(count: int) -> range:
    """*count* ports in a row that nobody listens on now; few of them run out, as a closed one rests for a minute."""
    lowest, width = _own_ports()
    for _ in range(200):
        first = lowest + secrets.randbelow(width - count)
        if all(_is_free(host, port) for port in range(first, first + count) for host in (HOST, PROXY_HOST)):
            return range(first, first + count)
    raise RuntimeError(f"no {count} free ports in a row")


def _own_ports() -> tuple[int, int]:
    """Where this process looks: workers of one test run keep out of each other's way."""
    number = int("".join(filter(str.isdigit, os.environ.get("PYTEST_XDIST_WORKER", ""))) or 0)
    return 20000 + number % 4 * 3000, 3000


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder that sshd accepts as a chroot: no parent of it may be written to by others."""
    parent = Path("/srv")
    place = parent if os.access(parent, os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="fcflow-", dir=place))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def certificate(folder: Path, *names: str, expired: bool = False) -> Certificate:
    """A certificate for *names*, 127.0.0.1 and localhost where there are none; *expired* since yesterday."""
    import trustme

    authority = trustme.CA()
    until = datetime.now(UTC) - timedelta(days=1) if expired else None
    issued = authority.issue_cert(*(names or (HOST, "127.0.0.2", "localhost")), not_after=until)
    folder.mkdir(parents=True, exist_ok=True)
    found = Certificate(
        ca=folder / "ca.pem", chain=folder / "chain.pem", key=folder / "key.pem", both=folder / "both.pem"
    )
    authority.cert_pem.write_to_path(found.ca)
    issued.private_key_pem.write_to_path(found.key)
    found.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_and_cert_chain_pem.write_to_path(found.both)
    for path in (found.key, found.both):
        path.chmod(0o600)
    return found


@contextlib.contextmanager
def system_user() -> Iterator[tuple[pwd.struct_passwd, str]]:
    """A user of this machine with a password, removed at the end; only root can make one."""
    if os.geteuid() != 0:
        raise MissingServerError("a user to log in with can only be made by root")
    name, password = f"fcflow-{secrets.token_hex(4)}", f"pass-{secrets.token_hex(8)}"
    run("useradd", "--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", name)
    try:
        run("chpasswd", given=f"{name}:{password}\n")
        yield pwd.getpwnam(name), password
    finally:
        run("userdel", name, fails=True)


def run(*command: str, given: str | None = None, fails: bool = False) -> None:
    program = program_of(command[0])
    done = subprocess.run([program, *command[1:]], input=given, text=True, capture_output=True, check=False)  # noqa: S603
    if done.returncode and not fails:
        raise MissingServerError(f"{command[0]} failed: {done.stderr.strip()}")


def unpacked() -> Path:
    """Where programs lie that exclude each other as packages; ``scripts/_servers`` puts them there."""
    return Path(os.environ.get("FCFLOW_SERVERS", "/opt/fcflow-servers"))


def program_of(name: str) -> str:
    """The program of this machine called *name*."""
    beside = f"{unpacked()}/usr/sbin:{unpacked()}/usr/bin"
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:{beside}")
    if found is None:
        raise MissingServerError(f"{name} is not installed")
    return found


def crypted(password: str) -> str:
    """As files of users have it."""
    command = [program_of("openssl"), "passwd", "-6", "-stdin"]
    return subprocess.run(command, input=password, text=True, capture_output=True, check=True).stdout.strip()  # noqa: S603


def nobody() -> pwd.struct_passwd:
    """Who files of a virtual user belong to; only root can act for them."""
    if os.geteuid() != 0:
        raise MissingServerError("a server with virtual users can only be started by root")
    return pwd.getpwnam("nobody")


@contextlib.contextmanager
def process(command: Sequence[str], port: int, log: Path) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command line
            list(command), stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        _wait(port, process, log)
        yield
    finally:
        _end(process)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTING_S
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 0.5):
            return
        time.sleep(0.02)
    said = log.read_text(errors="replace")[-2000:]
    raise MissingServerError(f"{process.args!r} does not listen on port {port}: {said}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for ending in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, ending)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
            return
