"""A secret shows nowhere: not in the store, the reports, the logs, errors, representations, or the command line."""

import json
import logging
import pickle
import traceback

import pytest

from fcflow.cli import main
from fcflow.config import load_config
from fcflow.errors import ConfigError, SecretError
from fcflow.secrets import resolve_reference
from fcflow.synchronizer import Synchronizer
from fcflow.testing import servers
from fcflow.testing.partners import order

CANARY = "c4n4ry-w0rd-0f-the-day"


def configuration(tmp_path, url, **connection):
    document = {
        "fcflow": "config/1",
        "store": {"url": f"sqlite:///{tmp_path}/fcflow.db"},
        "rules": {
            "fcflow": "ruleset/1",
            "name": "all",
            "rules": [{"id": "all", "when": True, "then": [{"allocate": {"to": ["leeds"]}}]}],
        },
        "partners": {
            "leeds": {
                "connection": {"url": url, "secrets": {"password": {"env": "LEEDS_PASSWORD"}}, **connection},
                "orders": {"layout": "linnworks-orders", "path": "in", "name": "o-{counter}.csv"},
                "status": {"layout": "linnworks-status", "path": "out"},
                "limits": {"backoff_s": 0, "timeout_s": 5, "tries": 2},
                "location": {"stock": {"tracked": False}},
            }
        },
    }
    path = tmp_path / "fcflow.json"
    path.write_text(json.dumps(document))
    return path


def everything_said(path, caplog, capsys):
    """Run with the secret in use, in every way there is to look, and give back all text that came out."""
    said = []
    with Synchronizer.from_config(path) as sync:
        sync.add_orders([order("A1", MUG=1)])
        for _ in range(2):
            report = sync.run()
            said += [report.to_json(), str(report), repr(report)]
        said += [str(sync.plan()), repr(sync), repr(sync.store), repr(sync.order("A1"))]
        said += [repr(each) for each in (*sync.audit(), *sync.outbox(), *sync.check(connect=True))]
    config = load_config(path)
    said += [repr(config), repr(pickle.dumps(config.partners)), repr(config.endpoint(config.partners["leeds"].orders))]
    for command in (["check", "--connect"], ["sync", "--debug"], ["audit"], ["outbox", "list"], ["plan", "--json"]):
        main(["--config", str(path), *command])
    printed = capsys.readouterr()
    said += [printed.out, printed.err, caplog.text]
    said += [each.read_bytes().decode("latin-1") for each in path.parent.glob("fcflow.db*")]
    return "\n".join(said)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.fault(row=31, invariants="I9")
def test_a_password_shows_nowhere_whether_it_is_right_or_wrong(tmp_path, monkeypatch, caplog, capsys, right):
    """
    With every library logging at DEBUG, the password is in no text that anybody can see, and not in the store.
    """
    caplog.set_level(logging.DEBUG)
    root = tmp_path / "server"
    for name in ("in", "out"):
        (root / name).mkdir(parents=True)
    with servers.pyftpdlib_server(root) as server:
        secret = server.password if right else CANARY
        monkeypatch.setenv("LEEDS_PASSWORD", secret)
        said = everything_said(configuration(tmp_path, server.url), caplog, capsys)
        assert bool(list((root / "in").iterdir())) is right
    assert secret not in said
    assert "A1" in said


@pytest.mark.parametrize(
    "connection",
    [
        {"url": f"ftp://leeds:{CANARY}@ftp.leeds.example/"},
        {"url": "ftp://leeds@ftp.leeds.example/", "secrets": {"password": CANARY}},
        {"url": "ftp://leeds@ftp.leeds.example/", "password": CANARY},
        {"url": "ftp://leeds@ftp.leeds.example/", "options": {"password": CANARY}},
    ],
)
@pytest.mark.fault(row=31, invariants="I9")
def test_a_literal_secret_in_a_configuration_is_refused_without_being_repeated(tmp_path, connection):
    """
    Wherever somebody writes a password into the document, the fault names the place and not the password.
    """
    path = configuration(tmp_path, "unused")
    document = json.loads(path.read_text())
    document["partners"]["leeds"]["connection"] = connection
    with pytest.raises(ConfigError) as refused:
        load_config(document)
    said = "".join(traceback.format_exception(refused.value))
    assert CANARY not in said
    assert "$.partners.leeds.connection" in said


# ---------------------------------------------------------------------- from a program


def script(tmp_path, text):
    path = tmp_path / "vault"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_program_gives_the_secret_it_prints(tmp_path, monkeypatch):
    """
    With its arguments as they are, no shell between, beside the configuration where its path is relative.
    """
    script(tmp_path, f'test "$1" = "a b; c" && echo "{CANARY}"')
    path = configuration(tmp_path, "ftp://shop@127.0.0.1:1/", secrets={"password": {"command": ["./vault", "a b; c"]}})
    monkeypatch.chdir("/")

    config = load_config(path)

    assert config.endpoint(config.partners["leeds"].orders).secret("password") == CANARY


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'echo "{CANARY}"; echo "{CANARY}" >&2; exit 3', "ended with 3"),
        ("true", "printed nothing"),
        (f"printf '{CANARY}\\377'", "UnicodeDecodeError"),
    ],
)
def test_a_program_that_fails_says_why_and_nothing_of_what_it_printed(tmp_path, text, said):
    """
    Nobody knows what stands in its output.
    """
    script(tmp_path, text)
    path = configuration(tmp_path, "ftp://shop@127.0.0.1:1/", secrets={"password": {"command": ["./vault"]}})
    config = load_config(path)

    with pytest.raises(SecretError, match=said) as caught:
        config.endpoint(config.partners["leeds"].orders).secret("password")

    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert CANARY not in str([finding.message for finding in config.check()])


def test_a_program_that_is_not_there_is_a_secret_error(tmp_path):
    """
    Not an error of the operating system.
    """
    with pytest.raises(SecretError, match="FileNotFoundError"):
        resolve_reference({"command": ["no-such-program-of-anybody"]})
