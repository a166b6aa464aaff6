"""
Real servers on 127.0.0.1: pyftpdlib, vsftpd, OpenSSH, asyncssh, aiosmtpd, Dovecot; each with a scratch folder.

Every function is a context manager; it ends only the process that it started. vsftpd and OpenSSH need root, for
the user that logs in, and like Dovecot programs of this machine: `MissingServerError` says which.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

__all__ = [
    "Certificate",
    "MissingServerError",
    "PostOffice",
    "RunningServer",
    "aiosmtpd_server",
    "asyncssh_server",
    "certificate",
    "dovecot",
    "free_port",
    "free_ports",
    "openssh",
    "pyftpdlib_server",
    "scratch",
    "system_user",
    "vsftpd",
]

HOST = "127.0.0.1"
PROXY_HOST = "127.0.0.2"
"""Where the fault proxy stands in for a server\'s data channels."""
_STARTING_S = 15.0


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


# ---------------------------------------------------------------------- ports, folders, certificates


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
    _run("useradd", "--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", name)
    try:
        _run("chpasswd", given=f"{name}:{password}\n")
        yield pwd.getpwnam(name), password
    finally:
        _run("userdel", name, fails=True)


def _run(*command: str, given: str | None = None, fails: bool = False) -> None:
    program = _program(command[0])
    done = subprocess.run([program, *command[1:]], input=given, text=True, capture_output=True, check=False)  # noqa: S603
    if done.returncode and not fails:
        raise MissingServerError(f"{command[0]} failed: {done.stderr.strip()}")


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise MissingServerError(f"{name} is not installed")
    return found


# ---------------------------------------------------------------------- processes


@contextlib.contextmanager
def _process(command: Sequence[str], port: int, log: Path) -> Iterator[None]:
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
    until = time.monotonic() + _STARTING_S
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


# ---------------------------------------------------------------------- FTP


