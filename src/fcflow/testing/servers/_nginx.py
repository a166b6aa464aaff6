"""nginx, with whatever a test asks of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from fcflow.testing.servers._machine import HOST, Certificate, RunningServer, free_port, process, program_of

__all__ = ["nginx"]


@contextlib.contextmanager
def nginx(
    folder: Path, *lines: str, identity: Certificate | None = None, outside: tuple[str, ...] = ()
) -> Iterator[RunningServer]:
    """
    nginx over a scratch folder, in clear or with TLS.

    Args:
        lines: What the server does, such as ``proxy_pass http://127.0.0.1:8080;`` in a location; files of ``root`` are
            served as they are.

        outside: Lines beside the server, such as a zone of ``limit_req_zone``.
    """
    program, port, root = program_of("nginx"), free_port(), folder / "root"
    root.mkdir(parents=True)
    config, log = folder / "nginx.conf", folder / "nginx.log"
    config.write_text(_config(folder, port, lines, identity, outside))
    with process([program, "-c", str(config), "-p", str(folder), "-e", str(log)], port, log):
        yield RunningServer(
            scheme="http" if identity is None else "https",
            port=port,
            user="leeds",
            password="",
            root=root,
            certificate=identity,
            log=log,
        )


def _config(
    folder: Path, port: int, lines: tuple[str, ...], identity: Certificate | None, outside: tuple[str, ...]
) -> str:
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    tls = [] if identity is None else [f"ssl_certificate {identity.chain};", f"ssl_certificate_key {identity.key};"]
    server = [f"listen {HOST}:{port}{'' if identity is None else ' ssl'};", f"root {folder}/root;", *tls, *lines]
    return "\n".join(
        [
            "daemon off;",
            "master_process off;",
            "worker_processes 1;",
            *(["user root;"] if os.geteuid() == 0 else []),
            f"pid {folder}/nginx.pid;",
            "events { worker_connections 256; }",
            "http {",
            "access_log off;",
            *(f"{name}_temp_path {folder}/{name};" for name in temporary),
            *outside,
            "server {",
            *server,
            "}",
            "}",
            "",
        ]
    )
