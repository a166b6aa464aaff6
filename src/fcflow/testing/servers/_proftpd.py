"""ProFTPD, as an FTP server and as an SFTP server."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from fcflow.testing.servers._machine import (
    HOST,
    Certificate,
    MissingServerError,
    RunningServer,
    crypted,
    free_port,
    free_ports,
    nobody,
    process,
    program_of,
    run,
    unpacked,
)

__all__ = ["proftpd", "proftpd_sftp"]


@contextlib.contextmanager
def proftpd(
    folder: Path, *, tls: str | None = None, identity: Certificate | None = None, hashes: bool = False
) -> Iterator[RunningServer]:
    """
    ProFTPD's FTP server with a virtual user.

    Args:
        tls: ``explicit``, ``implicit``, both with session reuse required as it comes, or ``None`` for one in clear.

        hashes: It offers HASH, XSHA256 and their like.
    """
    ports = free_ports(400)
    lines = [f"PassivePorts {ports[0]} {ports[-1]}"]
    if hashes:
        # Its cache knows a file by name, size and second, so that what is sent again at once would look as it did.
        lines += ["LoadModule mod_digest.c", "DigestEngine on", "DigestCache off"]
    if tls is not None:
        assert identity is not None, "TLS needs a certificate"
        lines += [
            "LoadModule mod_tls.c",
            "TLSEngine on",
            "TLSRequired on",
            f"TLSRSACertificateFile {identity.chain}",
            f"TLSRSACertificateKeyFile {identity.key}",
            f"TLSLog {folder}/tls.log",
            *(["TLSOptions UseImplicitSSL"] if tls == "implicit" else []),
        ]
    with _started(folder, lines) as (port, password, root):
        yield RunningServer(
            scheme="ftp" if tls is None else "ftps",
            port=port,
            user="leeds",
            password=password,
            root=root,
            certificate=identity,
            passive_ports=ports,
            owner=(nobody().pw_uid, nobody().pw_gid),
            log=folder / "proftpd.log",
        )


@contextlib.contextmanager
def proftpd_sftp(folder: Path) -> Iterator[RunningServer]:
    """ProFTPD's SFTP server with a virtual user."""
    key = folder / "host_key"
    run("ssh-keygen", "-q", "-t", "ecdsa", "-m", "PEM", "-N", "", "-C", "fcflow", "-f", str(key))
    lines = [
        "LoadModule mod_sftp.c",
        "SFTPEngine on",
        f"SFTPHostKey {key}",
        f"SFTPLog {folder}/sftp.log",
        "SFTPAuthMethods password",
    ]
    with _started(folder, lines) as (port, password, root):
        yield RunningServer(
            scheme="sftp",
            port=port,
            user="leeds",
            password=password,
            root=root,
            host_key=" ".join(key.with_suffix(".pub").read_text().split()[:2]),
            owner=(nobody().pw_uid, nobody().pw_gid),
            log=folder / "proftpd.log",
        )


@contextlib.contextmanager
def _started(folder: Path, more: Sequence[str]) -> Iterator[tuple[int, str, Path]]:
    """With port, password and the folder that is shown."""
    program, owner = program_of("proftpd"), nobody()
    root, port, password = folder / "root", free_port(), f"pass-{secrets.token_hex(8)}"
    root.mkdir()
    os.chown(root, owner.pw_uid, owner.pw_gid)
    users, groups, config = (folder / name for name in ("users", "groups", "proftpd.conf"))
    users.write_text(f"leeds:{crypted(password)}:{owner.pw_uid}:{owner.pw_gid}::{root}:/bin/sh\n")
    groups.write_text(f"nogroup:x:{owner.pw_gid}:\n")
    for file in (users, groups):
        file.chmod(0o600)
    loads = [line for line in more if line.startswith("LoadModule")]
    lines = [f"ModulePath {_modules()}", *loads, *_settings(folder, port, users, groups)]
    config.write_text("\n".join([*lines, *(line for line in more if line not in loads)]) + "\n")
    with process([program, "-n", "-q", "-c", str(config)], port, folder / "proftpd.log"):
        yield port, password, root


def _modules() -> Path:
    for place in (unpacked() / "usr/lib/proftpd", Path("/usr/lib/proftpd")):
        if (place / "mod_sftp.so").exists():
            return place
    raise MissingServerError("proftpd-mod-crypto is not installed")


def _settings(folder: Path, port: int, users: Path, groups: Path) -> Sequence[str]:
    return [
        "ServerType standalone",
        "DefaultServer on",
        "ServerName fcflow",
        "UseReverseDNS off",
        "UseIPv6 off",
        f"DefaultAddress {HOST}",
        f"Port {port}",
        "SocketBindTight on",
        "User nobody",
        "Group nogroup",
        "MaxInstances 100",
        f"AuthUserFile {users}",
        f"AuthGroupFile {groups}",
        "AuthOrder mod_auth_file.c",
        "RequireValidShell off",
        "DefaultRoot ~",
        "AllowOverwrite on",
        f"PidFile {folder}/proftpd.pid",
        f"ScoreboardFile {folder}/proftpd.score",
        f"SystemLog {folder}/proftpd.log",
        "WtmpLog off",
        "DelayEngine off",
        "TimeoutIdle 600",
    ]
