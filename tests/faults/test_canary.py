"""Row 31: a secret is in nothing that anybody can look at, by whatever way in, whether things go well or wrong."""

from __future__ import annotations

import base64
import contextlib
import ftplib
import http.client
import imaplib
import io
import json
import logging
import pickle
import secrets
import smtplib
import subprocess
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from attrs import field, frozen

from fcflow.cli import main
from fcflow.config import load_config
from fcflow.errors import ConfigError, FcflowError
from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.plugins import load_plugins, open_transport
from fcflow.synchronizer import Synchronizer
from fcflow.testing import servers
from fcflow.testing.mail import Mailbox
from fcflow.testing.partners import order
from fcflow.testing.servers import Certificate, PostOffice
from fcflow.testing.web import Asked, Said, web_service
from fcflow.transports.base import Delivery, Endpoint, Offer, Outcome, Query

pytestmark = pytest.mark.fault(row=31, invariants="I9")
real_server = pytest.mark.real_server


def canary(what: str) -> str:
    return f"c4n4ry-{what}-{secrets.token_hex(6)}"


@frozen(kw_only=True)
class Case:
    """
    A connection with secrets in use.

    Args:
        known: The secrets by the names of the connection.

        also: What else must not show, such as what a secret is turned into.

        receives: Whether statuses come by it; else orders leave by it.
    """

    url: str
    options: Mapping[str, Any] = field(factory=dict)
    known: Mapping[str, str]
    also: tuple[str, ...] = ()
    receives: bool = False

    @property
    def forms(self) -> set[str]:
        """Every secret as it is, and as protocols write it."""
        found = {*self.also}
        for secret in self.known.values():
            lines = [line for line in secret.splitlines() if "PRIVATE KEY" not in line]
            for text in lines if len(lines) > 1 else [secret]:
                found |= {text, quote(text, safe="")}
            for user in ("leeds", "shop"):
                found |= {_coded(f"{user}:{secret}"), _coded(f"\0{user}\0{secret}"), _coded(secret)}
        return {form for form in found if len(form) > 8}


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# ---------------------------------------------------------------------- the ways in


@contextlib.contextmanager
def _ftp(right: bool, folder: Path, request: Any, tls: str | None = None) -> Iterator[Case]:
    wrong = canary("password")
    replies = {} if right else {"PASS": f"530 {wrong} is wrong"}
    identity: Certificate = request.getfixturevalue("identity")
    with servers.pyftpdlib_server(folder, tls=tls, identity=identity if tls else None, replies=replies) as server:
        yield Case(
            url=f"{server.url}",
            options={"ca_file": str(identity.ca)} if tls else {},
            known={"password": server.password if right else wrong},
        )


def _ftps(right: bool, folder: Path, request: Any) -> contextlib.AbstractContextManager[Case]:
    return _ftp(right, folder, request, tls="explicit")


@contextlib.contextmanager
def _sftp(right: bool, folder: Path, request: Any) -> Iterator[Case]:
    with servers.asyncssh_server(folder.parent) as server:
        for name in ("in", "out"):
            server.folder(name)
        known = {"password": server.password if right else canary("password")}
        yield Case(url=server.url, options={"host_key": server.host_key}, known=known)


@contextlib.contextmanager
def _sftp_key(right: bool, folder: Path, request: Any) -> Iterator[Case]:
    request.getfixturevalue("system_user")
    (folder / "ssh").mkdir()
    with servers.scratch() as scratch, servers.openssh(scratch, request.getfixturevalue("system_user")) as server:
        for name in ("in", "out"):
            server.folder(name)
        assert server.user_key is not None
        phrase, copy = canary("phrase"), folder / "ssh" / "key"
        copy.write_text(server.user_key.read_text())
        copy.chmod(0o600)
        subprocess.run(
            ["ssh-keygen", "-q", "-a", "1", "-p", "-P", "", "-N", phrase, "-f", copy], check=True, capture_output=True
        )
        known = {"key": copy.read_text(), "passphrase": phrase if right else canary("phrase")}
        copy.unlink()
        yield Case(url=server.url, options={"host_key": server.host_key}, known=known)


def _http(names: tuple[str, ...], **options: Any) -> Callable[..., contextlib.AbstractContextManager[Case]]:
    @contextlib.contextmanager
    def way(right: bool, folder: Path, request: Any) -> Iterator[Case]:
        known = {name: canary(name) for name in names}
        token = canary("access")

        def answer(asked: Asked) -> Said:
            if asked.target == "/token" and right:
                return Said(200, json.dumps({"access_token": token, "token_type": "Bearer"}).encode())
            if right:
                return Said(200, b"OK" if asked.method == "POST" else b"")
            said = " ".join([*known.values(), *asked.headers.values(), asked.body.decode("latin-1")])
            return Said(
                401 if "token" in asked.target else 400,
                f"you said {said}".encode(),
                {"X-You-Said": " ".join(known.values())},
            )

        with web_service(answer) as service:
            told = {name: _filled(value, service.url) for name, value in options.items()}
            user = "shop@" if "password" in names else ""
            url = service.url.replace("://", f"://{user}")
            yield Case(url=url, options=told, known=known, also=(token,))

    return way


