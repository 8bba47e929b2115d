"""``python -m benchmarks.stores``: the rows of stores alone; what else it takes is as for all."""

from __future__ import annotations

import argparse
import sys

from benchmarks.__main__ import main
from benchmarks.rows import ENGINES, STORES


def words(argv: list[str]) -> list[str]:
    """Return the words that the whole benchmark takes for these."""
    parser = argparse.ArgumentParser(prog="benchmarks.stores", add_help=False)
    parser.add_argument("--engines", default="", help=f"of {','.join(ENGINES)}; without the clone")
    chosen, others = parser.parse_known_args(argv)
    names = [name.strip() for name in chosen.engines.split(",") if name.strip()]
    unknown = sorted(set(names) - set(ENGINES))
    if unknown:
        parser.error(f"no such engine: {', '.join(unknown)}")
    return ["-k", ",".join(f"{STORES}.{name}" for name in names) or STORES, *others]


if __name__ == "__main__":
    sys.exit(main(words(sys.argv[1:])))
