"""Medians, bests and ratios over the rounds of a run; pure functions of its results."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

LOWER_IS_BETTER = ("_us", "us", "bytes", "seconds", "publisher_mb", "grown_mib", "_ms")


def flat(figures: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return nested figures under dotted names, such as ``64.rate``."""
    result: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[f"{prefix}{name}"] = float(value)
    return result


class Results:
    """The rounds of every row, and what follows from them.

    :param rounds: row key -> figures of each round in which it did not fail.
    """

    def __init__(self, rounds: Mapping[str, list[dict[str, Any]]]) -> None:
        self._rounds = {key: [flat(one) for one in each] for key, each in rounds.items()}

    def values(self, key: str, figure: str) -> list[float]:
        """Return one figure of a row, round by round; none where it was not measured."""
        return [one[figure] for one in self._rounds.get(key, []) if figure in one]

    def median(self, key: str, figure: str) -> float | None:
        """Return the median over the rounds."""
        values = self.values(key, figure)
        return statistics.median(values) if values else None

    def best(self, key: str, figure: str) -> float | None:
        """Return the best round: the lowest time or size, the highest rate."""
        values = self.values(key, figure)
        if not values:
            return None
        return min(values) if figure.endswith(LOWER_IS_BETTER) else max(values)

    def ratio(self, key: str, reference: str, figure: str) -> float | None:
        """Return the median of ``key`` over that of ``reference``."""
        ours, theirs = self.median(key, figure), self.median(reference, figure)
        return None if ours is None or not theirs else ours / theirs
