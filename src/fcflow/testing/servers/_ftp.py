"""FTP servers."""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fcflow.testing.servers._machine import (
    HOST,
    Certificate,
    RunningServer,
    free_port,
    free_ports,
    process,
    program_of,
)


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
    program = program_of("vsftpd")
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
    with process([program, str(config)], port, log):
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
