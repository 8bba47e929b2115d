"""What a journey counts, and the line that it prints, also where all went well."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROPERTY = "journey"  # of a test's report: one line of a tally


@dataclass(frozen=True)
class Effect:
    """One execution of a handler, written the moment it had its effect.

    :ivar key: of the message, given by its sender.
    :ivar attempt: as the runtime told the handler.
    :ivar redelivered: as the runtime told the handler.
    :ivar pid: of the OS process.
    :ivar at: on the monotonic clock, which all processes of a machine share.
    """

    key: str
    attempt: int
    redelivered: bool
    pid: int
    at: float

    @property
    def marked(self) -> bool:
        """Whether the handler could know that the message may have been handled before."""
        return self.redelivered or self.attempt > 1


class Effects:
    """A file with a line for each effect; a line that was written survives kill -9."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.touch()

    def all(self) -> list[Effect]:
        """Return them in the order in which they were written."""
        return [Effect(*json.loads(line)) for line in self.path.read_text().splitlines()]


class Recorder:
    """Writes effects, from within the OS process that has them."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def __call__(self, key: str, message: Any) -> None:
        """Record that the handling of ``message`` had its effect: one write, one line."""
        attempt = getattr(message, "attempt", 1)
        row = [key, attempt, message.redelivered, os.getpid(), time.monotonic()]
        os.write(self._file, json.dumps(row).encode() + b"\n")


@dataclass
class Tally:
    """The counts of one journey, or of one cell of it.

    :ivar sent: calls begun, or messages sent.
    :ivar answered: calls that had their result.
    :ivar failed: calls and sends that ended with an error, by its type.
    :ivar effects: all executions.
    :ivar dead: keys of dead letters.
    :ivar lost: calls without an end, or messages without an effect that are no dead letters.
    :ivar notes: further counts of this journey.
    """

    name: str
    sent: int = 0
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    effects: list[Effect] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    lost: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

    def ended(self, error: BaseException | None) -> None:
        """Count the end of one call."""
        if error is None:
            self.answered += 1
        else:
            self.failed[type(error).__name__] += 1

    @property
    def ends(self) -> int:
        """How many calls came to an end."""
        return self.answered + self.failed.total()

    @property
    def executed(self) -> int:
        """How often a handler had its effect."""
        return len(self.effects)

    @property
    def repeats(self) -> list[Effect]:
        """The effects beyond the first of each message."""
        seen: set[str] = set()
        found = []
        for effect in self.effects:
            if effect.key in seen:
                found.append(effect)
            seen.add(effect.key)
        return found

    @property
    def unmarked(self) -> list[Effect]:
        """Repeats whose handlers could not know that they were."""
        return [effect for effect in self.repeats if not effect.marked]

    def settle(self, keys: Iterable[str]) -> None:
        """Count as lost what was sent one way, had no effect, and is no dead letter."""
        self.lost = len(set(keys) - {effect.key for effect in self.effects} - set(self.dead))

    def line(self) -> str:
        """Return the line that the run prints."""
        notes = [f"{name}={value}" for name, value in self.notes.items()]
        if not self.sent:
            return f"{self.name}: {' '.join(notes)}"
        failed = ", ".join(f"{kind}: {count}" for kind, count in sorted(self.failed.items()))
        words = [
            f"sent={self.sent}",
            f"answered={self.answered}",
            f"failed={{{failed}}}",
            f"executed={self.executed}",
            f"repeated={len(self.repeats)}",
            f"lost={self.lost}",
        ]
        words += [f"dead={len(self.dead)}"] if self.dead else []
        return f"{self.name}: {' '.join([*words, *notes])}"


def lines(reports: Iterable[Any]) -> list[str]:
    """Return the lines of all tallies in the reports of a run, each once, in order of name."""
    found: dict[str, None] = {}
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if name == PROPERTY:
                found[value] = None
    return sorted(found, key=_order)


def _order(line: str) -> tuple[int, str]:
    number = line.partition(" ")[0].removeprefix("T").rstrip(":")
    return (int(number) if number.isdigit() else 0, line)