def _filled(value: Any, url: str) -> Any:
    return {key: _filled(each, url) for key, each in value.items()} if isinstance(value, dict) else _text(value, url)


def _text(value: Any, url: str) -> Any:
    return value.replace("{url}", url) if isinstance(value, str) else value


@contextlib.contextmanager
def _smtp(right: bool, folder: Path, request: Any) -> Iterator[Case]:
    identity, wrong = request.getfixturevalue("identity"), canary("password")
    office = PostOffice(replies={} if right else {"AUTH": f"535 {wrong} {_coded(wrong)} is wrong"})
    with servers.aiosmtpd_server(office, identity=identity) as server:
        yield Case(
            url=server.url,
            options={"ca_file": str(identity.ca), "from": "orders@shop.example", "to": "desk@acme.example"},
            known={"password": server.password if right else wrong},
        )


@contextlib.contextmanager
def _imap(right: bool, folder: Path, request: Any) -> Iterator[Case]:
    identity = request.getfixturevalue("identity")
    with (
        servers.scratch() as scratch,
        servers.dovecot(scratch / "d", identity=identity) as server,
        contextlib.closing(Mailbox(server)) as box,
    ):
        url = f"{server.scheme}://{box.user}@127.0.0.1:{server.port}/"
        known = {"password": server.password if right else canary("password")}
        plain = _coded(f"\0{box.user}\0{known['password']}")
        yield Case(url=url, options={"ca_file": str(identity.ca)}, known=known, also=(plain,), receives=True)


WAYS: dict[str, Any] = {
    "ftp": _ftp,
    "ftps": _ftps,
    "sftp": _sftp,
    "http basic and api key": _http(("password", "api_key")),
    "http bearer": _http(("token",)),
    "http signed": _http(("signing_key",), sign={}),
    "http oauth": _http(("client_secret",), oauth={"url": "{url}token", "client_id": "shop"}),
    "http oauth in the body": _http(
        ("client_secret",), oauth={"url": "{url}token", "client_id": "shop", "client_in": "body"}
    ),
    "smtp": _smtp,
}
REAL = {"sftp by key": _sftp_key, "imap": _imap}
every_way = pytest.mark.parametrize(
    "way",
    [*WAYS.values(), *(pytest.param(way, marks=real_server) for way in REAL.values())],
    ids=[*WAYS, *REAL],
)


# ---------------------------------------------------------------------- what can be looked at


def texts_of(error: BaseException) -> Iterator[str]:
    """An error with its causes, contexts and notes, the local variables of every frame but ours, and its pickle."""
    todo, seen = [error], set()
    while todo:
        each = todo.pop()
        seen.add(id(each))
        frames = each.__traceback__
        if each is error and frames is not None:
            frames = frames.tb_next  # this one is ours
        shown = traceback.TracebackException(type(each), each, frames, capture_locals=True)
        yield "".join(shown.format(chain=False))
        yield repr(each) + repr(getattr(each, "__notes__", "")) + repr(vars(each))
        with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
            yield pickle.dumps(each).decode("latin-1")
        todo += [e for e in (each.__cause__, each.__context__) if e is not None and id(e) not in seen]


def calls_of(transport: Any, receives: bool) -> Iterator[Callable[[], Any]]:
    """Everything that a transport can be asked for."""
    out = Feed(kind="orders", partner="leeds", layout="canonical", path="in")
    back = Feed(kind="status", partner="leeds", layout="canonical", path="out")
    sent = Delivery(key="k-1", feed=out, name="orders-9.csv", content=b"A9;1\r\n", fulfilment_ids=("A9",))
    offer = Offer(feed=back, name="s.csv", token=json.dumps({"folder": "out", "name": "s.csv", "target": "out"}))
    yield lambda: transport.send(sent)
    yield lambda: transport.look_up(sent)
    yield lambda: list(transport.list(back, Query()))
    yield lambda: transport.fetch(offer, io.BytesIO())
    yield lambda: transport.settle(offer, Outcome.APPLIED)
    yield lambda: repr(transport.check())


def said_by_the_transport(case: Case, port: int | None = None) -> Iterator[str]:
    """What its calls give and raise; with *port*, where nobody listens any more."""
    url = case.url if port is None else case.url.replace(case.url.rpartition(":")[2].split("/")[0], str(port))
    connection = Connection(url=url, secrets={name: {"env": name} for name in case.known}, options=dict(case.options))
    endpoint = Endpoint(
        partner="leeds",
        connection=connection,
        limits=PartnerLimits(timeout_s=5),
        resolve=lambda reference: case.known[reference["env"]],
    )
    yield repr(endpoint)
    transport = open_transport(load_plugins(), endpoint)
    for call in calls_of(transport, case.receives):
        try:
            yield repr(call())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
            yield from texts_of(error)
        yield repr(transport)
        yield repr(vars(transport) if hasattr(transport, "__dict__") else transport)
    transport.close()


