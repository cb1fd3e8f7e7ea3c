"""`python -m treadle.conformance.mutants`."""

from __future__ import annotations

import sys

from treadle.conformance.mutants.run import main

if __name__ == "__main__":
    sys.exit(main())