@contextlib.contextmanager
def pyftpdlib_server(
    root: Path,
    *,
    tls: str | None = None,
    identity: Certificate | None = None,
    ports: Sequence[int] = (),
    permissions: str = "elradfmwMT",
    listing: str = "mlsd",
    replies: Mapping[str, str] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Iterator[RunningServer]:
    """
    pyftpdlib in a thread of this process.

    Args:
        tls: ``explicit``, ``implicit``, or ``None`` for a server in clear.

        ports: For data channels; any where it is empty.

        permissions: As pyftpdlib writes them.

        listing: ``mlsd``, ``unix`` (LIST only) or ``dos`` (LIST only, in the style of Windows).

        replies: Command to the answer that it always gets; may be changed while the server runs.

        attributes: Class attributes of the handler, such as ``timeout`` or ``masquerade_address``.
    """
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer

    logging.getLogger("pyftpdlib").setLevel(logging.CRITICAL)
    password = f"pass-{secrets.token_hex(8)}"
    authorizer = DummyAuthorizer()
    authorizer.add_user("leeds", password, str(root), perm=permissions)
    handler = _ftp_handler(tls, identity, listing, replies or {})
    handler.authorizer = authorizer
    handler.passive_ports = list(ports) or None
    for name, value in (attributes or {}).items():
        setattr(handler, name, value)
    loop = IOLoop()
    server = FTPServer((HOST, 0), handler, ioloop=loop)
    stopping = threading.Event()
    thread = threading.Thread(target=_serve, args=(server, stopping), daemon=True)
    thread.start()
    try:
        yield RunningServer(
            scheme="ftp" if tls is None else "ftps",
            port=server.address[1],
            user="leeds",
            password=password,
            root=root,
            certificate=identity,
            passive_ports=tuple(ports),
        )
    finally:
        stopping.set()
        thread.join(10)


def _serve(server: Any, stopping: threading.Event) -> None:
    while not stopping.is_set():
        server.ioloop.loop(timeout=0.01, blocking=False)
    server.close_all()


def _ftp_handler(tls: str | None, identity: Certificate | None, listing: str, replies: Mapping[str, str]) -> Any:
    from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler

    class Handler(FTPHandler if tls is None else TLS_FTPHandler):  # type: ignore[misc]  # chosen at run time
        use_sendfile = False
        permit_privileged_ports = False
        auth_failed_timeout = 0.05

        def handle(self) -> None:
            if tls == "implicit":
                self.secure_connection(self.get_ssl_context())
                self._prot = True
            super().handle()

        def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
            if cmd in replies:
                self.respond(replies[cmd])
            else:
                super().pre_process_command(line, cmd, arg)

    if tls is not None:
        assert identity is not None, "TLS needs a certificate"
        Handler.certfile = str(identity.both)
        Handler.ssl_context = None
        Handler.tls_data_required = True
        Handler.tls_control_required = tls == "explicit"
    if listing != "mlsd":
        Handler.proto_cmds = {k: v for k, v in Handler.proto_cmds.items() if k not in ("MLSD", "MLST")}
    if listing == "dos":
        Handler.abstracted_fs = _dos_filesystem()
    return Handler


def _dos_filesystem() -> Any:
    from pyftpdlib.filesystems import AbstractedFS

    class DosFilesystem(AbstractedFS):  # type: ignore[misc]  # has no types
        def format_list(self, basedir: str, listing: Sequence[str], ignore_err: bool = True) -> Iterator[bytes]:
            for name in listing:
                found = os.stat(os.path.join(basedir, name))
                when = time.strftime("%m-%d-%y  %I:%M%p", time.gmtime(found.st_mtime))
                size = "<DIR>" if os.path.isdir(os.path.join(basedir, name)) else str(found.st_size)
                yield f"{when} {size:>20} {name}\r\n".encode()

    return DosFilesystem


@contextlib.contextmanager
def vsftpd(
    folder: Path,
    user: tuple[pwd.struct_passwd, str],
    *,
    identity: Certificate | None = None,
    implicit: bool = False,
    require_reuse: bool = True,
    **settings: Any,
) -> Iterator[RunningServer]:
    """vsftpd, in clear or with TLS, by default with session reuse required as it comes."""
    program = _program("vsftpd")
    found, password = user
    root, empty = folder / "vsftpd", folder / "vsftpd-empty"
    root.mkdir()
    empty.mkdir()
    os.chown(root, found.pw_uid, found.pw_gid)
    port, ports = free_port(), free_ports(400)
    config = folder / "vsftpd.conf"
    chosen = _vsftpd_settings(root, empty, port, ports, folder / "vsftpd.xfer")
    if identity is not None:
        chosen |= _vsftpd_tls(identity, implicit, require_reuse)
    config.write_text("".join(f"{name}={value}\n" for name, value in {**chosen, **settings}.items()))
    config.chmod(0o600)
    log = folder / "vsftpd.log"
    with _process([program, str(config)], port, log):
        yield RunningServer(
            scheme="ftp" if identity is None else "ftps",
            port=port,
            user=found.pw_name,
            password=password,
            root=root,
            certificate=identity,
            passive_ports=ports,
            owner=(found.pw_uid, found.pw_gid),
            log=log,
        )


def _vsftpd_settings(root: Path, empty: Path, port: int, ports: range, log: Path) -> dict[str, Any]:
    return {
        "listen": "YES",
        "listen_ipv6": "NO",
        "listen_address": HOST,
        "listen_port": port,
        "background": "NO",
        "anonymous_enable": "NO",
        "local_enable": "YES",
        "write_enable": "YES",
        "local_root": root,
        "local_umask": "022",
        "chroot_local_user": "YES",
        "allow_writeable_chroot": "YES",
        "secure_chroot_dir": empty,
        "pam_service_name": "vsftpd",
        "seccomp_sandbox": "NO",
        "utf8_filesystem": "YES",
        "delay_failed_login": 0,
        "pasv_min_port": ports[0],
        "pasv_max_port": ports[-1],
        "pasv_address": HOST,
        "xferlog_enable": "YES",
        "vsftpd_log_file": log,
    }


def _vsftpd_tls(identity: Certificate, implicit: bool, require_reuse: bool) -> dict[str, Any]:
    return {
        "ssl_enable": "YES",
        "rsa_cert_file": identity.chain,
        "rsa_private_key_file": identity.key,
        "force_local_data_ssl": "YES",
        "force_local_logins_ssl": "YES",
        "ssl_tlsv1": "YES",
        "ssl_ciphers": "HIGH",
        "implicit_ssl": "YES" if implicit else "NO",
        "require_ssl_reuse": "YES" if require_reuse else "NO",
    }


# ---------------------------------------------------------------------- SFTP


@contextlib.contextmanager
def openssh(folder: Path, user: tuple[pwd.struct_passwd, str]) -> Iterator[RunningServer]:
    """OpenSSH's server for SFTP only, with the login shut into ``folder / "sshd"``; files go to ``/data``."""
    program = _program("sshd")
    found, password = user
    root = folder / "sshd"
    data = root / "data"
    data.mkdir(parents=True)
    os.chown(data, found.pw_uid, found.pw_gid)
    keys = {name: _ssh_key(folder / name) for name in ("host_key", "user_key")}
    allowed = folder / "authorized_keys"
    allowed.write_text(keys["user_key"].with_suffix(".pub").read_text())
    port, log, config = free_port(), folder / "sshd.log", folder / "sshd_config"
    config.write_text(_sshd_config(root, keys["host_key"], allowed, port, found.pw_name, folder / "sshd.pid"))
    Path("/run/sshd").mkdir(exist_ok=True)
    with _process([program, "-D", "-e", "-f", str(config)], port, log):
        yield RunningServer(
            scheme="sftp",
            port=port,
            user=found.pw_name,
            password=password,
            root=data,
            base="/data/",
            host_key=_public_line(keys["host_key"]),
            user_key=keys["user_key"],
            owner=(found.pw_uid, found.pw_gid),
            log=log,
        )


def _ssh_key(path: Path) -> Path:
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fcflow", "-f", str(path))
    return path


def _public_line(key: Path) -> str:
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


def _sshd_config(root: Path, key: Path, allowed: Path, port: int, user: str, pid: Path) -> str:
    lines = [
        f"ListenAddress {HOST}",
        f"Port {port}",
        f"HostKey {key}",
        f"PidFile {pid}",
        "UsePAM no",
        "PasswordAuthentication yes",
        "PubkeyAuthentication yes",
        f"AuthorizedKeysFile {allowed}",
        "StrictModes no",
        "Subsystem sftp internal-sftp",
        "ForceCommand internal-sftp",
        f"ChrootDirectory {root}",
        f"AllowUsers {user}",
        "AllowTcpForwarding no",
        "X11Forwarding no",
        "PermitTTY no",
        "MaxStartups 100:30:200",
    ]
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def asyncssh_server(
    folder: Path, *, posix_rename: bool = True, host_keys: Sequence[str] = ("ssh-ed25519",), **settings: Any
) -> Iterator[RunningServer]:
    """
    asyncssh in a thread of this process.

    Args:
        posix_rename: Off takes that extension away.

        host_keys: Kinds of keys that the server has one of each; the first is the one that is known of it.

        settings: Of ``asyncssh.listen``, such as ``kex_algs``.
    """
    import asyncio

    import asyncssh

    offers = posix_rename
    logging.getLogger("asyncssh").setLevel(logging.CRITICAL)
    root = folder / "asyncssh"
    root.mkdir(exist_ok=True)
    password = f"pass-{secrets.token_hex(8)}"
    keys = [asyncssh.generate_private_key(kind) for kind in host_keys]

    connections: list[asyncssh.SSHServerConnection] = []

    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            connections.append(conn)

        def begin_auth(self, username: str) -> bool:
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, given: str) -> bool:
            return username == "leeds" and given == password

    class Files(asyncssh.SFTPServer):
        def __init__(self, channel: Any) -> None:
            super().__init__(channel, chroot=os.fsencode(root))

        if not offers:

            def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
                raise asyncssh.SFTPOpUnsupported("no posix-rename here")

    async def listen() -> Any:
        return await asyncssh.listen(
            HOST, 0, server_factory=Server, server_host_keys=keys, sftp_factory=Files, **settings
        )

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    acceptor = asyncio.run_coroutine_threadsafe(listen(), loop).result(_STARTING_S)
    try:
        yield RunningServer(
            scheme="sftp",
            port=acceptor.get_port(),
            user="leeds",
            password=password,
            root=root,
            host_key=" ".join(keys[0].export_public_key().decode().split()[:2]),
        )
    finally:
        asyncio.run_coroutine_threadsafe(_close(acceptor, connections), loop).result(_STARTING_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_STARTING_S)
        loop.close()


