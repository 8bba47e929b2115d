"""``python -m benchmarks``: run the rounds, print the goals, write results and tables."""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.bench import Bench
from benchmarks.medians import Results
from benchmarks.procs import ROOT, MeasurementFailed
from benchmarks.rows import ALL_ROWS, STORE_ROWS, STORES, Row, selected
from benchmarks.stores import tables as stores

LATEST = ROOT / "benchmarks" / "results" / "latest.json"
LATEST_STORES = LATEST.with_name("stores.json")
REFERENCE = ROOT / "docs" / "reference" / "benchmarks.md"
README = ROOT / "README.md"
BUSY = 0.5  # load of the last minute beyond which others disturb a run
Rounds = dict[str, list[dict[str, Any]]]


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options of a run."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one measurement")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="stores: of what is large (1: a blob of 1 GiB)"
    )
    parser.add_argument("--quick", action="store_true", help="one short round; writes no docs")
    parser.add_argument(
        "-k", dest="select", default="", help="rows: words with , between (see rows.py)"
    )
    parser.add_argument("--list", action="store_true", help="show the keys of the rows and end")
    parser.add_argument("--seed", type=int, default=None, help="of the order of the rows")
    parser.add_argument("--output", type=Path, default=None, help="JSON file for the results")
    parser.add_argument("--render", action="store_true", help="write the docs from latest.json")
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.seconds, options.scale = 1, 0.2, 0.01
    return options


def say(text: str) -> None:
    """Tell whoever waits how far the run is."""
    print(text, file=sys.stderr, flush=True)


def run_rounds(bench: Bench, chosen: tuple[Row, ...], rounds: int, order: random.Random) -> Any:
    """Run every row once a round in shuffled order; return figures and failures by key."""
    figures: Rounds = {row.key: [] for row in chosen}
    failures: dict[str, str] = {}
    for number in range(1, rounds + 1):
        for row in order.sample(chosen, len(chosen)):
            try:
                found = bench.run(row)
            except MeasurementFailed as error:
                failures[row.key] = str(error)
                say(f"{number}/{rounds} {row.key}: FAILED: {error}")
                continue
            figures[row.key].append(found)
            say(f"{number}/{rounds} {row.key}: {json.dumps(found)}")
    return figures, failures


def measure(options: argparse.Namespace, chosen: tuple[Row, ...]) -> dict[str, Any]:
    """Run the rounds and return all there is to know of them."""
    here = machine.describe()  # before the run makes a load of its own
    if here["load"] > BUSY:
        say(f"this machine is busy (load {here['load']}): the figures will say little")
    with Bench(chosen, options.seconds, options.scale) as bench:
        order = random.Random(options.seed)
        figures, failures = run_rounds(bench, chosen, options.rounds, order)
        return {
            "when": machine.now(),
            "command": " ".join(["make bench", *_arguments(options)]),
            "rounds": options.rounds,
            "seconds": options.seconds,
            "scale": options.scale,
            "machine": here,
            "versions": machine.versions(chosen, bench.broker),
            "figures": figures,
            "failures": failures,
        }


def _arguments(options: argparse.Namespace) -> list[str]:
    words = [f"--rounds {options.rounds} --seconds {options.seconds:g}"]
    if options.scale != 1:
        words.append(f"--scale {options.scale:g}")
    if options.select:
        words.append(f"-k {options.select}")
    return [f'BENCH_ARGS="{" ".join(words)}"']


def write_docs(run: dict[str, Any], *, is_of_stores: bool) -> None:
    """Write the tables between the markers of the reference page and of the README."""
    results = Results(run["figures"])
    name = STORES if is_of_stores else "bench"
    short = stores.short(results) if is_of_stores else report.short(run, results)
    for file, text in ((REFERENCE, report.full(run, results)), (README, short)):
        if not report.write_between_markers(file, text, name):
            say(f"{file.relative_to(ROOT)}: no markers for {name}, not written")


def keep(run: dict[str, Any], chosen: tuple[Row, ...]) -> None:
    """Write results and docs of what was run as a whole: the stores, all the others, or both."""
    for file, is_of_stores in ((LATEST, False), (LATEST_STORES, True)):
        wanted = {row.key for row in ALL_ROWS if (row in STORE_ROWS) is is_of_stores}
        if wanted <= {row.key for row in chosen}:
            part = dict(run)
            for name in ("figures", "failures"):
                part[name] = {key: value for key, value in run[name].items() if key in wanted}
            write(file, part)
            write_docs(part, is_of_stores=is_of_stores)


def write(file: Path, run: dict[str, Any]) -> None:
    """Write results."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(run, indent=1) + "\n")


def main(argv: list[str]) -> int:
    """Run; return 1 where a row failed in every round."""
    options = parse(argv)
    chosen = selected(options.select)
    if options.list:
        print("\n".join(f"{row.key:32} {row.label}" for row in chosen))
        return 0
    if options.render:
        for file in (LATEST, LATEST_STORES):
            if file.exists():
                write_docs(json.loads(file.read_text()), is_of_stores=file == LATEST_STORES)
        return 0
    run = measure(options, chosen)
    if options.output:
        write(options.output, run)
    elif not options.quick and options.scale == 1:
        keep(run, chosen)
    print(report.full(run, Results(run["figures"])))
    return 1 if any(not rounds for rounds in run["figures"].values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