def document(folder: Path, case: Case) -> Path:
    """A configuration that works by *case*."""
    feeds: dict[str, Any] = {"orders": {"layout": "canonical", "path": "in", "name": "o-{counter}.csv"}}
    if case.receives:
        feeds["orders"]["connection"] = "other"
        feeds["status"] = {"layout": "canonical", "path": "out", "connection": "way"}
    else:
        feeds["orders"]["connection"] = "way"
    way = {
        "url": case.url,
        "options": dict(case.options),
        "secrets": {name: {"env": f"CANARY_{name.upper()}"} for name in case.known},
    }
    made = {
        "fcflow": "config/1",
        "store": {"url": f"sqlite:///{folder}/fcflow.db"},
        "rules": {
            "fcflow": "ruleset/1",
            "name": "all",
            "rules": [{"id": "all", "when": True, "then": [{"allocate": {"to": ["leeds"]}}]}],
        },
        "partners": {
            "leeds": {
                "connections": {"way": way, **({"other": {"url": "memory://canary"}} if case.receives else {})},
                **feeds,
                "limits": {"backoff_s": 0, "timeout_s": 5, "tries": 2},
                "location": {"stock": {"tracked": False}},
            }
        },
    }
    path = folder / "fcflow.json"
    path.write_text(json.dumps(made))
    return path


COMMANDS = [
    ["check", "--connect"],
    ["check", "--connect", "--json"],
    ["sync", "--debug"],
    ["sync", "--json"],
    ["plan", "--json"],
    ["audit"],
    ["audit", "--json"],
    ["outbox", "list"],
    ["orders", "--json"],
]


def said_by_the_synchronizer(path: Path) -> Iterator[str]:
    """Reports, audit trail, plan, views; then the command line; then the bytes of the store."""
    with Synchronizer.from_config(path) as sync:
        sync.add_orders([order("A1", MUG=1)])
        for _ in range(2):
            report = sync.run()
            yield report.to_json() + str(report) + repr(report)
        yield f"A1 is {sync.order('A1').fulfilments[0].state}"
        yield str(sync.plan()) + repr(sync) + repr(sync.store) + repr(sync.order("A1"))
        yield repr([*sync.audit(), *sync.outbox(), *sync.check(connect=True)])
    config = load_config(path)
    yield repr(config) + pickle.dumps(config.partners).decode("latin-1")
    for command in COMMANDS:
        main(["--config", str(path), *command])
    for each in path.parent.glob("fcflow.db*"):
        yield each.read_bytes().decode("latin-1")


def make_loud(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Every library says all that it can be made to say."""
    caplog.set_level(logging.DEBUG)
    for name in ("paramiko", "urllib3", "requests", "fcflow", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    monkeypatch.setattr(ftplib.FTP, "debugging", 2)
    monkeypatch.setattr(smtplib.SMTP, "debuglevel", 2)
    monkeypatch.setattr(imaplib, "Debug", 5)


@every_way
@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_a_secret_is_in_nothing_that_is_said_written_or_raised(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
    way: Any,
    right: bool,
) -> None:
    """
    With secrets that are right, and with wrong ones that the server says back; then with nobody there.
    """
    root = tmp_path / "asyncssh"
    for name in ("in", "out"):
        (root / name).mkdir(parents=True) if way is not _sftp else None
    work = tmp_path / "work"
    work.mkdir()
    with way(right, root, request) as case:
        make_loud(monkeypatch, caplog)
        for name, secret in case.known.items():
            monkeypatch.setenv(f"CANARY_{name.upper()}", secret)
        said = [*said_by_the_transport(case), *said_by_the_synchronizer(document(work, case))]
    said += said_by_the_transport(case, servers.free_port())
    printed = capfd.readouterr()
    logged = [caplog.text, *(repr(vars(record)) for record in caplog.records)]
    assert shown(case, [*said, printed.out, printed.err, *logged]) == []
    assert ("A1 is sent" in said) is (right or case.receives)


def shown(case: Case, said: list[str]) -> list[str]:
    """Where a secret shows, with what is around it."""
    return [
        text[max(text.index(form) - 300, 0) : text.index(form) + 50]
        for text in said
        for form in case.forms
        if form in text
    ]


@pytest.mark.parametrize("scheme", ["ftp", "ftps", "sftp", "http", "https", "smtp", "smtps", "imap", "imaps"])
def test_a_password_in_a_url_is_refused_and_not_said_back(tmp_path: Path, scheme: str) -> None:
    """
    Neither by the configuration, nor by a transport that a host builds by itself.
    """
    secret = canary("url")
    options = {"from": "a@shop.example", "to": "b@acme.example"} if scheme.startswith("smtp") else {}
    case = Case(url=f"{scheme}://shop:{secret}@127.0.0.1:9/", options=options, known={})
    with pytest.raises(ConfigError) as refused:
        load_config(document(tmp_path, case))
    assert secret not in "".join(traceback.format_exception(refused.value))

    endpoint = Endpoint(partner="leeds", connection=Connection(url=case.url, options=options), resolve=str)
    with pytest.raises(FcflowError) as built:
        open_transport(load_plugins(), endpoint).send
    assert secret not in str(built.value)
