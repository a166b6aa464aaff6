"""SFTP servers."""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fcflow.testing.servers._machine import (
    HOST,
    STARTING_S,
    RunningServer,
    free_port,
    process,
    program_of,
    run,
)


@contextlib.contextmanager
def openssh(folder: Path, user: tuple[pwd.struct_passwd, str], **settings: Any) -> Iterator[RunningServer]:
    """
    OpenSSH's server for SFTP only, with the login shut into ``folder / "sshd"``; files go to ``/data``.

    Args:
        settings: Of its configuration, such as ``MaxSessions``; they win.
    """
    program = program_of("sshd")
    found, password = user
    root = folder / "sshd"
    data = root / "data"
    data.mkdir(parents=True)
    os.chown(data, found.pw_uid, found.pw_gid)
    keys = {name: _ssh_key(folder / name) for name in ("host_key", "user_key")}
    allowed = folder / "authorized_keys"
    allowed.write_text(keys["user_key"].with_suffix(".pub").read_text())
    port, log, config = free_port(), folder / "sshd.log", folder / "sshd_config"
    config.write_text(_sshd_config(root, keys["host_key"], allowed, port, found.pw_name, folder / "sshd.pid", settings))
    Path("/run/sshd").mkdir(exist_ok=True)
    with process([program, "-D", "-e", "-f", str(config)], port, log):
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
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fcflow", "-f", str(path))
    return path


def _public_line(key: Path) -> str:
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


def _sshd_config(
    root: Path, key: Path, allowed: Path, port: int, user: str, pid: Path, settings: Mapping[str, Any]
) -> str:
    lines = [
        *(f"{name} {value}" for name, value in settings.items()),
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
    acceptor = asyncio.run_coroutine_threadsafe(listen(), loop).result(STARTING_S)
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
        asyncio.run_coroutine_threadsafe(_close(acceptor, connections), loop).result(STARTING_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STARTING_S)
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
