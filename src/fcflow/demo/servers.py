"""
Real servers on 127.0.0.1 for the simulated partners: FTP by pyftpdlib, SFTP by paramiko, each over one folder.
"""

from __future__ import annotations

import logging
import os
import socket
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paramiko
from attrs import frozen
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)
from paramiko.sftp import SFTP_FAILURE, SFTP_OK

with warnings.catch_warnings():
    # Python 3.11 says of a module that pyftpdlib uses that 3.12 has it no more; there pyftpdlib brings its own.
    warnings.simplefilter("ignore", DeprecationWarning)
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import FTPServer

__all__ = ["SftpAddress", "serve_ftp", "serve_sftp"]

# Without a handler of its own pyftpdlib sets up one that prints.
logging.getLogger("pyftpdlib").addHandler(logging.NullHandler())


@contextmanager
def serve_ftp(root: Path, user: str, password: str) -> Iterator[int]:
    """Serve *root* over FTP and give the port."""
    authorizer = DummyAuthorizer()
    authorizer.add_user(user, password, str(root), perm="elradfmwMT")
    handler = type("_Handler", (FTPHandler,), {"authorizer": authorizer, "banner": "Leeds warehouse", "log_prefix": ""})
    server = FTPServer(("127.0.0.1", 0), handler)
    stop = threading.Event()
    thread = threading.Thread(target=_serve_ftp, args=(server, stop), name="demo-ftp", daemon=True)
    thread.start()
    try:
        yield server.address[1]
    finally:
        stop.set()
        thread.join()


def _serve_ftp(server: Any, stop: threading.Event) -> None:
    while not stop.is_set():
        server.ioloop.loop(timeout=0.02, blocking=False)
    server.close_all()


@frozen
class SftpAddress:
    """Where an SFTP server listens, and the line by which it is known."""

    port: int
    host_key: str


@contextmanager
def serve_sftp(root: Path, user: str, password: str) -> Iterator[SftpAddress]:
    """Serve *root* over SFTP, with a host key of its own."""
    key = paramiko.ECDSAKey.generate()
    listener = socket.create_server(("127.0.0.1", 0))
    links: list[paramiko.Transport] = []
    doorman = _Doorman(user, password)
    thread = threading.Thread(target=_accept, args=(listener, key, doorman, root, links), name="demo-sftp", daemon=True)
    thread.start()
    try:
        yield SftpAddress(listener.getsockname()[1], f"{key.get_name()} {key.get_base64()}")
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for link in links:
            link.close()


def _accept(
    listener: socket.socket, key: paramiko.PKey, doorman: _Doorman, root: Path, links: list[paramiko.Transport]
) -> None:
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = paramiko.Transport(sock)
        link.add_server_key(key)
        link.set_subsystem_handler("sftp", paramiko.SFTPServer, _Folder, root)
        links.append(link)
        link.start_server(event=threading.Event(), server=doorman)


class _Doorman(paramiko.ServerInterface):
    """Lets in one user with one password, to SFTP and nothing else."""

    def __init__(self, user: str, password: str) -> None:
        self._pair = (user, password)

    def check_auth_password(self, username: str, password: str) -> int:
        return AUTH_SUCCESSFUL if (username, password) == self._pair else AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if kind == "session":
            return OPEN_SUCCEEDED
        return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED


class _Handle(paramiko.SFTPHandle):
    """An open file; the base reads and writes ``readfile`` and ``writefile``."""

    def __init__(self, path: Path, flags: int) -> None:
        super().__init__(flags)
        descriptor = os.open(path, flags, 0o644)
        mode = {os.O_WRONLY: "wb", os.O_RDWR: "r+b"}.get(flags & os.O_ACCMODE, "rb")
        self._file = os.fdopen(descriptor, mode)
        self.readfile = self._file
        self.writefile = self._file

    def stat(self) -> paramiko.SFTPAttributes:
        self._file.flush()
        return paramiko.SFTPAttributes.from_stat(os.fstat(self._file.fileno()))

    def chattr(self, attr: paramiko.SFTPAttributes) -> int:
        return SFTP_OK

    def close(self) -> None:
        self._file.close()


class _Folder(paramiko.SFTPServerInterface):
    """A folder and what is below it; a path cannot climb out, since the client's `..` end at the top."""

    def __init__(self, server: paramiko.ServerInterface, root: Path) -> None:
        super().__init__(server)
        self._root = root

    def _real(self, path: str) -> Path:
        return self._root / self.canonicalize(path).lstrip("/")

    def _try(self, action: Any, *arguments: Any) -> int:
        try:
            action(*arguments)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)
        return SFTP_OK

    def list_folder(self, path: str) -> list[paramiko.SFTPAttributes] | int:
        try:
            return [_attributes(entry) for entry in sorted(self._real(path).iterdir())]
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        try:
            return _attributes(self._real(path))
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)

    lstat = stat

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> paramiko.SFTPHandle | int:
        try:
            return _Handle(self._real(path), flags)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)

    def remove(self, path: str) -> int:
        return self._try(os.remove, self._real(path))

    def rename(self, oldpath: str, newpath: str) -> int:
        if self._real(newpath).exists():
            return SFTP_FAILURE
        return self._try(os.rename, self._real(oldpath), self._real(newpath))

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        return self._try(os.replace, self._real(oldpath), self._real(newpath))

    def mkdir(self, path: str, attr: paramiko.SFTPAttributes) -> int:
        return self._try(os.mkdir, self._real(path))

    def rmdir(self, path: str) -> int:
        return self._try(os.rmdir, self._real(path))

    def chattr(self, path: str, attr: paramiko.SFTPAttributes) -> int:
        return SFTP_OK if stat.S_IFMT(self._real(path).stat().st_mode) else SFTP_FAILURE


def _attributes(path: Path) -> paramiko.SFTPAttributes:
    attributes = paramiko.SFTPAttributes.from_stat(path.stat())
    attributes.filename = path.name
    return attributes
