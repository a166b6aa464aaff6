"""``python -m fcflow.cli`` is ``fcflow``."""

import sys

from fcflow.cli import main

sys.exit(main())