async def _close(acceptor: Any, connections: Sequence[Any]) -> None:
    import asyncio

    acceptor.close()
    for connection in connections:
        connection.abort()
    await asyncio.sleep(0.01)
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# ---------------------------------------------------------------------- e-mail


@define(eq=False)
class PostOffice:
    """
    What an SMTP server took, and what it says to whom.

    Args:
        replies: Command, or recipient, to the answer that it always gets; may be changed while the server runs. The
            command ``END`` is the end of the data.

        messages: What was accepted, repeats too.

        logins: How often somebody logged in.
    """

    replies: dict[str, str] = field(factory=dict)
    messages: list[EmailMessage] = field(factory=list)
    raw: list[bytes] = field(factory=list)
    envelopes: list[tuple[str, tuple[str, ...]]] = field(factory=list)
    commands: list[str] = field(factory=list)
    logins: int = 0

    # What aiosmtpd calls, by these names.

    async def handle_EHLO(self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]) -> Any:  # noqa: N802
        session.host_name = hostname
        hidden = [name for name, answer in self.replies.items() if not answer]
        return [each for each in responses if not any(f"250-{name}" in each for name in hidden)]

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        if answer := self.replies.get("MAIL"):
            return answer
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        if answer := self.replies.get(address):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        from email import message_from_bytes
        from email.policy import default

        if answer := self.replies.get("END"):
            return answer
        self.envelopes.append((envelope.mail_from, tuple(envelope.rcpt_tos)))
        self.raw.append(envelope.content)
        self.messages.append(message_from_bytes(envelope.content, policy=default))
        return f"250 queued as {len(self.messages)}"


