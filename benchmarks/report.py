"""The results as Markdown: tables, goals, and where and how they were measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import rows
from benchmarks.medians import Results
from benchmarks.reach import GOALS
from benchmarks.rows import Row
from benchmarks.stores import tables as stores
from benchmarks.tables import NOTHING, rate, ratio, table, with_best

START, END = "<!-- {}:start -->", "<!-- {}:end -->"
WINDOWS = ("1", "64", "256")


def _percentiles(results: Results, key: str) -> str:
    p50, p99 = results.median(key, "1.p50_us"), results.median(key, "1.p99_us")
    return NOTHING if p50 is None else f"{rate(p50)} / {rate(p99)}"


def _measured(results: Results, of: Iterable[Row], figure: str) -> list[Row]:
    return [row for row in of if results.values(row.key, figure)]


def _calls(results: Results, of: tuple[Row, ...], reference: str, against: str) -> str:
    head = ["", "1 caller /s", "p50 / p99 µs", "64 callers /s", "256 callers /s", "p99 @64 µs"]
    head.append(f"of {against} (1 / 64 / 256)")
    body = []
    for row in _measured(results, of, "1.rate"):
        ratios = (ratio(results.ratio(row.key, reference, f"{w}.rate")) for w in WINDOWS)
        body.append(
            [
                row.label,
                with_best(results, row.key, "1.rate"),
                _percentiles(results, row.key),
                with_best(results, row.key, "64.rate"),
                with_best(results, row.key, "256.rate"),
                rate(results.median(row.key, "64.p99_us")),
                " / ".join(ratios),
            ]
        )
    return table(head, body)


def _one_way(results: Results, mode: str) -> str:
    names: dict[str, str] = {}
    prefix = f"oneway.{mode}."
    for row in _measured(results, rows.ONE_WAY_ROWS, "rate"):
        if row.key.startswith(prefix):
            names.setdefault(row.name, row.label)
    sizes = [size for size in rows.SIZES if results.median(f"{prefix}{size}.ion", "rate")]
    head = ["", *(f"{size} msgs/s (of C)" for size in sizes)]
    body = []
    for name, label in names.items():
        line = [label]
        for size in sizes:
            key, reference = f"{prefix}{size}.{name}", f"{prefix}{size}.c"
            cell = with_best(results, key, "rate")
            line.append(f"{cell} ({ratio(results.ratio(key, reference, 'rate'))})")
        body.append(line)
    return table(head, body)


def _small(results: Results) -> str:
    units = {
        "us": ("µs", 1.0),
        "bytes": ("KB", 1 / 1024),
        "worked_bytes": ("KB, once it has worked", 1 / 1024),
        "seconds": ("s", 1.0),
    }
    return _listed(results, rows.SMALL_ROWS, units)


def _supervision(results: Results) -> str:
    units = {
        "p50_ms": ("ms, p50 of 1,000", 1.0),
        "p99_ms": ("ms, p99", 1.0),
        "max_ms": ("ms, the slowest", 1.0),
        "start_seconds": ("s, to start in order", 1.0),
        "stop_seconds": ("s, to stop in reverse", 1.0),
    }
    return _listed(results, rows.SUPERVISION_ROWS, units)


def _listed(
    results: Results, of: tuple[rows.Row, ...], units: Mapping[str, tuple[str, float]]
) -> str:
    body = []
    for row in of:
        for figure, (unit, factor) in units.items():
            median, best = results.median(row.key, figure), results.best(row.key, figure)
            if median is not None and best is not None:
                body.append([row.label, f"{median * factor:.3g}", f"{best * factor:.3g}", unit])
    return table(["", "median", "best", "unit"], body)


def reach_lines(results: Results) -> list[list[str]]:
    """Return one line for each goal that was measured: what, wanted, measured, verdict."""
    lines = []
    for goal in GOALS:
        value, verdict = goal.verdict(results)
        if value is not None:
            lines.append([goal.what, goal.wanted(), f"{value:.3g} {goal.unit}", verdict])
    return lines


def about(run: Mapping[str, Any]) -> str:
    """Return the sentence that says where, when, with what and how to repeat."""
    machine = run["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return (
        f"Measured {run['when']} on {machine['cores']} cores of {machine['cpu']}, "
        f"{machine['memory_gb']} GB, Linux {machine['kernel']}, Python {machine['python']}, "
        f"load {machine['load']:g} before the run; "
        f"{run['rounds']} rounds, each running every variant once in shuffled order, "
        f"{run['seconds']:g} s a measurement{_scale(run)}. Medians; best round in brackets. "
        f"Repeat with `{run['command']}`.\n\nVersions: {versions}."
    )


def _scale(run: Mapping[str, Any]) -> str:
    scale = run.get("scale", 1)
    return "" if scale == 1 else f", stores at {scale:g} of their size"


def full(run: Mapping[str, Any], results: Results) -> str:
    """Return all tables that have a line, for the reference page."""
    bare = "the bare actor"
    parts = {
        "Goals": table(["goal", "wanted", "measured", ""], reach_lines(results)),
        "rpc over RabbitMQ, 1 KB": _calls(results, rows.RPC_ROWS, "rpc.c", "C"),
        "rpc in memory, 1 KB": _calls(results, rows.MEMORY_ROWS, "memory.bare", bare),
    }
    for mode, promise in rows.MODES.items():
        parts[f"One way over RabbitMQ: {promise}"] = _one_way(results, mode)
    parts["Small costs"] = _small(results)
    parts["Supervision"] = _supervision(results)
    parts |= stores.parts(results)
    failures = [f"- `{key}`: {text.splitlines()[-1]}" for key, text in run["failures"].items()]
    texts = [f"### {title}\n\n{text}" for title, text in parts.items() if text.count("\n") > 1]
    if failures:
        texts.append("### Failed\n\n" + "\n".join(failures))
    return "\n\n".join([about(run), *texts])


def short(run: Mapping[str, Any], results: Results) -> str:
    """Return the two tables of calls and the sentence about the run, for the README."""
    return "\n\n".join(
        [
            "rpc over RabbitMQ, 1 KB:",
            _calls(results, rows.RPC_ROWS, "rpc.c", "C"),
            "rpc in memory, 1 KB:",
            _calls(results, rows.MEMORY_ROWS, "memory.bare", "the bare actor"),
            about(run),
        ]
    )


def write_between_markers(file: Path, text: str, name: str = "bench") -> bool:
    """Replace what stands between the markers of a name in a file; False where it has none."""
    if not file.exists():
        return False
    first, last = START.format(name), END.format(name)
    content = file.read_text()
    head, start, rest = content.partition(first)
    _, end, tail = rest.partition(last)
    if not start or not end:
        return False
    file.write_text(f"{head}{first}\n{text}\n{last}{tail}")
    return True
