"""``python -m benchmarks.contexts``: the interface of contexts, beside IOWarp's, in one run.

Each side starts what it needs within its own program, with files and home in memory (``/dev/shm``);
ION is on its defaults: SQLite. The peers are ``iowarp-core`` 1.0.3 and 2.3.2 from PyPI. The
side ``RabbitMQ`` is ION once more, with the service in another process, behind a private broker.
Prints a table, the ratios (over 1: ION is faster) and the goals, and keeps the figures in
``benchmarks/results/contexts.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from benchmarks import machine
from benchmarks.contexts.sides import BROKER, CRASHED, ION, NEW, OLD, SIDES, measured

RESULTS = Path(__file__).parents[1] / "results" / "contexts.json"
SIZES = (1, 16, 128)
ROWS = {  # figure -> what it is, and whether more is better
    **{f"bundle_{n}_mib_s": (f"bundle a file of {n} MiB, MiB/s", True) for n in SIZES},
    **{f"retrieve_{n}_mib_s": (f"retrieve it, {n} MiB, MiB/s", True) for n in SIZES},
    **{f"destroy_{n}_ms": (f"destroy it, {n} MiB, ms", False) for n in SIZES},
    "bundle_small_per_s": ("bundle 500 files of 4 KiB at once, files/s", True),
    "query_one_ms": ("query one blob of one tag, ms", False),
    "query_tag_ms": ("query all blobs of one tag, ms", False),
    "query_none_ms": ("query what is not there, ms", False),
    "query_all_ms": ("query all of 1,000 blobs, ms", False),
    "retrieve_4k_ms": ("retrieve one blob of 4 KiB, ms", False),
    "retrieve_500_ms": ("retrieve 500 blobs of 4 KiB, ms", False),
    "destroy_per_s": ("destroy 500 tags at once, tags/s", True),
}
PEAK = "peak_mib"
EQUALLED = ("retrieve", "query")  # what must be no slower than 2.3.2, either
Medians = dict[str, dict[str, float]]


def medians(seen: dict[str, dict[str, list[float]]]) -> Medians:
    """Return side -> figure -> median; of the memory, the most."""
    return {
        side: {
            figure: max(values) if figure == PEAK else statistics.median(values)
            for figure, values in figures.items()
        }
        for side, figures in seen.items()
    }


def ratio(found: Medians, figure: str, peer: str) -> float | None:
    """Return how many times faster ION is; None where one was not measured."""
    ours, theirs = found.get(ION.name, {}).get(figure), found.get(peer, {}).get(figure)
    if ours is None or theirs is None:
        return None
    return ours / theirs if ROWS[figure][1] else theirs / ours


def table(found: Medians) -> str:
    """Return the figures for people."""
    lines = [
        f"{'':46}" + "".join(f"{side:>12}" for side in found) + f"{'x 1.0.3':>10}{'x 2.3.2':>10}"
    ]
    for figure, (what, _) in ROWS.items():
        values = "".join(_cell(each.get(figure), 12) for each in found.values())
        ratios = "".join(_cell(ratio(found, figure, peer.name), 10) for peer in (OLD, NEW))
        lines.append(f"{what:46}{values}{ratios}")
    for figure, what in {"start_s": "start, s", PEAK: "peak memory, any part, MiB"}.items():
        lines.append(f"{what:46}" + "".join(_cell(each.get(figure), 12) for each in found.values()))
    return "\n".join(lines)


def _cell(value: float | None, width: int) -> str:
    if value is None:
        return f"{'-':>{width}}"
    return f"{value:>{width},.0f}" if value >= 100 else f"{value:>{width}.2f}"


def goals(found: Medians) -> list[str]:
    """Return each goal, and whether it holds."""
    lines = []
    for figure, (what, _) in ROWS.items():
        peers = [(OLD, "faster than")]
        if figure.startswith(EQUALLED):
            peers.append((NEW, "no slower than"))
        for peer, word in peers:
            if peer.name not in found:
                continue
            value = ratio(found, figure, peer.name)
            verdict = f"not measured: {peer.name} did not come so far"
            if value is not None:
                verdict = f"{'holds' if value >= 1 else 'does not hold'} ({value:.1f} x)"
            lines.append(f"{what.rpartition(',')[0]}: {word} {peer.name}: {verdict}")
    return lines


def main() -> int:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(prog="benchmarks.contexts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", default=",".join((*SIDES, BROKER)))
    options = parser.parse_args()
    names = options.sides.split(",")
    seen: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in names}
    faults: dict[str, dict[str, float]] = {name: {CRASHED: 0, "wrong": 0} for name in names}
    for side, figures in measured(names, options.rounds):
        for figure, value in figures.items():
            if figure in faults[side]:
                faults[side][figure] += value
            else:
                seen[side][figure].append(value)
        print(f"  {side}: {', '.join(figures) or 'nothing'}", file=sys.stderr)
    found = medians(seen)
    print(table(found))
    for side, count in faults.items():
        if any(count.values()):
            print(f"{side}: crashed {count[CRASHED]:g} times, wrong answers {count['wrong']:g}")
    print("\n".join(goals(found)))
    if set(names) >= set(SIDES):
        kept = {"machine": machine.describe(), "date": machine.now(), "rounds": options.rounds}
        kept |= {"medians": found, "faults": faults}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
