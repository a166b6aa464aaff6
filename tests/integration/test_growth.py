"""Nothing grows faster than its input: counted in calls, which no busy machine can blur."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
SMALL, LARGE = 40, 160
PROGRAM = """
import json, sys, tempfile
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import bench_sync


def counted(taken, name, call):
    calls = 0

    def note(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(note)
    value = call()
    sys.setprofile(None)
    taken[name] = calls
    return value


bench_sync.timed = counted
said = []
for count in (0, int(sys.argv[2]), int(sys.argv[3])):
    with tempfile.TemporaryDirectory() as folder:
        said.append(bench_sync.synchronise(count, Path(folder)))
print(json.dumps(said[1:]))
"""


@pytest.fixture(scope="module")
def calls() -> list[dict[str, int]]:
    """Function calls of each phase of a synchronisation of few and of many orders, after one that warms up."""
    command = [sys.executable, "-c", PROGRAM, str(BENCH), str(SMALL), str(LARGE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counted: list[dict[str, int]] = json.loads(done.stdout)
    return counted


@pytest.mark.parametrize("phase", ["add", "allocate", "send", "statuses"])
def test_a_phase_grows_no_faster_than_its_orders(calls, phase):
    """
    A phase with four times the orders makes at most four times the calls, a tenth more for chance.
    """
    few, many = calls

    assert few[phase] > SMALL
    assert many[phase] / few[phase] <= LARGE / SMALL * 1.1


def test_a_quiet_run_does_not_look_at_finished_orders(calls):
    """
    A run that finds nothing new costs the same however many orders are finished, once stock was counted after them.
    """
    few, many = calls

    assert many["quiet run"] <= few["quiet run"] * 1.1
