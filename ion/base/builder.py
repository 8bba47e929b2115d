"""What the readers of files build data with: the line of every key, and bounds.

Contract: a reader says each value to its builder before it goes into it, so that depth and number
of values are bounded whatever the file says.
"""

from __future__ import annotations

from typing import Any, NoReturn

from ion.base.findings import Finding, error_of

MAX_DEPTH = 50
MAX_VALUES = 100_000

KeyPath = tuple[str | int, ...]


class Builder:
    """Gathers the lines while a reader builds the data, and keeps to the bounds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[KeyPath, int] = {}
        self.texts: dict[KeyPath, str] = {}
        self.values = 0

    def fail(self, line: int, message: str, path: KeyPath = ()) -> NoReturn:
        """Give up.

        :raises ConfigurationError: always.
        """
        raise error_of([Finding(message, self.name, max(line, 1), dotted(path) or None)])

    def count(self, line: int, path: KeyPath, values: int = 1) -> None:
        """Note a value at ``path``.

        :raises ConfigurationError: the file is too deep, or has too many values.
        """
        self.values += values
        if self.values > MAX_VALUES:
            self.fail(line, f"more than {MAX_VALUES} values")
        if len(path) > MAX_DEPTH:
            self.fail(line, f"nested deeper than {MAX_DEPTH} levels")
        self.lines.setdefault(path, line)

    def put(self, target: dict[Any, Any], key: Any, path: KeyPath, line: int) -> KeyPath:
        """Note a key of a map, whose value comes next; return the path of that value.

        :raises ConfigurationError: the map has this key already, or it is no key.
        """
        if not isinstance(key, str | int | float | None):
            self.fail(line, "a key must be text or a number", path)
        inner = (*path, key if isinstance(key, int) else str(key))
        if key in target:
            first = self.lines.get(inner, line)
            self.fail(line, f"key {key!r} occurs twice (first in line {first})", path)
        self.lines[inner] = line
        return inner


def dotted(path: KeyPath) -> str:
    """Return ``path`` as people write it: ``apps.0.name``."""
    return ".".join(str(part) for part in path)
