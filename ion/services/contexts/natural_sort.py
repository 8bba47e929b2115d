"""Natural order of names: ``chunk_2`` before ``chunk_10``."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"(\d+)", re.ASCII)
Key = tuple[tuple[int, int, str], ...]


def natural_key(name: str) -> Key:
    """Return what a name is sorted by: its numbers by their value, digits before other text."""
    parts = _DIGITS.split(name)
    return tuple(
        (0, int(part), part) if number % 2 else (1, 0, part)
        for number, part in enumerate(parts)
        if part
    )