@contextlib.contextmanager
def aiosmtpd_server(
    office: PostOffice | None = None,
    *,
    tls: str | None = "starttls",
    identity: Certificate | None = None,
    size: int = 32 * 1024 * 1024,
    utf8: bool = True,
    mechanisms: Sequence[str] = ("PLAIN", "LOGIN"),
) -> Iterator[RunningServer]:
    """
    aiosmtpd in a thread of this process.

    Args:
        tls: ``starttls``, ``implicit``, or ``None`` for a server in clear.

        size: Bytes of a message at most.

        mechanisms: Of the login.
    """
    import ssl

    from aiosmtpd.controller import Controller

    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    password = f"pass-{secrets.token_hex(8)}"
    office = PostOffice() if office is None else office
    context = None
    if tls is not None:
        assert identity is not None, "TLS needs a certificate"
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(identity.chain, identity.key)
    controller = Controller(
        office,
        hostname=HOST,
        port=free_port(),
        ssl_context=context if tls == "implicit" else None,
        tls_context=context if tls == "starttls" else None,
        require_starttls=tls == "starttls",
        auth_required=True,
        auth_require_tls=tls == "starttls",
        auth_exclude_mechanism=[each for each in ("PLAIN", "LOGIN") if each not in mechanisms],
        authenticator=_checking(office, password),
        data_size_limit=size,
        enable_SMTPUTF8=utf8,
    )
    controller.factory = lambda: _smtp_class()(office, **controller.SMTP_kwargs)  # type: ignore[method-assign]
    controller.start()
    try:
        yield RunningServer(
            scheme="smtps" if tls == "implicit" else "smtp",
            port=controller.port,
            user="shop",
            password=password,
            root=Path(),
            certificate=identity,
        )
    finally:
        controller.stop()


def _checking(office: PostOffice, password: str) -> Any:
    from aiosmtpd.smtp import AuthResult

    def check(server: Any, session: Any, envelope: Any, mechanism: str, said: Any) -> Any:
        office.logins += 1
        return AuthResult(success=(said.login, said.password) == (b"shop", password.encode()), handled=False)

    return check


