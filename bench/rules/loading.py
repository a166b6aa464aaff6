"""Print the seconds and the MiB that loading a rule list of the given length takes, in this fresh process."""

import json
import sys
import time
from math import nan
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fcflow.rules import load_rules
from rules.workload import Workload


def mib(name: str) -> float:
    """``VmRSS``: what this process holds; ``VmHWM``: the most it has held. Not a number but on Linux."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return nan
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), nan)


def main() -> None:
    """The document is text, as it comes from a file."""
    made = Workload.of(5_000)
    text = json.dumps(made.document(made.rules(int(sys.argv[1]))))
    before, begun = mib("VmRSS"), time.process_time()
    load_rules(text)
    print(f"{time.process_time() - begun:.2f} {mib('VmHWM') - before:.0f}")


if __name__ == "__main__":
    main()
