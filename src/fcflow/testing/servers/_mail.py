"""Servers for e-mail."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import pwd
import secrets
from collections.abc import Iterator, Mapping, Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from attrs import define, field

from fcflow.testing.servers._machine import (
    HOST,
    Certificate,
    MissingServerError,
    RunningServer,
    free_port,
    process,
    program_of,
)


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
    program = program_of("dovecot")
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
    with process([program, "-F", "-c", str(config)], port, log):
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