def _smtp_class() -> Any:
    """With answers of the office's own to any command."""
    from aiosmtpd.smtp import SMTP

    class Smtp(SMTP):
        async def _call_limited(self, name: str, call: Any, argument: str) -> None:
            office = self.event_handler
            office.commands.append(name)
            if answer := office.replies.get(name):
                await self.push(answer)
            else:
                await call(argument)

    for name in ("EHLO", "HELO", "STARTTLS", "AUTH", "RSET", "NOOP", "DATA"):
        inner = getattr(SMTP, f"smtp_{name}")
        setattr(Smtp, f"smtp_{name}", _answering(name, inner))
    return Smtp


def _answering(name: str, inner: Any) -> Any:
    import functools

    @functools.wraps(inner)
    async def command(self: Any, argument: str) -> None:
        await self._call_limited(name, functools.partial(inner, self), argument)

    return command


@contextlib.contextmanager
def dovecot(folder: Path, *, identity: Certificate, implicit: bool = True, **settings: Any) -> Iterator[RunningServer]:
    """
    Dovecot's IMAP server, by TLS from the first byte or by STARTTLS; every user name has a mailbox, by one password.

    Args:
        settings: Of Dovecot's configuration; they win.
    """
    program = _program("dovecot")
    if not Path("/usr/lib/dovecot/imap").exists():
        raise MissingServerError("dovecot-imapd is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    mail, port, log = folder / "mail", free_port(), folder / "dovecot.log"
    mail.mkdir()
    owner = _mail_owner()
    os.chown(mail, owner.pw_uid, owner.pw_gid)
    password = f"pass-{secrets.token_hex(8)}"
    config = folder / "dovecot.conf"
    config.write_text(_dovecot_config(folder, identity, port, owner, password, implicit=implicit, settings=settings))
    config.chmod(0o600)
    with _process([program, "-F", "-c", str(config)], port, log):
        yield RunningServer(
            scheme="imaps" if implicit else "imap",
            port=port,
            user="shop",
            password=password,
            root=mail,
            certificate=identity,
            log=log,
        )


def _mail_owner() -> pwd.struct_passwd:
    """Who mail belongs to: root may not own any."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def _dovecot_config(
    folder: Path,
    identity: Certificate,
    port: int,
    owner: pwd.struct_passwd,
    password: str,
    *,
    implicit: bool,
    settings: Mapping[str, Any],
) -> str:
    chosen = {
        "protocols": "imap",
        "base_dir": folder / "run",
        "state_dir": folder / "state",
        "listen": HOST,
        "log_path": folder / "dovecot.log",
        "ssl": "required",
        "ssl_cert": f"<{identity.chain}",
        "ssl_key": f"<{identity.key}",
        "ssl_min_protocol": "TLSv1.2",
        "mail_location": f"maildir:{folder / 'mail'}/%u:LAYOUT=fs",
        "mail_uid": owner.pw_uid,
        "mail_gid": owner.pw_gid,
        "first_valid_uid": 1,
        "auth_mechanisms": "plain login",
        "auth_failure_delay": "0",
        "mail_max_userip_connections": 100,
        "mailbox_list_index": "no",
        **({} if os.geteuid() == 0 else _as_ourselves(owner)),
        **settings,
    }
    lines = [f"{name} = {value}" for name, value in chosen.items()]
    other, mine = ("imap", "imaps") if implicit else ("imaps", "imap")
    listener = f"inet_listener {mine} {{\n    port = {port}\n    ssl = {'yes' if implicit else 'no'}\n  }}"
    lines += [
        f"passdb {{\n  driver = static\n  args = password={password}\n}}",
        f"userdb {{\n  driver = static\n  args = uid={owner.pw_uid} gid={owner.pw_gid} home={folder}/mail/%u\n}}",
        "namespace inbox {\n  inbox = yes\n  separator = /\n}",
        f"service imap-login {{\n  chroot =\n  inet_listener {other} {{\n    port = 0\n  }}\n  {listener}\n}}",
        "service anvil {\n  chroot =\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}",
        "service stats {\n  chroot =\n}",
    ]
    return "\n".join(lines) + "\n"


def _as_ourselves(owner: pwd.struct_passwd) -> dict[str, Any]:
    import grp

    group = grp.getgrgid(owner.pw_gid).gr_name
    return {
        "default_internal_user": owner.pw_name,
        "default_internal_group": group,
        "default_login_user": owner.pw_name,
    }
