"""``python -m benchmarks.policy``: rpc with identity and policy on, against without, in one run.

It must be at least 0.85 of without; it exits 1 where it is less.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import describe, now
from benchmarks.policy.sides import POLICY, SIDES
from benchmarks.procs import Program
from ion.testing.servers import RabbitServer

RESULTS = Path(__file__).resolve().parents[1] / "results" / "policy.json"
REACH = 0.85
PATIENCE = 120.0


def measure(bus: str, seconds: float) -> Any:
    """Return the figures of a bus: ``memory`` or ``rabbitmq``."""
    command = [sys.executable, "-m", "benchmarks.policy.side"]
    patience = PATIENCE + 20 * seconds
    if bus == "memory":
        with Program([*command, "local", "--seconds", str(seconds)]) as program:
            return program.figures(patience)
    with RabbitServer() as broker:
        where = ["--url", broker.url(), "--seconds", str(seconds)]
        with Program([*command, "server", *where]) as server:
            server.wait_ready()
            with Program([*command, "client", *where]) as client:
                return client.figures(patience)


def show(bus: str, found: Any) -> None:
    """Print the figures of a bus."""
    print(f"\n{bus}: calls a second of 1,024 bytes both ways; the ratio to plain of the rate, and")
    print("of the calls that a second of the caller's processor is good for")
    print(f"{'callers':>8} " + " ".join(f"{side:>22}" for side in SIDES))
    for window, sides in found.items():
        cells = [_cell(sides[side]) for side in SIDES]
        print(f"{window:>8} " + " ".join(f"{cell:>22}" for cell in cells))


def _cell(side: Any) -> str:
    return f"{side['rate']:,.0f} {side['ratio']:.3f} {side['cpu_ratio']:.3f}"


def main(argv: list[str]) -> int:
    """Measure, print, keep; return the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.policy")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each side, each time")
    parser.add_argument("--bus", choices=("memory", "rabbitmq", "both"), default="both")
    parser.add_argument("--dry", action="store_true", help="keep nothing")
    options = parser.parse_args(argv)
    buses = ("memory", "rabbitmq") if options.bus == "both" else (options.bus,)
    results = {}
    for bus in buses:
        results[bus] = measure(bus, options.seconds)
        show(bus, results[bus])
    if not options.dry:
        kept = {"when": now(), "machine": describe(), "rows": results}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    worst = min(sides[POLICY]["ratio"] for found in results.values() for sides in found.values())
    print(f"\nworst ratio {worst:.3f}, to reach {REACH}: {'yes' if worst >= REACH else 'NO'}")
    return 0 if worst >= REACH else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
