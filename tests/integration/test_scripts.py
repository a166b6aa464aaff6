"""The scripts do what they say: each law runs the script itself, in a folder of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path for path in [*ROOT.glob("scripts/*"), ROOT / ".ci" / "run"] if path.is_file())
BASH = shutil.which("bash") or pytest.fail("expected bash on PATH")


def shell(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BASH, "-c", program], capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}, check=False
    )


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_parses_and_can_be_run(path):
    """
    Every script is executable (what is sourced aside) and has no syntax error.
    """
    if not path.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3"):
        assert shell(f"bash -n '{path}'").returncode == 0
    assert os.access(path, os.X_OK) or path.name == "_env.sh"


@pytest.mark.parametrize("path", [*SCRIPTS, ROOT / "pyproject.toml"], ids=lambda path: path.name)
def test_no_registry_is_named(path):
    """
    Where packages come from is the machine's business: no script names a registry.
    """
    assert not re.search(r"pypi\.|index-url|find-links|pythonhosted|debian\.org", path.read_text(encoding="utf-8"))


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path):
    """
    ``FCFLOW_VENV`` that names a folder with something else in it is refused, and the folder is kept.
    """
    (tmp_path / "letter.txt").write_text("dear", encoding="utf-8")

    done = shell(". scripts/_env.sh; fcflow_env .", FCFLOW_VENV=str(tmp_path))

    assert done.returncode == 1
    assert "is not an environment, so it is left alone" in done.stderr
    assert (tmp_path / "letter.txt").read_text(encoding="utf-8") == "dear"


def fake_environment(folder: Path, log: Path) -> Path:
    """A folder that looks like an environment, whose python notes what it is asked to install."""
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").touch()
    python = folder / "bin" / "python"
    note = f'case "$*" in *" install "*) echo "$*" >> "{log}" ;; *) exec "{sys.executable}" "$@" ;; esac'
    python.write_text(f"#!{BASH}\n{note}\n", encoding="utf-8")
    python.chmod(0o755)
    return folder


def test_packages_are_installed_once_for_each_wish(tmp_path):
    """
    The same wish is installed once; another wish, or a changed pyproject.toml, installs again.
    """
    log = tmp_path / "log"
    checkout = tmp_path / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "_env.sh", checkout / "scripts")
    (checkout / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    environment = fake_environment(tmp_path / "venv", log)

    def ask(wish: str) -> int:
        done = shell(f". '{checkout}/scripts/_env.sh'; fcflow_env {wish}", FCFLOW_VENV=str(environment))
        assert done.returncode == 0, done.stderr
        return len(log.read_text(encoding="utf-8").splitlines())

    assert [ask(".[demo]"), ask(".[demo]"), ask(".[all] --group test"), ask(".[demo]")] == [1, 1, 2, 2]
    (checkout / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    assert [ask(".[demo]"), ask(".[demo]")] == [3, 3]


@pytest.mark.parametrize(
    ("cases", "code", "said"),
    [
        ("<testcase classname='a' name='b'/>", 0, "1 tests ran, none was skipped"),
        ("<testcase classname='a' name='b'><skipped message='no vsftpd'/></testcase>", 1, "skipped: a::b: no vsftpd"),
        ("", 1, "0 of 0 were skipped"),
    ],
)
def test_a_skipped_test_is_a_failure(tmp_path, cases, code, said):
    """
    ``scripts/_no_skips`` fails on a skipped test, naming it, and on a run without tests.
    """
    report = tmp_path / "tests.xml"
    report.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>", encoding="utf-8")

    done = shell(f"'{sys.executable}' scripts/_no_skips '{report}'")

    assert (done.returncode, said in done.stdout + done.stderr) == (code, True)


@pytest.mark.parametrize("program", ["bench_sync.py --child 12", "_all.py --help"])
def test_benchmarks_still_run(program):
    """
    The benchmark of a synchronisation ships every order it makes, and the runner knows every benchmark.
    """
    done = shell(f"'{sys.executable}' bench/{program}")

    assert done.returncode == 0, done.stderr
    assert "statuses" in done.stdout or all(name in done.stdout for name in ("import", "sync"))


def test_an_unknown_benchmark_is_refused():
    """
    ``scripts/bench`` says which benchmarks there are.
    """
    done = shell(f"'{sys.executable}' bench/_all.py speed")

    assert done.returncode == 2
    assert "unknown benchmark 'speed', expected one of:" in done.stderr


def test_results_go_between_their_marks():
    """
    ``--write`` replaces what stands between a benchmark's marks and nothing else.
    """
    program = (
        "import sys; sys.path.insert(0, 'bench'); import _all\n"
        "page = 'a\\n<!-- bench: x -->\\nold\\n<!-- end -->\\nb\\n<!-- bench: y -->\\nkept\\n<!-- end -->\\n'\n"
        "print(_all.put(page, 'x', _all.result_of('machine: m\\n\\n| a |\\n| --- |\\n')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)

    assert "- machine: m\n\n| a |\n| --- |\n\n<!-- end -->\nb\n<!-- bench: y -->\nkept\n" in done.stdout
    assert "old" not in done.stdout
