"""Whether the event loop can do a commit itself, since it is done as quickly as handed over."""

from __future__ import annotations

from ion.stores.sqlite.job import Job

QUICK = 500e-6  # seconds
DOUBT = 32  # to begin with; each quick commit takes one away
TOO_MUCH = 16
SLOW = 10  # doubts that a slow commit adds: one in ten is too many
BUSY = 64  # that a slow turn of the loop adds; there is one in eight commits
MOST_DOUBT = 96
IDLE = 250e-6  # seconds that a turn of the loop takes: more, and it has other things to do
SMALL = 16_384  # bytes
FEW = 8  # writes
FRAMES = 1_000  # pages in the log, about, after which the thread is to have a turn
_PAGE = 4_096


class InlineCommits:
    """What recent commits took; asked before each one.

    Where the loop commits, the log grows; the thread's next commit lets it go into the file.
    """

    def __init__(self) -> None:
        self._doubt = DOUBT
        self._frames = 0

    def took(self, seconds: float, jobs: int) -> None:
        """Take note of a commit."""
        if jobs > 1:  # more than one writes: together is better
            self._doubt = max(self._doubt, DOUBT)
        elif seconds > QUICK:
            self._doubt = min(self._doubt + SLOW, MOST_DOUBT)
        elif self._doubt:
            self._doubt -= 1

    def yielded(self, seconds: float) -> None:
        """Take note of how long a turn of the loop took."""
        if seconds > IDLE:
            self._doubt = min(self._doubt + BUSY, MOST_DOUBT)

    def allows(self, job: Job) -> bool:
        """Return whether the loop may do ``job``."""
        if self._doubt > TOO_MUCH or job.size > SMALL or len(job.steps) > FEW:
            return False
        self._frames += 3 * len(job.steps) + job.size // _PAGE
        if self._frames < FRAMES:
            return True
        self._frames = 0
        return False
