"""``python -m benchmarks.streams``: the rows of streams alone; what else it takes is as for all."""

from __future__ import annotations

import sys

from benchmarks.__main__ import main
from benchmarks.rows import GRANULES, ONE_WAY

if __name__ == "__main__":
    sys.exit(main(["-k", f"{ONE_WAY}.{GRANULES}", *sys.argv[1:]]))
