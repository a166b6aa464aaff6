"""Print the seconds and the MiB that loading a rule list of the given length takes, in this fresh process."""

import json
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fcflow.rules import load_rules
from rules.workload import Workload


def peak_mib() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """The document is text, as it comes from a file."""
    made = Workload.of(5_000)
    text = json.dumps(made.document(made.rules(int(sys.argv[1]))))
    before, begun = peak_mib(), time.process_time()
    load_rules(text)
    print(f"{time.process_time() - begun:.2f} {peak_mib() - before:.0f}")


if __name__ == "__main__":
    main()
