"""How figures are written, and tables of them in Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.medians import Results

NOTHING = "-"


def rate(value: float | None) -> str:
    """Return messages or calls per second, for people."""
    return NOTHING if value is None else f"{value:,.0f}"


def ratio(value: float | None) -> str:
    """Return a ratio with as many digits as mean something."""
    if value is None:
        return NOTHING
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def table(head: Iterable[str], body: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; all columns but the first are numbers."""
    names = list(head)
    lines = [names, ["---"] + ["---:"] * (len(names) - 1), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_best(results: Results, key: str, figure: str) -> str:
    median, best = results.median(key, figure), results.best(key, figure)
    return NOTHING if median is None else f"{rate(median)} [{rate(best)}]"
