"""
Real servers on 127.0.0.1, each with a scratch folder: pyftpdlib, vsftpd, ProFTPD, Pure-FTPd, OpenSSH, asyncssh,
aiosmtpd, Dovecot, moto, nginx.

Every function is a context manager; it ends only the process that it started. Some need root, for the user that logs
in, or programs of this machine: `MissingServerError` says which.
"""

from fcflow.testing.servers._ftp import pyftpdlib_server, vsftpd
from fcflow.testing.servers._machine import (
    HOST,
    PROXY_HOST,
    Certificate,
    MissingServerError,
    RunningServer,
    certificate,
    free_port,
    free_ports,
    scratch,
    system_user,
)
from fcflow.testing.servers._mail import PostOffice, aiosmtpd_server, dovecot
from fcflow.testing.servers._nginx import nginx
from fcflow.testing.servers._proftpd import proftpd, proftpd_sftp
from fcflow.testing.servers._pureftpd import pure_ftpd
from fcflow.testing.servers._s3 import bucket_client, moto_s3
from fcflow.testing.servers._ssh import asyncssh_server, openssh

__all__ = [
    "HOST",
    "PROXY_HOST",
    "Certificate",
    "MissingServerError",
    "PostOffice",
    "RunningServer",
    "aiosmtpd_server",
    "asyncssh_server",
    "bucket_client",
    "certificate",
    "dovecot",
    "free_port",
    "free_ports",
    "moto_s3",
    "nginx",
    "openssh",
    "proftpd",
    "proftpd_sftp",
    "pure_ftpd",
    "pyftpdlib_server",
    "scratch",
    "system_user",
    "vsftpd",
]
