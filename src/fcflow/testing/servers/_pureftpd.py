"""Pure-FTPd."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from fcflow.testing.servers._machine import (
    HOST,
    Certificate,
    RunningServer,
    crypted,
    free_port,
    free_ports,
    nobody,
    process,
    program_of,
    run,
)

__all__ = ["pure_ftpd"]


@contextlib.contextmanager
def pure_ftpd(folder: Path, *, identity: Certificate | None = None) -> Iterator[RunningServer]:
    """Pure-FTPd with a virtual user: in clear, or with TLS that it insists on for commands and data."""
    program, owner = program_of("pure-ftpd"), nobody()
    root, port, ports = folder / "root", free_port(), free_ports(400)
    password = f"pass-{secrets.token_hex(8)}"
    root.mkdir()
    os.chown(root, owner.pw_uid, owner.pw_gid)
    users, base, log = folder / "users", folder / "users.pdb", folder / "pure-ftpd.log"
    # Its own tool makes hashes that take seconds to compare.
    fields = ["leeds", crypted(password), str(owner.pw_uid), str(owner.pw_gid), "", f"{root}/./", *[""] * 12]
    users.write_text(":".join(fields) + "\n")
    run("pure-pw", "mkdb", str(base), "-f", str(users))
    command = [program, "-S", f"{HOST},{port}", "-l", f"puredb:{base}", "-E", "-A", "-H", "-4", "-u", "1"]
    command += ["-p", f"{ports[0]}:{ports[-1]}", "-P", HOST, "-C", "100", "-c", "100", "-L", "20000:8"]
    command += ["-g", str(folder / "pure-ftpd.pid"), "-O", f"clf:{log}"]
    command += ["-Y", "0"] if identity is None else ["-Y", "3", "-2", str(identity.both)]
    with process(command, port, log):
        yield RunningServer(
            scheme="ftp" if identity is None else "ftps",
            port=port,
            user="leeds",
            password=password,
            root=root,
            certificate=identity,
            passive_ports=ports,
            owner=(owner.pw_uid, owner.pw_gid),
            log=log,
        )
